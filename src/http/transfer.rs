//! Import and export: whole buckets as streams.

use axum::Extension;
use axum::Json;
use axum::body::Body;
use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::Uri;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use futures_util::stream;

use crate::front::body;
use crate::front::path;
use crate::front::problem::Problem;
use crate::front::query::Query;
use crate::node::Node;
use crate::node::access::Caller;
use crate::node::drill;
use crate::node::import::BodyReader;
use crate::node::import::Format;
use crate::node::import::ImportOptions;
use crate::node::import::ImportReport;
use crate::node::vnode::ExistingRow;

const NDJSON: &str = "application/x-ndjson";
const CSV: &str = "text/csv";

/// `POST /v1/buckets/{name}/import`.
pub async fn import(
    State(node): State<Node>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<ImportReport>, Problem> {
    let (parts, body) = request.into_parts();
    let name = path::segment(parts.uri.path(), 2)?;
    let query = Query::parse(&parts.uri, &["key", "format", "existing"])?;
    let existing = match query.text("existing")? {
        None | Some("replace") => ExistingRow::Replace,
        Some("keep") => ExistingRow::Keep,
        Some(_) => return Err(Problem::bad_request("bad_parameter", "existing is replace or keep")),
    };
    let format = format(&query)?.or_else(|| sent_as(&parts.headers)).ok_or_else(|| {
        Problem::bad_request(
            "format_needed",
            "say `?format=csv` or `?format=ndjson`, or send text/csv or application/x-ndjson",
        )
    })?;
    let options = ImportOptions { format, key: query.text("key")?.map(str::to_owned), existing };
    let report = node.import(&caller, &name, options, BodyReader::new(body::stream(body))).await?;
    Ok(Json(report))
}

fn format(query: &Query) -> Result<Option<Format>, Problem> {
    match query.text("format")? {
        None => Ok(None),
        Some("csv") => Ok(Some(Format::Csv)),
        Some("ndjson") => Ok(Some(Format::Ndjson)),
        Some(_) => Err(Problem::bad_request("bad_parameter", "format is csv or ndjson")),
    }
}

fn sent_as(headers: &HeaderMap) -> Option<Format> {
    let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    match content_type.split(';').next()?.trim() {
        CSV => Some(Format::Csv),
        NDJSON => Some(Format::Ndjson),
        _ => None,
    }
}

/// `GET /v1/buckets/{name}/export`.
pub async fn export(State(node): State<Node>, uri: Uri) -> Result<Response, Problem> {
    let name = path::segment(uri.path(), 2)?;
    let format = format(&Query::parse(&uri, &["format"])?)?.unwrap_or(Format::Ndjson);
    let pieces = node.export(&name, format).await?;
    let body = Body::from_stream(stream::unfold(pieces, async |mut pieces| {
        let piece = pieces.recv().await?;
        drill::meet_body();
        Some((piece, pieces))
    }));
    let content_type = match format {
        Format::Csv => CSV,
        Format::Ndjson => NDJSON,
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    std::future::ready(Ok((headers, body).into_response())).await
}
