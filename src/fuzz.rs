//! What reads bytes from outside or from disk, as functions of bytes alone: for the fuzzers in `tests/fuzz` and for the
//! replay of their seeds in `tests/it/corpus.rs`. Each panics where something does not hold.

use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::Uri;

use crate::base::checksum;
use crate::base::checksum::HmacKey;
use crate::base::codec;
use crate::base::id::BucketId;
use crate::base::id::ClusterId;
use crate::base::id::NodeId;
use crate::base::limits;
use crate::base::limits::MEMBER_MESSAGES_WAITING_MAX;
use crate::base::redact::Redacted;
use crate::config::Config;
use crate::control::log::record;
use crate::control::log::record::Record;
use crate::control::snapshot;
use crate::control::words;
use crate::control::words::Ask;
use crate::control::words::Question;
use crate::control::words::Reply;
use crate::front::framing::Framing;
use crate::front::path;
use crate::front::query::Query;
use crate::http::admin;
use crate::http::batch;
use crate::http::bucket;
use crate::http::kv;
use crate::net::wire;
use crate::net::wire::decode::Decoder;
use crate::net::wire::hello::Hello;
use crate::net::wire::hello::Refusal;
use crate::node::import;
use crate::proto::causal::token;
use crate::proto::control::Applied;
use crate::proto::control::Birth;
use crate::proto::control::Command;
use crate::proto::control::State;
use crate::proto::invite::JoinToken;
use crate::proto::key::IndexKey;
use crate::proto::key::Key;
use crate::proto::member::Membership;
use crate::proto::member::Setup;
use crate::proto::object::Object;
use crate::store::journal::Position;
use crate::store::journal::format;
use crate::store::partition::record as object_record;

/// A function under test.
pub type Target = fn(&[u8]);

/// All of them by name: the name of the fuzzer and of its directory of seeds.
pub const TARGETS: [(&str, Target); 12] = [
    ("codecs", codecs),
    ("config", config),
    ("control", control),
    ("control_command", control_command),
    ("documents", documents),
    ("frame", frame),
    ("framing", framing),
    ("import_csv", import_csv),
    ("import_ndjson", import_ndjson),
    ("journal", journal),
    ("member_message", member_message),
    ("request", request),
];

/// Records, objects and contexts. A body that decodes encodes to something that decodes to the same.
pub fn codecs(bytes: &[u8]) {
    let _decoded = object_record::decode(bytes);
    let _parsed = IndexKey::parse(bytes);
    let Ok(key) = Key::new(b"EDDF".to_vec()) else { return };
    let place = IndexKey::new(BucketId(1), &key);
    let _unsealed = Object::decode(&place, bytes);
    // With the checksum that it would have, so that the content is reached.
    let crc = checksum::crc32c(&[place.as_bytes(), bytes]).to_le_bytes();
    if let Ok(object) = Object::decode(&place, &[bytes, &crc].concat()) {
        assert_eq!(Object::decode(&place, &object.encode(&place)), Ok(object.clone()));
        let _seen = (object.etag(0), object.live(u64::MAX).count());
    }
    let secret = Redacted::new(HmacKey::new(&[7; 32]));
    let text = String::from_utf8_lossy(bytes);
    assert!(token::decode(&secret, &place, &text).is_err(), "nobody can guess this secret");
    if let Ok(token) = JoinToken::parse(&text) {
        assert_eq!(JoinToken::parse(&token.reveal()), Ok(token));
    }
}

/// A configuration file.
pub fn config(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Err(error) = Config::from_text(text)
    {
        assert!(!error.to_string().is_empty());
    }
}

/// Control commands, each behind its length in two bytes, applied to the state of a cluster that has just begun. What is
/// refused changes nothing, and the state is read from a snapshot as it was.
pub fn control_command(bytes: &[u8]) {
    const CONTEXT: &[u8] = b"fuzz";
    let birth = Birth { cluster: ClusterId(1), node: NodeId(1), at_ms: 1, context_secret: [1; 32] };
    let mut state = State::default();
    assert_eq!(state.apply(Command::Begin(birth)), Ok(Applied::Made));
    for one in pieces(bytes) {
        let Ok(command) = Command::from_bytes(one) else { continue };
        assert_eq!(Command::from_bytes(&command.to_bytes()), Ok(command.clone()));
        assert!(!command.in_words().is_empty() || matches!(command, Command::Ordered { .. }));
        let before = state.clone();
        match state.apply(command) {
            Ok(Applied::Unchanged | Applied::AdmittedBefore(_)) | Err(_) => assert!(state == before),
            Ok(_) => {}
        }
    }
    let stored = codec::seal(1, CONTEXT, &state);
    assert!(codec::unseal::<State>(1, CONTEXT, &stored).is_ok_and(|read| read == state));
}

