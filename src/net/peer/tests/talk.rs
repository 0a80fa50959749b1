//! What nodes that know each other say.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;

use super::PATIENCE;
use super::eventually;
use super::pair;
use crate::base::id::NodeId;
use crate::base::limits::PEER_CALLS_MAX;
use crate::base::limits::PEER_MESSAGE_BYTES_MAX;
use crate::base::limits::PEER_QUESTIONS_MAX;
use crate::net::peer::CallError;
use crate::net::peer::NotSent;
use crate::net::peer::count::Count;
use crate::net::wire::BODY_BYTES_MAX;
use crate::net::wire::Lane;

#[tokio::test]
async fn messages_and_questions_go_both_ways_on_every_lane() {
    let (one, two) = pair().await;
    for lane in Lane::ALL {
        one.peers.send(two.id, lane, lane.name().as_bytes()).unwrap();
        assert_eq!(one.ask(&two, lane, b"abc").await, b"cba");
        assert_eq!(two.ask(&one, lane, b"123").await, b"321");
        let message = (one.id, lane, lane.name().as_bytes().to_vec());
        eventually("the message is there", || two.inbox.messages.lock().unwrap().contains(&message)).await;
    }
    assert_eq!(two.inbox.messages.lock().unwrap().len(), 4);
    let links = one.peers.links();
    assert_eq!((links.len(), links[0].node), (1, two.id));
    assert!(links[0].last_heard.is_some() && links[0].lanes.iter().all(|lane| lane.inbound && lane.why.is_none()));
    assert_eq!(links[0].lanes[0].address, Some(two.peers.address()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_ten_thousand_answers_finds_its_question() {
    let (one, two) = pair().await;
    let asking = (0..100_u32).map(|asker| {
        let (one, two) = (&one, &two);
        async move {
            for number in 0..100_u32 {
                // Every other one is answered out of turn.
                let word = if number % 2 == 0 { "late" } else { "now" };
                let body = format!("{word} {asker} {number} {}", "x".repeat((asker * number) as usize % 3000));
                let mirrored: Vec<u8> = body.bytes().rev().collect();
                assert_eq!(one.ask(two, Lane::Requests, body.as_bytes()).await, mirrored);
            }
        }
    });
    join_all(asking).await;
    assert_eq!((one.count(Count::AnswerLate), two.count(Count::HandlerFailed)), (0, 0));
}

#[tokio::test]
async fn the_largest_body_goes_through_and_a_larger_one_is_refused_at_once() {
    let (one, two) = pair().await;
    for len in [BODY_BYTES_MAX, BODY_BYTES_MAX + 1, PEER_MESSAGE_BYTES_MAX] {
        let mut body = vec![7; len];
        body[0] = 1;
        let answer = one.ask(&two, Lane::Bulk, &body).await;
        assert_eq!((answer.len(), answer.last()), (len, Some(&1)));
    }
    assert_eq!(one.peers.send(two.id, Lane::Gossip, &vec![7; BODY_BYTES_MAX + 1]), Err(NotSent::Full));
    let body = vec![7; PEER_MESSAGE_BYTES_MAX + 1];
    assert_eq!(one.peers.send(two.id, Lane::Bulk, &body), Err(NotSent::TooLarge));
}

#[tokio::test]
async fn a_handler_that_panics_harms_no_other() {
    let (one, two) = pair().await;
    let waiting = one.peers.call(two.id, Lane::Control, b"wait", PATIENCE);
    let failed = one.peers.call(two.id, Lane::Control, b"panic", PATIENCE).await;
    assert_eq!(failed, Err(CallError::Failed));
    one.peers.send(two.id, Lane::Control, b"panic").unwrap();
    eventually("both are counted", || two.count(Count::HandlerFailed) == 2).await;
    two.inbox.let_go.add_permits(1);
    assert_eq!(waiting.await.unwrap(), b"tiaw");
    assert_eq!(one.count(Count::Connected), 4, "no connection ended over it");
}

#[tokio::test]
async fn a_question_that_nobody_waits_for_is_forgotten() {
    let (one, two) = pair().await;
    let short = Duration::from_millis(20);
    assert_eq!(one.peers.call(two.id, Lane::Requests, b"wait", short).await, Err(CallError::TimedOut));
    drop(one.peers.call(two.id, Lane::Requests, b"wait", PATIENCE));
    two.asked(2).await;
    two.inbox.let_go.add_permits(2);
    eventually("both answers find nobody", || one.count(Count::AnswerLate) == 2).await;
    assert_eq!(one.count(Count::CallTimedOut), 1);
}

#[tokio::test]
async fn only_so_many_questions_wait_at_once() {
    let (one, two) = pair().await;
    let calls: Vec<_> =
        (0..PEER_CALLS_MAX).map(|_| one.peers.call(two.id, Lane::Requests, b"wait", PATIENCE)).collect();
    let refused = one.peers.call(two.id, Lane::Requests, b"wait", PATIENCE).await;
    assert_eq!(refused, Err(CallError::NotSent(NotSent::Full)));
    assert_eq!(one.ask(&two, Lane::Control, b"ab").await, b"ba", "other lanes have room of their own");
    two.inbox.let_go.add_permits(PEER_CALLS_MAX);
    assert!(join_all(calls).await.iter().all(Result::is_ok));
    assert_eq!(one.ask(&two, Lane::Requests, b"ab").await, b"ba");
    assert_eq!(one.count(Count::QueueFull), 1);
}

#[tokio::test]
async fn a_peer_that_asks_more_than_can_be_answered_is_told_so() {
    let (one, two) = pair().await;
    let mut asked = 0;
    while asked < PEER_QUESTIONS_MAX {
        // Given up at once, being answered all the same.
        let calls = (0..PEER_CALLS_MAX).map(|_| one.peers.call(two.id, Lane::Requests, b"wait", PATIENCE));
        drop(calls.collect::<Vec<_>>());
        asked += PEER_CALLS_MAX;
        two.asked(asked).await;
    }
    let more = one.peers.call(two.id, Lane::Requests, b"ab", PATIENCE).await;
    assert_eq!(more, Err(CallError::Busy));
    assert_eq!(two.count(Count::QuestionBusy), 1);
    assert_eq!(one.ask(&two, Lane::Control, b"ab").await, b"ba", "other lanes have room of their own");
    two.inbox.let_go.add_permits(asked);
    eventually("all are answered", || one.count(Count::AnswerLate) == asked as u64).await;
    assert_eq!(one.ask(&two, Lane::Requests, b"ab").await, b"ba");
}

/// Nothing of this awaits, so nothing is written meanwhile.
#[tokio::test]
async fn a_full_queue_refuses_at_once_and_gossip_drops_its_oldest() {
    let (one, two) = pair().await;
    let body = vec![1; 1024 * 1024];
    for lane in [Lane::Control, Lane::Requests, Lane::Bulk] {
        let taken = (0..100).take_while(|_| one.peers.send(two.id, lane, &body) == Ok(())).count();
        assert_eq!(taken, 15, "{}", lane.name());
        assert_eq!(one.peers.send(two.id, lane, &body), Err(NotSent::Full));
    }
    for number in 0..1000_u32 {
        let body = [number.to_le_bytes().as_slice(), &[0; 1000]].concat();
        one.peers.send(two.id, Lane::Gossip, &body).unwrap();
    }
    let dropped = one.count(Count::GossipDropped);
    assert!((700..800).contains(&dropped), "{dropped}");
    let came = |lane| two.inbox.messages.lock().unwrap().iter().filter(|message| message.1 == lane).count() as u64;
    eventually("what was taken comes", || {
        came(Lane::Gossip) == 1000 - dropped && [Lane::Control, Lane::Requests, Lane::Bulk].map(came) == [15; 3]
    })
    .await;
    let messages = two.inbox.messages.lock().unwrap();
    let gossip = messages.iter().filter(|message| message.1 == Lane::Gossip);
    let numbers: BTreeSet<u32> = gossip.map(|message| u32::from_le_bytes(*message.2.first_chunk().unwrap())).collect();
    assert_eq!(numbers, (u32::try_from(dropped).unwrap()..1000).collect(), "the newest came");
}

#[tokio::test]
async fn who_is_not_known_is_not_spoken_with() {
    let (one, _two) = pair().await;
    assert_eq!(one.peers.send(NodeId(9), Lane::Gossip, b""), Err(NotSent::Unknown));
    let asked = one.peers.call(NodeId(9), Lane::Gossip, b"", PATIENCE).await;
    assert_eq!(asked, Err(CallError::NotSent(NotSent::Unknown)));
    assert!(!one.peers.know(one.id, Vec::new()), "a node does not call itself");
}
