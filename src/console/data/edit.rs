//! Changes to one key: a new one, an edited value, one of several kept or several merged, a deletion. Every change says
//! what its maker saw; where that is not what is there any more nothing is written, and the page shows both.

use askama::Template;
use axum::extract::Request;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::request::Parts;
use axum::response::Response;
use serde::de::IgnoredAny;

use crate::base::codec::Blob;
use crate::base::limits::CONTENT_TYPE_BYTES_MAX;
use crate::base::limits::EDIT_BYTES_MAX;
use crate::base::limits::KEY_BYTES_MAX;
use crate::base::limits::VALUE_BYTES_MAX;
use crate::console::data;
use crate::console::data::preview;
use crate::console::data::preview::Verbatim;
use crate::console::data::preview::View;
use crate::console::data::value;
use crate::console::data::value::Asked;
use crate::console::data::value::Base;
use crate::console::data::value::Notice;
use crate::console::form::Form;
use crate::console::page;
use crate::console::page::Answer;
use crate::console::page::Page;
use crate::console::page::Refused;
use crate::console::page::Section;
use crate::console::page::Visit;
use crate::console::show;
use crate::front::host;
use crate::front::problem::Problem;
use crate::front::query::Query;
use crate::node::Node;
use crate::node::error::DoorError;
use crate::node::vnode::ReadOptions;
use crate::node::vnode::Value;
use crate::node::vnode::WriteOptions;
use crate::proto::key::Key;
use crate::proto::object::Action;
use crate::proto::object::apply::Refusal;

/// Bytes of a form: a largest value and a longest key with every byte escaped, and the small fields.
const FORM_BYTES_MAX: usize = 3 * (VALUE_BYTES_MAX + KEY_BYTES_MAX) + 32 * 1024;

/// The types that a value gets where its writer names none.
const JSON: &str = "application/json";
/// See [`JSON`].
const TEXT: &str = "text/plain; charset=utf-8";

/// A form for one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Editor {
    /// Where it goes.
    pub action: String,
    /// Where it is left to.
    pub cancel: String,
    /// Of a new key, as typed; none where the key is known.
    pub key: Option<String>,
    /// The text to change.
    pub text: String,
    /// `Content-Type`.
    pub content_type: String,
    /// Lifetime from the saving on, as typed; empty for what the bucket says.
    pub ttl: String,
    /// Whether an empty content type means: JSON or text, as the value is.
    pub infers: bool,
    /// Whether its lines end as on Windows, which a browser does not keep by itself.
    pub crlf: bool,
    /// Whether it replaces several values.
    pub merges: bool,
    /// Why the text does not begin with what is stored.
    pub hint: Option<&'static str>,
    /// What is wrong with what was typed.
    pub wrong: Option<String>,
    /// What the change is based on.
    pub base: Base,
}

impl Editor {
    /// An editor of one of a key's values, or of a first one where there is none.
    #[must_use]
    pub fn of(bucket: &str, key: &Key, value: Option<&Value>, number: usize) -> Self {
        let url = data::key_url(bucket, "key", key.as_bytes());
        let live = value.and_then(|value| {
            let sibling = value.object.live(value.now_ms).nth(number)?;
            let left = sibling.expires_ms.map(|at| at.saturating_sub(value.now_ms) / 1000);
            sibling.live(value.now_ms).map(|(content_type, body)| (content_type, body, left))
        });
        let several = value.is_some_and(|value| value.object.live(value.now_ms).count() > 1);
        let empty = Self {
            cancel: if live.is_some() { url.clone() } else { data::bucket_url(bucket) },
            action: url,
            key: None,
            text: String::new(),
            content_type: String::new(),
            ttl: String::new(),
            infers: true,
            crlf: false,
            merges: several,
            hint: None,
            wrong: None,
            base: Base::of(value),
        };
        let Some((content_type, body, left)) = live else { return empty };
        let ttl = left.map(|seconds| format!("{}s", seconds.max(1))).unwrap_or_default();
        match editable(&body.0, EDIT_BYTES_MAX.min(data::body_bytes(bucket, key) / 3)) {
            Ok((text, crlf)) => Self { text, crlf, ttl, content_type: content_type.to_owned(), infers: false, ..empty },
            Err(hint) => Self { hint: Some(hint), ttl, ..empty },
        }
    }

    fn typed(form: &Form, action: String, cancel: String) -> Self {
        Self {
            action,
            cancel,
            key: None,
            text: form.text("value").to_owned(),
            content_type: form.text("content_type").trim().to_owned(),
            ttl: form.text("ttl").trim().to_owned(),
            infers: form.text("infers") == "yes",
            crlf: form.text("lines") == "crlf",
            merges: false,
            hint: None,
            wrong: None,
            base: Base { state: form.text("state").to_owned(), context: form.text("context").to_owned() },
        }
    }

