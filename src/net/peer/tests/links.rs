//! How connections come and go.

use std::time::Duration;

use super::Authority;
use super::Node;
use super::PATIENCE;
use super::eventually;
use super::pair;
use crate::net::peer::CallError;
use crate::net::peer::LaneState;
use crate::net::peer::NotSent;
use crate::net::peer::Settings;
use crate::net::peer::count::Count;
use crate::net::peer::twins::Met;
use crate::net::peer::twins::Twin;
use crate::net::wire::Lane;
use crate::net::wire::hello::Life;

#[tokio::test]
async fn a_peer_that_starts_again_on_its_port_is_found_again() {
    let authority = Authority::new();
    let (one, two) = (Node::start(&authority.node(1)), Node::start(&authority.node(2)));
    one.know(&two);
    two.know(&one);
    one.all_up(&two).await;
    let pending = one.peers.call(two.id, Lane::Requests, b"wait", PATIENCE);
    two.asked(1).await;
    let address = two.peers.address();
    two.peers.close().await;
    assert_eq!(pending.await, Err(CallError::Lost), "it was heard, nobody knows what was done");
    eventually("its end is noticed", || one.link(&two, Lane::Requests) == Some(LaneState::Down)).await;
    assert_eq!(one.peers.send(two.id, Lane::Requests, b"x"), Err(NotSent::Down));
    let down = one.peers.call(two.id, Lane::Bulk, b"x", PATIENCE).await;
    assert_eq!(down, Err(CallError::NotSent(NotSent::Down)));
    assert!(one.peers.links()[0].lanes[2].why.is_some());
    let again = Node::start_with(&authority.node(2), Settings::bind(address).unwrap());
    again.know(&one);
    one.all_up(&again).await;
    again.all_up(&one).await;
    assert_eq!(one.ask(&again, Lane::Requests, b"ab").await, b"ba");
}

#[tokio::test]
async fn a_node_that_moved_is_found_at_its_new_address() {
    let authority = Authority::new();
    let (one, two) = (Node::start(&authority.node(1)), Node::start(&authority.node(2)));
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    two.know(&one);
    assert!(one.peers.know(two.id, vec![nowhere.to_string(), "not an address".to_owned()]));
    eventually("it is not there", || one.link(&two, Lane::Bulk) == Some(LaneState::Down)).await;
    assert!(one.peers.know(two.id, vec![nowhere.to_string(), two.place()]));
    one.all_up(&two).await;
    assert_eq!(one.ask(&two, Lane::Bulk, b"ab").await, b"ba");
}

#[tokio::test]
async fn a_forgotten_node_is_cut_off_and_refused() {
    let (one, two) = pair().await;
    let pending = two.peers.call(one.id, Lane::Control, b"wait", PATIENCE);
    one.asked(1).await;
    let asked = one.peers.call(two.id, Lane::Control, b"wait", PATIENCE);
    one.peers.forget(two.id);
    assert!(matches!(asked.await, Err(CallError::Lost | CallError::NotSent(NotSent::Closed))));
    assert_eq!(one.peers.send(two.id, Lane::Gossip, b""), Err(NotSent::Unknown));
    assert!(one.peers.links().is_empty() && one.peers.known().is_empty());
    assert_eq!(pending.await, Err(CallError::Lost));
    eventually("it is refused", || one.count(Count::NotAdmitted) > 0 && two.count(Count::RefusedByPeer) > 0).await;
    eventually("it says why", || {
        two.peers.links()[0].lanes[0].why.as_ref().is_some_and(|why| why.text.contains("not known as a member"))
    })
    .await;
    one.know(&two);
    one.all_up(&two).await;
    two.all_up(&one).await;
    assert_eq!(two.ask(&one, Lane::Control, b"ab").await, b"ba");
}

#[tokio::test]
async fn a_cut_lane_is_silent_both_ways_and_others_are_not() {
    let (one, two) = pair().await;
    one.peers.cut(Some(Lane::Control), None, true);
    one.peers.send(two.id, Lane::Control, b"lost").unwrap();
    let short = Duration::from_millis(50);
    assert_eq!(one.peers.call(two.id, Lane::Control, b"ab", short).await, Err(CallError::TimedOut));
    assert_eq!(two.peers.call(one.id, Lane::Control, b"ab", short).await, Err(CallError::TimedOut));
    assert_eq!(one.ask(&two, Lane::Requests, b"ab").await, b"ba");
    assert_eq!(two.ask(&one, Lane::Gossip, b"ab").await, b"ba");
    // A dead link is noticed by its silence, on either side of the cut.
    for (from, to) in [(&one, &two), (&two, &one)] {
        eventually("silence is noticed", || from.link(to, Lane::Control) == Some(LaneState::Down)).await;
        assert!(from.count(Count::FellSilent) > 0);
        assert_eq!(from.link(to, Lane::Requests), Some(LaneState::Up));
    }
    one.peers.cut(None, None, false);
    one.all_up(&two).await;
    two.all_up(&one).await;
    assert_eq!(one.ask(&two, Lane::Control, b"ab").await, b"ba");
    assert!(two.inbox.messages.lock().unwrap().is_empty(), "what was cut does not come later");
}

