//! `ringfort logs` and `ringfort log-level`: the log of all nodes from any of them, and what is logged for a time.

use std::time::Duration;

use clap::Args;
use hyper::Method;
use hyper::StatusCode;
use serde_json::Value;
use serde_json::json;

use crate::base::exit::Exit;
use crate::base::limits::LOG_PAGE_LINES;
use crate::cli::client::Answer;
use crate::cli::client::Client;
use crate::cli::client::escape;
use crate::cli::client::full;
use crate::cli::cluster::cell;
use crate::cli::output;
use crate::cli::output::Done;
use crate::cli::output::Failure;
use crate::proto::logline::Record;
use crate::proto::logline::text;

/// Before a stream that broke off is asked for again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Bytes of one line: far above the longest.
const LINE_BYTES_MAX: usize = 256 * 1024;

/// `ringfort logs`.
#[derive(Args, Debug)]
pub struct LogsArguments {
    /// Of this node, by number or name, or of all
    #[arg(long, default_value = "all")]
    node: String,
    /// This level and more important ones: error, warn, info, debug, trace
    #[arg(long)]
    level: Option<String>,
    /// This part of the program and all under it, such as ringfort::store
    #[arg(long)]
    target: Option<String>,
    /// From then on: how long ago, such as 10m, or an instant such as 2026-11-20T15:36:30Z
    #[arg(long)]
    since: Option<String>,
    /// Up to then, written as for --since
    #[arg(long)]
    until: Option<String>,
    /// Lines that this expression fits
    #[arg(long, value_name = "RE")]
    grep: Option<String>,
    /// Lines with this text
    #[arg(long)]
    text: Option<String>,
    /// The last so many lines; with --since the first of them
    #[arg(long, default_value_t = LOG_PAGE_LINES)]
    lines: usize,
    /// Go on with new lines as they come
    #[arg(long)]
    follow: bool,
}

/// `ringfort log-level`.
#[derive(Args, Debug)]
pub struct LogLevelArguments {
    /// A part of the program and its level, such as ringfort::store=debug
    #[arg(value_name = "TARGET=LEVEL")]
    change: String,
    /// How long, such as 10m, 24h at most
    #[arg(long = "for", default_value = "10m")]
    lasts: String,
    /// On this node, by number or name, or on all
    #[arg(long, default_value = "all")]
    node: String,
}

/// Runs `ringfort logs`.
///
/// # Errors
/// Of the node or the way to it; with `--follow` only where there is no way at the beginning.
pub async fn logs(client: &Client, arguments: &LogsArguments, as_json: bool) -> Done {
    let mut query = vec![format!("limit={}", arguments.lines)];
    let named = [
        ("node", Some(&arguments.node)),
        ("level", arguments.level.as_ref()),
        ("target", arguments.target.as_ref()),
        ("since", arguments.since.as_ref()),
        ("until", arguments.until.as_ref()),
        ("regex", arguments.grep.as_ref()),
        ("text", arguments.text.as_ref()),
    ];
    query.extend(
        named.iter().filter_map(|(name, value)| Some(format!("{name}={}", escape(value.as_ref()?.as_bytes())))),
    );
    let path = format!("/v1/logs?{}", query.join("&"));
    let page = client.ask(Method::GET, &path).await?;
    list(&page, "silent").for_each(tell_silent);
    for line in list(&page, "lines") {
        show(line, as_json);
    }
    if page.get("next").is_some_and(Value::is_string) && !arguments.follow {
        output::note("there are more lines before these; ask with --until, or for more with --lines");
    }
    if arguments.follow {
        follow(client, &path, page.get("newest").and_then(Value::as_str).unwrap_or_default(), as_json).await
    } else {
        Ok(())
    }
}

