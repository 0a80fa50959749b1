//! What reads bytes from outside or from disk, as functions of bytes alone: for the fuzzers in `tests/fuzz` and for the
//! replay of their seeds in `tests/it/corpus.rs`. Each panics where something does not hold.

use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::Uri;

use crate::base::checksum;
use crate::base::checksum::HmacKey;
use crate::base::id::BucketId;
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
use crate::node::import;
use crate::proto::causal::token;
use crate::proto::key::IndexKey;
use crate::proto::key::Key;
use crate::proto::object::Object;
use crate::store::journal::Position;
use crate::store::journal::format;
use crate::store::partition::record as object_record;

/// A function under test.
pub type Target = fn(&[u8]);

/// All of them by name: the name of the fuzzer and of its directory of seeds.
pub const TARGETS: [(&str, Target); 9] = [
    ("codecs", codecs),
    ("config", config),
    ("control", control),
    ("documents", documents),
    ("framing", framing),
    ("import_csv", import_csv),
    ("import_ndjson", import_ndjson),
    ("journal", journal),
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
}

/// A configuration file.
pub fn config(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Err(error) = Config::from_text(text)
    {
        assert!(!error.to_string().is_empty());
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
        assert!(!key.as_bytes().is_empty() && key.as_bytes().len() <= crate::base::limits::KEY_BYTES_MAX);
    }
    let _names = (path::bucket(uri.path()), path::segment(uri.path(), 2));
    if let Ok(query) = Query::parse(&uri, &["prefix", "after", "after_b64", "limit", "ttl", "w"]) {
        let _numbers = (query.number::<usize>("limit"), query.number::<u8>("w"));
        let ttl = query.ttl_ms("ttl");
        assert!(ttl.is_err() || ttl.is_ok_and(|ttl| ttl.is_none_or(|ms| ms > 0)));
    }
    kv::read_request(&uri, &headers);
}
