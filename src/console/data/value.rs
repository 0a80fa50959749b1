//! `/data/{bucket}/key`: one key with its values side by side, what is known about it, and how programs reach it. Also
//! the bytes of a value, as a download or a picture.

use askama::Template;
use axum::body::Body;
use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;

use crate::base::limits::PREVIEW_BYTES_MAX;
use crate::base::limits::VALUE_MARKUP_BYTES;
use crate::base::time;
use crate::console::data;
use crate::console::data::edit::Editor;
use crate::console::data::preview;
use crate::console::data::preview::Preview;
use crate::console::data::preview::View;
use crate::console::data::promise;
use crate::console::data::snippets;
use crate::console::data::snippets::Snippets;
use crate::console::page;
use crate::console::page::Answer;
use crate::console::page::Page;
use crate::console::page::Section;
use crate::console::page::Visit;
use crate::console::ring;
use crate::front::host;
use crate::front::problem::Problem;
use crate::front::query::Query;
use crate::node::Node;
use crate::node::vnode::ReadOptions;
use crate::node::vnode::Value;
use crate::proto::key::Key;
use crate::proto::object::Sibling;

/// Letters of a context that are shown; the whole is copied.
const CONTEXT_LETTERS: usize = 24;
/// Letters of a download's name.
const FILE_NAME_LETTERS: usize = 64;

/// Something to say above the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// `ok`, `warn` or `bad`.
    pub kind: &'static str,
    /// A sentence.
    pub text: String,
}

#[derive(Template)]
#[template(path = "data/value.html")]
struct KeyPage {
    page: Page,
    bucket: String,
    bucket_url: String,
    key: String,
    kind: &'static str,
    notice: Option<Notice>,
    /// How many values it has.
    count: usize,
    /// Those that are shown.
    values: Vec<ValueView>,
    /// Where the others are.
    others: Option<Others>,
    views: Vec<(&'static str, String, bool)>,
    /// What a change is based on.
    base: Base,
    editor: Option<Editor>,
    keep_url: String,
    delete_url: String,
    partition: u8,
    owners: String,
    /// Where it is shown what each of them holds.
    where_url: String,
    etag: String,
    snippets: Snippets,
    /// Whether programs need a CA for them.
    tls: bool,
}

/// What a change is based on: the state that the person saw and the context that covers it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Base {
    /// See [`Node::state_of`].
    pub state: String,
    /// See [`Value`].
    pub context: String,
}

impl Base {
    /// That of a read.
    #[must_use]
    pub fn of(value: Option<&Value>) -> Self {
        Self { state: Node::state_of(value), context: value.map(|value| value.context.clone()).unwrap_or_default() }
    }

    fn context_short(&self) -> String {
        match self.context.char_indices().nth(CONTEXT_LETTERS) {
            Some((end, _)) => format!("{}…", self.context.get(..end).unwrap_or_default()),
            None => self.context.clone(),
        }
    }
}

/// One of the values of a key.
struct ValueView {
    number: usize,
    content_type: String,
    size: u64,
    at: String,
    expires: Option<String>,
    preview: Preview,
    picture_url: String,
    download_url: String,
    edit_url: String,
}

/// Values of a key that its page has no room for.
struct Others {
    /// Which ones are shown, in words.
    shown: String,
    first: Option<String>,
    next: Option<String>,
}

/// What a page of one key is drawn for.
pub struct Asked<'a> {
    /// Who asks.
    pub visit: &'a Visit,
    /// Whose address this node is asked under.
    pub origin: String,
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a Key,
    /// How to look at its values.
    pub view: View,
    /// The first of them that is shown.
    pub from: usize,
    /// Something to say first.
    pub notice: Option<Notice>,
    /// An editor below the values.
    pub editor: Option<Editor>,
}

