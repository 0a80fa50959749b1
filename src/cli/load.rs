//! `ringfort load`: what a node does under a given number of requests a second. [`plan`] says when which device asks for
//! what, [`lanes`] asks, [`tally`] counts; docs/load.md is the page for users.

use std::time::Duration;

use clap::Args;
use hyper::Method;
use hyper::StatusCode;
use hyper::body::Bytes;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;
use serde_json::Value;
use serde_json::json;

use crate::base::codec;
use crate::base::exit::Exit;
use crate::base::limits::LOAD_CONNECTIONS_MAX;
use crate::base::limits::LOAD_DEVICES_MAX;
use crate::base::limits::LOAD_RATE_MAX;
use crate::base::limits::LOAD_SECONDS_MAX;
use crate::base::limits::VALUE_BYTES_MAX;
use crate::base::rng;
use crate::base::time;
use crate::cli::client::Client;
use crate::cli::client::escape;
use crate::cli::client::full;
use crate::cli::load::lanes::Run;
use crate::cli::load::lanes::Work;
use crate::cli::load::plan::Plan;
use crate::cli::load::plan::Shape;
use crate::cli::load::tally::Tally;
use crate::cli::load::tally::Verdict;
use crate::cli::load::tally::milliseconds;
use crate::cli::output;
use crate::cli::output::Done;
use crate::cli::output::Failure;

mod fill;
mod lanes;
mod plan;
mod tally;
mod timer;

/// Random bytes from which values are cut, beyond the size of one: enough starts that values differ.
const POOL_BYTES: usize = 64 * 1024;
/// Between two looks at the figures.
const BAR_EVERY: Duration = Duration::from_millis(250);
/// Looks between two plain progress lines where nobody sees a bar.
const PLAIN_EVERY: u64 = 20;

/// `ringfort load`.
#[derive(Args, Debug, Clone)]
pub struct LoadArguments {
    /// Per cent of requests that read; the others write
    #[arg(long, default_value_t = 95, value_parser = clap::value_parser!(u8).range(..=100))]
    mix: u8,
    /// Simulated devices: keys device-0, device-1, …, drawn evenly
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=LOAD_DEVICES_MAX))]
    devices: u64,
    /// Requests that fall due each second; 0 = each connection sends as soon as it has its answer (a closed loop)
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(..=i64::from(LOAD_RATE_MAX)))]
    rate: u32,
    /// Seconds for which requests fall due
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=LOAD_SECONDS_MAX))]
    seconds: u64,
    /// Connections, each with one request at a time
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Bytes of a written value
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// The bucket; made as lww where it is missing
    #[arg(long, default_value = "load")]
    bucket: String,
    /// First write a value for every device
    #[arg(long)]
    fill: bool,
    /// Repeat the schedule of an earlier run [default: a new one, printed]
    #[arg(long)]
    seed: Option<u64>,
}

impl LoadArguments {
    /// # Errors
    /// A usage failure; nothing was sent.
    fn check(&self) -> Done {
        let bad =
            |what: &str, max: usize| Failure::new(Exit::Usage, format!("{what} may be 1 to {max}; nothing was sent"));
        if !(1..=LOAD_CONNECTIONS_MAX).contains(&self.connections) {
            return Err(bad("--connections", LOAD_CONNECTIONS_MAX));
        }
        if !(1..=VALUE_BYTES_MAX).contains(&self.size) {
            return Err(bad("--size", VALUE_BYTES_MAX));
        }
        Ok(())
    }

    fn shape(&self) -> Result<Shape, Failure> {
        let seed = match self.seed {
            Some(seed) => seed,
            None => rng::nonzero_u64().map_err(|error| Failure::io("randomness", &error))?,
        };
        let length = Duration::from_secs(self.seconds);
        Ok(Shape { rate: self.rate, length, mix: self.mix, devices: self.devices, seed })
    }

    fn work(&self) -> Result<Work, Failure> {
        let mut random = vec![0; (POOL_BYTES + self.size).div_ceil(4) * 3];
        rng::fill(&mut random).map_err(|error| Failure::io("randomness", &error))?;
        let pool = Bytes::from(codec::base64(&random));
        Ok(Work { path: format!("/v1/kv/{}/device-", escape(self.bucket.as_bytes())), pool, size: self.size })
    }

    fn headline(&self, client: &Client, shape: Shape) -> String {
        let pace = match self.rate {
            0 => "as fast as answers come (closed loop: latencies hide what a busy node keeps waiting)".to_owned(),
            rate => format!("{rate} requests/s"),
        };
        format!(
            "{pace} for {} s over {} connections to {}: {} % reads, {} devices, values of {} bytes, seed {}",
            self.seconds,
            self.connections,
            client.target(),
            self.mix,
            self.devices,
            self.size,
            shape.seed
        )
    }

    fn asked(&self, shape: Shape) -> Value {
        json!({
            "rate": self.rate,
            "seconds": self.seconds,
            "mix": self.mix,
            "devices": self.devices,
            "connections": self.connections,
            "size": self.size,
            "bucket": self.bucket,
            "seed": shape.seed,
        })
    }
}

