//! What the page says first.

use super::light;
use super::sentence;
use super::why;
use crate::base::id::NodeId;
use crate::node::repair::nodes::NodeConvergence;
use crate::proto::agree::Part;
use crate::proto::agree::Verdict;

fn row(id: u64, name: &str) -> NodeConvergence {
    let digest = Some("0123456789abcdef".to_owned());
    NodeConvergence {
        id: NodeId(id),
        name: name.to_owned(),
        verdict: Verdict::Same,
        differs_in: Vec::new(),
        behind: 0,
        said_s: Some(3),
        applied: Some(40),
        digested: Some(40),
        control: digest.clone(),
        layout_version: Some(2),
        layout: digest.clone(),
        members: digest.clone(),
        data: digest,
        differing: Some(0),
        oldest_s: None,
        unsettled: Some(0),
        heals_s: None,
    }
}

fn three(change: impl FnOnce(&mut [NodeConvergence])) -> (&'static str, String) {
    let mut rows = [row(1, "a"), row(2, "b"), row(3, "c")];
    change(&mut rows);
    sentence(&rows)
}

#[test]
fn the_worst_is_said_first() {
    let said = |kind, sentence: &str| (kind, sentence.to_owned());
    assert_eq!(three(|_| ()), said("ok", "All 3 machines hold the same."));
    assert_eq!(sentence(&[row(1, "a")]).0, "ok");
    let looking = three(|rows| rows[1].data = None);
    assert_eq!(looking, said("info", "Machine b is looking through what it holds: until then it is not compared."));
    let behind = |rows: &mut [NodeConvergence]| (rows[1].verdict, rows[1].behind) = (Verdict::Behind, 3);
    assert_eq!(three(behind), said("warn", "Machine b is behind by 3 changes."));
    let differ = |row: &mut NodeConvergence, pairs| {
        (row.verdict, row.differs_in, row.differing) = (Verdict::Differs, vec![Part::Data], Some(pairs));
        (row.oldest_s, row.heals_s) = (Some(14), Some(9));
    };
    let data = three(|rows| {
        behind(rows);
        differ(&mut rows[0], 1);
        differ(&mut rows[2], 2);
    });
    assert_eq!(data, said("warn", "2 pairs of copies differ since 14 s; equal in about 9 s."));
    let away = three(|rows| {
        differ(&mut rows[0], 1);
        rows[0].heals_s = None;
    });
    assert_eq!(away, said("warn", "1 pair of copies differs since 14 s; equal once all of their owners are there."));
    let silent = three(|rows| {
        differ(&mut rows[0], 1);
        (rows[1].verdict, rows[2].verdict) = (Verdict::Silent, Verdict::Silent);
    });
    assert_eq!(silent, said("warn", "Machines b and c are silent: what they hold is not known."));
    let split = three(|rows| {
        rows[0].verdict = Verdict::Silent;
        (rows[1].verdict, rows[1].differs_in) = (Verdict::Differs, vec![Part::Control, Part::Layout]);
    });
    assert_eq!(
        split,
        said("bad", "Machine b has another history of the control state than others: this must never be.")
    );
}

#[test]
fn a_word_is_explained() {
    let mut one = row(1, "a");
    assert_eq!((light(&one).word, why(&one)), ("same", String::new()));
    (one.verdict, one.behind) = (Verdict::Behind, 1);
    assert_eq!(why(&one), "by 1 change");
    (one.verdict, one.differs_in) = (Verdict::Differs, vec![Part::Members]);
    assert_eq!((light(&one).kind, why(&one)), ("warn", "in who is there".to_owned()));
    one.differs_in = vec![Part::Control];
    assert_eq!(light(&one).kind, "bad");
    (one.verdict, one.said_s) = (Verdict::Silent, None);
    assert_eq!(why(&one), "it has not said yet what it holds");
}