/// `GET /data/{bucket}/key`.
pub async fn show(State(node): State<Node>, visit: Visit, request: Request) -> Answer {
    let (parts, _no_body) = request.into_parts();
    let bucket = data::bucket_of(&parts.uri)?;
    let query = Query::parse(&parts.uri, &["k", "view", "from", "edit", "done"])?;
    let key = data::key_of(&query)?;
    let value = node.get(&bucket, &key, ReadOptions::default()).await?;
    let editor = match (query.number::<usize>("edit")?, &value) {
        (Some(number), _) => Some(Editor::of(&bucket, &key, value.as_ref(), number)),
        // A key without a value is here to be given one.
        (None, value) if Node::state_of(value.as_ref()).is_empty() => Some(Editor::of(&bucket, &key, None, 0)),
        (None, _) => None,
    };
    let asked = Asked {
        visit: &visit,
        origin: host::origin(&node, &parts),
        bucket: &bucket,
        key: &key,
        view: View::parse(query.text("view")?.unwrap_or_default()),
        from: query.number("from")?.unwrap_or(0),
        notice: done(query.text("done")?.unwrap_or_default()),
        editor,
    };
    std::future::ready(draw(&node, StatusCode::OK, asked, value.as_ref())).await
}

fn done(what: &str) -> Option<Notice> {
    let text = match what {
        "saved" => "Saved: on disk, and read back below.",
        "kept" => "Kept: the other values are replaced, as the context of all of them says.",
        _ => return None,
    };
    Some(Notice { kind: "ok", text: text.to_owned() })
}

/// Draws the page of a key.
///
/// # Errors
/// Where the bucket is gone.
pub fn draw(node: &Node, status: StatusCode, asked: Asked<'_>, value: Option<&Value>) -> Answer {
    let Asked { visit, origin, bucket, key, view, from, notice, editor } = asked;
    let definition = node.bucket_here(bucket)?.definition;
    let place = node.place_of(bucket, key)?;
    let live: Vec<&Sibling> = value.map(|value| value.object.live(value.now_ms).collect()).unwrap_or_default();
    let body = data::body_bytes(bucket, key);
    let room = room(body, &data::key_url(bucket, "key", key.as_bytes()));
    let bytes_max = PREVIEW_BYTES_MAX.min(body / 4) / live.len().clamp(1, room);
    let look = Look { bucket, key, view, bytes_max, now_ms: value.map_or(0, |value| value.now_ms) };
    let base = Base::of(value);
    let from = from.min(live.len().saturating_sub(1));
    let shown = live.iter().enumerate().skip(from).take(room);
    let template = KeyPage {
        page: Page::new(node, visit, Section::Data, data::shown_short(key.as_bytes())),
        bucket_url: data::bucket_url(bucket),
        key: data::shown(key.as_bytes()),
        kind: promise::kind(definition.kind),
        notice,
        count: live.len(),
        values: shown.filter_map(|(number, one)| look.at(number, one)).collect(),
        others: look.others(from, room, live.len()),
        views: look.views(),
        editor,
        keep_url: data::key_url(bucket, "keep", key.as_bytes()),
        delete_url: data::key_url(bucket, "delete", key.as_bytes()),
        partition: place.partition.0,
        owners: place.owners.iter().map(|node| format!("node {node}")).collect::<Vec<_>>().join(", "),
        where_url: ring::where_url(bucket, key.as_bytes()),
        etag: base.state.clone(),
        base,
        tls: origin.starts_with("https:"),
        snippets: snippets::of(&origin, bucket, key.as_bytes()),
        bucket: bucket.to_owned(),
    };
    page::render_as(status, &template)
}

/// How the values of one key are looked at.
struct Look<'a> {
    bucket: &'a str,
    key: &'a Key,
    view: View,
    bytes_max: usize,
    now_ms: u64,
}

/// The addresses of one value: its editor, its download, its picture.
const ADDRESSES_OF_A_VALUE: usize = 3;

/// How many values a page has room for, one at least: they may take two fifths of what depends on the key.
fn room(body: usize, url: &str) -> usize {
    (body * 2 / 5 / (VALUE_MARKUP_BYTES + ADDRESSES_OF_A_VALUE * url.len())).max(1)
}

