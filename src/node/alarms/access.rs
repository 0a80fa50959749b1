//! Many who are refused: a token was taken away or has ended, or devices were given a wrong one.

use crate::node::Node;
use crate::proto::alarm::Finding;
use crate::proto::alarm::code::Code;
use crate::proto::alarm::judge::ManyRefused;

impl Node {
    pub(super) fn access_refused(&self) -> Option<Finding> {
        let many = self.refusals().many_tokens()?;
        let to_do = "Look in `ringfort audit --access` who changed tokens, and give those devices a valid one.";
        Some(Finding::new(Code::AccessRefused, self.me(), in_words(&many), to_do))
    }
}

fn in_words(many: &ManyRefused) -> String {
    let ManyRefused { missing, unknown, not_enough, addresses, not_all, most } = many;
    let all = missing + unknown + not_enough;
    let why = match (missing, unknown, not_enough) {
        (0, 0, _) => "their token does not allow what they ask".to_owned(),
        (0, _, 0) => "their token is unknown, revoked or expired".to_owned(),
        (_, 0, 0) => "they came without a token".to_owned(),
        _ => {
            let whys = [
                (missing, "came without a token"),
                (unknown, "with one that is unknown, revoked or expired"),
                (not_enough, "with one that does not allow what they ask"),
            ];
            let some = whys.iter().filter(|(count, _)| **count > 0).map(|(count, why)| format!("{count} {why}"));
            some.collect::<Vec<_>>().join(", ")
        }
    };
    let from = match most {
        None => String::new(),
        Some((most, _)) if *addresses == 1 && !not_all => format!(" All came from {most}."),
        Some((most, count)) => {
            let more = if *not_all { " or more" } else { "" };
            format!(" They came from {addresses}{more} addresses, most from {most} ({count}).")
        }
    };
    format!("In the last minute {all} requests were refused: {why}.{from} Such devices read and write nothing.")
}

#[cfg(test)]
mod tests {
    use super::in_words;
    use crate::proto::alarm::judge::ManyRefused;

    #[test]
    fn how_many_were_refused_why_and_from_where_is_said() {
        let most = Some(([10, 0, 0, 7].into(), 400));
        let many = ManyRefused { missing: 0, unknown: 412, not_enough: 0, addresses: 3, not_all: false, most };
        let told = in_words(&many);
        assert!(told.starts_with("In the last minute 412 requests were refused: their token is unknown, revoked or"));
        assert!(told.contains("expired. They came from 3 addresses, most from 10.0.0.7 (400)."), "{told}");
        let both = in_words(&ManyRefused { not_enough: 8, not_all: true, ..many.clone() });
        assert!(
            both.contains("last minute 420")
                && both.contains("412 with one that is")
                && both.contains("8 with one that does")
        );
        assert!(both.contains("from 3 or more addresses"), "{both}");
        assert!(in_words(&ManyRefused { addresses: 1, ..many.clone() }).contains("All came from 10.0.0.7."));
        let scopes = in_words(&ManyRefused { unknown: 0, not_enough: 9, most: None, ..many.clone() });
        assert!(scopes.contains("refused: their token does not allow what they ask. Such"), "{scopes}");
        let none = in_words(&ManyRefused { missing: 3, unknown: 0, ..many.clone() });
        assert!(none.contains("last minute 3 requests were refused: they came without a token."), "{none}");
        assert!(in_words(&ManyRefused { missing: 3, ..many }).contains("3 came without a token, 412 with one that"));
    }
}
