//! The last minutes of a machine that is gone, drawn: what its figures were at its end and at the highest, charts of those
//! that explain most, and how people read each.

use crate::base::time;
use crate::console::chart;
use crate::console::chart::Chart;
use crate::console::chart::Line;
use crate::console::chart::Plot;
use crate::console::show;
use crate::node::debug::last::LastView;
use crate::node::debug::last::LookView;
use crate::proto::logline::text;

/// Letters of a line of the log on this page; the rest is on the page of the log.
const LINE_BYTES_MAX: usize = 300;

/// Figures of the table: what they are, their name, and how they are written.
const ROWS: [(&str, &str, Write); 20] = [
    ("Memory", "memory_bytes", bytes),
    ("Memory that the machine had left", "machine_free_bytes", bytes),
    ("Open files", "open_files", count),
    ("Free disk", "disk_free_bytes", bytes),
    ("Free disk, change a second", "disk_free_bytes_per_s", bytes),
    ("Load of the machine", "load_percent", percent),
    ("Reads a second", "get_per_s", rate),
    ("Writes a second", "put_per_s", rate),
    ("Other requests a second", "other_per_s", rate),
    ("Refused a second", "refused_per_s", rate),
    ("Failed a second", "failed_per_s", rate),
    ("Reads p99", "get_p99_us", latency),
    ("Writes p99", "put_p99_us", latency),
    ("Syncs p99", "sync_p99_ms", millis),
    ("Waits for the index", "overlay_bytes", bytes),
    ("Requests inside", "requests_inside", count),
    ("Waits for other machines", "lanes_bytes", bytes),
    ("Tasks", "tasks", count),
    ("The runtime was late by", "lag_ms", millis),
    ("Lists a second", "list_per_s", rate),
];

/// How a figure is written.
type Write = fn(f64) -> String;

/// One figure over these minutes.
pub struct Row {
    /// What it is.
    pub name: &'static str,
    /// At the end.
    pub end: String,
    /// The least there was.
    pub least: String,
    /// The most.
    pub most: String,
}

/// A line of its log.
pub struct Said {
    /// When.
    pub at: String,
    /// Its colour, and its icon.
    pub kind: (&'static str, &'static str),
    /// The level.
    pub level: &'static str,
    /// What.
    pub text: String,
}

/// All that is shown.
pub struct Last {
    /// As it was put together.
    pub view: LastView,
    /// Figures.
    pub rows: Vec<Row>,
    /// Some of them over time.
    pub charts: Vec<Chart>,
    /// Where the charts begin and end.
    pub ends: (String, String),
    /// Lines of the log, the newest first.
    pub log: Vec<Said>,
}

/// Draws them.
#[must_use]
pub fn draw(view: &LastView) -> Last {
    let looks = view.figures.as_slice();
    let seen = |at: Option<&LookView>| at.map(|look| show::clock(&look.at).to_owned()).unwrap_or_default();
    Last {
        rows: ROWS.iter().filter_map(|(name, figure, write)| row(looks, name, figure, *write)).collect(),
        charts: if looks.len() > 1 { charts(looks) } else { Vec::new() },
        ends: (format!("{} UTC", seen(looks.first())), format!("{} UTC, its end", seen(looks.last()))),
        log: view.log.iter().rev().map(said).collect(),
        view: view.clone(),
    }
}

fn said(line: &crate::node::debug::book::LineView) -> Said {
    let mut words = text::body(&line.record);
    text::cut(&mut words, LINE_BYTES_MAX);
    let level = line.record.level;
    Said { at: line.at.clone(), kind: crate::console::logs::kind(&level), level: level.name(), text: words }
}

/// None where it was 0 all the time.
fn row(looks: &[LookView], name: &'static str, figure: &str, write: Write) -> Option<Row> {
    let values: Vec<f64> = looks.iter().map(|look| look.get(figure)).collect();
    let (least, most) = (values.iter().copied().reduce(f64::min)?, values.iter().copied().reduce(f64::max)?);
    let end = values.last().copied().unwrap_or_default();
    (least < 0.0 || most > 0.0).then(|| Row { name, end: write(end), least: write(least), most: write(most) })
}