impl Look<'_> {
    fn here(&self, what: &str) -> String {
        data::key_url(self.bucket, what, self.key.as_bytes())
    }

    fn views(&self) -> Vec<(&'static str, String, bool)> {
        let view = |label, is: View| (label, format!("{}&view={}", self.here("key"), is.name()), self.view == is);
        vec![view("Fitting", View::Fitting), view("Text", View::Text), view("Hex", View::Hex)]
    }

    fn others(&self, from: usize, room: usize, count: usize) -> Option<Others> {
        if count <= room && from == 0 {
            return None;
        }
        let behind = (from + room).min(count);
        let at = |from: usize| format!("{}&view={}&from={from}", self.here("key"), self.view.name());
        Some(Others {
            shown: format!("Values {} to {behind} of {count}", from + 1),
            first: (from > 0).then(|| at(0)),
            next: (behind < count).then(|| at(behind)),
        })
    }

    fn at(&self, number: usize, sibling: &Sibling) -> Option<ValueView> {
        let (content_type, body) = sibling.live(self.now_ms)?;
        Some(ValueView {
            number,
            content_type: content_type.to_owned(),
            size: body.0.len() as u64,
            at: time::rfc3339(sibling.at_ms()),
            expires: sibling.expires_ms.map(time::rfc3339),
            preview: preview::of(content_type, &body.0, self.view, self.bytes_max),
            picture_url: format!("{}&sibling={number}&as=picture", self.here("raw")),
            download_url: format!("{}&sibling={number}", self.here("raw")),
            edit_url: format!("{}&edit={number}#edit", self.here("key")),
        })
    }
}

/// `GET /data/{bucket}/raw`: the bytes of one value, as a download; with `as=picture`, as a picture where it is one.
pub async fn raw(State(node): State<Node>, uri: Uri) -> Answer {
    let bucket = data::bucket_of(&uri)?;
    let query = Query::parse(&uri, &["k", "sibling", "as"])?;
    let key = data::key_of(&query)?;
    let absent = || Problem::new(StatusCode::NOT_FOUND, "no_such_key", "this key has no such value any more");
    let value = node.get(&bucket, &key, ReadOptions::default()).await?.ok_or_else(absent)?;
    let number = query.number::<usize>("sibling")?.unwrap_or(0);
    let sibling = value.object.live(value.now_ms).nth(number).ok_or_else(absent)?;
    let (content_type, body) = sibling.live(value.now_ms).ok_or_else(absent)?;
    let picture = match query.text("as")? {
        Some("picture") => Some(preview::picture_type(content_type, &body.0).ok_or_else(absent)?.0),
        Some(_) | None => None,
    };
    let mut response = Response::new(Body::from(body.0.clone()));
    locked(response.headers_mut(), picture, &key);
    std::future::ready(Ok(response.into_response())).await
}

/// Whatever the bytes are, no browser runs them.
fn locked(headers: &mut HeaderMap, picture: Option<&'static str>, key: &Key) {
    let served = HeaderValue::from_static(picture.unwrap_or("application/octet-stream"));
    headers.insert(header::CONTENT_TYPE, served);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    if picture.is_none()
        && let Ok(name) = HeaderValue::from_str(&format!("attachment; filename=\"{}\"", file_name(key.as_bytes())))
    {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
}

/// A name that every file system takes and that hides nothing.
fn file_name(key: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let letters = key.iter().take(FILE_NAME_LETTERS).map(|byte| if plain(byte) { char::from(*byte) } else { '_' });
    let name: String = letters.collect();
    if name.starts_with('.') { format!("_{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn a_download_has_a_plain_name() {
        assert_eq!(file_name(b"EDDF.json"), "EDDF.json");
        assert_eq!(file_name(b"../../etc/pass\"wd\r\n"), "_.._.._etc_pass_wd__");
        assert_eq!(file_name(&[0xff; 1024]).len(), 64);
    }
}
