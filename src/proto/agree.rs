//! Whether nodes agree, judged from what each of them says of itself in short. A node that is a few commands behind is only
//! late; two that have applied the same commands and hold something else have had different histories, which must never be.
//!
//! Digests are compared only where they have to be equal: of one release and of the same point in the log. What owners hold
//! is not compared here at all, since nodes own different partitions: anti-entropy does, and says where it differs.

use serde::Serialize;

use crate::base::checksum;
use crate::proto::member::words::Digests;

/// How a node stands to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It holds what the others hold.
    Same,
    /// It has not applied all of what another one has.
    Behind,
    /// Something is not as on the others: see [`Part`].
    Differs,
    /// Nothing is known of it.
    Silent,
}

impl Verdict {
    /// All, in the order of the document.
    pub const ALL: [Self; 4] = [Self::Same, Self::Behind, Self::Differs, Self::Silent];
}

/// What is not as on the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The control state: a split history.
    Control,
    /// Who owns what.
    Layout,
    /// Who is there: for a moment, or the network lets some pairs through and others not.
    Members,
    /// A partition, compared with another owner of it: it is being repaired.
    Data,
}

impl Part {
    /// All, in the order of the document.
    pub const ALL: [Self; 4] = [Self::Control, Self::Layout, Self::Members, Self::Data];
}

/// What a node said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said<'a> {
    /// Of its software: another one may store the same in another form.
    pub release: &'a str,
    /// The last control command that it has applied by now.
    pub applied: u64,
    /// What it held a moment ago.
    pub digests: Digests,
}

/// What is found of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// How it stands.
    pub verdict: Verdict,
    /// In what it differs.
    pub differs_in: Vec<Part>,
    /// Commands that another node has applied and this one has not.
    pub behind: u64,
}

/// The digest of something that is stored in the same bytes everywhere.
#[must_use]
pub fn digest(value: &impl Serialize) -> u64 {
    let bytes = postcard::to_stdvec(value).unwrap_or_else(|error| {
        // Only a type that postcard cannot represent fails here: a bug of ours, found by its first test.
        unreachable!("what is digested must be representable: {error}")
    });
    checksum::sha256_u64(&[&bytes])
}

/// Judges all nodes, each by what it said; none where nobody heard it lately.
#[must_use]
pub fn judge(said: &[Option<Said<'_>>]) -> Vec<Judged> {
    let furthest = said.iter().flatten().map(|said| said.applied).max().unwrap_or(0);
    said.iter()
        .map(|one| match one {
            None => Judged { verdict: Verdict::Silent, differs_in: Vec::new(), behind: 0 },
            Some(one) => of(one, said, furthest.saturating_sub(one.applied)),
        })
        .collect()
}

fn of(one: &Said<'_>, all: &[Option<Said<'_>>], behind: u64) -> Judged {
    let odd = |part: Part| match part {
        Part::Control => is_odd(one, all, |digests| digests.control),
        Part::Layout => is_odd(one, all, |digests| digests.layout),
        Part::Members => is_odd(one, all, |digests| digests.members),
        Part::Data => one.digests.differing > 0,
    };
    let differs_in: Vec<Part> = Part::ALL.into_iter().filter(|part| odd(*part)).collect();
    let is_split = differs_in.iter().any(|part| matches!(part, Part::Control | Part::Layout));
    let verdict = match (is_split, behind, differs_in.is_empty()) {
        (true, ..) => Verdict::Differs,
        (false, 1.., _) => Verdict::Behind,
        (false, 0, false) => Verdict::Differs,
        (false, 0, true) => Verdict::Same,
    };
    Judged { verdict, differs_in, behind }
}

/// Whether most of those with which it can be compared do not say the same. Of two that differ nobody knows which is right:
/// both do.
fn is_odd(one: &Said<'_>, all: &[Option<Said<'_>>], digest: impl Fn(&Digests) -> u64) -> bool {
    let comparable = |other: &&Said<'_>| other.release == one.release && other.digests.applied == one.digests.applied;
    let others = all.iter().flatten().filter(comparable);
    let (mut like_it, mut count) = (0, 0);
    for other in others {
        count += 1;
        like_it += usize::from(digest(&other.digests) == digest(&one.digests));
    }
    like_it < count && like_it * 2 <= count
}

