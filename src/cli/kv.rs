//! `ringfort kv`.

use std::io::Read;

use clap::Subcommand;
use hyper::Method;
use hyper::StatusCode;
use serde_json::Value;

use crate::base::exit::Exit;
use crate::cli::client::Client;
use crate::cli::client::escape;
use crate::cli::client::full;
use crate::cli::output;
use crate::cli::output::Done;
use crate::cli::output::Failure;

/// `ringfort kv`.
#[derive(Subcommand, Debug)]
pub enum KvCommand {
    /// Print a value as it is stored
    Get {
        /// The bucket
        bucket: String,
        /// The key
        key: String,
    },
    /// Store a value; returns when it is on disk
    Put {
        /// The bucket
        bucket: String,
        /// The key
        key: String,
        /// The value; read from standard input where it is missing or `-`
        value: Option<String>,
        /// Its type
        #[arg(long, default_value = "application/octet-stream")]
        content_type: String,
        /// Time to live, such as 1h
        #[arg(long)]
        ttl: Option<String>,
        /// Keep what others wrote meanwhile as siblings instead of replacing what is there now
        #[arg(long)]
        blind: bool,
    },
    /// Delete a value
    Rm {
        /// The bucket
        bucket: String,
        /// The key
        key: String,
    },
    /// List keys in byte order
    Ls {
        /// The bucket
        bucket: String,
        /// Only keys that begin so
        #[arg(long, default_value = "")]
        prefix: String,
    },
}

fn path(bucket: &str, key: &str) -> String {
    format!("/v1/kv/{}/{}", escape(bucket.as_bytes()), escape(key.as_bytes()))
}

/// Runs `ringfort kv`.
///
/// # Errors
/// Of the node or the way to it.
pub async fn kv(client: &Client, command: &KvCommand, as_json: bool) -> Done {
    match command {
        KvCommand::Get { bucket, key } => get(client, bucket, key).await,
        KvCommand::Put { bucket, key, value, content_type, ttl, blind } => {
            let value = match value.as_deref() {
                None | Some("-") => read_stdin()?,
                Some(text) => text.as_bytes().to_vec(),
            };
            let ttl = ttl.as_ref().map(|ttl| format!("?ttl={}", escape(ttl.as_bytes()))).unwrap_or_default();
            let context = if *blind { None } else { context(client, bucket, key).await? };
            let mut headers = vec![("content-type", content_type.as_str())];
            headers.extend(context.as_deref().map(|context| ("ringfort-context", context)));
            let path = format!("{}{ttl}", path(bucket, key));
            let receipt = client.send(Method::PUT, &path, &headers, full(value)).await?.json().await?;
            told(&receipt, "stored", as_json);
            Ok(())
        }
        KvCommand::Rm { bucket, key } => {
            let context = context(client, bucket, key).await?;
            let headers: Vec<_> = context.as_deref().map(|context| ("ringfort-context", context)).into_iter().collect();
            let receipt = client.send(Method::DELETE, &path(bucket, key), &headers, full("")).await?.json().await?;
            told(&receipt, "deleted", as_json);
            Ok(())
        }
        KvCommand::Ls { bucket, prefix } => ls(client, bucket, prefix, as_json).await,
    }
}

fn read_stdin() -> Result<Vec<u8>, Failure> {
    let mut value = Vec::new();
    std::io::stdin().read_to_end(&mut value).map_err(|error| Failure::io("standard input", &error))?;
    Ok(value)
}

async fn get(client: &Client, bucket: &str, key: &str) -> Done {
    let answer = client.send(Method::GET, &path(bucket, key), &[], full("")).await?;
    let several = answer.head.status == StatusCode::MULTIPLE_CHOICES;
    let bytes = answer.bytes().await?;
    output::raw(&bytes).map_err(|error| Failure::io("standard output", &error))?;
    if several {
        return Err(Failure::new(Exit::CheckWarned, "this key has several concurrent values; they are listed above"));
    }
    Ok(())
}

/// The context of what is there now, so that a write replaces it.
async fn context(client: &Client, bucket: &str, key: &str) -> Result<Option<String>, Failure> {
    let answer = client.send(Method::HEAD, &path(bucket, key), &[], full("")).await?;
    let context = answer.header("ringfort-context").map(str::to_owned);
    if answer.head.status != StatusCode::NOT_FOUND {
        // Anything but a value or its absence is a reason not to write.
        answer.bytes().await?;
    }
    Ok(context)
}

fn told(receipt: &Value, done: &str, as_json: bool) {
    if as_json {
        output::json(receipt);
    } else {
        let owners = receipt.get("acked_by").and_then(Value::as_array).into_iter().flatten();
        let owners = owners.map(Value::to_string).collect::<Vec<_>>().join(", ");
        output::note(format_args!("{done}; on the disk of node {owners}"));
    }
}

async fn ls(client: &Client, bucket: &str, prefix: &str, as_json: bool) -> Done {
    let mut after = String::new();
    loop {
        let path = format!("/v1/kv/{}?prefix={}{after}", escape(bucket.as_bytes()), escape(prefix.as_bytes()));
        let page = client.ask(Method::GET, &path).await?;
        for key in page.get("keys").and_then(Value::as_array).into_iter().flatten() {
            match key.get("key").and_then(Value::as_str) {
                Some(text) if !as_json => output::line(text),
                Some(_) | None => output::line(key),
            }
        }
        after = match (page.get("next").and_then(Value::as_str), page.get("next_b64").and_then(Value::as_str)) {
            (Some(next), _) => format!("&after={}", escape(next.as_bytes())),
            (None, Some(next)) => format!("&after_b64={}", escape(next.as_bytes())),
            (None, None) => return Ok(()),
        };
    }
}