#[tokio::test]
async fn a_node_known_while_all_is_cut_is_reached_after() {
    let authority = Authority::new();
    let (one, two) = (Node::start(&authority.node(1)), Node::start(&authority.node(2)));
    one.peers.cut(None, Some(two.id), true);
    one.know(&two);
    two.know(&one);
    eventually("neither reaches the other", || {
        one.link(&two, Lane::Gossip) == Some(LaneState::Down) && two.link(&one, Lane::Gossip) == Some(LaneState::Down)
    })
    .await;
    one.peers.cut(None, Some(two.id), false);
    one.all_up(&two).await;
    two.all_up(&one).await;
}

#[tokio::test]
async fn a_connection_lives_through_quiet() {
    let (one, two) = pair().await;
    let before = one.peers.links()[0].last_heard.unwrap();
    // More signs of life than fit before silence would end it.
    let enough = before + crate::base::limits::PEER_SILENCE_MAX + crate::base::limits::PEER_PING_EVERY;
    eventually("it is heard of", || one.peers.links()[0].last_heard.unwrap() > enough).await;
    assert_eq!((one.count(Count::Connected), one.count(Count::FellSilent)), (4, 0));
    assert_eq!((two.count(Count::Connected), two.count(Count::FellSilent)), (4, 0));
}

#[tokio::test]
async fn a_stop_answers_what_it_was_asked() {
    let (one, two) = pair().await;
    let pending = one.peers.call(two.id, Lane::Requests, b"wait", PATIENCE);
    two.asked(1).await;
    let two_peers = two.peers.clone();
    let (answer, ()) = tokio::join!(pending, async {
        let closing = two_peers.close();
        two.inbox.let_go.add_permits(1);
        closing.await;
    });
    assert_eq!(answer.unwrap(), b"tiaw");
    assert_eq!(two.peers.send(one.id, Lane::Gossip, b""), Err(NotSent::Closed));
    assert!(!two.peers.know(crate::base::id::NodeId(5), Vec::new()));
    assert!(tokio::net::TcpStream::connect(two.peers.address()).await.is_err());
}

/// Of two machines with one number the one that was started later is spoken with, by all alike, until it is silent.
#[tokio::test]
async fn of_two_of_one_node_only_the_later_is_spoken_with() {
    let authority = Authority::new();
    let bind = || Settings::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let remembered = Duration::from_secs(1);
    let one = Node::start_with(&authority.node(1), Settings { twin_remembered: remembered, ..bind() });
    let life = |start, draw| Settings { life: Some(Life { start, draw }), ..bind() };
    let two = Node::start_with(&authority.node(2), life(7, 5));
    one.know(&two);
    two.know(&one);
    one.all_up(&two).await;
    two.all_up(&one).await;

    // Started as often, from the same directory: either may win, but the same one everywhere.
    let earlier = Node::start_with(&authority.node(2), life(7, 4));
    earlier.know(&one);
    eventually("it is told of at both", || {
        let told = |node: &Node| !node.inbox.twins.lock().unwrap().is_empty();
        told(&one) && told(&earlier)
    })
    .await;
    let (listens, from) = (Some(Met::At(two.peers.address())), Met::From([127, 0, 0, 1].into()));
    let refused = Twin::Refused { node: two.id, there: from, other: listens };
    assert!(one.inbox.twins.lock().unwrap().iter().all(|twin| *twin == refused), "{:?}", one.inbox.twins);
    let place = two.place();
    let fenced = |twin: &Twin| matches!(twin, Twin::Fenced { by, why } if *by == one.id && why.contains(&place));
    assert!(earlier.inbox.twins.lock().unwrap().iter().all(fenced), "{:?}", earlier.inbox.twins);
    assert!(one.count(Count::EarlierLife) > 0 && earlier.count(Count::RefusedByPeer) > 0);
    assert_eq!(two.ask(&one, Lane::Requests, b"ab").await, b"ba");
    assert_eq!(one.ask(&two, Lane::Requests, b"ab").await, b"ba");
    earlier.peers.close().await;

    // Started later: whatever the first one still has ends, both ways.
    let asked = two.peers.call(one.id, Lane::Requests, b"wait", PATIENCE);
    one.asked(1).await;
    let later = Node::start_with(&authority.node(2), life(8, 1));
    later.know(&one);
    later.all_up(&one).await;
    assert_eq!(asked.await, Err(CallError::Lost));
    eventually("it is not spoken with", || {
        let down = |from: &Node, to: &Node| from.link(to, Lane::Control) == Some(LaneState::Down);
        down(&two, &one) && down(&one, &two)
    })
    .await;
    assert!(one.peers.know(later.id, vec![later.place()]));
    one.all_up(&later).await;
    assert_eq!(later.ask(&one, Lane::Bulk, b"ab").await, b"ba");
    one.inbox.let_go.add_permits(1);

    // Stopped: the first one is there again, and found.
    later.peers.close().await;
    two.all_up(&one).await;
    assert!(one.peers.know(two.id, vec![two.place()]));
    one.all_up(&two).await;
}