/// Pieces, each behind its length in two bytes.
fn pieces(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = bytes.split_first_chunk::<2>()?;
        let len = usize::from(u16::from_le_bytes(*len)).min(rest.len());
        let (one, rest) = rest.split_at_checked(len)?;
        bytes = rest;
        Some(one)
    })
}

/// Messages between memberships, each behind its length in two bytes: its first byte says from whom and how much later, the
/// rest is what is behind a good head. No more is sent than is due, and the clock goes on.
pub fn member_message(bytes: &[u8]) {
    let setup = Setup { cluster: ClusterId(0), node: NodeId(1), start: 7, seed: 1 };
    let mut now_ms = 0;
    let mut member = Membership::new(setup, now_ms);
    [2, 3, 4].into_iter().for_each(|node| member.know(NodeId(node), now_ms));
    for one in pieces(bytes) {
        let Some((first, rest)) = one.split_first() else { continue };
        now_ms += u64::from(first >> 2) * 50;
        let from = NodeId(u64::from(first & 3) + 1);
        let message = [&[1][..], &[0; 16], rest].concat();
        let _ignored = (member.handle_message(from, &message, now_ms), member.handle_message(from, rest, now_ms));
        member.handle_timeout(now_ms);
        let sent = std::iter::from_fn(|| member.poll_effect()).count();
        assert!(sent <= MEMBER_MESSAGES_WAITING_MAX && member.poll_timeout().is_some_and(|due| due > now_ms));
        assert_eq!(member.view().count(), 3);
    }
}

/// What nodes say on the control lane, and what the control journal and its snapshot hold. What decodes encodes to
/// something that decodes to the same, and what it names is looked at before the library is told.
pub fn control(bytes: &[u8]) {
    assert!(Question::unseal(bytes).is_none() || Reply::unseal(bytes).is_none(), "each has a context of its own");
    let _not_sealed = snapshot::decode(bytes);
    // With the checksum that it would have, so that the content is reached.
    let sealed = |context: &[u8]| [bytes, &checksum::crc32c(&[context, bytes]).to_le_bytes()].concat();
    if let Some(question) = Question::unseal(&sealed(words::QUESTION)) {
        assert_eq!(Question::unseal(&question.seal()), Some(question.clone()));
        match question.ask {
            Ask::Append { lines, .. } => lines.into_iter().for_each(|line| drop(line.entry())),
            Ask::Piece { seated, .. } => drop(seated.stored()),
            Ask::Vote { .. }
            | Ask::Propose(_)
            | Ask::HearLeader { .. }
            | Ask::ReadIndex
            | Ask::Contact
            | Ask::Status
            | Ask::StillLeads(_) => {}
        }
    }
    if let Some(reply) = Reply::unseal(&sealed(words::ANSWER)) {
        assert_eq!(Reply::unseal(&reply.seal()), Some(reply));
    }
    if let Ok(record) = Record::unseal(&sealed(record::CONTEXT)) {
        assert_eq!(Record::unseal(&record.seal()), Ok(record));
    }
}

/// JSON documents of requests.
pub fn documents(bytes: &[u8]) {
    let refusals =
        [bucket::read_document(bytes).err(), admin::read_documents(bytes).err(), batch::read_document(bytes).err()];
    for refusal in refusals.into_iter().flatten() {
        assert!(refusal.status.is_client_error() && refusal.detail.contains("nothing was changed"));
    }
}

