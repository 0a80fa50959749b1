//! Imports: a stream of CSV or NDJSON into a bucket, one row one key. Runs in a blocking thread; the body reaches it
//! through a small bounded channel, so a slow disk slows the sender instead of filling memory.
//!
//! The data itself is the cursor: a row whose value is there already is not written again, so an import can be
//! repeated or resumed at any time and ends the same.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Buf;
use bytes::Bytes;
use serde::Deserialize;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use crate::base::codec;
use crate::base::codec::Blob;
use crate::base::limits::IMPORT_COLUMNS_MAX;
use crate::base::limits::IMPORT_ERRORS_MAX;
use crate::base::limits::IMPORT_HEADER_BYTES_MAX;
use crate::base::limits::IMPORT_ROW_BYTES_MAX;
use crate::base::limits::IMPORT_ROWS_IN_FLIGHT;
use crate::base::limits::OPERATION_BUDGET;
use crate::base::limits::VALUE_BYTES_MAX;
use crate::base::time;
use crate::node::Node;
use crate::node::access::Caller;
use crate::node::buckets::BucketWish;
use crate::node::error::DoorError;
use crate::node::vnode::ExistingRow;
use crate::node::vnode::Row;
use crate::node::worker;
use crate::proto::bucket::Kind;
use crate::proto::control::Bucket;
use crate::proto::control::Command;
use crate::proto::key::Key;
use crate::proto::object::Action;
use crate::proto::object::check_content_type;

/// How rows are written in an import or export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated with a header row.
    Csv,
    /// One JSON value a line.
    Ndjson,
}

/// How an import is to be done.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// How rows are written.
    pub format: Format,
    /// The field whose text is the key. Without it CSV takes the first column, and NDJSON lines are those of an export.
    pub key: Option<String>,
    /// What happens to keys that have a value.
    pub existing: ExistingRow,
}

/// A row that was not stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowError {
    /// From 1, the header included.
    pub line: u64,
    /// CSV: the field, from 1. NDJSON: the character, from 1.
    pub column: u64,
    /// In words.
    pub reason: String,
}

/// How an import ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ImportReport {
    /// The bucket.
    pub bucket: String,
    /// It was made for this import, of kind `lww`.
    pub bucket_made: bool,
    /// Rows read.
    pub rows: u64,
    /// Rows written, all of them on disk.
    pub stored: u64,
    /// Rows that were there already.
    pub unchanged: u64,
    /// Rows not stored.
    pub rejected: u64,
    /// The first of them.
    pub errors: Vec<RowError>,
}

/// A request body as a reader for a blocking thread.
pub struct BodyReader {
    chunks: mpsc::Receiver<Result<Bytes, io::Error>>,
    current: Bytes,
    /// Bytes read since the last finished row; too many of them end the import before they fill memory.
    unfinished: Arc<AtomicUsize>,
}

impl BodyReader {
    /// Reads what is sent through a bounded channel.
    #[must_use]
    pub fn new(chunks: mpsc::Receiver<Result<Bytes, io::Error>>) -> Self {
        Self { chunks, current: Bytes::new(), unfinished: Arc::default() }
    }
}

/// Said of a row that reaches [`IMPORT_ROW_BYTES_MAX`].
const TOO_LONG: &str = "a row of more than 2 MiB begins here; is a closing quote or a line end missing?";
const _: () = assert!(IMPORT_ROW_BYTES_MAX == 2 << 20);

impl Read for BodyReader {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.current = chunk?,
                None => return Ok(0),
            }
        }
        let len = to.len().min(self.current.len());
        let (to, _) = to.split_at_mut_checked(len).unwrap_or((&mut [], &mut []));
        self.current.copy_to_slice(to);
        if self.unfinished.fetch_add(len, Ordering::Relaxed) > IMPORT_ROW_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, TOO_LONG));
        }
        Ok(len)
    }
}

