//! A bucket's definition in plain words: what an ack means, what a read may miss, what becomes of two writers at once.

use crate::console::show;
use crate::proto::bucket::Class;
use crate::proto::bucket::Definition;
use crate::proto::bucket::Kind;

/// What a definition promises, a sentence for each question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promise {
    /// What an ack means.
    pub ack: String,
    /// What a read may miss.
    pub read: String,
    /// What becomes of two writers at once.
    pub writers: &'static str,
    /// What is dropped first.
    pub class: &'static str,
    /// How long a value lives.
    pub life: String,
    /// What it survives, in a phrase.
    pub survives: String,
    /// Whether a read may miss what was acked.
    pub weak: bool,
}

/// Puts a definition into words.
#[must_use]
pub fn of(definition: &Definition) -> Promise {
    let Definition { kind, n, r, w, ttl_ms, class } = *definition;
    let weak = definition.is_weak();
    Promise {
        ack: format!("An ack means: synced to disk on {w} of {}.", copies(n)),
        read: if weak {
            format!("A read asks {r} of {n}: with W = {w} it may miss an acked write for a while, because R + W ≤ N.")
        } else {
            format!("A read asks {r} of {n} and sees every write acked before it, because R + W > N.")
        },
        writers: match kind {
            Kind::Siblings => "Two writers at once: both values are kept, side by side, until somebody merges them.",
            Kind::Lww => "Two writers at once: the later one stays, the other is gone and nobody is told.",
        },
        class: match class {
            Class::Losable => "When something must be dropped, this goes first.",
            Class::Normal => "When something must be dropped, this is neither first nor last.",
            Class::Critical => "When something must be dropped, this goes last.",
        },
        life: match life(ttl_ms) {
            None => "A value stays until it is deleted.".to_owned(),
            Some(life) => format!("A value is gone {life} after it was written, unless its writer said otherwise."),
        },
        survives: survives(n, w),
        weak,
    }
}

fn copies(n: u8) -> String {
    if n == 1 { "1 copy".to_owned() } else { format!("{n} copies (on every machine, while there are fewer)") }
}

/// Which losses every acked value outlives; the machines must first be there.
fn survives(n: u8, w: u8) -> String {
    match w.saturating_sub(1) {
        0 if n == 1 => "none: there is one copy".to_owned(),
        0 => "none for certain: an ack is one disk".to_owned(),
        1 => format!("any 1 machine, once there are {n}"),
        lost => format!("any {lost} machines, once there are {n}"),
    }
}

/// `30 days`; `None` for ever.
#[must_use]
pub fn life(ttl_ms: Option<u64>) -> Option<String> {
    ttl_ms.map(|ms| if ms < 1000 { format!("{ms} ms") } else { show::duration(ms / 1000) })
}

/// As in commands and documents.
#[must_use]
pub fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Siblings => "siblings",
        Kind::Lww => "lww",
    }
}

/// As in commands and documents.
#[must_use]
pub fn class(class: Class) -> &'static str {
    match class {
        Class::Losable => "losable",
        Class::Normal => "normal",
        Class::Critical => "critical",
    }
}

#[cfg(test)]
mod tests {
    use super::of;
    use crate::proto::bucket::Definition;

    #[test]
    fn weak_is_said_where_a_read_may_miss_an_ack_and_nowhere_else() {
        let strong = of(&Definition::default());
        assert!(!strong.weak && strong.read.contains("sees every write") && strong.survives.contains("any 1 machine"));
        let weak = of(&Definition { r: 1, w: 1, ..Definition::default() });
        assert!(weak.weak && weak.read.contains("may miss") && weak.survives.contains("none for certain"));
        let five = of(&Definition { n: 5, r: 3, w: 3, ..Definition::default() });
        assert_eq!(five.survives, "any 2 machines, once there are 5");
    }
}