/// Runs `ringfort load`.
///
/// # Errors
/// Of the way to the node before the run; 3 where more than one request in a thousand failed or was missed, 4 where
/// fewer did.
pub async fn load(client: &Client, arguments: &LoadArguments, as_json: bool) -> Done {
    arguments.check()?;
    let shape = arguments.shape()?;
    let work = arguments.work()?;
    let made = prepare(client, &arguments.bucket).await?;
    if arguments.fill {
        fill::fill(client, &arguments.bucket, arguments.devices, arguments.size).await?;
    }
    output::note(arguments.headline(client, shape));
    let run = Run::open(client, &work, Plan::new(shape), shape.length, arguments.connections).await?;
    let tally = measure(run, shape.length).await?;
    if as_json {
        let mut document = tally.json();
        if let Some(members) = document.as_object_mut() {
            members.insert("asked".to_owned(), arguments.asked(shape));
            members.insert("node".to_owned(), client.target().to_string().into());
            members.insert("open_loop".to_owned(), (arguments.rate > 0).into());
            members.insert("bucket_made".to_owned(), made.into());
        }
        output::json(&document);
    } else {
        output::table(&tally.rows());
        tally.sentences().iter().for_each(output::line);
    }
    let bucket = &arguments.bucket;
    output::note(format_args!("bucket {bucket} stays; remove it and its data with: ringfort bucket rm {bucket}"));
    judge(&tally)
}

/// Sees to it that the bucket is there; whether it was made now. A token for devices suffices where it is there.
async fn prepare(client: &Client, bucket: &str) -> Result<bool, Failure> {
    let bucket_path = format!("/v1/buckets/{}", escape(bucket.as_bytes()));
    let shown = client.send(Method::GET, &bucket_path, &[], full("")).await?;
    match shown.head.status {
        StatusCode::NOT_FOUND => {
            client.tell(Method::PUT, &bucket_path, &json!({ "kind": "lww" })).await?;
            output::note(format_args!("bucket {bucket} is new, of kind lww"));
            Ok(true)
        }
        // A device's token may not see definitions; whether there is a bucket shows with the first value.
        StatusCode::FORBIDDEN => {
            let path = format!("/v1/kv/{}/device-0", escape(bucket.as_bytes()));
            let mut first = client.send(Method::GET, &path, &[], full("")).await?;
            let mut body = Vec::new();
            while let Some(piece) = first.piece().await? {
                body.extend_from_slice(&piece);
            }
            let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
            if problem.get("code").and_then(Value::as_str) == Some("no_such_bucket") {
                let message = format!(
                    "there is no bucket {bucket}, and this token may not make one; nothing was changed. Make it as an \
                     owner with: ringfort bucket create {bucket} --kind lww"
                );
                return Err(Failure::new(Exit::NoInput, message));
            }
            Ok(false)
        }
        _shown_or_refused => {
            let definition = shown.json().await?;
            if definition.get("kind").and_then(Value::as_str) != Some("lww") {
                let message = format!(
                    "bucket {bucket} keeps concurrent writes side by side, and those of a load run would pile up; nothing \
                     was changed. Name another with --bucket; a new one is made as lww"
                );
                return Err(Failure::new(Exit::Usage, message));
            }
            output::note(format_args!("bucket {bucket} is there already; its keys device-… are overwritten"));
            Ok(false)
        }
    }
}

/// Runs to the end or until Ctrl-C, with the figures so far on standard error.
async fn measure(run: Run<'_>, length: Duration) -> Result<Tally, Failure> {
    let interrupted = tokio::select! {
        worked = run.work_off() => {
            worked.map_err(|error| Failure::io("waiting for a request's time", &error))?;
            false
        }
        _ = tokio::signal::ctrl_c() => true,
        never = show_progress(&run, length) => match never {},
    };
    Ok(run.end(interrupted))
}

async fn show_progress(run: &Run<'_>, length: Duration) -> std::convert::Infallible {
    let bar = ProgressBar::new(time::millis(length));
    if let Ok(style) = ProgressStyle::with_template("[{wide_bar}] {msg} {eta}") {
        bar.set_style(style);
    }
    let _cleared = Cleared(bar.clone());
    let plain = !output::is_terminal();
    let mut every = tokio::time::interval(BAR_EVERY);
    for look in 0_u64.. {
        every.tick().await;
        if look == 0 {
            continue;
        }
        bar.set_position(time::millis(run.elapsed()));
        let figures = run.so_far(|tally| {
            let (answers, p99) = (tally.answers(), milliseconds(tally.latency_us(99.0)));
            format!("{answers} answered, {:.0}/s, p99 {p99}, {} failed", tally.rate(), tally.failures())
        });
        if plain && look.is_multiple_of(PLAIN_EVERY) {
            output::note(format_args!("{} s: {figures}", run.elapsed().as_secs()));
        }
        bar.set_message(figures);
    }
    std::future::pending().await
}

/// Takes the bar off the terminal, however the run ends.
struct Cleared(ProgressBar);

impl Drop for Cleared {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn judge(tally: &Tally) -> Done {
    let troubled = tally.failures() + tally.missed;
    match tally.verdict() {
        Verdict::Good => Ok(()),
        Verdict::Marred => Err(Failure::new(
            Exit::CheckWarned,
            format!("{troubled} requests failed or were missed: no more than one in a thousand"),
        )),
        Verdict::Failed => Err(Failure::new(
            Exit::CheckFailed,
            format!(
                "{troubled} requests failed or were missed: more than one in a thousand; ask for fewer with --rate"
            ),
        )),
    }
}
