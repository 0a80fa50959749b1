//! Tests of frames.

use proptest::prelude::any;
use proptest::proptest;

use crate::base::limits::FRAME_STEP_BYTES;
use crate::base::limits::GUEST_FRAME_BYTES_MAX;
use crate::base::limits::PEER_FRAME_BYTES_MAX;
use crate::base::limits::PEER_MESSAGE_BYTES_MAX;
use crate::net::wire::BODY_BYTES_MAX;
use crate::net::wire::Frame;
use crate::net::wire::FrameError;
use crate::net::wire::Kind;
use crate::net::wire::Lane;
use crate::net::wire::Piece;
use crate::net::wire::SHORT_HEAD;
use crate::net::wire::Silence;
use crate::net::wire::decode::Decoder;
use crate::net::wire::encode;
use crate::net::wire::first_len;
use crate::net::wire::hello::Hello;
use crate::net::wire::hello::Life;
use crate::net::wire::hello::Purpose;
use crate::net::wire::hello::Reason;
use crate::net::wire::hello::Refusal;
use crate::net::wire::hello::Versions;

/// What a decoder says of bytes that come at once from somebody.
fn read(bytes: &[u8]) -> Result<Vec<Frame>, FrameError> {
    read_by(Decoder::default(), bytes)
}

/// Of a sender who is known.
fn trusting() -> Decoder {
    let mut decoder = Decoder::default();
    decoder.trust();
    decoder
}

fn read_by(mut decoder: Decoder, bytes: &[u8]) -> Result<Vec<Frame>, FrameError> {
    let (mut rest, mut frames) = (bytes, Vec::new());
    while let Some(frame) = decoder.next(&mut rest)? {
        frames.push(frame);
    }
    assert_eq!(rest, b"", "all is taken");
    decoder.end().map(|()| frames)
}

/// Checksums as Python's sum over the same bytes says.
#[test]
fn frames_are_these_bytes() {
    let ping = encode(Kind::Ping, 0, b"").unwrap();
    assert_eq!(ping, [6, 0, 0, 0, 1, 7, 162, 23, 59, 249]);
    let question = encode(Kind::Question, 0x0102, b"put").unwrap();
    assert_eq!(question, [17, 0, 0, 0, 1, 4, 2, 1, 0, 0, 0, 0, 0, 0, 121, 117, 165, 126, b'p', b'u', b't']);
    let versions = Versions { lowest: 1, highest: 2, features: 5, required: 4 };
    let hello = Hello { versions, purpose: Purpose::Lane(Lane::Requests), life: None };
    let bytes = [1, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 3];
    assert_eq!(hello.encode(), bytes);
    let alive = Hello { life: Some(Life { start: 7, draw: 0x0102 }), ..hello };
    assert_eq!(alive.encode(), [&bytes[..], &[7, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0]].concat());
    let refusal = Refusal { versions, reason: Reason::Versions, text: "no".to_owned() };
    assert_eq!(refusal.encode(), [1, 0, 2, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1, b'n', b'o']);
}

#[test]
fn every_kind_comes_out_as_it_went_in() {
    let whole = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Part);
    let kinds: Vec<_> = whole.map(|kind| (kind, if kind.is_numbered() { u64::MAX - 1 } else { 0 })).collect();
    let mut bytes = Vec::new();
    for &(kind, id) in &kinds {
        bytes.extend(encode(kind, id, b"body").unwrap());
    }
    let frames = read(&bytes).unwrap();
    let all: Vec<_> = kinds.iter().map(|&(kind, id)| Frame { kind, id, body: b"body".to_vec() }).collect();
    assert_eq!(frames, all);
    assert_eq!(first_len(&bytes), Some(encode(kinds[0].0, 0, b"body").unwrap().len()));
    assert_eq!(first_len(b"123"), None);
    assert_eq!((Silence::decode(&Silence::Busy.encode()), Silence::decode(b"")), (Silence::Busy, Silence::Failed));
}