/// Frames between nodes, from a stranger and from a peer: the same whether they come at once or one by one, each as it was
/// written, and never more memory than bytes that came.
pub fn frame(bytes: &[u8]) {
    for trusted in [false, true] {
        let read = |step: usize| {
            let (mut decoder, mut frames, mut came) = (Decoder::default(), Vec::new(), 0);
            if trusted {
                decoder.trust();
            }
            for mut piece in bytes.chunks(step) {
                came += piece.len();
                loop {
                    match decoder.next(&mut piece) {
                        Ok(Some(frame)) => frames.push(frame),
                        Ok(None) => break,
                        Err(error) => return (frames, Some(error)),
                    }
                }
                assert!(decoder.held() <= limits::FRAME_STEP_BYTES.max(2 * came), "memory by what came");
            }
            (frames, decoder.end().err())
        };
        let whole = read(bytes.len().max(1));
        assert_eq!(read(1), whole);
        let written: Vec<u8> =
            whole.0.iter().filter_map(|frame| wire::encode(frame.kind, frame.id, &frame.body)).flatten().collect();
        assert!(bytes.starts_with(&written));
    }
    let _words = (Hello::decode(bytes), Refusal::decode(bytes));
}

/// HTTP/1 bytes: spoilt at the same place whether they come at once or one by one, and at most once.
pub fn framing(bytes: &[u8]) {
    let (mut whole, mut single) = (bytes.to_vec(), bytes.to_vec());
    Framing::default().inspect(&mut whole);
    let mut framing = Framing::default();
    single.chunks_mut(1).for_each(|byte| framing.inspect(byte));
    let changed = |of: &[u8]| of.iter().zip(bytes).filter(|(now, before)| now != before).count();
    assert!(changed(&whole) <= 1 && changed(&single) <= 1);
    // A byte that is NUL already needs no spoiling.
    assert!(bytes.contains(&0) || changed(&whole) == changed(&single));
}

/// A CSV file.
pub fn import_csv(bytes: &[u8]) {
    import::read_csv(bytes);
}

/// An NDJSON file, once with keys in a field and once as an export writes it.
pub fn import_ndjson(bytes: &[u8]) {
    import::read_ndjson(bytes);
}

/// A journal: groups that were written, and then some bytes of them changed. What is read is what was written or nothing.
pub fn journal(bytes: &[u8]) {
    const TAG: u64 = 0x7269_6e67;
    let _decoded = format::decode_group(TAG, bytes);
    let Some((changes, content)) =
        bytes.split_at_checked(bytes.first().map_or(0, |first| usize::from(first % 32) * 3 + 1))
    else {
        return;
    };
    let mut written = Vec::new();
    let mut starts = Vec::new();
    let mut at = Position { segment: 1, offset: 0, group: 1, chain: [0; 16] };
    for part in content.chunks(97) {
        let records: Vec<&[u8]> = part.chunks(usize::from(part.first().copied().unwrap_or(1)).max(1)).collect();
        starts.push(written.len());
        let (group, behind) = format::encode_group(TAG, at, 0, records);
        written.extend(group);
        at = behind;
    }
    let mut damaged = written.clone();
    for change in changes.get(1..).unwrap_or_default().chunks_exact(3) {
        if let [high, low, flip] = *change
            && let Some(byte) = damaged.get_mut(usize::from(high) << 8 | usize::from(low))
        {
            *byte ^= flip;
        }
    }
    for start in starts {
        let (Some(before), Some(after)) = (written.get(start..), damaged.get(start..)) else { return };
        if let Some(group) = format::decode_group(TAG, after) {
            let original = format::decode_group(TAG, before).map(|group| group.records);
            assert_eq!(Some(group.records), original, "damage is noticed");
        }
    }
}

/// A request's path and query in the first line, then its fields.
pub fn request(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let Ok(uri) = Uri::try_from(lines.next().unwrap_or_default()) else { return };
    let mut headers = HeaderMap::new();
    for line in lines.take(100) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = line.split_at_checked(colon).unwrap_or_default();
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value.get(1..).unwrap_or_default()))
        {
            headers.append(name, value);
        }
    }
    if let Ok((_, key)) = path::bucket_and_key(uri.path()) {
        assert!(!key.as_bytes().is_empty() && key.as_bytes().len() <= limits::KEY_BYTES_MAX);
    }
    let _names = (path::bucket(uri.path()), path::segment(uri.path(), 2));
    if let Ok(query) = Query::parse(&uri, &["prefix", "after", "after_b64", "limit", "ttl", "w"]) {
        let _numbers = (query.number::<usize>("limit"), query.number::<u8>("w"));
        let ttl = query.ttl_ms("ttl");
        assert!(ttl.is_err() || ttl.is_ok_and(|ttl| ttl.is_none_or(|ms| ms > 0)));
    }
    kv::read_request(&uri, &headers);
}
