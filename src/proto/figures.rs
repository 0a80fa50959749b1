//! Figures of a node's last minutes: those by which its end is explained. A look at them is a line of a log ([`Record`]), of
//! target [`TARGET`], so that the black box keeps it as it keeps those. What is 0 or not known is left out of the line. Pure.

use std::collections::BTreeMap;

use crate::base::id::NodeId;
use crate::proto::logline::Level;
use crate::proto::logline::Record;
use crate::proto::logline::stamp::Stamp;

/// Of lines that are figures.
pub const TARGET: &str = "figures";

/// One figure. Variants are appended, never reordered: charts and tables follow their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    /// Bytes of the process in memory.
    Memory,
    /// Bytes that the machine has left.
    MachineFree,
    /// Files that are open, of all kinds.
    OpenFiles,
    /// Free bytes of the disk.
    DiskFree,
    /// Bytes a second by which that grew; below 0 it shrank.
    DiskRate,
    /// Per cent of the machine's processors.
    Load,
    /// Values read a second.
    Gets,
    /// Values written.
    Puts,
    /// Values deleted.
    Deletes,
    /// Lists of keys.
    Lists,
    /// Requests with many in one.
    Batches,
    /// All others.
    Others,
    /// Of all these a second, answers of class 4xx.
    Refused,
    /// Those of class 5xx.
    Failed,
    /// Microseconds within which half of the reads were answered,
    GetP50,
    /// and 99 of 100.
    GetP99,
    /// The same of the writes.
    PutP50,
    /// See [`Figure::PutP50`].
    PutP99,
    /// Milliseconds within which 99 of 100 syncs of the journal ended.
    SyncP99,
    /// Bytes that wait for the index.
    Overlay,
    /// Requests inside the door.
    Inside,
    /// Bytes that wait for other nodes.
    Lanes,
    /// Tasks that run.
    Tasks,
    /// Milliseconds by which the runtime was late at the most.
    Lag,
}

/// All of them, as they are called in lines and for programs.
pub const FIGURES: [(Figure, &str); 24] = [
    (Figure::Memory, "memory_bytes"),
    (Figure::MachineFree, "machine_free_bytes"),
    (Figure::OpenFiles, "open_files"),
    (Figure::DiskFree, "disk_free_bytes"),
    (Figure::DiskRate, "disk_free_bytes_per_s"),
    (Figure::Load, "load_percent"),
    (Figure::Gets, "get_per_s"),
    (Figure::Puts, "put_per_s"),
    (Figure::Deletes, "delete_per_s"),
    (Figure::Lists, "list_per_s"),
    (Figure::Batches, "batch_per_s"),
    (Figure::Others, "other_per_s"),
    (Figure::Refused, "refused_per_s"),
    (Figure::Failed, "failed_per_s"),
    (Figure::GetP50, "get_p50_us"),
    (Figure::GetP99, "get_p99_us"),
    (Figure::PutP50, "put_p50_us"),
    (Figure::PutP99, "put_p99_us"),
    (Figure::SyncP99, "sync_p99_ms"),
    (Figure::Overlay, "overlay_bytes"),
    (Figure::Inside, "requests_inside"),
    (Figure::Lanes, "lanes_bytes"),
    (Figure::Tasks, "tasks"),
    (Figure::Lag, "lag_ms"),
];

/// One look.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// When.
    pub stamp: Stamp,
    /// What was seen.
    pub figures: BTreeMap<Figure, f64>,
}

impl Look {
    /// A figure; 0 where the line has none.
    #[must_use]
    pub fn of(&self, figure: Figure) -> f64 {
        self.figures.get(&figure).copied().unwrap_or_default()
    }

    /// As a line.
    #[must_use]
    pub fn to_record(&self, node: NodeId, n: u64) -> Record {
        let known = FIGURES.iter().map(|(figure, name)| (*name, self.of(*figure)));
        let some = known.filter(|(_, value)| value.is_finite() && value.abs() >= LEAST);
        Record {
            stamp: self.stamp,
            node,
            n,
            level: Level::Info,
            target: TARGET.to_owned(),
            message: String::new(),
            fields: some.map(|(name, value)| (name.to_owned(), text(value))).collect(),
            spans: Vec::new(),
        }
    }

    /// Reads a line; `None` for one that is no look. What is not understood of it is left out: a later release may look at
    /// more.
    #[must_use]
    pub fn of_record(record: &Record) -> Option<Self> {
        let read = |(figure, name): &(Figure, &str)| {
            let value: f64 = record.fields.get(*name)?.parse().ok()?;
            value.is_finite().then_some((*figure, value))
        };
        let figures = FIGURES.iter().filter_map(read).collect();
        (record.target == TARGET).then_some(Self { stamp: record.stamp, figures })
    }
}

/// What is less is written as nothing.
const LEAST: f64 = 0.05;

/// With one digit behind the point, where that is not 0.
#[must_use]
pub fn text(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::FIGURES;
    use super::Figure;
    use super::Look;
    use crate::base::id::NodeId;
    use crate::base::limits::LOG_FIELDS_MAX;
    use crate::proto::logline::Record;
    use crate::proto::logline::head;
    use crate::proto::logline::stamp::Stamp;

    #[test]
    fn a_look_is_a_line_and_a_line_a_look() {
        let values = FIGURES.iter().enumerate().map(|(at, (figure, _))| (*figure, at as f64 * -1234.5 - 1.0));
        let look = Look { stamp: Stamp::of_ms(1_790_000_000_000), figures: values.collect() };
        let line = look.to_record(NodeId(3), 7).encode();
        assert!(head(&line).is_some_and(|head| head.key.node == NodeId(3) && head.key.n == 7));
        let read = Record::parse(&line).unwrap();
        assert_eq!(Look::of_record(&read), Some(look), "{read:?}");
        assert!(FIGURES.len() <= LOG_FIELDS_MAX && line.len() < 1024, "{} bytes", line.len());
    }

    #[test]
    fn nothing_is_not_written_and_what_is_no_figure_is_not_read() {
        let figures = [(Figure::Gets, 0.0), (Figure::Lag, f64::NAN), (Figure::Puts, 0.04), (Figure::Tasks, 60.0)];
        let look = Look { stamp: Stamp::of_ms(5), figures: figures.into() };
        let mut record = look.to_record(NodeId(1), 1);
        assert_eq!(record.fields.clone().into_iter().collect::<Vec<_>>(), [("tasks".to_owned(), "60".to_owned())]);
        for (name, value) in [("get_per_s", "many"), ("lag_ms", "inf"), ("of_later", "1")] {
            record.fields.insert(name.to_owned(), value.to_owned());
        }
        let read = Look::of_record(&record).unwrap();
        assert_eq!((read.figures.len(), read.of(Figure::Tasks), read.of(Figure::Lag)), (1, 60.0, 0.0));
        record.target = "timeline".to_owned();
        assert_eq!(Look::of_record(&record), None);
    }
}
