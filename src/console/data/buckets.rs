//! `/data`: all buckets, and what each promises.

use askama::Template;
use axum::extract::State;
use axum::http::Uri;

use crate::base::limits::PAGE_ROWS_MAX;
use crate::console::data;
use crate::console::data::promise;
use crate::console::page;
use crate::console::page::Answer;
use crate::console::page::Page;
use crate::console::page::Section;
use crate::console::page::Visit;
use crate::front::query::Query;
use crate::node::Node;
use crate::proto::control::Bucket;

#[derive(Template)]
#[template(path = "data/buckets.html")]
struct Buckets {
    page: Page,
    rows: Vec<Row>,
    total: u64,
    /// Where the next ones are.
    next: Option<String>,
    /// Whether these are not the first.
    later: bool,
    /// The name of one that was just removed.
    removed: Option<String>,
}

struct Row {
    name: String,
    url: String,
    kind: &'static str,
    numbers: String,
    class: &'static str,
    ttl: Option<String>,
    survives: String,
    weak: bool,
}

/// `GET /data`.
pub async fn show(State(node): State<Node>, visit: Visit, uri: Uri) -> Answer {
    let query = Query::parse(&uri, &["after", "removed"])?;
    let (after, removed) = (query.text("after")?, query.text("removed")?.map(str::to_owned));
    let buckets = node.buckets();
    let behind = buckets.iter().filter(|(name, _)| after.is_none_or(|after| name.as_str() > after));
    let mut rows: Vec<Row> = behind.take(PAGE_ROWS_MAX + 1).map(|(name, bucket)| row(name, bucket)).collect();
    let more = rows.len() > PAGE_ROWS_MAX;
    rows.truncate(PAGE_ROWS_MAX);
    let last = rows.last().filter(|_| more);
    let next = last.map(|last| format!("{}?after={}", data::BUCKETS, data::escape(last.name.as_bytes())));
    let page = Page::new(&node, &visit, Section::Data, "Data");
    let total = buckets.len() as u64;
    std::future::ready(page::render(&Buckets { page, rows, total, next, later: after.is_some(), removed })).await
}

fn row(name: &str, bucket: &Bucket) -> Row {
    let definition = &bucket.definition;
    let promise = promise::of(definition);
    Row {
        name: name.to_owned(),
        url: data::bucket_url(name),
        kind: promise::kind(definition.kind),
        numbers: format!("{} / {} / {}", definition.n, definition.r, definition.w),
        class: promise::class(definition.class),
        ttl: promise::life(definition.ttl_ms),
        survives: promise.survives,
        weak: promise.weak,
    }
}