    /// What is to be stored, and for how long.
    fn action(&self) -> Result<(Action, Option<u64>), String> {
        if self.content_type.len() > CONTENT_TYPE_BYTES_MAX
            || !self.content_type.bytes().all(|b| (32..127).contains(&b))
        {
            return Err(format!("A content type is plain text of {CONTENT_TYPE_BYTES_MAX} bytes at most."));
        }
        // A browser sends every line end as CR LF, whatever it was.
        let text = if self.crlf { self.text.clone() } else { self.text.replace("\r\n", "\n") };
        if text.len() > VALUE_BYTES_MAX {
            return Err(format!("A value has {VALUE_BYTES_MAX} bytes at most; this one has {}.", text.len()));
        }
        let content_type = match (self.content_type.as_str(), serde_json::from_str::<IgnoredAny>(&text)) {
            ("", Ok(_)) if self.infers => JSON,
            ("", Err(_)) if self.infers => TEXT,
            (given, Err(error)) if preview::says_json(given) => {
                return Err(format!("This is not JSON: {error}. Mend it, or choose another content type."));
            }
            (given, Ok(_) | Err(_)) => given,
        };
        let ttl_ms = data::ttl_ms(&self.ttl)?;
        let content_type = content_type.to_owned();
        Ok((Action::Put { content_type, body: Blob(text.into_bytes().into()), ttl_ms: None }, ttl_ms))
    }
}

/// The text of a value that comes back from a browser as it went, and whether its lines end with CR LF.
fn editable(bytes: &[u8], bytes_max: usize) -> Result<(String, bool), &'static str> {
    if bytes.len() > bytes_max {
        return Err(TOO_LONG);
    }
    let text = std::str::from_utf8(bytes).map_err(|_bytes| NO_TEXT)?;
    let (lines, ends) = (text.matches('\n').count(), text.matches("\r\n").count());
    let line_ends_survive = text.matches('\r').count() == ends && (ends == 0 || ends == lines);
    let unseen = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\r' | '\t');
    if !line_ends_survive || text.contains(unseen) {
        return Err(NO_TEXT);
    }
    if Verbatim::weight(text) > bytes_max {
        return Err(TOO_LONG);
    }
    Ok((text.to_owned(), ends > 0))
}

const TOO_LONG: &str = "The stored value is too long to be edited here. What you type replaces it; or download it, \
    change it, and write it with one of the lines below.";

const NO_TEXT: &str = "The stored value is not text that a browser would leave as it is. What you type replaces it.";

#[derive(Template)]
#[template(path = "data/new_key.html")]
struct NewKey {
    page: Page,
    bucket: String,
    bucket_url: String,
    editor: Option<Editor>,
}

/// `GET /data/{bucket}/new`.
pub async fn blank(State(node): State<Node>, visit: Visit, uri: Uri) -> Answer {
    let bucket = data::bucket_of(&uri)?;
    node.bucket_view(&bucket).await?;
    let url = data::bucket_url(&bucket);
    let form = Form::default();
    let editor = Editor { key: Some(String::new()), infers: true, ..Editor::typed(&form, format!("{url}/new"), url) };
    std::future::ready(ask_again(&node, &visit, StatusCode::OK, &bucket, editor)).await
}

fn ask_again(node: &Node, visit: &Visit, status: StatusCode, bucket: &str, editor: Editor) -> Answer {
    let page = Page::new(node, visit, Section::Data, "New key");
    let bucket_url = data::bucket_url(bucket);
    page::render_as(status, &NewKey { page, bucket: bucket.to_owned(), bucket_url, editor: Some(editor) })
}

/// `POST /data/{bucket}/new`: the key is in the form.
pub async fn make(State(node): State<Node>, visit: Visit, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let bucket = data::bucket_of(&parts.uri)?;
    let form = Form::read(&node, &parts.headers, body, FORM_BYTES_MAX).await?;
    let url = data::bucket_url(&bucket);
    let typed = form.text("key").to_owned();
    let editor = Editor { key: Some(typed.clone()), ..Editor::typed(&form, format!("{url}/new"), url) };
    let again = |wrong: String, editor: Editor| {
        let editor = Editor { wrong: Some(wrong), ..editor };
        ask_again(&node, &visit, StatusCode::UNPROCESSABLE_ENTITY, &bucket, editor)
    };
    let key = match Key::new(typed.into_bytes()) {
        Ok(key) => key,
        Err(error) => return again(show::sentence(&error.to_string()), editor),
    };
    let change = match editor.action() {
        Ok(change) => change,
        Err(wrong) => return again(wrong, editor),
    };
    // What was deleted before left its context behind; the new value replaces the grave.
    let before = node.get(&bucket, &key, ReadOptions::default()).await?;
    let base = Base { state: String::new(), context: Base::of(before.as_ref()).context };
    let url = data::key_url(&bucket, "key", key.as_bytes());
    let editor = Editor { key: None, action: url.clone(), cancel: url, base, ..editor };
    write(&node, &visit, &parts, Subject { bucket, key }, change, editor).await
}