impl Node {
    /// Imports a stream. Returns when every stored row is on disk.
    ///
    /// # Errors
    /// [`DoorError`]: the rows before are stored, and doing it again goes on.
    pub async fn import(
        &self,
        caller: &Caller,
        name: &str,
        options: ImportOptions,
        body: BodyReader,
    ) -> Result<ImportReport, DoorError> {
        let place = self.long_job()?;
        let opening = options.clone();
        let opened = worker::block("reading the header", move || Ok((Source::open(&opening, body)?, place)));
        let (source, place) = opened.await?;
        let bucket_made = match self.view_with(name).await {
            Ok(_) => false,
            Err(_missing) => {
                self.put_bucket(caller, name, BucketWish { kind: Some(Kind::Lww), ..BucketWish::default() }).await?
            }
        };
        let bucket = self.view().named(name)?.clone();
        let report = ImportReport { bucket: name.to_owned(), bucket_made, ..ImportReport::default() };
        if let Source::Csv { columns, .. } = &source {
            let command = Command::SetColumns { bucket: name.to_owned(), columns: columns.clone() };
            self.order(caller, command).await?;
        }
        let rows = Rows { node: self.clone(), bucket, options, in_flight: VecDeque::new(), report };
        // Before the first row: nothing is imported that the audit does not know of.
        self.order_in_words(caller, format!("imports into bucket `{name}`"), Command::Note).await?;
        worker::block("importing", move || {
            let _place = place;
            rows.run(source)
        })
        .await
    }
}

/// A body that rows can be read from: what it needs is known to be there.
enum Source {
    Csv { reader: csv::Reader<BodyReader>, columns: Vec<String>, key_at: usize },
    Ndjson(BufReader<BodyReader>),
}

impl Source {
    /// Reads the header of a CSV. Nothing is changed before.
    fn open(options: &ImportOptions, body: BodyReader) -> Result<Self, DoorError> {
        match options.format {
            Format::Ndjson => Ok(Self::Ndjson(BufReader::new(body))),
            Format::Csv => {
                let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(body);
                let broken = |error: &csv::Error| broken_csv(error, 1, "nothing was stored");
                let header = reader.headers().map_err(|error| broken(&error))?;
                let columns: Vec<String> = header.iter().map(str::to_owned).collect();
                let key_at = key_column(options.key.as_deref(), &columns)?;
                Ok(Self::Csv { reader, columns, key_at })
            }
        }
    }
}

fn key_column(key: Option<&str>, columns: &[String]) -> Result<usize, DoorError> {
    let unsuitable = |reason: String| Err(DoorError::Unsuitable(format!("{reason}; nothing was stored")));
    if columns.is_empty() || columns.len() > IMPORT_COLUMNS_MAX {
        return unsuitable(format!(
            "the header row has {} columns; 1 to {IMPORT_COLUMNS_MAX} are possible",
            columns.len()
        ));
    }
    let bytes: usize = columns.iter().map(String::len).sum();
    if bytes > IMPORT_HEADER_BYTES_MAX {
        return unsuitable(format!("the header row has {bytes} bytes; {IMPORT_HEADER_BYTES_MAX} are possible"));
    }
    let distinct: BTreeSet<_> = columns.iter().collect();
    if distinct.len() != columns.len() {
        return unsuitable("two columns of the header row have the same name".to_owned());
    }
    match key {
        None => Ok(0),
        Some(field) => match columns.iter().position(|column| column == field) {
            Some(at) => Ok(at),
            None => unsuitable(format!("there is no column `{field}`; the header row has: {}", columns.join(", "))),
        },
    }
}

/// How long an import waits for the index before it looks again.
const INDEX_WAIT: Duration = Duration::from_millis(100);

struct Rows {
    node: Node,
    bucket: Bucket,
    options: ImportOptions,
    in_flight: VecDeque<(Place, Key, Row)>,
    report: ImportReport,
}

/// Where a row stands.
#[derive(Clone, Copy)]
struct Place {
    line: u64,
    column: u64,
}

impl Rows {
    fn run(mut self, source: Source) -> Result<ImportReport, DoorError> {
        let read = match source {
            Source::Csv { reader, columns, key_at } => self.csv(reader, &columns, key_at),
            Source::Ndjson(reader) => self.ndjson(reader),
        };
        // An error too says that the rows before it are stored.
        self.wait_until(0)?;
        read.map(|()| self.report)
    }