#[cfg(test)]
mod tests {
    use super::Part;
    use super::Said;
    use super::Verdict;
    use super::digest;
    use super::judge;
    use crate::proto::member::words::Digests;

    fn said(applied: u64, control: u64) -> Said<'static> {
        let digests = Digests { applied, control, layout: control, ..Digests::default() };
        Said { release: "0.1.0", applied, digests }
    }

    fn verdicts(said: &[Option<Said<'_>>]) -> Vec<Verdict> {
        judge(said).into_iter().map(|judged| judged.verdict).collect()
    }

    #[test]
    fn who_applied_the_same_and_holds_the_same_is_the_same() {
        assert_eq!(verdicts(&[Some(said(7, 1)), Some(said(7, 1)), Some(said(7, 1))]), [Verdict::Same; 3]);
        assert_eq!(verdicts(&[Some(said(7, 1))]), [Verdict::Same], "alone");
        assert!(judge(&[]).is_empty());
    }

    #[test]
    fn who_applied_the_same_and_holds_something_else_differs() {
        let judged = judge(&[Some(said(7, 1)), Some(said(7, 2)), Some(said(7, 1))]);
        let differs_in: Vec<_> = judged.iter().map(|judged| judged.differs_in.as_slice()).collect();
        assert_eq!(differs_in, [&[][..], &[Part::Control, Part::Layout], &[]], "the one that most do not agree with");
        assert_eq!(judged[1].verdict, Verdict::Differs);
        assert_eq!(
            verdicts(&[Some(said(7, 1)), Some(said(7, 2))]),
            [Verdict::Differs; 2],
            "nobody knows which is right"
        );
    }

    #[test]
    fn who_applied_less_is_behind_and_not_compared() {
        let judged = judge(&[Some(said(7, 1)), Some(said(4, 2)), None]);
        assert_eq!(judged.iter().map(|judged| judged.behind).collect::<Vec<_>>(), [0, 3, 0]);
        assert_eq!(judged[1].verdict, Verdict::Behind);
        // Its digests are a moment older than what it has applied.
        let late = Said { applied: 7, ..said(4, 2) };
        assert_eq!(verdicts(&[Some(said(7, 1)), Some(late)]), [Verdict::Same; 2]);
    }

    #[test]
    fn of_whom_nothing_is_heard_is_silent() {
        assert_eq!(verdicts(&[Some(said(7, 1)), None]), [Verdict::Same, Verdict::Silent]);
    }

    #[test]
    fn another_release_may_store_the_same_in_another_form() {
        let other = Said { release: "0.2.0", ..said(7, 2) };
        assert_eq!(verdicts(&[Some(said(7, 1)), Some(other)]), [Verdict::Same; 2]);
    }

    #[test]
    fn members_and_data_differ_each_for_itself() {
        let (mut one, mut two) = (said(7, 1), said(7, 1));
        (one.digests.members, two.digests.differing) = (9, 1);
        let judged = judge(&[Some(said(7, 1)), Some(one), Some(two)]);
        assert_eq!([&judged[1].differs_in[..], &judged[2].differs_in], [&[Part::Members][..], &[Part::Data]]);
        assert_eq!(judged[0].verdict, Verdict::Same);
        // What is stored is not compared: they own different partitions.
        (one, two) = (said(7, 1), said(7, 1));
        (one.digests.data, two.digests.data) = (Some(1), Some(2));
        assert_eq!(verdicts(&[Some(one), Some(two)]), [Verdict::Same; 2]);
    }

    #[test]
    fn a_digest_is_of_what_is_stored() {
        assert_eq!(digest(&(1_u8, "a")), digest(&(1_u8, "a")));
        assert_ne!(digest(&(1_u8, "a")), digest(&(2_u8, "a")));
    }
}
