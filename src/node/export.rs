//! Exports: a bucket in key order as NDJSON or CSV, in pieces for a body. Runs in a blocking thread and stops where
//! its reader goes away. What cannot be exported whole breaks off instead of leaving a row out.

use std::io;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use crate::base::codec;
use crate::base::limits::LIST_PAGE_MAX;
use crate::node::Node;
use crate::node::error::DoorError;
use crate::node::import::Format;
use crate::node::list::Cursor;
use crate::node::list::Range;
use crate::node::list::Way;
use crate::node::worker;
use crate::proto::key::IndexKey;
use crate::proto::key::Key;
use crate::proto::object::Object;
use crate::proto::object::Sibling;

/// Bytes gathered before a piece is handed on.
const PIECE_BYTES: usize = 64 * 1024;
/// Pieces waiting for a slow reader.
const PIECES_AHEAD: usize = 4;

/// The pieces of an export; an error ends it.
pub type Pieces = mpsc::Receiver<Result<Bytes, io::Error>>;

impl Node {
    /// Begins an export. Errors up to here are answers; later ones break the stream off.
    ///
    /// # Errors
    /// [`DoorError`].
    pub fn export(&self, name: &str, format: Format) -> Result<Pieces, DoorError> {
        let bucket = self.bucket(name)?;
        if format == Format::Csv && bucket.columns.is_empty() {
            return Err(DoorError::Unsuitable(format!(
                "bucket `{name}` was not imported from CSV, so there is no header; export it as NDJSON"
            )));
        }
        let (to, pieces) = mpsc::channel(PIECES_AHEAD);
        let broken = to.clone();
        let node = self.clone();
        let name = name.to_owned();
        let exporting = worker::block("exporting", move || {
            let everything = Range { prefix: Vec::new(), after: Vec::new(), way: Way::Forward };
            let mut cursor = Cursor::open(&node, bucket.id, everything, LIST_PAGE_MAX / 16)?;
            let mut piece = header(format, &bucket.columns)?;
            while let Some(listed) = cursor.advance_one()? {
                let key = Key::new(listed.key)?;
                // Read again: what was listed may have changed since.
                let place = IndexKey::new(bucket.id, &key);
                if let Some(object) = node.0.store.read(&place)? {
                    line(format, &bucket.columns, &key, &object, crate::base::time::wall_ms(), &mut piece)?;
                }
                if piece.len() >= PIECE_BYTES && to.blocking_send(Ok(std::mem::take(&mut piece).into())).is_err() {
                    return Ok(());
                }
            }
            let _gone = to.blocking_send(Ok(piece.into()));
            Ok(())
        });
        worker::spawn("export", async move {
            if let Err(error) = exporting.await {
                tracing::error!(%error, bucket = name, "an export broke off");
                // Without its last chunk every client notices.
                let _gone = broken.send(Err(io::Error::other(error))).await;
            }
        });
        Ok(pieces)
    }
}

fn header(format: Format, columns: &[String]) -> Result<Vec<u8>, DoorError> {
    match format {
        Format::Ndjson => Ok(Vec::new()),
        Format::Csv => csv_line(columns.iter().map(String::as_bytes)),
    }
}

fn csv_line<'a>(fields: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, DoorError> {
    let failed = |error: csv::Error| DoorError::Unsuitable(format!("a row cannot be written as CSV: {error}"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(fields).map_err(failed)?;
    writer.into_inner().map_err(|error| failed(error.into_error().into()))
}

fn line(
    format: Format,
    columns: &[String],
    key: &Key,
    object: &Object,
    now_ms: u64,
    to: &mut Vec<u8>,
) -> Result<(), DoorError> {
    let live: Vec<&Sibling> = object.live(now_ms).collect();
    match (format, live.as_slice()) {
        (_, []) => Ok(()),
        (Format::Ndjson, live) => {
            to.extend_from_slice(&ndjson_line(key, live, now_ms));
            Ok(())
        }
        (Format::Csv, [only]) => {
            let body = only.live(now_ms).map(|(_, body)| body.0.clone()).unwrap_or_default();
            to.extend_from_slice(&csv_row(columns, key, &body)?);
            Ok(())
        }
        (Format::Csv, _) => Err(DoorError::Unsuitable(format!(
            "key `{}` has {} siblings, which a CSV row cannot hold; export as NDJSON",
            key.as_bytes().escape_ascii(),
            live.len()
        ))),
    }
}

/// `{"key":…,"value":…}`, with `_b64` where the bytes are not text or not JSON, and `siblings` where there are several.
fn ndjson_line(key: &Key, live: &[&Sibling], now_ms: u64) -> Vec<u8> {
    let mut line = match key.as_text() {
        Some(text) => format!("{{\"key\":{}", serde_json::Value::from(text)),
        None => format!("{{\"key_b64\":\"{}\"", codec::base64(key.as_bytes())),
    };
    match live {
        [only] => {
            line.push(',');
            line.push_str(&value_fields(only, now_ms));
        }
        several => {
            let siblings: Vec<_> = several.iter().map(|one| format!("{{{}}}", value_fields(one, now_ms))).collect();
            line.push_str(",\"siblings\":[");
            line.push_str(&siblings.join(","));
            line.push(']');
        }
    }
    line.push_str("}\n");
    line.into_bytes()
}

fn value_fields(sibling: &Sibling, now_ms: u64) -> String {
    let Some((content_type, body)) = sibling.live(now_ms) else { return String::new() };
    let json: Option<&RawValue> =
        if content_type == "application/json" { serde_json::from_slice(&body.0).ok() } else { None };
    match json {
        // A line is a line. Outside of its texts, where none can be, a line end is as good as a space.
        Some(json) => format!("\"value\":{}", json.get().replace(['\n', '\r'], " ")),
        None => {
            let content_type = serde_json::Value::from(content_type);
            format!("\"value_b64\":\"{}\",\"content_type\":{content_type}", codec::base64(&body.0))
        }
    }
}

/// The columns of a JSON object; text as it is, everything else as JSON, what is missing as empty.
fn csv_row(columns: &[String], key: &Key, body: &[u8]) -> Result<Vec<u8>, DoorError> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(body).map_err(|error| {
        let key = key.as_bytes().escape_ascii();
        DoorError::Unsuitable(format!("the value of `{key}` is not a JSON object ({error}); export as NDJSON"))
    })?;
    let fields: Vec<Vec<u8>> = columns
        .iter()
        .map(|column| match object.get(column) {
            None => Vec::new(),
            Some(serde_json::Value::String(text)) => text.clone().into_bytes(),
            Some(other) => other.to_string().into_bytes(),
        })
        .collect();
    csv_line(fields.iter().map(Vec::as_slice))
}