    fn csv(&mut self, mut reader: csv::Reader<BodyReader>, columns: &[String], key_at: usize) -> Result<(), DoorError> {
        let unfinished = Arc::clone(&reader.get_ref().unfinished);
        let mut record = csv::ByteRecord::new();
        loop {
            let begins = reader.position().line();
            let read = reader.read_byte_record(&mut record);
            if !read.map_err(|error| broken_csv(&error, begins, "the rows before it are stored"))? {
                return Ok(());
            }
            unfinished.store(0, Ordering::Relaxed);
            self.report.rows += 1;
            let line = record.position().map_or(0, csv::Position::line);
            match csv_row(columns, key_at, &record) {
                Ok((key, body)) => self.row(Place { line, column: to_u64(key_at) + 1 }, key, json(body))?,
                Err((column, reason)) => self.reject(Place { line, column }, reason),
            }
        }
    }

    fn ndjson(&mut self, mut reader: BufReader<BodyReader>) -> Result<(), DoorError> {
        let unfinished = Arc::clone(&reader.get_ref().unfinished);
        let mut line = Vec::new();
        let mut place = Place { line: 0, column: 1 };
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line);
            let read = read.map_err(|error| broken_off(&error, place.line + 1, "the rows before it are stored"))?;
            if read == 0 {
                return Ok(());
            }
            unfinished.store(0, Ordering::Relaxed);
            place.line += 1;
            let text = trim(&line, place.line == 1);
            if text.is_empty() {
                continue;
            }
            self.report.rows += 1;
            let parsed = match &self.options.key {
                Some(field) => keyed_line(field, text),
                None => exported_line(text),
            };
            match parsed {
                Ok((key, action)) => self.row(place, key, action)?,
                Err((column, reason)) => self.reject(Place { column, ..place }, reason),
            }
        }
    }

    fn row(&mut self, place: Place, key: Vec<u8>, action: Action) -> Result<(), DoorError> {
        let key = match Key::new(key) {
            Ok(key) => key,
            Err(error) => {
                self.reject(place, error.to_string());
                return Ok(());
            }
        };
        if let Action::Put { body, .. } = &action
            && body.0.len() > VALUE_BYTES_MAX
        {
            self.reject(place, format!("the value has {} bytes; {VALUE_BYTES_MAX} are possible", body.0.len()));
            return Ok(());
        }
        if let Action::Put { content_type, .. } = &action
            && let Err(bad) = check_content_type(content_type)
        {
            self.reject(place, bad.to_string());
            return Ok(());
        }
        self.store(place, key, &action)
    }

    /// Stores a row, at the pace of the disk and the index.
    fn store(&mut self, place: Place, key: Key, action: &Action) -> Result<(), DoorError> {
        let deadline = time::mono() + OPERATION_BUDGET;
        // Of two rows with one key the later one is to stay.
        if self.in_flight.iter().any(|(_, under_way, _)| *under_way == key) {
            self.wait_until(0)?;
        }
        let row = loop {
            match self.node.put_row(&self.bucket, &key, action.clone(), self.options.existing) {
                // Our own rows fill the queue: wait for them and go on.
                Err(DoorError::Busy) if !self.in_flight.is_empty() => self.wait_until(0)?,
                // The index is behind: wait for it.
                Err(DoorError::Busy) if time::mono() < deadline => self.node.wait_for_index(INDEX_WAIT),
                other => break other,
            }
        };
        match row {
            Ok(row) => self.in_flight.push_back((place, key, row)),
            Err(error) => self.ended(place, Err(error))?,
        }
        if self.in_flight.len() >= IMPORT_ROWS_IN_FLIGHT {
            self.wait_until(IMPORT_ROWS_IN_FLIGHT / 2)?;
        }
        Ok(())
    }

    /// Waits for the oldest rows until so many are left.
    fn wait_until(&mut self, left: usize) -> Result<(), DoorError> {
        while self.in_flight.len() > left {
            if let Some((place, _, row)) = self.in_flight.pop_front() {
                self.ended(place, row.durable_blocking())?;
            }
        }
        Ok(())
    }

    fn ended(&mut self, place: Place, stored: Result<bool, DoorError>) -> Result<(), DoorError> {
        match stored {
            Ok(true) => self.report.stored += 1,
            Ok(false) => self.report.unchanged += 1,
            Err(corrupt @ DoorError::Corrupt { .. }) => self.reject(place, corrupt.to_string()),
            Err(stopped) => return Err(DoorError::Interrupted { line: place.line, source: Box::new(stopped) }),
        }
        Ok(())
    }

    fn reject(&mut self, place: Place, reason: String) {
        self.report.rejected += 1;
        if self.report.errors.len() < IMPORT_ERRORS_MAX {
            self.report.errors.push(RowError { line: place.line, column: place.column, reason });
        }
    }
}

