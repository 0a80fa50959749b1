//! `/v1/batch`: many reads and writes in one request, each with its own answer. They are independent: one that fails
//! leaves the others as they are.

use std::fmt;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use axum::Extension;
use axum::Json;
use axum::extract::Request;
use axum::extract::State;
use axum::http::StatusCode;
use futures_util::future::join_all;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::de::IgnoredAny;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde_json::Value;
use serde_json::json;
use serde_json::value::RawValue;

use crate::base::codec;
use crate::base::codec::Blob;
use crate::base::limits::BATCH_ANSWER_BYTES_MAX;
use crate::base::limits::BATCH_BYTES_MAX;
use crate::base::limits::BATCH_OPS_MAX;
use crate::base::limits::VALUE_BYTES_MAX;
use crate::front::body;
use crate::front::problem::Problem;
use crate::front::query;
use crate::node::Node;
use crate::node::access::Caller;
use crate::node::error::DoorError;
use crate::node::vnode::ReadOptions;
use crate::node::vnode::WriteOptions;
use crate::proto::key::Key;
use crate::proto::object::Action;
use crate::proto::object::check_content_type;
use crate::proto::scope::Need;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch<'a> {
    #[serde(borrow)]
    ops: Ops<'a>,
}

/// The operations, as many as are possible. Further ones are counted and not kept: in memory each would take ten times
/// its bytes.
struct Ops<'a> {
    kept: Vec<Op<'a>>,
    count: usize,
}

impl<'a> Ops<'a> {
    fn within_limit(&self) -> Result<&[Op<'a>], Problem> {
        if self.count > BATCH_OPS_MAX {
            let detail = format!("{} operations; {BATCH_OPS_MAX} are possible; nothing was changed", self.count);
            return Err(Problem::unprocessable("too_many_operations", detail));
        }
        Ok(&self.kept)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Ops<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(OpsVisitor)
    }
}

struct OpsVisitor;

impl<'de> Visitor<'de> for OpsVisitor {
    type Value = Ops<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut ops: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < BATCH_OPS_MAX {
            match ops.next_element()? {
                Some(op) => kept.push(op),
                None => return Ok(Ops { count: kept.len(), kept }),
            }
        }
        let mut count = kept.len();
        while ops.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Ops { kept, count })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Op<'a> {
    op: Kind,
    bucket: String,
    key: Option<String>,
    key_b64: Option<String>,
    /// Stored byte for byte as `application/json`.
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    value_b64: Option<String>,
    content_type: Option<String>,
    context: Option<String>,
    ttl: Option<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Get,
    Put,
    Delete,
}

/// The answers in the order of the operations.
#[derive(Serialize)]
pub struct Answers {
    results: Vec<Answer>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Read(Reading),
    Several { status: u16, siblings: Vec<Reading>, context: String },
    Other(Value),
}

/// A value; JSON byte for byte as it is stored.
#[derive(Serialize)]
struct Reading {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_b64: Option<String>,
    content_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
}

/// `POST /v1/batch`.
pub async fn batch(
    State(node): State<Node>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<Answers>, Problem> {
    let (parts, body) = request.into_parts();
    let whole = body::whole(&node, &parts.headers, body, BATCH_BYTES_MAX).await?;
    let batch: Batch = body::from_json(&whole.bytes)?;
    let ops = batch.ops.within_limit()?;
    let room = AtomicUsize::new(BATCH_ANSWER_BYTES_MAX);
    let answers = join_all(ops.iter().map(|op| answer(&node, &caller, op, &room))).await;
    Ok(Json(Answers { results: answers }))
}

/// Reads a document and its operations, without a node.
///
/// # Errors
/// As `POST`, and what each operation would be answered.
pub fn read_document(bytes: &[u8]) -> Result<(), Problem> {
    let batch: Batch = body::from_json(bytes)?;
    for op in batch.ops.within_limit()? {
        let _refused = (key(op).err(), action(op).err());
    }
    Ok(())
}

async fn answer(node: &Node, caller: &Caller, op: &Op<'_>, room: &AtomicUsize) -> Answer {
    let done = match op.op {
        Kind::Get => read(node, caller, op, room).await,
        Kind::Put | Kind::Delete => write(node, caller, op).await.map(Answer::Other),
    };
    done.unwrap_or_else(|problem| {
        let mut answer = json!({
            "status": problem.status.as_u16(),
            "code": problem.code,
            "detail": problem.detail,
        });
        if let (Some(outcome), Value::Object(answer)) = (problem.outcome, &mut answer) {
            answer.insert("outcome".to_owned(), outcome.into());
        }
        Answer::Other(answer)
    })
}

fn check(caller: &Caller, need: Need) -> Result<(), Problem> {
    let forbidden = || Problem::new(StatusCode::FORBIDDEN, "forbidden", "this token's scopes do not allow it");
    caller.may(need).then_some(()).ok_or_else(forbidden)
}

fn key(op: &Op<'_>) -> Result<Key, Problem> {
    let bytes = match (&op.key, &op.key_b64) {
        (Some(key), None) => key.clone().into_bytes(),
        (None, Some(key)) => decode(key)?,
        (Some(_), Some(_)) | (None, None) => {
            return Err(Problem::unprocessable("bad_document", "one of `key` and `key_b64` is needed"));
        }
    };
    Ok(Key::new(bytes).map_err(DoorError::from)?)
}

fn decode(text: &str) -> Result<Vec<u8>, Problem> {
    codec::from_base64(text).ok_or_else(|| Problem::unprocessable("bad_document", "a _b64 field is not base64"))
}

/// Values as long as there is room for them in the answer.
async fn read(node: &Node, caller: &Caller, op: &Op<'_>, room: &AtomicUsize) -> Result<Answer, Problem> {
    check(caller, Need::ReadValues)?;
    let absent = || Problem::new(StatusCode::NOT_FOUND, "no_such_key", "this key has no value");
    let found = node.get(&op.bucket, &key(op)?, ReadOptions::default()).await?.ok_or_else(absent)?;
    let bytes: usize =
        found.object.live(found.now_ms).filter_map(|one| one.live(found.now_ms)).map(|(_, body)| body.0.len()).sum();
    take(room, bytes)?;
    let value = |(content_type, body): (&str, &Blob)| {
        let json = content_type == "application/json";
        let value = serde_json::from_slice::<Box<RawValue>>(&body.0).ok().filter(|_| json);
        let value_b64 = value.is_none().then(|| codec::base64(&body.0));
        let content_type = content_type.to_owned();
        Reading { status: None, value, value_b64, content_type, context: None, etag: None }
    };
    let live = found.object.live(found.now_ms).filter_map(|sibling| sibling.live(found.now_ms));
    let values: Vec<Reading> = live.map(value).collect();
    match <[Reading; 1]>::try_from(values) {
        Ok([only]) => {
            let etag = Some(found.object.etag(found.now_ms));
            Ok(Answer::Read(Reading { status: Some(200), context: Some(found.context), etag, ..only }))
        }
        Err(none) if none.is_empty() => Err(absent()),
        Err(siblings) => Ok(Answer::Several { status: 300, siblings, context: found.context }),
    }
}

fn take(room: &AtomicUsize, bytes: usize) -> Result<(), Problem> {
    let taken = room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
    taken.map(|_left| ()).map_err(|_left| {
        let detail =
            format!("the values of one answer have {BATCH_ANSWER_BYTES_MAX} bytes at most; ask for this one apart");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "answer_too_large", detail)
    })
}

