//! The control state machine's rules.

use crate::base::id::BucketId;
use crate::base::id::ClusterId;
use crate::base::id::NodeId;
use crate::base::limits::AUDIT_ENTRIES_MAX;
use crate::base::limits::USER_SESSIONS_MAX;
use crate::proto::audit::By;
use crate::proto::audit::Chain;
use crate::proto::audit::Outcome;
use crate::proto::audit::Via;
use crate::proto::bucket::Definition;
use crate::proto::bucket::Kind;
use crate::proto::control::Applied;
use crate::proto::control::Birth;
use crate::proto::control::Command;
use crate::proto::control::Refused;
use crate::proto::control::Session;
use crate::proto::control::State;
use crate::proto::control::Token;
use crate::proto::control::User;
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

fn user(scopes: &[Scope], password_hash: &str) -> User {
    User { password_hash: password_hash.to_owned(), scopes: scopes.to_vec(), made_ms: 1 }
}

fn put(name: &str, user: User) -> Command {
    Command::PutUser { name: name.to_owned(), user }
}

fn session(user: &str, key: u8, made_ms: u64) -> Command {
    let session = Session { user: user.to_owned(), made_ms, expires_ms: made_ms + 1000 };
    Command::AddSession { key: [key; 32], session }
}

fn ordered(via: Via, command: Command) -> Command {
    let by = By { name: "ann".into(), via, from: None, at_ms: 5 };
    Command::Ordered { by, what: command.in_words(), command: Box::new(command) }
}

#[test]
fn a_new_password_and_a_removal_end_the_sessions_of_that_user_only() {
    let mut state = begun();
    for name in ["ann", "bob"] {
        state.apply(put(name, user(&[Scope::Admin], "x"))).unwrap();
    }
    for (name, key) in [("ann", 1), ("ann", 2), ("bob", 3)] {
        assert_eq!(state.apply(session(name, key, 10)), Ok(Applied::Made));
    }
    let keys = |state: &State| state.sessions.keys().map(|key| key[0]).collect::<Vec<_>>();
    state.apply(Command::SetScopes { name: "ann".into(), scopes: vec![Scope::Data] }).unwrap();
    state.apply(put("ann", user(&[Scope::Operate], "x"))).unwrap();
    assert_eq!(keys(&state), [1, 2, 3], "the same password keeps them");
    state.apply(put("ann", user(&[Scope::Operate], "y"))).unwrap();
    assert_eq!(keys(&state), [3]);
    assert_eq!(state.apply(Command::RemoveSession { key: [9; 32] }), Ok(Applied::Unchanged));
    state.apply(session("ann", 4, 20)).unwrap();
    assert_eq!(state.apply(Command::RemoveSession { key: [4; 32] }), Ok(Applied::Removed));
    state.apply(Command::RemoveUser { name: "bob".into() }).unwrap();
    assert_eq!(keys(&state), [0; 0]);
    assert!(state.apply(session("bob", 5, 30)).is_err());
}

#[test]
fn sessions_are_few_and_expired_ones_go() {
    let mut state = begun();
    state.apply(put("ann", user(&[Scope::Admin], "x"))).unwrap();
    state.apply(put("bob", user(&[Scope::Admin], "x"))).unwrap();
    state.apply(session("bob", 200, 1)).unwrap();
    for key in 1..=u8::try_from(USER_SESSIONS_MAX).unwrap() + 3 {
        state.apply(session("ann", key, u64::from(key))).unwrap();
    }
    assert_eq!(state.sessions.len(), USER_SESSIONS_MAX + 1, "the other user's is not theirs to take");
    assert!(!state.sessions.contains_key(&[3; 32]) && state.sessions.contains_key(&[4; 32]));
    state.apply(session("ann", 100, 1010)).unwrap();
    assert!(state.sessions.values().all(|session| session.expires_ms > 1010));
}