fn json(body: Vec<u8>) -> Action {
    Action::Put { content_type: "application/json".to_owned(), body: Blob(body.into()), ttl_ms: None }
}

/// A row or the column and reason why not.
type Parsed<T> = Result<T, (u64, String)>;

/// A CSV row as one JSON object of strings in header order.
fn csv_row(columns: &[String], key_at: usize, record: &csv::ByteRecord) -> Parsed<(Vec<u8>, Vec<u8>)> {
    if record.len() != columns.len() {
        let column = to_u64(record.len().min(columns.len())) + 1;
        return Err((column, format!("the row has {} fields, the header {}", record.len(), columns.len())));
    }
    let mut key = Vec::new();
    let mut body = vec![b'{'];
    for (at, (column, field)) in columns.iter().zip(record).enumerate() {
        let wrong = |reason: String| (to_u64(at) + 1, reason);
        let text = std::str::from_utf8(field).map_err(|_invalid| wrong("the field is not UTF-8".to_owned()))?;
        if at == key_at {
            key = field.to_vec();
        }
        if at > 0 {
            body.push(b',');
        }
        serde_json::to_writer(&mut body, column).map_err(|error| wrong(error.to_string()))?;
        body.push(b':');
        serde_json::to_writer(&mut body, text).map_err(|error| wrong(error.to_string()))?;
    }
    body.push(b'}');
    Ok((key, body))
}

/// A line with its key in a field: stored byte for byte.
fn keyed_line(field: &str, text: &[u8]) -> Parsed<(Vec<u8>, Action)> {
    // Only the key is looked at, but the whole line must be JSON.
    let value: serde_json::Value = serde_json::from_slice(text).map_err(|error| broken_json(&error))?;
    let key = match value.get(field) {
        Some(serde_json::Value::String(key)) => key.clone(),
        Some(serde_json::Value::Number(number)) => number.to_string(),
        Some(_) => return Err((1, format!("the field `{field}` is neither text nor a number"))),
        None => return Err((1, format!("the line has no field `{field}`"))),
    };
    Ok((key.into_bytes(), json(text.to_vec())))
}

/// A line as an export writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExportedLine<'a> {
    key: Option<String>,
    key_b64: Option<String>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    value_b64: Option<String>,
    content_type: Option<String>,
}

fn exported_line(text: &[u8]) -> Parsed<(Vec<u8>, Action)> {
    let line: ExportedLine = serde_json::from_slice(text).map_err(|error| broken_json(&error))?;
    let decode = |text: &str| codec::from_base64(text).ok_or_else(|| (1, "a _b64 field is not base64".to_owned()));
    let key = match (line.key, line.key_b64) {
        (Some(key), None) => key.into_bytes(),
        (None, Some(key)) => decode(&key)?,
        (Some(_), Some(_)) | (None, None) => return Err((1, "one of `key` and `key_b64` is needed".to_owned())),
    };
    let action = match (line.value, line.value_b64) {
        (Some(value), None) => json(value.get().as_bytes().to_vec()),
        (None, Some(value)) => Action::Put {
            content_type: line.content_type.unwrap_or_default(),
            body: Blob(decode(&value)?.into()),
            ttl_ms: None,
        },
        (Some(_), Some(_)) | (None, None) => return Err((1, "one of `value` and `value_b64` is needed".to_owned())),
    };
    Ok((key, action))
}

/// Reads rows of CSV, without a node.
///
/// # Panics
/// Where a row becomes something other than JSON.
pub fn read_csv(bytes: &[u8]) {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
    let Ok(header) = reader.headers() else { return };
    let columns: Vec<String> = header.iter().map(str::to_owned).collect();
    let Ok(key_at) = key_column(None, &columns) else { return };
    let mut record = csv::ByteRecord::new();
    while let Ok(true) = reader.read_byte_record(&mut record) {
        if let Ok((key, body)) = csv_row(&columns, key_at, &record) {
            assert!(serde_json::from_slice::<&RawValue>(&body).is_ok(), "a row is one JSON object");
            assert_eq!(Some(key.as_slice()), record.get(key_at));
        }
    }
}

