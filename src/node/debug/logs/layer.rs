//! What `tracing` says becomes a record. Fields whose names are those of secrets are never written.

use std::collections::BTreeMap;
use std::fmt;

use tracing::Event;
use tracing::Subscriber;
use tracing::field::Field;
use tracing::field::Visit;
use tracing::span;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::base::id::NodeId;
use crate::base::limits::LOG_FIELD_BYTES_MAX;
use crate::node::debug::logs::Logs;
use crate::proto::flood::Verdict;
use crate::proto::logline::Level;
use crate::proto::logline::Record;
use crate::proto::logline::stamp::Stamp;
use crate::proto::logline::text;

/// Names of fields that are not written, whatever is in them.
const NEVER: [&str; 14] = [
    "authorization",
    "body",
    "code",
    "context",
    "cookie",
    "invite",
    "key",
    "link",
    "passwd",
    "password",
    "secret",
    "session",
    "token",
    "value",
];

/// The one that whoever starts the program has to read: a code for the first user. On standard error only.
const FOR_THE_STARTER: &str = "code";

/// What stands in its place.
const NOT_WRITTEN: &str = "(not written)";

/// Hears what is logged.
pub struct Layer {
    logs: Logs,
}

impl Layer {
    /// For this log.
    #[must_use]
    pub fn new(logs: Logs) -> Self {
        Self { logs }
    }
}

/// What was said of a span when it began.
struct Said(String);

impl<S: Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for Layer {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut words = Words::default();
        attributes.record(&mut words);
        let fields = words.fields.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ");
        let mut said = if fields.is_empty() { span.name().to_owned() } else { format!("{}{{{fields}}}", span.name()) };
        text::cut(&mut said, LOG_FIELD_BYTES_MAX);
        span.extensions_mut().insert(Said(said));
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        match self.logs.admit(metadata) {
            Verdict::Dropped => return,
            Verdict::Taken { dropped: 0 } => {}
            Verdict::Taken { dropped } => self.logs.tell_dropped(metadata.name(), dropped),
        }
        let mut words = Words::default();
        event.record(&mut words);
        let scope = context.event_scope(event).into_iter().flat_map(tracing_subscriber::registry::Scope::from_root);
        let spans = scope.map(|span| {
            let said = span.extensions().get::<Said>().map(|said| said.0.clone());
            said.unwrap_or_else(|| span.name().to_owned())
        });
        let spans: Vec<String> = spans.collect();
        let mut shown = format!("{}: ", text::one_line(metadata.target()));
        spans.iter().for_each(|span| shown.push_str(&format!("{}: ", text::one_line(span))));
        shown.push_str(&text::lines(&words.message));
        shown.push_str(&words.shown);
        let record = Record {
            stamp: Stamp(0),
            node: NodeId(0),
            n: 0,
            level: level(*metadata.level()),
            target: metadata.target().to_owned(),
            message: words.message,
            fields: words.fields,
            spans,
        };
        self.logs.take(text::plain_record(record), &shown);
    }
}

fn level(level: tracing::Level) -> Level {
    match level {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::INFO => Level::Info,
        tracing::Level::DEBUG => Level::Debug,
        tracing::Level::TRACE => Level::Trace,
    }
}

#[derive(Default)]
struct Words {
    message: String,
    fields: BTreeMap<String, String>,
    /// The fields in their order, for standard error.
    shown: String,
}

impl Words {
    /// A field's value, and how it is shown.
    fn take(&mut self, field: &Field, value: String, shown: &str) {
        let name = field.name();
        if name == "message" {
            self.message = value;
            return;
        }
        let (never, starter) = (NEVER.contains(&name), name == FOR_THE_STARTER);
        let shown = if never && !starter { NOT_WRITTEN.to_owned() } else { text::lines(shown) };
        self.shown.push_str(&format!(" {name}={shown}"));
        self.fields.insert(name.to_owned(), if never { NOT_WRITTEN.to_owned() } else { value });
    }
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.to_owned(), &format!("{value:?}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        self.take(field, value.clone(), &value);
    }
}