#[test]
fn what_is_no_frame_is_refused_as_soon_as_it_shows() {
    let frame = |bytes: &[u8]| read(bytes).unwrap_err();
    assert_eq!(frame(&[0, 0, 0, 0]), FrameError::Empty);
    let max = GUEST_FRAME_BYTES_MAX;
    assert_eq!(frame(&[0xff; 4]), FrameError::TooLong { length: u32::MAX, max });
    assert_eq!(frame(&[9, 0, 0, 0, 9]), FrameError::UnknownVersion(9));
    assert_eq!(frame(&[9, 0, 0, 0, 1, 200]), FrameError::UnknownKind(200));
    assert_eq!(frame(&[9, 0, 0, 0, 1, 0]), FrameError::UnknownKind(0));
    assert_eq!(frame(&[5, 0, 0, 0, 1, 3]), FrameError::TooShort);
    assert_eq!(frame(&[13, 0, 0, 0, 1, 4]), FrameError::TooShort);
    assert_eq!(frame(&[1, 0, 0, 0]), FrameError::TooShort);
    let whole = encode(Kind::Question, 7, b"body").unwrap();
    for len in 1..whole.len() {
        assert_eq!(frame(&whole[..len]), FrameError::Truncated, "{len}");
    }
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut changed = whole.clone();
            changed[at] ^= 1 << bit;
            assert!(read(&changed).is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn a_length_is_within_the_limit_of_who_sends() {
    let fits = encode(Kind::Message, 0, &vec![1; GUEST_FRAME_BYTES_MAX - 6]).unwrap();
    assert_eq!(read(&fits).unwrap().len(), 1);
    let longer = encode(Kind::Message, 0, &vec![1; GUEST_FRAME_BYTES_MAX - 5]).unwrap();
    assert!(matches!(read(&longer), Err(FrameError::TooLong { .. })));
    let longest = encode(Kind::Question, 1, &vec![1; BODY_BYTES_MAX]).unwrap();
    assert_eq!(longest.len(), PEER_FRAME_BYTES_MAX + 4);
    assert_eq!(encode(Kind::Ping, 1, &vec![1; BODY_BYTES_MAX + 1]), None);
    let mut rest = longest.as_slice();
    assert_eq!(trusting().next(&mut rest).unwrap().unwrap().body.len(), BODY_BYTES_MAX);
}

#[test]
fn what_is_longer_than_a_frame_comes_out_as_it_went_in() {
    let body: Vec<u8> = (0..=250).cycle().take(2 * BODY_BYTES_MAX + 5).collect();
    for kind in [Kind::Message, Kind::Question, Kind::Answer] {
        let bytes = encode(kind, 0, &body).unwrap();
        let frames = read_by(trusting(), &bytes).unwrap();
        assert!(frames == [Frame { kind, id: 0, body: body.clone() }], "{kind:?}");
        let one_frame = first_len(&bytes).unwrap();
        assert!(one_frame <= PEER_FRAME_BYTES_MAX + 4);
        assert_eq!(read_by(trusting(), &bytes[..one_frame]), Err(FrameError::Truncated), "it goes on");
    }
    assert_eq!(encode(Kind::Answer, 0, &vec![1; PEER_MESSAGE_BYTES_MAX + 1]), None);
}

#[test]
fn parts_are_judged_before_their_bytes_are_taken() {
    let part = |len: usize| Piece::new(Kind::Part, 0, &vec![7; len]).map(|piece| bytes_of(&piece)).unwrap();
    let head = SHORT_HEAD;
    assert_eq!(read(&part(9)[..head]), Err(FrameError::Unexpected), "of somebody who is not known");
    assert_eq!(read_by(trusting(), &part(0)), Err(FrameError::TooShort));
    for kind in [Kind::Hello, Kind::Refusal, Kind::Unanswered, Kind::Ping, Kind::Pong] {
        let bytes = [part(9), encode(kind, 0, b"body").unwrap()].concat();
        assert_eq!(read_by(trusting(), &bytes), Err(FrameError::Unexpected), "{kind:?}");
    }
    let (mut decoder, full) = (trusting(), part(BODY_BYTES_MAX));
    let fit = PEER_MESSAGE_BYTES_MAX / BODY_BYTES_MAX;
    for _ in 0..fit {
        assert_eq!(decoder.next(&mut full.as_slice()), Ok(None));
    }
    assert!(decoder.held() <= 2 * PEER_MESSAGE_BYTES_MAX, "{}", decoder.held());
    let too_long = decoder.next(&mut &full[..head]);
    assert!(matches!(too_long, Err(FrameError::TooLong { .. })), "{too_long:?}");
}

fn bytes_of(piece: &Piece<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    piece.append(&mut bytes);
    bytes
}

#[test]
fn a_claimed_length_costs_no_memory() {
    let mut decoder = trusting();
    let mut head: &[u8] = &[0, 0, 0x20, 0, 1, 3, 0, 0, 0, 0];
    assert_eq!(decoder.next(&mut head), Ok(None));
    assert!(decoder.held() <= FRAME_STEP_BYTES, "{}", decoder.held());
    for sent in 1..=20 {
        decoder.next(&mut [7; 10_000].as_slice()).unwrap();
        assert!(decoder.held() <= (FRAME_STEP_BYTES).max(2 * sent * 10_000), "{}", decoder.held());
    }
}

#[test]
fn the_first_words_come_out_as_they_went_in_whatever_follows_them() {
    let versions = Versions { lowest: 3, highest: 9, features: 6, required: 2 };
    let purposes = Lane::ALL.map(Purpose::Lane);
    for purpose in purposes.into_iter().chain([Purpose::Join, Purpose::Other]) {
        for life in [None, Some(Life { start: 3, draw: u64::MAX })] {
            let hello = Hello { versions, purpose, life };
            let later = [hello.encode().as_slice(), b"later"].concat();
            assert_eq!((Hello::decode(&hello.encode()), Hello::decode(&later)), (Ok(hello), Ok(hello)));
        }
    }
    let hello = Hello { versions, purpose: Purpose::Join, life: None }.encode();
    for len in 0..hello.len() {
        assert_eq!(Hello::decode(&hello[..len]), Err(FrameError::Hello));
    }
    let refusal = Refusal { versions, reason: Reason::NotAdmitted, text: "gone\u{1b}[2J".to_owned() };
    let read = Refusal::decode(&refusal.encode()).unwrap();
    assert_eq!((read.versions.highest, read.reason, read.text.as_str()), (9, Reason::NotAdmitted, "gone\u{fffd}[2J"));
    let long = Refusal { text: "x".repeat(1000), ..refusal };
    assert_eq!(Refusal::decode(&long.encode()).unwrap().text.len(), 256);
    assert_eq!(Refusal::decode(b"short"), Err(FrameError::Hello));
}

#[test]
fn versions_agree_on_the_highest_in_common_or_name_both() {
    let of = |lowest, highest| Versions { lowest, highest, features: 1, required: 0 };
    assert_eq!(of(4, 5).agree(&of(4, 5)), Ok(5));
    assert_eq!(of(4, 5).agree(&of(5, 6)), Ok(5));
    assert_eq!(of(4, 5).agree(&of(3, 4)), Ok(4));
    let refused = of(4, 5).agree(&of(6, 7)).unwrap_err();
    assert!(refused.contains("4 to 5") && refused.contains("6 to 7"), "{refused}");
    assert!(of(4, 5).agree(&of(2, 3)).is_err());
    let asking = Versions { required: 3, features: 3, ..of(4, 5) };
    assert!(of(4, 5).agree(&asking).unwrap_err().contains("0x2 on this node"));
    assert!(asking.agree(&of(4, 5)).unwrap_err().contains("0x2 on the other"));
}

proptest! {
    #[test]
    fn pieces_of_any_size_read_as_the_whole(
        bodies in proptest::collection::vec((0..9_usize, any::<u64>(), proptest::collection::vec(any::<u8>(), 0..300)), 0..6),
        cuts in proptest::collection::vec(1..50_usize, 1..10),
        noise in proptest::collection::vec(any::<u8>(), 0..12),
    ) {
        let mut bytes: Vec<u8> = bodies.iter().flat_map(|(kind, id, body)| encode(Kind::ALL[*kind], *id, body).unwrap()).collect();
        bytes.extend(&noise);
        let whole = read_by(trusting(), &bytes);
        let (mut decoder, mut rest, mut cuts) = (trusting(), bytes.as_slice(), cuts.iter().cycle());
        let mut frames = Vec::new();
        let mut pieces = || -> Result<Vec<Frame>, FrameError> {
            while !rest.is_empty() {
                let (mut piece, later) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                rest = later;
                while let Some(frame) = decoder.next(&mut piece)? {
                    frames.push(frame);
                }
            }
            decoder.end().map(|()| core::mem::take(&mut frames))
        };
        assert_eq!(pieces(), whole);
    }
}