fn charts(looks: &[LookView]) -> Vec<Chart> {
    let line = |name, class, figure: &str, scale: f64| Line {
        name,
        class,
        values: looks.iter().map(|look| Some(look.get(figure) / scale)).collect(),
    };
    let mib = 1024.0 * 1024.0;
    let drawn: [(&str, &str, Write, Vec<Line>); 4] = [
        ("last-memory", "Memory", bytes, vec![line("Process", "c1", "memory_bytes", 1.0)]),
        (
            "last-rate",
            "Requests per second",
            rate,
            vec![
                line("Reads", "c1", "get_per_s", 1.0),
                line("Writes", "c2", "put_per_s", 1.0),
                line("Refused", "c3", "refused_per_s", 1.0),
                line("Failed", "c5", "failed_per_s", 1.0),
            ],
        ),
        (
            "last-latency",
            "Latency",
            millis,
            vec![
                line("Reads p99", "c1", "get_p99_us", 1000.0),
                line("Writes p99", "c2", "put_p99_us", 1000.0),
                line("Syncs p99", "c3", "sync_p99_ms", 1.0),
                line("Runtime late", "c5", "lag_ms", 1.0),
            ],
        ),
        (
            "last-disk",
            "Free disk space",
            |value| format!("{} MiB", show::count(whole(value))),
            vec![line("Free", "c1", "disk_free_bytes", mib)],
        ),
    ];
    let instants: Vec<u64> = looks.iter().map(|look| time::parse_rfc3339(&look.at).unwrap_or_default()).collect();
    let (first, last) = (instants.first().copied().unwrap_or_default(), instants.last().copied().unwrap_or_default());
    let span_ms = last.saturating_sub(first);
    let plot = |(id, title, format, lines)| {
        chart::draw(&Plot { id, title, format, instants: instants.clone(), end_ms: last, span_ms, lines })
    };
    drawn.into_iter().map(plot).collect()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and NaN becomes 0")]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

fn signed(value: f64, words: String) -> String {
    if value < 0.0 { format!("−{words}") } else { words }
}

fn bytes(value: f64) -> String {
    signed(value, show::size(whole(value.abs())))
}

fn count(value: f64) -> String {
    show::count(whole(value))
}

fn percent(value: f64) -> String {
    format!("{value:.0} %")
}

fn rate(value: f64) -> String {
    if value > 0.0 && value < 10.0 { format!("{value:.1}") } else { count(value) }
}

fn latency(value: f64) -> String {
    show::latency(whole(value))
}

fn millis(value: f64) -> String {
    show::latency(whole(value * 1000.0))
}

#[cfg(test)]
mod tests {
    use super::charts;
    use super::row;
    use crate::base::time;
    use crate::node::debug::last::LookView;

    fn looks(values: &[f64]) -> Vec<LookView> {
        let look = |(at, value): (usize, &f64)| LookView {
            at: time::rfc3339(1_790_000_000_000 + at as u64 * 10_000),
            figures: [("memory_bytes", *value), ("disk_free_bytes_per_s", -*value)].into(),
        };
        values.iter().enumerate().map(look).collect()
    }

    #[test]
    fn a_figure_is_told_with_its_end_and_its_extremes_and_one_that_was_never_there_is_not() {
        let looks = looks(&[2048.0, 8192.0, 4096.0]);
        let told = row(&looks, "Memory", "memory_bytes", super::bytes).unwrap();
        assert_eq!((told.end.as_str(), told.least.as_str(), told.most.as_str()), ("4.0 KiB", "2.0 KiB", "8.0 KiB"));
        let shrinks = row(&looks, "Rate", "disk_free_bytes_per_s", super::bytes).unwrap();
        assert_eq!((shrinks.end.as_str(), shrinks.least.as_str()), ("−4.0 KiB", "−8.0 KiB"));
        assert!(row(&looks, "Lag", "lag_ms", super::millis).is_none());
        assert!(row(&[], "Memory", "memory_bytes", super::bytes).is_none());
    }

    #[test]
    fn a_chart_reaches_from_the_first_look_to_the_last_one() {
        let drawn = charts(&looks(&[1e6, 2e6, 1e6]));
        let path = &drawn[0].paths[0].path;
        assert!(path.starts_with("M0.0 ") && path.contains("L900.0 "), "{path}");
        assert_eq!(drawn.len(), 4);
    }
}
