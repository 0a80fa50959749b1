//! `/data/new`: makes a bucket by asking in plain words what its data needs, and says which compromise that is before
//! anything is made.

use askama::Template;
use axum::extract::Request;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::Uri;

use crate::console::data;
use crate::console::data::promise;
use crate::console::data::promise::Promise;
use crate::console::form::Form;
use crate::console::page;
use crate::console::page::Answer;
use crate::console::page::Page;
use crate::console::page::Section;
use crate::console::page::Visit;
use crate::console::show;
use crate::node::Node;
use crate::node::buckets::BucketWish;
use crate::proto::bucket::Class;
use crate::proto::bucket::Definition;
use crate::proto::bucket::Kind;
use crate::proto::key;

/// Bytes of the form: a name and four short answers.
const FORM_BYTES_MAX: usize = 8 * 1024;

/// What was answered, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answers {
    name: String,
    /// May it be lost? `yes`, `no`, `never`.
    loss: String,
    /// May a read be stale? `yes`, `no`.
    stale: String,
    /// Who else writes the same key? `nobody`, `others`.
    writers: String,
    /// After how long it is gone; empty for never.
    ttl: String,
}

/// What comes of the answers.
struct Outcome {
    definition: Definition,
    promise: Promise,
    kind: &'static str,
    class: &'static str,
    /// The same as a command.
    command: String,
}

#[derive(Template)]
#[template(path = "data/wizard.html")]
struct Wizard {
    page: Page,
    answers: Answers,
    outcome: Option<Outcome>,
    /// What is wrong with the name, and with the time to live.
    wrong_name: Option<String>,
    wrong_ttl: Option<String>,
}

impl Answers {
    fn of(form: &Form) -> Self {
        let or = |name: &str, default: &str| match form.text(name) {
            "" => default.to_owned(),
            given => given.to_owned(),
        };
        Self {
            name: form.text("name").trim().to_owned(),
            loss: or("loss", "no"),
            stale: or("stale", "no"),
            writers: or("writers", "others"),
            ttl: form.text("ttl").trim().to_owned(),
        }
    }

    /// The compromise. N and W by what may be lost, R by whether a read may miss an ack, the kind by who else writes.
    fn definition(&self, ttl_ms: Option<u64>) -> Definition {
        let (n, w, class) = match self.loss.as_str() {
            "yes" => (3, 1, Class::Losable),
            "never" => (5, 3, Class::Critical),
            _ => (3, 2, Class::Normal),
        };
        let r = if self.stale == "yes" { 1 } else { n - w + 1 };
        let kind = if self.writers == "nobody" { Kind::Lww } else { Kind::Siblings };
        Definition { kind, n, r, w, ttl_ms, class }
    }
}

/// `GET /data/new`.
pub async fn show(State(node): State<Node>, visit: Visit, uri: Uri) -> Answer {
    let asked = uri.query().unwrap_or_default();
    let answers = Answers::of(&Form::parse(asked)?);
    // The first visit has nothing to answer yet.
    let wizard = if asked.is_empty() { begin(&node, &visit, answers) } else { judge(&node, &visit, answers) };
    std::future::ready(page::render(&wizard)).await
}

/// `POST /data/new`.
pub async fn make(State(node): State<Node>, visit: Visit, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let answers = Answers::of(&Form::read(&node, &parts.headers, body, FORM_BYTES_MAX).await?);
    let wizard = judge(&node, &visit, answers);
    let Some(outcome) = &wizard.outcome else {
        return page::render_as(StatusCode::UNPROCESSABLE_ENTITY, &wizard);
    };
    let Definition { kind, n, r, w, ttl_ms, class } = outcome.definition;
    let wish =
        BucketWish { kind: Some(kind), n: Some(n), r: Some(r), w: Some(w), ttl_ms: Some(ttl_ms), class: Some(class) };
    node.put_bucket(&visit.caller, &wizard.answers.name, wish).await?;
    Ok(page::see_other(&format!("{}?done=made", data::bucket_url(&wizard.answers.name))))
}

fn begin(node: &Node, visit: &Visit, answers: Answers) -> Wizard {
    let page = Page::new(node, visit, Section::Data, "New bucket");
    Wizard { page, answers, outcome: None, wrong_name: None, wrong_ttl: None }
}

/// The answers with what comes of them, or what is wrong with them.
fn judge(node: &Node, visit: &Visit, answers: Answers) -> Wizard {
    let taken = || format!("There is a bucket `{}` already. Nothing was changed; choose another name.", answers.name);
    let wrong_name = match key::check_bucket_name(&answers.name) {
        Err(error) => Some(show::sentence(&error.to_string())),
        Ok(()) if node.bucket_here(&answers.name).is_ok() => Some(taken()),
        Ok(()) => None,
    };
    let (ttl_ms, wrong_ttl) = match data::ttl_ms(&answers.ttl) {
        Ok(ttl_ms) => (ttl_ms, None),
        Err(wrong) => (None, Some(wrong)),
    };
    let right = wrong_name.is_none() && wrong_ttl.is_none();
    let outcome = right.then(|| outcome(&answers, ttl_ms));
    Wizard { outcome, wrong_name, wrong_ttl, ..begin(node, visit, answers) }
}

fn outcome(answers: &Answers, ttl_ms: Option<u64>) -> Outcome {
    let definition = answers.definition(ttl_ms);
    let (kind, class) = (promise::kind(definition.kind), promise::class(definition.class));
    let Definition { n, r, w, .. } = definition;
    let ttl = if answers.ttl.is_empty() { String::new() } else { format!(" --ttl {}", answers.ttl) };
    let name = &answers.name;
    let command = format!("ringfort bucket create {name} --kind {kind} --n {n} --r {r} --w {w} --class {class}{ttl}");
    Outcome { promise: promise::of(&definition), definition, kind, class, command }
}

#[cfg(test)]
mod tests {
    use super::Answers;
    use crate::console::form::Form;
    use crate::proto::bucket::Kind;

    #[test]
    fn every_combination_of_answers_is_a_valid_bucket_and_weak_only_where_stale_is_fine() {
        for loss in ["yes", "no", "never"] {
            for stale in ["yes", "no"] {
                for writers in ["nobody", "others"] {
                    let form = Form::parse(&format!("name=a&loss={loss}&stale={stale}&writers={writers}")).unwrap();
                    let definition = Answers::of(&form).definition(None);
                    assert_eq!(definition.check(), Ok(()), "{loss} {stale}");
                    assert_eq!(definition.is_weak(), stale == "yes", "{loss} {stale}");
                    assert_eq!(definition.kind == Kind::Lww, writers == "nobody");
                }
            }
        }
    }
}
