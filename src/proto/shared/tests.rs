//! The table is whole, and what is counted is all there is.

use std::collections::BTreeSet;

use super::Id;
use super::Kind;
use super::PIECES;
use super::held;
use crate::proto::control::State;
use crate::proto::control::User;

#[test]
fn each_piece_is_there_once_and_says_all_of_it() {
    let ids: BTreeSet<Id> = PIECES.iter().map(|piece| piece.id).collect();
    let names: BTreeSet<&str> = PIECES.iter().map(|piece| piece.name).collect();
    assert_eq!((ids.len(), names.len()), (PIECES.len(), PIECES.len()));
    assert!(PIECES.is_sorted_by_key(|piece| piece.kind), "by kind, the dearest first");
    for piece in PIECES {
        for text in [piece.what, piece.why, piece.stops, piece.goes_on] {
            assert!(text.ends_with('.') && !text.contains("  "), "{}: {text}", piece.name);
        }
    }
}

#[test]
fn what_is_agreed_on_is_what_the_control_state_holds() {
    let state = State::default();
    let counted: BTreeSet<Id> = held(&state).into_iter().map(|(id, _)| id).collect();
    let listed = PIECES.iter().filter(|piece| piece.kind == Kind::Consensus).map(|piece| piece.id);
    assert_eq!(counted, listed.collect());
}

#[test]
fn all_pieces_together_weigh_what_the_whole_state_does() {
    let mut state = State::default();
    let user = User { password_hash: "!".to_owned(), scopes: Vec::new(), made_ms: 1 };
    state.users.insert("ann".to_owned(), user);
    let whole = postcard::to_allocvec(&state).unwrap().len() as u64;
    let parts = held(&state);
    assert_eq!(parts.iter().map(|(_, held)| held.bytes).sum::<u64>(), whole);
    let users = parts.iter().find(|(id, _)| *id == Id::Users).unwrap().1;
    assert_eq!((users.entries, users.bytes), (1, 9));
}