async fn follow(client: &Client, path: &str, newest: &str, as_json: bool) -> Done {
    let path = format!("{path}&follow=true");
    let mut reader = Reader { as_json, last: newest.to_owned(), line: Vec::new() };
    let mut answer = ask(client, &path, &reader.last).await?;
    loop {
        // Where it breaks off it is asked for again.
        let _broken = reader.read(answer).await;
        answer = loop {
            tokio::time::sleep(AGAIN_AFTER).await;
            match ask(client, &path, &reader.last).await {
                Ok(answer) => break answer,
                Err(failure) if matches!(failure.exit, Exit::Unavailable | Exit::TryAgain | Exit::Io) => {}
                Err(failure) => return Err(failure),
            }
        };
    }
}

async fn ask(client: &Client, path: &str, last: &str) -> Result<Answer, Failure> {
    let headers = [("last-event-id", last)];
    let headers = if last.is_empty() { &[][..] } else { &headers[..] };
    let answer = client.send(Method::GET, path, headers, full("")).await?;
    if answer.head.status == StatusCode::OK {
        return Ok(answer);
    }
    let message = format!("the node answered {}", answer.head.status);
    answer.bytes().await.and(Err(Failure::new(Exit::Internal, message)))
}

fn list<'v>(document: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    document.get(name).and_then(Value::as_array).into_iter().flatten()
}

/// A line for whoever looks: nothing in it steers the terminal.
fn show(line: &Value, as_json: bool) {
    if as_json {
        return output::line(line);
    }
    if let Ok(record) = serde_json::from_value::<Record>(line.clone()) {
        output::line(text::line(&record, &cell(line, "/name")));
    }
}

fn tell_silent(silent: &Value) {
    let (name, reason) = (text::one_line(&cell(silent, "/name")), text::one_line(&cell(silent, "/reason")));
    let from = match silent.get("from_box_on_name").and_then(Value::as_str) {
        Some(on) => {
            let until = cell(silent, "/box_until");
            format!("its last lines, until {until}, come from the black box on {}", text::one_line(on))
        }
        None => "no other node has lines of it".to_owned(),
    };
    output::note(format_args!("{name} did not answer: {reason}; {from}"));
}

struct Reader {
    as_json: bool,
    last: String,
    line: Vec<u8>,
}

impl Reader {
    async fn read(&mut self, mut answer: Answer) -> Done {
        self.line.clear();
        while let Some(piece) = answer.piece().await? {
            for byte in piece {
                if byte == b'\n' {
                    let line = std::mem::take(&mut self.line);
                    self.take(&String::from_utf8_lossy(&line));
                } else if self.line.len() < LINE_BYTES_MAX {
                    self.line.push(byte);
                } else {
                    return Err(Failure::new(Exit::BadData, "the node's answer is no stream of lines"));
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, line: &str) {
        if let Some(id) = line.strip_prefix("id: ") {
            id.clone_into(&mut self.last);
        }
        let Some(data) = line.strip_prefix("data: ").and_then(|data| serde_json::from_str::<Value>(data).ok()) else {
            return;
        };
        if data.get("silent").is_some() {
            list(&data, "silent").for_each(tell_silent);
        } else {
            show(&data, self.as_json);
        }
    }
}

/// Runs `ringfort log-level`.
///
/// # Errors
/// Of the node or the way to it; a node that did not change it.
pub async fn log_level(client: &Client, arguments: &LogLevelArguments, as_json: bool) -> Done {
    let Some((target, level)) = arguments.change.split_once('=') else {
        let message = "write it as TARGET=LEVEL, such as ringfort::store=debug; nothing was changed";
        return Err(Failure::new(Exit::Usage, message));
    };
    let document = json!({ "target": target, "level": level, "for": arguments.lasts, "node": arguments.node });
    let done = client.tell(Method::POST, "/v1/log-level", &document).await?;
    if as_json {
        output::json(&done);
    } else {
        output::line(format_args!("{target} is logged as {level} for {}", arguments.lasts));
    }
    let refused: Vec<String> = list(&done, "refused")
        .map(|refused| format!("node {}: {}", cell(refused, "/node"), cell(refused, "/reason")))
        .collect();
    if refused.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Exit::Unavailable, format!("not on all nodes: {}", refused.join("; "))))
}
