//! `/data/{bucket}/about`: a bucket's definition in words, import and export, and its removal.

use askama::Template;
use axum::extract::Request;
use axum::extract::State;
use axum::http::StatusCode;

use crate::console::data;
use crate::console::data::promise;
use crate::console::data::promise::Promise;
use crate::console::data::snippets;
use crate::console::form::Form;
use crate::console::page;
use crate::console::page::Answer;
use crate::console::page::Page;
use crate::console::page::Section;
use crate::console::page::Visit;
use crate::front::host;
use crate::node::Node;
use crate::node::import::ImportReport;

/// Bytes of the form: a name.
const FORM_BYTES_MAX: usize = 4 * 1024;

/// What is said on the page besides the bucket itself.
#[derive(Default)]
pub struct Said {
    /// What an import did.
    pub report: Option<ImportReport>,
    /// Why an import was refused.
    pub wrong_import: Option<String>,
    /// Why it was not removed.
    pub wrong_name: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "data/about.html")]
struct About {
    page: Page,
    bucket: String,
    url: String,
    export_url: String,
    kind: &'static str,
    class: &'static str,
    numbers: [u8; 3],
    life: Option<String>,
    promise: Promise,
    /// The header of its last CSV import.
    columns: Vec<String>,
    said: Said,
    import_lines: String,
}

/// `GET /data/{bucket}/about`.
pub async fn show(State(node): State<Node>, visit: Visit, request: Request) -> Answer {
    let (parts, _no_body) = request.into_parts();
    let bucket = data::bucket_of(&parts.uri)?;
    node.bucket_view(&bucket).await?;
    draw(&node, &visit, StatusCode::OK, &bucket, &host::origin(&node, &parts), Said::default())
}

/// Draws the page of a bucket.
///
/// # Errors
/// Where the bucket is gone.
pub fn draw(node: &Node, visit: &Visit, status: StatusCode, bucket: &str, origin: &str, said: Said) -> Answer {
    let view = node.bucket_here(bucket)?;
    let definition = &view.definition;
    let template = About {
        page: Page::new(node, visit, Section::Data, bucket),
        url: data::bucket_url(bucket),
        export_url: format!("/v1/buckets/{}/export", data::escape(bucket.as_bytes())),
        kind: promise::kind(definition.kind),
        class: promise::class(definition.class),
        numbers: [definition.n, definition.r, definition.w],
        life: promise::life(definition.ttl_ms),
        promise: promise::of(definition),
        columns: view.columns.clone(),
        said,
        import_lines: snippets::import(origin, bucket),
        bucket: bucket.to_owned(),
    };
    page::render_as(status, &template)
}

/// `POST /data/{bucket}/remove`: the bucket and all its data, where its name was typed.
pub async fn remove(State(node): State<Node>, visit: Visit, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let bucket = data::bucket_of(&parts.uri)?;
    let form = Form::read(&node, &parts.headers, body, FORM_BYTES_MAX).await?;
    if form.text("name").trim() != bucket {
        let origin = host::origin(&node, &parts);
        let said = Said { wrong_name: Some("This is not the bucket's name. Nothing was removed."), ..Said::default() };
        return draw(&node, &visit, StatusCode::UNPROCESSABLE_ENTITY, &bucket, &origin, said);
    }
    node.remove_bucket(&visit.caller, &bucket).await?;
    Ok(page::see_other(&format!("{}?removed={}", data::BUCKETS, data::escape(bucket.as_bytes()))))
}

/// For templates: whether a report has nothing to complain about.
impl Said {
    fn clean(&self) -> bool {
        self.report.as_ref().is_some_and(|report| report.rejected == 0)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Uri;

    #[test]
    fn the_bucket_is_in_the_address_once_decoded() {
        let uri: Uri = "/data/%6eew/about".parse().unwrap();
        assert_eq!(super::data::bucket_of(&uri), Ok("new".to_owned()));
    }
}
