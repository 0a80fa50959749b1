//! `/v1/logs`: the log of all nodes from any of them, by page or followed as server-sent events; and `/v1/log-level`, which
//! changes what is logged for a time.

use std::convert::Infallible;

use axum::Extension;
use axum::Json;
use axum::body::Body;
use axum::body::Bytes;
use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::Uri;
use axum::response::IntoResponse;
use axum::response::Response;
use futures_util::stream;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::base::limits::LOG_FOLLOW_EVERY;
use crate::front::body;
use crate::front::logs;
use crate::front::problem::Problem;
use crate::front::query;
use crate::front::query::Query;
use crate::front::sse;
use crate::node::Node;
use crate::node::access::Caller;
use crate::node::debug::book::Follower;
use crate::node::debug::book::LevelOrderError;
use crate::node::debug::book::LogPage;
use crate::node::debug::book::LogQuery;
use crate::node::places::Place;
use crate::proto::logline::Key;
use crate::proto::logline::Level;
use crate::proto::logline::filter::Filter;
use crate::proto::logline::filter::SearchError;
use crate::proto::scope::Need;

/// How long a client waits before it connects again, in milliseconds.
const RETRY_MS: u32 = 2000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LevelDocument {
    target: String,
    level: String,
    #[serde(rename = "for")]
    lasts: String,
    node: Option<Value>,
}

struct Stream {
    node: Node,
    caller: Caller,
    follower: Follower,
    begun: bool,
    silent: Value,
    _place: Place,
}

/// A search that cannot be made, as a refusal.
fn refused(error: SearchError) -> Problem {
    Problem::bad_request("bad_parameter", error.to_string())
}

/// `GET /v1/logs?node=&level=&target=&text=&regex=&since=&until=&after=&before=&limit=&follow=`.
pub async fn show(
    State(node): State<Node>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let known: Vec<&str> = logs::PARAMETERS.into_iter().chain(["limit", "follow"]).collect();
    let parsed = Query::parse(&uri, &known)?;
    let asked = logs::read(&node, &parsed)?;
    match parsed.text("follow")? {
        None | Some("false") => {}
        Some("true") => return follow(node, caller, &headers, asked),
        Some(_) => return Err(Problem::bad_request("bad_parameter", "`follow` is true or false")),
    }
    let page = node.log_page(&asked).await.map_err(refused)?;
    Ok(Json(page).into_response())
}

fn follow(node: Node, caller: Caller, headers: &HeaderMap, asked: LogQuery) -> Result<Response, Problem> {
    Filter::new(asked.search.clone(), asked.after, asked.before).map_err(refused)?;
    let last = headers.get("last-event-id").and_then(|id| Key::parse(id.to_str().ok()?));
    let place = node.enter_events(&caller)?;
    let follower = Follower::new(LogQuery { after: last.or(asked.after), before: None, ..asked });
    let stream = Stream { node, caller, follower, begun: false, silent: Value::Null, _place: place };
    let pieces = stream::unfold(stream, |mut stream| async {
        let piece = stream.next().await?;
        Some((Ok::<Bytes, Infallible>(piece.into()), stream))
    });
    Ok(sse::answer(Body::from_stream(pieces)))
}

impl Stream {
    async fn next(&mut self) -> Option<String> {
        if self.begun {
            tokio::select! {
                () = tokio::time::sleep(LOG_FOLLOW_EVERY) => {}
                () = self.node.drained() => return None,
            }
        }
        if !self.node.is_welcome(&self.caller, Need::Observe) {
            return None;
        }
        let page = self.follower.next(&self.node).await;
        // A comment is a sign of life.
        let mut piece = if self.begun { ": beat\n\n".to_owned() } else { format!("retry: {RETRY_MS}\n\n") };
        self.begun = true;
        self.write(&page, &mut piece);
        Some(piece)
    }

    fn write(&mut self, page: &LogPage, piece: &mut String) {
        let silent = json!(page.silent);
        if silent != self.silent && (self.silent != Value::Null || !page.silent.is_empty()) {
            piece.push_str(&format!("event: silent\ndata: {}\n\n", json!({ "silent": silent })));
        }
        self.silent = silent;
        for line in &page.lines {
            let data = serde_json::to_string(line).unwrap_or_default();
            piece.push_str(&format!("id: {}\nevent: line\ndata: {data}\n\n", line.record.key()));
        }
    }
}

/// `POST /v1/log-level`.
pub async fn set_level(
    State(node): State<Node>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let (parts, body) = request.into_parts();
    let document: LevelDocument = body::document(&node, &parts.headers, body).await?;
    let level = Level::parse(&document.level).ok_or_else(|| {
        Problem::unprocessable("out_of_range", "level: one of error, warn, info, debug and trace; nothing was changed")
    })?;
    let for_ms = query::ttl_ms("for", &document.lasts)?;
    let named = match &document.node {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => Some(name.clone()),
        Some(other) => Some(other.to_string()),
    };
    let on = logs::named(&node, named.as_deref())?;
    tracing::info!(caller = &*caller.name, part = document.target, level = level.name(), "a level is to be changed");
    let refused = node.set_level(&caller, on, &document.target, level, for_ms).await;
    let refused = refused.map_err(|error| match error {
        LevelOrderError::Level(error) => Problem::unprocessable("out_of_range", error.to_string()),
        LevelOrderError::Door(error) => error.into(),
    })?;
    let refused: Vec<Value> =
        refused.into_iter().map(|(node, reason)| json!({ "node": node, "reason": reason })).collect();
    Ok(Json(json!({ "target": document.target, "level": level, "for_ms": for_ms, "refused": refused })))
}