#[test]
fn only_the_owner_leaves_the_cluster_without_an_admin() {
    let mut state = begun();
    state.apply(put("ann", user(&[Scope::Admin], "x"))).unwrap();
    state.apply(put("bob", user(&[Scope::Data], "x"))).unwrap();
    let losing = [
        Command::RemoveUser { name: "ann".into() },
        Command::SetScopes { name: "ann".into(), scopes: vec![Scope::Data] },
        put("ann", user(&[Scope::Data], "y")),
    ];
    let before = state.clone();
    for command in &losing {
        for via in [Via::Session, Via::Token, Via::Anonymous] {
            let twice = ordered(via, ordered(Via::Local, command.clone()));
            for order in [ordered(via, command.clone()), twice] {
                assert_eq!(state.apply(order), Err(Refused::LastAdmin("ann".into())));
                assert_eq!(state, before);
            }
        }
        assert!(state.clone().apply(ordered(Via::Local, command.clone())).is_ok());
    }
    assert!(state.apply(ordered(Via::Session, put("ann", user(&[Scope::Admin], "y")))).is_ok());
    assert!(state.apply(ordered(Via::Session, Command::RemoveUser { name: "bob".into() })).is_ok());
    state.apply(put("eve", user(&[Scope::Admin], "x"))).unwrap();
    for command in losing {
        assert!(state.clone().apply(ordered(Via::Session, command)).is_ok(), "another admin is there");
    }
}

#[test]
fn of_two_first_users_one_comes_first() {
    let mut state = begun();
    let first = |name: &str| Command::AddFirstUser { name: name.into(), user: user(&[Scope::Admin], "x") };
    assert_eq!(state.apply(first("ann")), Ok(Applied::Made));
    assert_eq!(state.apply(first("bob")), Err(Refused::Claimed));
    assert_eq!(state.apply(first("ann")), Err(Refused::Claimed));
}

#[test]
fn every_change_by_somebody_is_in_the_audit_and_nothing_else() {
    let mut state = begun();
    let made = ordered(Via::Session, bucket("a", Definition::default()));
    assert_eq!(state.apply(made.clone()), Ok(Applied::Made));
    assert_eq!(state.apply(made), Ok(Applied::Unchanged));
    assert!(state.apply(ordered(Via::Session, bucket("A", Definition::default()))).is_err());
    assert_eq!(state.apply(ordered(Via::Local, Command::Note)), Ok(Applied::Noted));
    let token = Token { name: "t".into(), hash: [7; 32], scopes: vec![Scope::Data], made_ms: 1, expires_ms: None };
    state.apply(ordered(Via::Token, Command::AddToken(token))).unwrap();
    state.apply(ordered(Via::Local, put("ann", user(&[Scope::Admin], "$argon2id$secret")))).unwrap();
    state.apply(ordered(Via::Local, Command::RemoveUser { name: "ann".into() })).unwrap();
    let entries: Vec<_> = state.audit.entries().map(|entry| (entry.seq, entry.outcome)).collect();
    let outcomes = [Outcome::Made, Outcome::Noted, Outcome::Made, Outcome::Made, Outcome::Removed];
    assert_eq!(entries, (1..).zip(outcomes).collect::<Vec<_>>());
    assert_eq!(state.audit.verify(), Ok(()));
    assert!(state.audit.entries().all(|entry| !entry.what.contains("argon2")));
    assert!(state.audit.entries().next().unwrap().what.contains("bucket `a`: kind siblings, n 3"));
}