/// `POST /data/{bucket}/key`: the key is in the address, as bytes.
pub async fn save(State(node): State<Node>, visit: Visit, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let subject = Subject::of(&parts)?;
    let form = Form::read(&node, &parts.headers, body, FORM_BYTES_MAX).await?;
    let url = data::key_url(&subject.bucket, "key", subject.key.as_bytes());
    let editor = Editor::typed(&form, url.clone(), url);
    match editor.action() {
        Ok(change) => write(&node, &visit, &parts, subject, change, editor).await,
        Err(wrong) => {
            let value = node.get(&subject.bucket, &subject.key, ReadOptions::default()).await?;
            let editor = Editor { wrong: Some(wrong), ..editor };
            let asked = subject.asked(&node, &visit, &parts, None, Some(editor));
            value::draw(&node, StatusCode::UNPROCESSABLE_ENTITY, asked, value.as_ref())
        }
    }
}

/// `POST /data/{bucket}/keep`: one of several values stays; the context of all replaces the others.
pub async fn keep(State(node): State<Node>, visit: Visit, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let subject = Subject::of(&parts)?;
    let form = Form::read(&node, &parts.headers, body, FORM_BYTES_MAX).await?;
    let base = Base { state: form.text("state").to_owned(), context: form.text("context").to_owned() };
    let Ok(number) = form.text("sibling").parse::<usize>() else {
        return Err(Problem::bad_request("bad_form", "which value to keep is not a number; nothing was changed").into());
    };
    let value = node.get(&subject.bucket, &subject.key, ReadOptions::default()).await?;
    let now = Base::of(value.as_ref());
    let kept = value.as_ref().and_then(|value| Some((value.object.live(value.now_ms).nth(number)?, value.now_ms)));
    let chosen = kept.and_then(|(sibling, now_ms)| {
        let (content_type, body) = sibling.live(now_ms)?;
        let ttl_ms = sibling.expires_ms.map(|at| at.saturating_sub(now_ms).max(1));
        Some((Action::Put { content_type: content_type.to_owned(), body: body.clone(), ttl_ms: None }, ttl_ms))
    });
    // Numbers count only within what the person saw.
    let (Some((action, ttl_ms)), true) = (chosen, base.state == now.state) else {
        return conflict(&node, &visit, &parts, &subject, None).await;
    };
    match store(&node, &subject, action, &base, ttl_ms).await {
        Ok(()) => Ok(subject.seen("kept")),
        Err(error) if is_conflict(&error) => conflict(&node, &visit, &parts, &subject, None).await,
        Err(error) => Err(error.into()),
    }
}

/// `POST /data/{bucket}/delete`.
pub async fn delete(State(node): State<Node>, visit: Visit, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let subject = Subject::of(&parts)?;
    let form = Form::read(&node, &parts.headers, body, FORM_BYTES_MAX).await?;
    let base = Base { state: form.text("state").to_owned(), context: form.text("context").to_owned() };
    match store(&node, &subject, Action::Delete, &base, None).await {
        Ok(()) => Ok(page::see_other(&format!("{}?done=deleted", data::bucket_url(&subject.bucket)))),
        Err(error) if is_conflict(&error) => conflict(&node, &visit, &parts, &subject, None).await,
        Err(error) => Err(error.into()),
    }
}

/// What is changed.
struct Subject {
    bucket: String,
    key: Key,
}

impl Subject {
    fn of(parts: &Parts) -> Result<Self, Problem> {
        Ok(Self { bucket: data::bucket_of(&parts.uri)?, key: data::key_of(&Query::parse(&parts.uri, &["k"])?)? })
    }

    fn seen(&self, done: &str) -> Response {
        page::see_other(&format!("{}&done={done}", data::key_url(&self.bucket, "key", self.key.as_bytes())))
    }

