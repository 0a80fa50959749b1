//! `ringfort events`: what happened in the cluster, as one node saw it.

use std::time::Duration;

use clap::Args;
use hyper::Method;
use hyper::StatusCode;
use serde_json::Value;

use crate::base::exit::Exit;
use crate::cli::client::Answer;
use crate::cli::client::Client;
use crate::cli::client::full;
use crate::cli::cluster::cell;
use crate::cli::output;
use crate::cli::output::Done;
use crate::cli::output::Failure;

/// Before a stream that broke off is asked for again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Bytes of one event: far above the longest, with its reason.
const EVENT_BYTES_MAX: usize = 64 * 1024;

/// `ringfort events`.
#[derive(Args, Debug)]
pub struct EventsArguments {
    /// Go on with new events as they come, also when the node was away for a while
    #[arg(long)]
    follow: bool,
}

/// Runs `ringfort events`.
///
/// # Errors
/// Of the node or the way to it; with `--follow` only where there is no way at the beginning.
pub async fn events(client: &Client, arguments: &EventsArguments, as_json: bool) -> Done {
    let mut reader = Reader { as_json, ..Reader::default() };
    let path = if arguments.follow { "/v1/events" } else { "/v1/events?follow=false" };
    let mut answer = ask(client, path, &reader.last).await?;
    loop {
        match reader.read(answer).await {
            Err(failure) if !arguments.follow => return Err(failure),
            Ok(()) if !arguments.follow => return Ok(()),
            Err(_broken) => {}
            Ok(()) => {}
        }
        answer = loop {
            tokio::time::sleep(AGAIN_AFTER).await;
            match ask(client, path, &reader.last).await {
                Ok(answer) => break answer,
                // It may be away for a restart.
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

/// Puts lines together, and shows what is an event.
#[derive(Default)]
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
                } else if self.line.len() < EVENT_BYTES_MAX {
                    self.line.push(byte);
                } else {
                    return Err(Failure::new(Exit::BadData, "the node's answer is no stream of events"));
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, line: &str) {
        if let Some(id) = line.strip_prefix("id: ") {
            id.clone_into(&mut self.last);
        }
        let Some(event) = line.strip_prefix("data: ").and_then(|data| serde_json::from_str::<Value>(data).ok()) else {
            return;
        };
        if self.as_json {
            output::line(&event);
        } else if event.get("id").is_none() {
            output::note(cell(&event, "/text"));
        } else {
            let text = |at: &str| cell(&event, at);
            output::line(format_args!("{}  {:<16}  {}", text("/at"), text("/kind"), text("/text")));
        }
    }
}