#[test]
fn who_proved_a_password_that_was_replaced_meanwhile_is_not_let_in() {
    let mut state = begun();
    let user = User { password_hash: "old".into(), scopes: vec![Scope::Data], made_ms: 7 };
    let name = || "ann".to_owned();
    assert_eq!(state.apply(Command::PutUser { name: name(), user }), Ok(Applied::Made));
    let session = || Session { user: name(), made_ms: 1, expires_ms: 9 };
    let sign_in = |key| Command::SignIn { key: [key; 32], session: session(), password_hash: "old".into() };
    assert_eq!(state.apply(sign_in(1)), Ok(Applied::Made));
    let new = Command::SetPassword { name: name(), password_hash: "new".into() };
    assert_eq!(state.apply(new.clone()), Ok(Applied::Changed));
    assert!(state.sessions.is_empty());
    let ann = &state.users["ann"];
    assert_eq!((ann.scopes.as_slice(), ann.made_ms), ([Scope::Data].as_slice(), 7));
    let gone = || Refused::NotFound { what: "user", name: name() };
    assert_eq!(state.apply(sign_in(2)), Err(gone()));
    let change = |proved: &str, key| Command::ChangePassword {
        key: [key; 32],
        session: session(),
        proved_hash: proved.into(),
        password_hash: "newer".into(),
    };
    let before = state.clone();
    assert_eq!(state.apply(change("old", 3)), Err(gone()));
    assert_eq!(state, before);
    state.apply(Command::AddSession { key: [4; 32], session: session() }).unwrap();
    assert_eq!(state.apply(change("new", 5)), Ok(Applied::Changed));
    assert_eq!(state.sessions.keys().collect::<Vec<_>>(), [&[5; 32]], "all others have ended");
    assert_eq!((state.users["ann"].password_hash.as_str(), state.users["ann"].made_ms), ("newer", 7));
    // And a user that was removed meanwhile does not come back.
    assert_eq!(state.apply(Command::RemoveUser { name: name() }), Ok(Applied::Removed));
    assert_eq!(state.apply(new), Err(gone()));
    assert!(state.users.is_empty());
}

#[test]
fn who_gets_another_password_or_scopes_is_there_since_the_same_moment() {
    let mut state = begun();
    state.apply(put("ann", user(&[Scope::Admin], "x"))).unwrap();
    let later = User { made_ms: 99, ..user(&[Scope::Data], "y") };
    assert_eq!(state.apply(put("ann", later.clone())), Ok(Applied::Changed));
    assert_eq!(state.users["ann"], User { made_ms: 1, ..later });
}

#[test]
fn changes_that_many_may_make_push_out_none_of_those_that_few_may_make() {
    let mut state = begun();
    let name = || "ann".to_owned();
    let token = Token { name: "t".into(), hash: [7; 32], scopes: vec![Scope::Data], made_ms: 1, expires_ms: None };
    let given = [
        Command::AddFirstUser { name: name(), user: user(&[Scope::Admin], "x") },
        put("bob", user(&[Scope::Data], "x")),
        Command::SetScopes { name: "bob".into(), scopes: vec![Scope::Operate] },
        Command::SetPassword { name: "bob".into(), password_hash: "y".into() },
        Command::AddToken(token),
        Command::NoteAccess,
        Command::RemoveToken { id: 1 },
        Command::RemoveUser { name: "bob".into() },
    ];
    for command in &given {
        state.apply(ordered(Via::Session, command.clone())).unwrap();
    }
    // What whoever has a password, or none, does again and again: buckets, their own account, guesses.
    for round in 0..AUDIT_ENTRIES_MAX as u64 / 5 + 20 {
        let own = Session { user: name(), made_ms: round, expires_ms: round + 9 };
        let proved = state.users["ann"].password_hash.clone();
        let flood = [
            bucket("b", Definition { w: u8::try_from(round % 3).unwrap() + 1, ..Definition::default() }),
            Command::SignIn { key: [1; 32], session: own.clone(), password_hash: proved.clone() },
            Command::ChangePassword {
                key: [2; 32],
                session: own,
                proved_hash: proved,
                password_hash: round.to_string(),
            },
            Command::RemoveSession { key: [2; 32] },
            Command::Note,
        ];
        for command in flood {
            assert_ne!(state.apply(ordered(Via::Session, command)), Ok(Applied::Unchanged));
        }
    }
    let (all, access) = (&state.audit, &state.access_audit);
    assert!(all.anchor().seq > given.len() as u64, "the first ones are pushed out of the chain of all");
    assert_eq!((all.verify(), access.verify(), access.anchor().seq), (Ok(()), Ok(()), 0));
    let kept: Vec<_> = access.entries().map(|entry| (entry.seq, entry.what.clone())).collect();
    assert_eq!(kept, (1..).zip(given.iter().map(Command::in_words)).collect::<Vec<_>>());
    assert_eq!(state.audit_chain(Chain::Access), access);
    assert_eq!(state.audit_chain(Chain::All), all);
}
