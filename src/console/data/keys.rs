//! `/data/{bucket}`: its keys under a prefix, a page at a time. Forward and back go by key, so that a page costs the
//! same wherever it is.

use askama::Template;
use axum::extract::State;
use axum::http::Uri;

use crate::base::limits::PAGE_ROWS_BYTES_MAX;
use crate::base::limits::PAGE_ROWS_MAX;
use crate::base::time;
use crate::console::data;
use crate::console::data::promise;
use crate::console::data::promise::Promise;
use crate::console::page;
use crate::console::page::Answer;
use crate::console::page::Page;
use crate::console::page::Section;
use crate::console::page::Visit;
use crate::front::query::Query;
use crate::node::Node;
use crate::node::error::DoorError;
use crate::node::list;
use crate::node::list::Listed;
use crate::node::list::Range;
use crate::proto::rows::Way;

#[derive(Template)]
#[template(path = "data/keys.html")]
struct Keys {
    page: Page,
    bucket: String,
    url: String,
    promise: Promise,
    kind: &'static str,
    /// As typed; empty where it is no text.
    prefix: String,
    /// As seen; empty for none.
    prefix_shown: String,
    rows: Vec<Row>,
    previous: Option<String>,
    next: Option<String>,
    /// What was just done.
    done: &'static str,
}

struct Row {
    url: String,
    key: String,
    size: u64,
    at: String,
}

/// Bytes of a row beside its address and what is shown of its key.
const ROW_BYTES: usize = 220;

/// `GET /data/{bucket}`.
pub async fn show(State(node): State<Node>, visit: Visit, uri: Uri) -> Answer {
    let bucket = data::bucket_of(&uri)?;
    let query = Query::parse(&uri, &["prefix", "after", "before", "done"])?;
    let definition = node.bucket_view(&bucket).await?.definition;
    let prefix = query.bytes("prefix").unwrap_or_default();
    let turned = turn(&node, &bucket, prefix, query.bytes("after"), query.bytes("before")).await?;
    let url = data::bucket_url(&bucket);
    let here = format!("{url}?prefix={}", data::escape(prefix));
    let there = |way: &str, key: Option<&Listed>| key.map(|key| format!("{here}&{way}={}", data::escape(&key.key)));
    let (first, last) = (turned.keys.first(), turned.keys.last());
    let template = Keys {
        page: Page::new(&node, &visit, Section::Data, bucket.clone()),
        promise: promise::of(&definition),
        kind: promise::kind(definition.kind),
        prefix: String::from_utf8(prefix.to_vec()).unwrap_or_default(),
        prefix_shown: data::shown(prefix),
        rows: turned.rows,
        previous: there("before", first.filter(|_| turned.more_before)),
        next: there("after", last.filter(|_| turned.more_behind)),
        done: match query.text("done")? {
            Some("made") => "The bucket is made.",
            Some("deleted") => "The key is deleted.",
            Some(_) | None => "",
        },
        bucket,
        url,
    };
    page::render(&template)
}

/// Keys in byte order, and whether there are others on either side.
struct Turned {
    keys: Vec<Listed>,
    rows: Vec<Row>,
    more_before: bool,
    more_behind: bool,
}

async fn turn(
    node: &Node,
    bucket: &str,
    prefix: &[u8],
    after: Option<&[u8]>,
    before: Option<&[u8]>,
) -> Result<Turned, DoorError> {
    let range = |after: &[u8], way| Range { prefix: prefix.to_vec(), after: after.to_vec(), way };
    if let Some(before) = before {
        let list::Page { mut keys, next } = node.list(bucket, range(before, Way::Back), PAGE_ROWS_MAX).await?;
        let (mut rows, cut) = rows(bucket, &mut keys);
        keys.reverse();
        rows.reverse();
        if next.is_some() || cut {
            return Ok(Turned { keys, rows, more_before: true, more_behind: true });
        }
        // This is the first page: shown from the beginning, and full.
    }
    let after = after.filter(|_| before.is_none()).unwrap_or_default();
    let list::Page { mut keys, next } = node.list(bucket, range(after, Way::Forward), PAGE_ROWS_MAX).await?;
    let (rows, cut) = rows(bucket, &mut keys);
    Ok(Turned { keys, rows, more_before: !after.is_empty(), more_behind: next.is_some() || cut })
}

/// The rows of the first keys, as many as a page bears and at least one; the other keys are left to the next page.
fn rows(bucket: &str, keys: &mut Vec<Listed>) -> (Vec<Row>, bool) {
    let (mut rows, mut bytes) = (Vec::with_capacity(keys.len()), 0);
    for listed in keys.iter() {
        let row = Row {
            url: data::key_url(bucket, "key", &listed.key),
            key: data::shown_short(&listed.key),
            size: listed.size,
            at: time::rfc3339(listed.at_ms),
        };
        bytes += ROW_BYTES + row.url.len() + bytes_in_html(&row.key);
        if bytes > PAGE_ROWS_BYTES_MAX && !rows.is_empty() {
            break;
        }
        rows.push(row);
    }
    let cut = rows.len() < keys.len();
    keys.truncate(rows.len());
    (rows, cut)
}

/// Signs of markup are five letters there.
fn bytes_in_html(text: &str) -> usize {
    text.bytes().map(|byte| if matches!(byte, b'<' | b'>' | b'&' | b'"' | b'\'') { 5 } else { 1 }).sum()
}
