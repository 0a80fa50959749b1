//! `/`: how this node is, in one view; live where script runs. Everything is the node's own count of itself: no page
//! looks at data.

use askama::Template;
use axum::extract::State;
use axum::http::Uri;

use crate::base::time;
use crate::console::chart;
use crate::console::chart::Chart;
use crate::console::chart::Line;
use crate::console::chart::Plot;
use crate::console::page;
use crate::console::page::Answer;
use crate::console::page::Page;
use crate::console::page::Refused;
use crate::console::page::Section;
use crate::console::page::Visit;
use crate::console::show;
use crate::front::problem::Problem;
use crate::front::query::Query;
use crate::node::Node;
use crate::node::series::Forecast;
use crate::node::series::History;
use crate::node::series::OperationSample;
use crate::node::series::Range;
use crate::node::series::Sample;
use crate::node::status::Status;
use crate::node::telemetry::OPERATIONS;
use crate::proto::alarm;
use crate::proto::alarm::Alarm;
use crate::proto::alarm::code::Severity;

/// Names and colours of the operations, in the order of [`OPERATIONS`].
const NAMES: [(&str, &str); OPERATIONS.len()] =
    [("Reads", "c1"), ("Writes", "c2"), ("Deletes", "c3"), ("Lists", "c4"), ("Batches", "c5"), ("Other", "c6")];

/// Reads and writes: what devices do, and whose latency people watch.
const WATCHED: [usize; 2] = [0, 1];

/// A chart of less than a minute would only jump.
const SPAN_MS_MIN: u64 = 60_000;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    page: Page,
    range: Range,
    view: View,
}

/// What changes while somebody watches.
#[derive(Template)]
#[template(path = "overview.html", block = "live")]
pub struct Live {
    view: View,
}

struct View {
    at: String,
    status: Status,
    verdict: Verdict,
    rows: Vec<Row>,
    requests: String,
    forecast: String,
    charts: Vec<Chart>,
    /// How far back the charts reach.
    ago: String,
}

/// How the node is, in one sentence.
struct Verdict {
    kind: &'static str,
    sentence: String,
}

/// One operation over the last minute.
struct Row {
    name: &'static str,
    class: &'static str,
    rate: String,
    p50: String,
    p99: String,
    failed: u32,
}

/// `GET /?range=`.
pub async fn show(State(node): State<Node>, visit: Visit, uri: Uri) -> Answer {
    let range = range(&Query::parse(&uri, &["range"])?)?;
    let live = format!("/live?view=overview&range={}", name(range));
    let page = Page { live, ..Page::new(&node, &visit, Section::Overview, "Overview") };
    std::future::ready(page::render(&Overview { page, range, view: view(&node, range) })).await
}

/// What changes while somebody watches, as it is now.
#[must_use]
pub fn live(node: &Node, range: Range) -> Live {
    Live { view: view(node, range) }
}

/// How far back to look: `?range=15m` or `24h`.
///
/// # Errors
/// A 400 for anything else.
pub fn range(query: &Query) -> Result<Range, Refused> {
    match query.text("range")? {
        None | Some("15m") => Ok(Range::Fine),
        Some("24h") => Ok(Range::Coarse),
        Some(_) => Err(Refused(Problem::bad_request("bad_parameter", "`range` is one of 15m and 24h"))),
    }
}

fn name(range: Range) -> &'static str {
    match range {
        Range::Fine => "15m",
        Range::Coarse => "24h",
    }
}

/// How an alarm is drawn.
#[must_use]
pub fn kind(alarm: &Alarm) -> &'static str {
    if alarm.severity == Severity::Critical { "bad" } else { "warn" }
}

fn view(node: &Node, range: Range) -> View {
    let (status, history) = (node.status(), node.history(range));
    let minute = history.last_minute;
    let all = minute.map_or(0.0, |minute| minute.per_second(count_of(&minute)));
    let rows = NAMES.iter().enumerate().map(|(index, (name, class))| row(name, class, minute, index));
    View {
        at: time::rfc3339(time::wall_ms()),
        verdict: verdict(&status),
        rows: rows.collect(),
        requests: rate(all),
        forecast: forecast(&history.forecast),
        charts: charts(&history, &status),
        ago: format!("{} ago", show::duration(span_ms(&history) / 1000)),
        status,
    }
}

fn verdict(status: &Status) -> Verdict {
    let critical = status.alarms.iter().filter(|alarm| alarm.severity == Severity::Critical).count();
    let (kind, sentence) = match (status.serving, critical, status.alarms.len()) {
        ("draining", ..) => ("warn", "This node is stopping: it finishes what it has begun.".to_owned()),
        (_, 0, 0) => ("ok", "All is well: every request is served, and every ack is on disk.".to_owned()),
        (_, 0, 1) => ("warn", "It works, but one thing needs a look.".to_owned()),
        (_, 0, alarms) => ("warn", format!("It works, but {alarms} things need a look.")),
        (_, 1, _) => ("bad", "Something is wrong and needs you.".to_owned()),
        (_, critical, _) => ("bad", format!("{critical} things are wrong and need you.")),
    };
    Verdict { kind, sentence }
}

