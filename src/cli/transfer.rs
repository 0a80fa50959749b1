//! `ringfort import` and `ringfort export`: whole files, with progress.

use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::ValueEnum;
use futures_util::TryStreamExt;
use futures_util::stream;
use http_body_util::BodyExt;
use http_body_util::StreamBody;
use hyper::Method;
use hyper::body::Bytes;
use hyper::body::Frame;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::base::exit::Exit;
use crate::base::time;
use crate::cli::client::Client;
use crate::cli::client::RequestBody;
use crate::cli::client::escape;
use crate::cli::client::full;
use crate::cli::output;
use crate::cli::output::Done;
use crate::cli::output::Failure;

/// Bytes of one piece of an upload.
const PIECE_BYTES: usize = 64 * 1024;
/// Pieces read ahead of the network.
const PIECES_AHEAD: usize = 4;
/// Between two plain progress lines where nobody sees a bar.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// How rows are written.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// Comma-separated with a header row
    Csv,
    /// One JSON value a line
    Ndjson,
}

impl FileFormat {
    fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
        }
    }
}

/// `ringfort import`.
#[derive(Args, Debug, Clone)]
pub struct ImportArguments {
    /// The bucket; made as lww where it is missing
    pub bucket: String,
    /// The file; `-` reads standard input
    pub file: PathBuf,
    /// The field whose text is the key [default: CSV: the first column; NDJSON: lines of an export]
    #[arg(long, value_name = "FIELD")]
    pub key: Option<String>,
    /// How rows are written [default: by the file's name]
    #[arg(long)]
    pub format: Option<FileFormat>,
    /// Go on after an interruption: leave keys that have a value already as they are
    #[arg(long)]
    pub resume: bool,
}

/// `ringfort export`.
#[derive(Args, Debug)]
pub struct ExportArguments {
    /// The bucket
    pub bucket: String,
    /// The file [default: standard output]
    pub file: Option<PathBuf>,
    /// How rows are written [default: by the file's name, else NDJSON]
    #[arg(long)]
    pub format: Option<FileFormat>,
}

fn by_name(path: &Path) -> Option<FileFormat> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "csv" => Some(FileFormat::Csv),
        "ndjson" | "jsonl" => Some(FileFormat::Ndjson),
        _ => None,
    }
}

/// Runs `ringfort import`.
///
/// # Errors
/// Of the file, the node or the way to it; 65 where rows were rejected.
pub async fn import(client: &Client, arguments: &ImportArguments, as_json: bool) -> Done {
    let report = upload(client, arguments).await?;
    if as_json {
        output::json(&report);
    }
    let number = |name: &str| report.get(name).and_then(Value::as_u64).unwrap_or(0);
    if report.get("bucket_made").and_then(Value::as_bool) == Some(true) {
        output::note(format_args!("bucket {} is new, of kind lww", arguments.bucket));
    }
    for error in report.get("errors").and_then(Value::as_array).into_iter().flatten() {
        let at = |name: &str| error.get(name).and_then(Value::as_u64).unwrap_or(0);
        let reason = error.get("reason").and_then(Value::as_str).unwrap_or_default();
        output::note(format_args!("line {} column {}: {reason}", at("line"), at("column")));
    }
    let (rows, stored, unchanged, rejected) =
        (number("rows"), number("stored"), number("unchanged"), number("rejected"));
    output::note(format_args!("{rows} rows: {stored} stored, {unchanged} there already, {rejected} rejected"));
    if rejected > 0 {
        return Err(Failure::new(Exit::BadData, "some rows were rejected; the others are stored"));
    }
    Ok(())
}

