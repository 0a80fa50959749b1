//! Line charts as SVG, drawn on the server: paths in a box of fixed units that the page stretches, so that words around
//! it stay readable at every width. Each chart has a title, a description and its figures as a table.

use std::fmt::Write as _;

/// Units of the box: wide enough that a step of five seconds in fifteen minutes is several of them.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 120.0;

/// Rows of the table beside a chart: what a listener can follow.
const ROWS_MAX: usize = 15;

/// Points drawn of one line: more would be finer than a screen and heavier than a page may be.
const POINTS_MAX: usize = 180;

/// One line of a chart.
pub struct Line {
    /// Its name in the legend.
    pub name: &'static str,
    /// Its colour, `c1` to `c6` of the style; also its dashes, so that colour is not needed to tell it.
    pub class: &'static str,
    /// What it shows, at each instant of the chart; `None` where there is nothing to show.
    pub values: Vec<Option<f64>>,
}

/// A chart to be drawn.
pub struct Plot {
    /// Names it in the page.
    pub id: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// How values are written.
    pub format: fn(f64) -> String,
    /// Instants in milliseconds since 1970, rising, each with its RFC 3339 text.
    pub instants: Vec<u64>,
    /// The last instant that fits, and how much fits before it, in milliseconds.
    pub end_ms: u64,
    /// See `end_ms`.
    pub span_ms: u64,
    /// Its lines; each has as many values as there are instants.
    pub lines: Vec<Line>,
}

/// A chart as its template wants it.
pub struct Chart {
    /// Names it in the page.
    pub id: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// In a sentence, for who does not see it.
    pub description: String,
    /// The figure at its upper edge.
    pub top: String,
    /// What to draw.
    pub paths: Vec<Drawn>,
    /// Its figures, thinned out.
    pub rows: Vec<Row>,
}

/// One line, drawn.
pub struct Drawn {
    /// In the legend.
    pub name: &'static str,
    /// Its colour.
    pub class: &'static str,
    /// An SVG path.
    pub path: String,
    /// Its last figure.
    pub last: String,
}

/// One row of a chart's table.
pub struct Row {
    /// RFC 3339.
    pub at: String,
    /// One figure to each line.
    pub figures: Vec<String>,
}

impl Chart {
    /// Whether there is nothing to be seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.iter().all(|drawn| drawn.path.is_empty())
    }
}

/// Draws it.
#[must_use]
pub fn draw(plot: &Plot) -> Chart {
    let values = plot.lines.iter().flat_map(|line| line.values.iter().flatten().copied());
    let highest = values.fold(0.0, f64::max);
    let top = nice_top(highest);
    let figure = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), plot.format);
    let paths = plot.lines.iter().map(|line| Drawn {
        name: line.name,
        class: line.class,
        path: path(plot, &line.values, top),
        last: figure(line.values.last().copied().flatten()),
    });
    let paths: Vec<Drawn> = paths.collect();
    let now: Vec<String> = paths.iter().map(|drawn| format!("{} {}", drawn.name, drawn.last)).collect();
    Chart {
        id: plot.id,
        title: plot.title,
        description: format!("Now: {}. Highest: {}.", now.join(", "), (plot.format)(highest)),
        top: (plot.format)(top),
        paths,
        rows: rows(plot, figure),
    }
}

/// The path of one line, with a gap where there is nothing to show.
fn path(plot: &Plot, values: &[Option<f64>], top: f64) -> String {
    let begin_ms = plot.end_ms.saturating_sub(plot.span_ms);
    let (mut path, mut drawing) = (String::new(), false);
    let together = values.len().div_ceil(POINTS_MAX).max(1);
    for (instants, values) in plot.instants.chunks(together).zip(values.chunks(together)) {
        // Of several the highest: a peak is what people look for.
        let highest = values.iter().flatten().copied().reduce(f64::max);
        let (Some(at), Some(value)) = (instants.last().filter(|at| **at >= begin_ms), highest) else {
            drawing = false;
            continue;
        };
        let x = (at - begin_ms) as f64 / plot.span_ms.max(1) as f64 * WIDTH;
        let y = HEIGHT - value / top * HEIGHT;
        // A lone point has a length of nothing, which round ends make a dot.
        let step = if drawing { 'L' } else { 'M' };
        let dot = if drawing { "" } else { "h0" };
        // Writing to a String cannot fail.
        let _infallible = write!(path, "{step}{x:.1} {y:.1}{dot}");
        drawing = true;
    }
    path
}