/// Reads rows of NDJSON in both forms, without a node.
///
/// # Panics
/// Where a row would be stored that is not JSON.
pub fn read_ndjson(bytes: &[u8]) {
    for (number, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let text = trim(line, number == 0);
        for (_, action) in [keyed_line("id", text), exported_line(text)].into_iter().flatten() {
            if let Action::Put { content_type, body, .. } = action {
                let json = serde_json::from_slice::<&RawValue>(&body.0).is_ok();
                assert!(json || content_type != "application/json" || text.starts_with(b"{"), "JSON is JSON");
            }
        }
    }
}

fn trim(line: &[u8], first: bool) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if first { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line }
}

fn broken_json(error: &serde_json::Error) -> (u64, String) {
    (to_u64(error.column()).max(1), format!("not JSON: {error}"))
}

/// The row that begins in this line cannot be read to its end.
fn broken_csv(error: &csv::Error, line: u64, stored: &str) -> DoorError {
    if let csv::ErrorKind::Io(error) = error.kind() {
        return broken_off(error, line, stored);
    }
    DoorError::Unsuitable(format!("line {line}: {error}; {stored}"))
}

fn broken_off(error: &io::Error, line: u64, stored: &str) -> DoorError {
    if error.kind() == io::ErrorKind::InvalidData {
        return DoorError::Unsuitable(format!("line {line}: {error}; {stored}"));
    }
    DoorError::Unsuitable(format!("line {line}: the upload broke off: {error}; {stored}; repeat it to go on"))
}

fn to_u64(number: usize) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use super::csv_row;
    use super::exported_line;
    use super::keyed_line;
    use super::trim;

    #[test]
    fn a_csv_row_becomes_an_object_of_strings_in_header_order() {
        let columns = ["b".to_owned(), "a\"".to_owned()];
        let record = csv::ByteRecord::from(vec!["x\ny", "1"]);
        let (key, body) = csv_row(&columns, 1, &record).unwrap();
        assert_eq!((key.as_slice(), body.as_slice()), (&b"1"[..], &br#"{"b":"x\ny","a\"":"1"}"#[..]));
        assert_eq!(csv_row(&columns, 0, &csv::ByteRecord::from(vec!["x"])).unwrap_err().0, 2);
        assert_eq!(csv_row(&columns, 0, &csv::ByteRecord::from(vec![&b"x"[..], b"\xff"])).unwrap_err().0, 2);
    }

    #[test]
    fn a_keyed_line_is_kept_byte_for_byte_and_a_broken_one_names_its_column() {
        let (key, action) = keyed_line("id", br#"{ "id": 7,  "n\u0000": 1e3 }"#).unwrap();
        assert_eq!(key, b"7");
        assert_eq!(action, super::json(br#"{ "id": 7,  "n\u0000": 1e3 }"#.to_vec()));
        assert_eq!(keyed_line("id", br#"{"id": x}"#).unwrap_err().0, 8);
        assert!(keyed_line("id", b"{}").is_err() && keyed_line("id", br#"{"id":[]}"#).is_err());
    }

    #[test]
    fn an_exported_line_goes_back_in() {
        let (key, action) = exported_line(br#"{"key_b64":"/w==","value":{"a": 1}}"#).unwrap();
        assert_eq!((key.as_slice(), action), (&b"\xff"[..], super::json(br#"{"a": 1}"#.to_vec())));
        for bad in [r"{}", r#"{"key":"a"}"#, r#"{"key":"a","key_b64":"","value":1}"#, r#"{"key":"a","value_b64":"!"}"#]
        {
            assert!(exported_line(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn line_ends_and_a_leading_mark_are_not_data() {
        assert_eq!(trim(b"\xef\xbb\xbfa\r\n", true), b"a");
        assert_eq!(trim(b"\xef\xbb\xbfa\n", false), b"\xef\xbb\xbfa");
    }
}