/// Sends a file and returns the node's report.
///
/// # Errors
/// Of the file, the node or the way to it.
pub async fn upload(client: &Client, arguments: &ImportArguments) -> Result<Value, Failure> {
    let format = arguments.format.or_else(|| by_name(&arguments.file));
    let format = format.ok_or_else(|| {
        Failure::new(Exit::Usage, "the file's name does not tell its format; give --format csv or ndjson")
    })?;
    let mut path = format!("/v1/buckets/{}/import?format={}", escape(arguments.bucket.as_bytes()), format.name());
    if let Some(key) = &arguments.key {
        path.push_str("&key=");
        path.push_str(&escape(key.as_bytes()));
    }
    if arguments.resume {
        path.push_str("&existing=keep");
    }
    let (reader, len): (Box<dyn Read + Send>, Option<u64>) = if arguments.file == Path::new("-") {
        (Box::new(io::stdin()), None)
    } else {
        let file = File::open(&arguments.file).map_err(|error| Failure::io(arguments.file.display(), &error))?;
        let len = file.metadata().map_err(|error| Failure::io(arguments.file.display(), &error))?.len();
        (Box::new(file), Some(len))
    };
    let progress = Progress::new(len, &format!("importing {}", arguments.bucket));
    let len_text = len.map(|len| len.to_string());
    let headers: Vec<_> = len_text.as_deref().map(|len| ("content-length", len)).into_iter().collect();
    let answer = client.send(Method::POST, &path, &headers, upload_body(reader, progress.clone())).await?;
    let report = answer.json().await;
    progress.bar.finish_and_clear();
    report
}

/// A file as a request body, read in a blocking thread a few pieces ahead.
fn upload_body(mut reader: Box<dyn Read + Send>, mut progress: Progress) -> RequestBody {
    let (to, pieces) = mpsc::channel::<Result<Bytes, io::Error>>(PIECES_AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = reader.read(&mut piece);
            let last = !matches!(read, Ok(1..));
            let sent = match read {
                Ok(0) => return,
                Ok(len) => {
                    progress.sent(len);
                    Ok(Bytes::copy_from_slice(piece.get(..len).unwrap_or_default()))
                }
                Err(error) => Err(error),
            };
            if to.blocking_send(sent).is_err() || last {
                return;
            }
        }
    });
    let pieces = stream::unfold(pieces, async |mut pieces| Some((pieces.recv().await?, pieces)));
    StreamBody::new(pieces.map_ok(Frame::data)).boxed()
}

/// A bar on a terminal, plain lines elsewhere.
#[derive(Clone)]
struct Progress {
    bar: ProgressBar,
    plain: bool,
    what: String,
    last_line: std::time::Instant,
}

impl Progress {
    fn new(len: Option<u64>, what: &str) -> Self {
        let bar = match len {
            Some(len) => ProgressBar::new(len),
            None => ProgressBar::no_length(),
        };
        let style = "{msg} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        Self { bar, plain: !output::is_terminal(), what: what.to_owned(), last_line: time::mono() }
    }

    fn sent(&mut self, len: usize) {
        self.bar.inc(len as u64);
        if self.plain && self.last_line.elapsed() >= PLAIN_EVERY {
            self.last_line = time::mono();
            let rate = self.bar.per_sec() / 1024.0;
            output::note(format_args!("{}: {} bytes, {rate:.0} KiB/s", self.what, self.bar.position()));
        }
    }
}

/// Runs `ringfort export`.
///
/// # Errors
/// Of the file, the node or the way to it. A file is whole or not there.
pub async fn export(client: &Client, arguments: &ExportArguments) -> Done {
    let format = arguments.format.or_else(|| arguments.file.as_deref().and_then(by_name)).unwrap_or(FileFormat::Ndjson);
    let path = format!("/v1/buckets/{}/export?format={}", escape(arguments.bucket.as_bytes()), format.name());
    let mut answer = client.send(Method::GET, &path, &[], full("")).await?;
    if !answer.head.status.is_success() {
        answer.bytes().await?;
        return Ok(());
    }
    let Some(file) = &arguments.file else {
        while let Some(piece) = answer.piece().await? {
            output::raw(&piece).map_err(|error| Failure::io("standard output", &error))?;
        }
        return Ok(());
    };
    let failed = |error: io::Error| Failure::io(file.display(), &error);
    let mut begun = file.clone().into_os_string();
    begun.push(".part");
    let begun = PathBuf::from(begun);
    let mut to = File::create(&begun).map_err(failed)?;
    let mut progress = Progress::new(None, &format!("exporting {}", arguments.bucket));
    while let Some(piece) = answer.piece().await? {
        progress.sent(piece.len());
        to.write_all(&piece).map_err(failed)?;
    }
    to.sync_all().map_err(failed)?;
    std::fs::rename(&begun, file).map_err(failed)?;
    progress.bar.finish_and_clear();
    output::note(format_args!("{} bytes written to {}", progress.bar.position(), file.display()));
    Ok(())
}