impl View {
    /// Alarms, each with what follows from it.
    fn groups(&self) -> Vec<&[Alarm]> {
        alarm::groups(&self.status.alarms)
    }
}

fn count_of(sample: &Sample) -> u64 {
    sample.operations.iter().map(|operation| u64::from(operation.count)).sum()
}

fn row(name: &'static str, class: &'static str, minute: Option<Sample>, index: usize) -> Row {
    let operation = minute.and_then(|minute| minute.operations.get(index).copied()).unwrap_or_default();
    let latency = |us: Option<u32>| us.map_or_else(|| "–".to_owned(), |us| show::latency(u64::from(us)));
    Row {
        name,
        class,
        rate: rate(minute.map_or(0.0, |minute| minute.per_second(operation.count.into()))),
        p50: latency(operation.p50_us),
        p99: latency(operation.p99_us),
        failed: operation.failed,
    }
}

/// `0`, `0.4`, `12`, `1,234`: so many a second.
fn rate(per_second: f64) -> String {
    if per_second > 0.0 && per_second < 10.0 { format!("{per_second:.1}") } else { show::count(whole(per_second)) }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and NaN becomes 0")]
fn whole(number: f64) -> u64 {
    number.round() as u64
}

fn forecast(forecast: &Forecast) -> String {
    match forecast {
        Forecast::TooEarly { have_s, need_s } => {
            format!("Not enough history yet for a forecast: {} of {}.", show::duration(have_s), show::duration(need_s))
        }
        Forecast::Steady { over_s } => {
            format!("Free space has not shrunk in the last {}.", show::duration(over_s))
        }
        Forecast::In { seconds, bytes_per_day, over_s } => format!(
            "At the rate of the last {} ({} a day) the reserve is reached in about {}.",
            show::duration(over_s),
            show::size(bytes_per_day),
            show::duration(seconds)
        ),
        Forecast::Reached => "The reserve is reached: new data is refused.".to_owned(),
    }
}

fn charts(history: &History, status: &Status) -> Vec<Chart> {
    let of = |index: usize, figure: fn(&OperationSample, &Sample) -> Option<f64>| {
        let value = move |sample: &Sample| sample.operations.get(index).and_then(|operation| figure(operation, sample));
        history.samples.iter().map(value).collect::<Vec<_>>()
    };
    let seen = |index: usize| history.samples.iter().any(|s| s.operations.get(index).is_some_and(|o| o.count > 0));
    let rates = NAMES.iter().enumerate().filter(|(index, _)| WATCHED.contains(index) || seen(*index));
    let rates = rates.map(|(index, (name, class))| {
        let values = of(index, |operation, sample| Some(sample.per_second(operation.count.into())));
        Line { name, class, values }
    });
    let latency = vec![
        Line { name: "Reads p50", class: "c1 thin", values: of(0, |o, _| o.p50_us.map(f64::from)) },
        Line { name: "Reads p99", class: "c1", values: of(0, |o, _| o.p99_us.map(f64::from)) },
        Line { name: "Writes p50", class: "c2 thin", values: of(1, |o, _| o.p50_us.map(f64::from)) },
        Line { name: "Writes p99", class: "c2", values: of(1, |o, _| o.p99_us.map(f64::from)) },
    ];
    let samples = history.samples.iter();
    let acks = vec![Line { name: "Acks per sync", class: "c5", values: samples.map(Sample::acks_per_sync).collect() }];
    let free = history.samples.iter().map(|sample| sample.disk_free.map(mib)).collect();
    let reserve = history.samples.iter().map(|_| Some(mib(status.disk.reserve))).collect();
    let disk = vec![
        Line { name: "Free", class: "c1", values: free },
        Line { name: "Reserve", class: "c3 thin", values: reserve },
    ];
    let plot = |id, title, format, lines| chart::draw(&plot(history, id, title, format, lines));
    vec![
        plot("chart-rate", "Requests per second", rate, rates.collect()),
        plot("chart-latency", "Latency", |us| show::latency(whole(us)), latency),
        plot("chart-acks", "Journal: acks per sync", |acks| format!("{acks:.1}"), acks),
        plot("chart-disk", "Free disk space", |mib| format!("{} MiB", show::count(whole(mib))), disk),
    ]
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

/// What the charts show: all the history there is, within the range, so that a young node's lines are lines.
fn span_ms(history: &History) -> u64 {
    let instants = history.samples.first().zip(history.samples.last());
    let have_ms = instants.map_or(0, |(first, last)| last.at_ms.saturating_sub(first.at_ms));
    have_ms.clamp(SPAN_MS_MIN, time::millis(history.range.span()))
}

fn plot(history: &History, id: &'static str, title: &'static str, format: fn(f64) -> String, lines: Vec<Line>) -> Plot {
    let instants: Vec<u64> = history.samples.iter().map(|sample| sample.at_ms).collect();
    let end_ms = instants.last().copied().unwrap_or_default();
    Plot { id, title, format, instants, end_ms, span_ms: span_ms(history), lines }
}