async fn write(node: &Node, caller: &Caller, op: &Op<'_>) -> Result<Value, Problem> {
    check(caller, Need::WriteValues)?;
    let action = action(op)?;
    let ttl_ms = op.ttl.as_deref().map(|ttl| query::ttl_ms("ttl", ttl)).transpose()?;
    let options = WriteOptions { context: op.context.clone(), ttl_ms, ..WriteOptions::default() };
    let receipt = node.put(&op.bucket, key(op)?, action, options).await?;
    Ok(json!({ "status": 200, "receipt": receipt }))
}

fn action(op: &Op<'_>) -> Result<Action, Problem> {
    match (op.op, op.value, &op.value_b64) {
        (Kind::Delete, None, None) => Ok(Action::Delete),
        (Kind::Put, Some(value), None) => put("application/json".to_owned(), value.get().as_bytes().to_vec()),
        (Kind::Put, None, Some(value)) => put(op.content_type.clone().unwrap_or_default(), decode(value)?),
        _ => Err(Problem::unprocessable("bad_document", "a put has one of `value` and `value_b64`, a delete neither")),
    }
}

fn put(content_type: String, body: Vec<u8>) -> Result<Action, Problem> {
    if body.len() > VALUE_BYTES_MAX {
        let detail = format!("the value has {} bytes; {VALUE_BYTES_MAX} are possible", body.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail));
    }
    check_content_type(&content_type).map_err(DoorError::from)?;
    Ok(Action::Put { content_type, body: Blob(body.into()), ttl_ms: None })
}

#[cfg(test)]
mod tests {
    use super::Batch;
    use super::read_document;
    use crate::base::limits::BATCH_OPS_MAX;
    use crate::front::body;

    fn document(count: usize, last: &str) -> String {
        format!(r#"{{"ops":[{}{last}]}}"#, r#"{"op":"get","bucket":"b","key":"k"},"#.repeat(count - 1))
    }

    #[test]
    fn no_more_operations_are_kept_than_are_possible() {
        let last = r#"{"op":"get","bucket":"b","key":"last"}"#;
        for count in [1, BATCH_OPS_MAX, BATCH_OPS_MAX + 1, 100 * BATCH_OPS_MAX] {
            let text = document(count, last);
            let batch: Batch = body::from_json(text.as_bytes()).unwrap();
            assert_eq!((batch.ops.kept.len(), batch.ops.count), (count.min(BATCH_OPS_MAX), count));
            assert_eq!(batch.ops.within_limit().is_ok(), count <= BATCH_OPS_MAX);
        }
    }

    #[test]
    fn what_is_wrong_is_named_where_it_is_also_behind_the_limit() {
        let refused = |text: &str| {
            let problem = read_document(text.as_bytes()).unwrap_err();
            (problem.status.as_u16(), problem.code, problem.detail)
        };
        let says = |text: &str, status, code, detail: &str| {
            let (was, its, words) = refused(text);
            assert!((was, its) == (status, code) && words.contains(detail), "{was} {its} {words}");
        };
        says(r#"{"ops":7}"#, 422, "bad_document", "`ops`: invalid type: integer `7`, expected a sequence");
        says(&document(BATCH_OPS_MAX, r#"{"op":"get"}"#), 422, "bad_document", "missing field `bucket`");
        says(&document(BATCH_OPS_MAX + 1, r#"{"op":"#), 400, "bad_json", "line 1 column ");
        says(&document(BATCH_OPS_MAX + 1, "{}"), 422, "too_many_operations", "1001 operations; 1000 are possible");
    }
}
