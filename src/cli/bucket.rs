//! `ringfort bucket`.

use clap::Args;
use clap::Subcommand;
use hyper::Method;
use serde_json::Map;
use serde_json::Value;

use crate::base::time;
use crate::cli::client::Client;
use crate::cli::client::escape;
use crate::cli::output;
use crate::cli::output::Done;

/// `ringfort bucket`.
#[derive(Subcommand, Debug)]
pub enum BucketCommand {
    /// Make a bucket; the same again changes nothing
    Create(DefinitionArguments),
    /// List all buckets
    Ls,
    /// Show one bucket
    Show {
        /// Its name
        name: String,
    },
    /// Change a bucket
    Set(DefinitionArguments),
    /// Remove a bucket and all its data
    Rm {
        /// Its name
        name: String,
    },
}

/// A bucket and what is wanted of it.
#[derive(Args, Debug)]
pub struct DefinitionArguments {
    /// Its name
    name: String,
    /// What concurrent writes become: siblings or lww
    #[arg(long)]
    kind: Option<String>,
    /// Replicas
    #[arg(long)]
    n: Option<u8>,
    /// Replicas that must agree for a read
    #[arg(long)]
    r: Option<u8>,
    /// Replicas on whose disk a write must be
    #[arg(long)]
    w: Option<u8>,
    /// Time to live of values, such as 30d; `none` for ever
    #[arg(long)]
    ttl: Option<String>,
    /// losable, normal or critical
    #[arg(long)]
    class: Option<String>,
}

impl DefinitionArguments {
    fn document(&self) -> Value {
        let mut document = Map::new();
        let fields = [
            ("kind", self.kind.clone().map(Value::from)),
            ("n", self.n.map(Value::from)),
            ("r", self.r.map(Value::from)),
            ("w", self.w.map(Value::from)),
            ("ttl", self.ttl.clone().map(|ttl| if ttl == "none" { Value::Null } else { ttl.into() })),
            ("class", self.class.clone().map(Value::from)),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                document.insert(name.to_owned(), value);
            }
        }
        document.into()
    }
}

fn path(name: &str) -> String {
    format!("/v1/buckets/{}", escape(name.as_bytes()))
}

/// Runs `ringfort bucket`.
///
/// # Errors
/// Of the node or the way to it.
pub async fn bucket(client: &Client, command: &BucketCommand, as_json: bool) -> Done {
    match command {
        BucketCommand::Create(arguments) => {
            let made = client.tell(Method::PUT, &path(&arguments.name), &arguments.document()).await?;
            show(&[made], as_json);
        }
        BucketCommand::Set(arguments) => {
            client.ask(Method::GET, &path(&arguments.name)).await?;
            let changed = client.tell(Method::PUT, &path(&arguments.name), &arguments.document()).await?;
            show(&[changed], as_json);
        }
        BucketCommand::Show { name } => show(&[client.ask(Method::GET, &path(name)).await?], as_json),
        BucketCommand::Ls => {
            let all = client.ask(Method::GET, "/v1/buckets").await?;
            show(all.get("buckets").and_then(Value::as_array).map_or(&[], Vec::as_slice), as_json);
        }
        BucketCommand::Rm { name } => {
            client.ask(Method::DELETE, &path(name)).await?;
            output::note(format_args!("bucket {name} and all its data are removed"));
        }
    }
    Ok(())
}

fn show(buckets: &[Value], as_json: bool) {
    if as_json {
        output::json(&buckets.to_vec().into());
        return;
    }
    let columns = ["name", "kind", "n", "r", "w", "ttl", "class"];
    let cell = |bucket: &Value, column: &str| match bucket.get(column) {
        Some(Value::String(text)) if column == "ttl" => shortened(text),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    };
    let mut rows = vec![columns.map(str::to_uppercase).to_vec()];
    rows.extend(buckets.iter().map(|bucket| columns.map(|column| cell(bucket, column)).to_vec()));
    output::table(&rows);
}

/// A lifetime in the largest unit that says it whole, as it can be typed again.
fn shortened(ttl: &str) -> String {
    let Ok(ms) = time::parse_duration_ms(ttl) else { return ttl.to_owned() };
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
    let whole = units.into_iter().find(|(unit, _)| ms > 0 && ms.is_multiple_of(*unit));
    whole.map_or_else(|| ttl.to_owned(), |(unit, name)| format!("{}{name}", ms / unit))
}

#[cfg(test)]
mod tests {
    use super::shortened;

    #[test]
    fn a_lifetime_is_shown_as_somebody_would_type_it() {
        let of =
            [("2592000000ms", "30d"), ("90000000ms", "25h"), ("90000ms", "90s"), ("1500ms", "1500ms"), ("0ms", "0ms")];
        for (ttl, shown) in of.into_iter().chain([("none", "none")]) {
            assert_eq!(shortened(ttl), shown);
        }
    }
}
