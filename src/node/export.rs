//! Exports: a bucket in key order as NDJSON or CSV, in pieces for a body, of what enough owners hold. Each piece is written
//! in a blocking thread; while the reader takes its time no thread waits with it. What cannot be exported whole breaks off
//! instead of leaving a row out.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use crate::base::codec;
use crate::base::limits::EXPORT_AHEAD;
use crate::base::limits::OPERATION_BUDGET;
use crate::base::time;
use crate::node::Node;
use crate::node::cluster::now_ms;
use crate::node::drill;
use crate::node::error::DoorError;
use crate::node::import::Format;
use crate::node::list::Range;
use crate::node::list::walk::Ready;
use crate::node::list::walk::Walk;
use crate::node::worker;
use crate::proto::key::Key;
use crate::proto::object::Object;
use crate::proto::object::Sibling;
use crate::proto::rows::Depth;
use crate::proto::rows::Way;

/// Bytes gathered before a piece is handed on.
const PIECE_BYTES: usize = 64 * 1024;
/// Pieces waiting for a slow reader.
const PIECES_AHEAD: usize = 1;

/// The pieces of an export; an error ends it.
pub type Pieces = mpsc::Receiver<Result<Bytes, io::Error>>;

impl Node {
    /// Begins an export. What is wrong with the first piece is an answer; later it breaks the stream off.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn export(&self, name: &str, format: Format) -> Result<Pieces, DoorError> {
        let bucket = self.view_with(name).await?.named(name)?.clone();
        if format == Format::Csv && bucket.columns.is_empty() {
            return Err(DoorError::Unsuitable(format!(
                "bucket `{name}` was not imported from CSV, so there is no header; export it as NDJSON"
            )));
        }
        let place = Arc::new(self.long_job()?);
        let (to, pieces) = mpsc::channel(PIECES_AHEAD);
        let everything = Range { prefix: Vec::new(), after: Vec::new(), way: Way::Forward };
        let walk = Walk::new(self, bucket.id, everything, Depth::Whole, EXPORT_AHEAD, place);
        let job = Job { columns: bucket.columns, format, walk, has_begun: false };
        let (mut piece, mut job) = gather(job).await?;
        let name = name.to_owned();
        worker::feed("export", to.clone(), async move {
            while let Some(bytes) = piece {
                drill::meet_feed();
                if to.send(Ok(bytes)).await.is_err() {
                    return;
                }
                match gather(job).await {
                    Ok(next) => (piece, job) = next,
                    Err(error) => {
                        tracing::error!(%error, bucket = name, "an export broke off");
                        // Without its last chunk every client notices.
                        let _gone = to.send(Err(io::Error::other(error))).await;
                        return;
                    }
                }
            }
        });
        Ok(pieces)
    }
}

/// The next piece of a job; `None` at the end. Takes a thread only for as long as that takes, none while the reader or
/// other nodes do.
async fn gather(mut job: Job) -> Result<(Option<Bytes>, Job), DoorError> {
    let mut piece = Vec::new();
    loop {
        let written = worker::block("exporting", move || Ok((job.write(&mut piece)?, job, piece)));
        let wants;
        (wants, job, piece) = written.await?;
        match wants {
            Wants::More => job.walk.fill(now_ms() + time::millis(OPERATION_BUDGET)).await?,
            Wants::Nothing => return Ok(((!piece.is_empty()).then(|| piece.into()), job)),
        }
    }
}

/// An export between two pieces.
struct Job {
    columns: Vec<String>,
    format: Format,
    walk: Walk,
    has_begun: bool,
}

enum Wants {
    /// The piece is not full yet.
    More,
    /// It is full, or the last one.
    Nothing,
}

impl Job {
    /// Goes on with a piece as far as the entries at hand reach.
    fn write(&mut self, piece: &mut Vec<u8>) -> Result<Wants, DoorError> {
        if !std::mem::replace(&mut self.has_begun, true) {
            *piece = header(self.format, &self.columns)?;
        }
        while piece.len() < PIECE_BYTES {
            match self.walk.ready() {
                Ready::Entry(entry) => {
                    let key = Key::new(entry.key().to_vec())?;
                    line(self.format, &self.columns, &key, &entry.object, time::wall_ms(), piece)?;
                }
                Ready::Wanting => return Ok(Wants::More),
                Ready::End => break,
            }
        }
        Ok(Wants::Nothing)
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
