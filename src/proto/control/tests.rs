//! The control state machine's rules.

use crate::base::id::BucketId;
use crate::base::id::ClusterId;
use crate::base::id::NodeId;
use crate::proto::bucket::Definition;
use crate::proto::bucket::Kind;
use crate::proto::control::Applied;
use crate::proto::control::Birth;
use crate::proto::control::Command;
use crate::proto::control::Refused;
use crate::proto::control::State;
use crate::proto::control::Token;
use crate::proto::scope::Scope;

fn begun() -> State {
    let mut state = State::default();
    let birth = Birth { cluster: ClusterId(1), node: NodeId(1), at_ms: 1, context_secret: [3; 32] };
    assert_eq!(state.apply(Command::Begin(birth.clone())), Ok(Applied::Made));
    assert_eq!(state.apply(Command::Begin(birth)), Err(Refused::Begun));
    state
}

fn bucket(name: &str, definition: Definition) -> Command {
    Command::PutBucket { name: name.to_owned(), definition }
}

#[test]
fn a_bucket_made_again_has_a_new_number() {
    let mut state = begun();
    assert_eq!(state.apply(bucket("a", Definition::default())), Ok(Applied::Made));
    assert_eq!(state.apply(bucket("a", Definition::default())), Ok(Applied::Unchanged));
    assert_eq!(state.apply(bucket("a", Definition { w: 3, ..Definition::default() })), Ok(Applied::Changed));
    let lww = Definition { kind: Kind::Lww, ..Definition::default() };
    assert_eq!(state.apply(bucket("a", lww)), Err(Refused::KindFixed("a".into())));
    assert_eq!(state.apply(Command::RemoveBucket { name: "a".into() }), Ok(Applied::Removed));
    assert_eq!(state.apply(bucket("a", Definition::default())), Ok(Applied::Made));
    assert_eq!(state.buckets["a"].id, BucketId(2));
}

#[test]
fn a_refused_command_changes_nothing() {
    let mut state = begun();
    let token = Token { name: "t".into(), hash: [0; 32], scopes: vec![Scope::Data], made_ms: 1, expires_ms: None };
    assert_eq!(state.apply(Command::AddToken(token.clone())), Ok(Applied::TokenAdded(1)));
    let before = state.clone();
    let refused = [
        bucket("A", Definition::default()),
        bucket("a", Definition { n: 0, ..Definition::default() }),
        Command::RemoveBucket { name: "x".into() },
        Command::SetColumns { bucket: "x".into(), columns: vec![] },
        Command::AddToken(token.clone()),
        Command::AddToken(Token { name: "\u{1b}]0;".into(), ..token.clone() }),
        Command::AddToken(Token { name: "<img>".into(), ..token }),
        Command::RemoveToken { id: 9 },
        Command::RemoveUser { name: "x".into() },
    ];
    for command in refused {
        assert!(state.apply(command.clone()).is_err(), "{command:?}");
        assert_eq!(state, before);
    }
}