/// The next of 1, 2, 5, 10, 20, 50, … at or above a value, so that the edge of a chart is a figure that people use.
fn nice_top(highest: f64) -> f64 {
    if highest <= 0.0 || !highest.is_finite() {
        return 1.0;
    }
    let power = 10_f64.powf(highest.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0];
    steps.into_iter().map(|step| step * power).find(|top| *top >= highest).unwrap_or(highest)
}

fn rows(plot: &Plot, figure: impl Fn(Option<f64>) -> String) -> Vec<Row> {
    let every = plot.instants.len().div_ceil(ROWS_MAX).max(1);
    // From the newest back, so that "now" is always among them.
    let instants = plot.instants.iter().enumerate().rev().step_by(every);
    let row = |(index, at): (usize, &u64)| Row {
        at: crate::base::time::rfc3339(*at),
        figures: plot.lines.iter().map(|line| figure(line.values.get(index).copied().flatten())).collect(),
    };
    instants.map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::Line;
    use super::Plot;
    use super::draw;
    use super::nice_top;

    fn plot(values: Vec<Option<f64>>) -> Plot {
        let instants: Vec<u64> = (1..=values.len() as u64).map(|step| step * 5000).collect();
        let end_ms = *instants.last().unwrap();
        let lines = vec![Line { name: "Reads", class: "c1", values }];
        Plot { id: "x", title: "X", format: |value| format!("{value:.0}/s"), instants, end_ms, span_ms: 20_000, lines }
    }

    #[test]
    fn a_line_lies_in_its_box_and_has_gaps() {
        let chart = draw(&plot(vec![Some(0.0), Some(80.0), None, Some(40.0)]));
        assert_eq!(chart.top, "100/s");
        assert_eq!(chart.paths[0].path, "M225.0 120.0h0L450.0 24.0M900.0 72.0h0");
        assert_eq!(chart.description, "Now: Reads 40/s. Highest: 80/s.");
        assert_eq!(chart.rows[0].figures, ["40/s"]);
        assert_eq!(chart.rows[1].figures, ["–"]);
    }

    #[test]
    fn a_long_history_has_a_short_table_that_ends_now() {
        let chart = draw(&plot((0..180).map(|value| Some(f64::from(value))).collect()));
        assert_eq!((chart.rows.len(), chart.rows[0].figures[0].as_str()), (15, "179/s"));
        assert!(draw(&plot(vec![None, None])).is_empty());
    }

    #[test]
    fn a_day_of_minutes_is_drawn_within_bounds_and_keeps_its_peak() {
        let mut day: Vec<_> = (0..1440).map(|_| Some(1.0)).collect();
        day[701] = Some(100.0);
        let mut plot = plot(day);
        plot.span_ms = 1440 * 5000;
        let path = &draw(&plot).paths[0].path;
        assert!(path.matches(['M', 'L']).count() <= 180 && path.contains(" 0.0L"), "{path}");
        // Thirteen lines of it leave a page light.
        assert!(path.len() * 13 < 32 * 1024, "{} bytes", path.len());
    }

    #[test]
    fn the_upper_edge_is_a_round_figure() {
        assert_eq!([0.0, 0.7, 1.0, 3.0, 99.0, 101.0].map(nice_top), [1.0, 1.0, 1.0, 5.0, 100.0, 200.0]);
    }
}