    fn asked<'a>(
        &'a self,
        node: &Node,
        visit: &'a Visit,
        parts: &Parts,
        notice: Option<Notice>,
        editor: Option<Editor>,
    ) -> Asked<'a> {
        Asked {
            visit,
            origin: host::origin(node, parts),
            bucket: &self.bucket,
            key: &self.key,
            view: View::Fitting,
            from: 0,
            notice,
            editor,
        }
    }
}

async fn write(
    node: &Node,
    visit: &Visit,
    parts: &Parts,
    subject: Subject,
    (action, ttl_ms): (Action, Option<u64>),
    editor: Editor,
) -> Answer {
    match store(node, &subject, action, &editor.base, ttl_ms).await {
        Ok(()) => Ok(subject.seen("saved")),
        Err(error) if is_conflict(&error) => conflict(node, visit, parts, &subject, Some(editor)).await,
        Err(error) => Err(error.into()),
    }
}

async fn store(
    node: &Node,
    subject: &Subject,
    action: Action,
    base: &Base,
    ttl_ms: Option<u64>,
) -> Result<(), DoorError> {
    let context = Some(base.context.clone()).filter(|context| !context.is_empty());
    let options = WriteOptions { context, ttl_ms, ..WriteOptions::default() };
    let (bucket, key) = (&subject.bucket, subject.key.clone());
    node.put_unchanged(bucket, key, action, base.state.clone(), options).await.map(|_receipt| ())
}

fn is_conflict(error: &DoorError) -> bool {
    matches!(error, DoorError::Refused(Refusal::ConditionFailed))
}

/// Somebody else was faster: what is there now, and what was typed, based on that from now on.
async fn conflict(
    node: &Node,
    visit: &Visit,
    parts: &Parts,
    subject: &Subject,
    typed: Option<Editor>,
) -> Result<Response, Refused> {
    let value = node.get(&subject.bucket, &subject.key, ReadOptions::default()).await?;
    let base = Base::of(value.as_ref());
    let there = if base.state.is_empty() { "it has no value any more" } else { "what is there now is shown below" };
    let offer = if typed.is_some() { "; your text is kept under it, and saving it now replaces that" } else { "" };
    let text = format!("Somebody changed this key after you opened it. Nothing was written: {there}{offer}.");
    let editor = typed.map(|editor| Editor { base, ..editor });
    let asked = subject.asked(node, visit, parts, Some(Notice { kind: "warn", text }), editor);
    value::draw(node, StatusCode::CONFLICT, asked, value.as_ref())
}

#[cfg(test)]
mod tests {
    use super::Editor;
    use super::editable;
    use crate::console::form::Form;
    use crate::proto::object::Action;

    #[test]
    fn only_text_that_a_browser_gives_back_unchanged_is_edited() {
        assert_eq!(editable(b"a\nb\t", 99), Ok(("a\nb\t".to_owned(), false)));
        assert_eq!(editable(b"a\r\nb\r\n", 99), Ok(("a\r\nb\r\n".to_owned(), true)));
        for changed in [&b"a\rb"[..], b"a\r\nb\n", b"\0", b"\xff", b"\x1b[0m", &[b'x'; 100], &[b'<'; 30]] {
            assert!(editable(changed, 99).is_err());
        }
    }

    #[test]
    fn what_is_typed_is_checked_before_anything_is_written() {
        let action = |form: &str| Editor::typed(&Form::parse(form).unwrap(), String::new(), String::new()).action();
        let stored = |form: &str| match action(form).unwrap().0 {
            Action::Put { body, .. } => body.0,
            Action::Delete => unreachable!(),
        };
        assert_eq!(stored("value=a%0D%0Ab&content_type=text/plain"), "a\nb");
        assert_eq!(stored("value=a%0D%0Ab&content_type=text/plain&lines=crlf"), "a\r\nb");
        assert!(action("value=%7B&content_type=application/json").unwrap_err().contains("line 1"));
        assert!(action("value=1&content_type=a%0Ab").is_err());
        assert!(action("value=1&ttl=5").unwrap_err().contains("unit"));
        assert_eq!(action("value=1&ttl=5s").unwrap().1, Some(5000));
        let stored_as = |form: &str| match action(form).unwrap().0 {
            Action::Put { content_type, .. } => content_type,
            Action::Delete => unreachable!(),
        };
        assert_eq!(stored_as("value=%7B%7D&infers=yes"), "application/json");
        assert_eq!(stored_as("value=hello&infers=yes"), "text/plain; charset=utf-8");
        assert_eq!(stored_as("value=%7B%7D"), "", "a value without a type stays so");
        assert!(action(&format!("value={}", "x".repeat((1 << 20) + 1))).is_err());
    }
}
