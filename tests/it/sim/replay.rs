//! What a node's flight recorder kept, run again: every `{"core", "at_ms", "tape"}` of a crash report, wherever it stands in it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::proto::tape::Tape;

/// What came of all tapes of a report.
#[derive(Debug, Default)]
pub struct Replayed {
    /// What each core was told and wanted, in order, for people.
    pub lines: Vec<String>,
    /// Tapes that were run.
    pub run: usize,
    /// Of those, how many ended otherwise than they did on the node.
    pub differ: usize,
    /// Tapes that are none.
    pub damaged: usize,
}

/// Runs all tapes of a report again.
///
/// # Errors
/// It is no JSON.
pub fn replay(report: &str) -> Result<Replayed, serde_json::Error> {
    let mut replayed = Replayed::default();
    walk(&serde_json::from_str(report)?, &mut replayed);
    Ok(replayed)
}

fn walk(value: &Value, replayed: &mut Replayed) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(tape)) = fields.get("tape") {
                one(fields.get("at_ms").and_then(Value::as_u64).unwrap_or(0), tape, replayed);
            }
            fields.values().for_each(|value| walk(value, replayed));
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, replayed)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn one(at_ms: u64, tape: &str, replayed: &mut Replayed) {
    let Some(tape) = STANDARD.decode(tape).ok().and_then(|bytes| Tape::decode(&bytes).ok()) else {
        return replayed.damaged += 1;
    };
    let came = tape.replay();
    replayed.run += 1;
    replayed.lines.push(format!("{} kept at {at_ms} ms", tape.name()));
    replayed.lines.extend(came.lines.into_iter().map(|line| format!("  {line}")));
    if let Some(differs) = came.differs {
        replayed.differ += 1;
        replayed.lines.push(format!("  DIFFERS: {differs}"));
    }
}
