//! `ringfort doctor`: asks a running node to check itself, or checks the directory of a stopped one.

use std::io::BufRead;

use clap::Args;
use hyper::Method;
use serde_json::Value;

use crate::base::exit::Exit;
use crate::cli::client::Client;
use crate::cli::client::Target;
use crate::cli::output;
use crate::cli::output::Done;
use crate::cli::output::Failure;
use crate::cli::place::RunArguments;
use crate::node::doctor::Examination;
use crate::node::doctor::Verdict;
use crate::node::doctor::offline;
use crate::node::doctor::offline::OfflineError;

/// `ringfort doctor`.
#[derive(Args, Debug)]
pub struct DoctorArguments {
    /// Where the node is
    #[command(flatten)]
    place: RunArguments,
    /// List what is lost, and after a typed confirmation go on without it; the node must be stopped
    #[arg(long)]
    accept_loss: bool,
}

/// Runs `ringfort doctor`.
///
/// # Errors
/// 3 where a check failed, 4 where one warned, others where the doctor itself could not work.
pub async fn doctor(arguments: &DoctorArguments, as_json: bool) -> Done {
    let config = arguments.place.load()?;
    let data = config.data();
    if arguments.accept_loss {
        return accept_loss(&data).await;
    }
    match offline::examine(&data) {
        Ok(examination) => {
            report(&serde_json::to_value(&examination).unwrap_or_default(), as_json, examination.verdict())
        }
        Err(OfflineError::InUse) => {
            let running = Client::new(Target::Socket(config.control_socket()), None);
            let document = running.ask(Method::GET, "/v1/doctor").await?;
            let verdict = worst(&document);
            report(&document, as_json, verdict)
        }
        Err(OfflineError::Failed(message)) => Err(Failure::new(Exit::Io, message)),
    }
}

fn worst(document: &Value) -> Verdict {
    let has = |verdict: &str| {
        let checks = document.get("checks").and_then(Value::as_array);
        checks.into_iter().flatten().any(|check| check.get("verdict").and_then(Value::as_str) == Some(verdict))
    };
    if has("fail") {
        Verdict::Fail
    } else if has("warn") {
        Verdict::Warn
    } else {
        Verdict::Ok
    }
}

fn report(document: &Value, as_json: bool, verdict: Verdict) -> Done {
    if as_json {
        output::json(document);
    } else {
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let rows = |name: &str| document.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        let checks = rows("checks");
        let row =
            |check: &Value| vec![text(check, "verdict").to_uppercase(), text(check, "name"), text(check, "detail")];
        output::table(&checks.iter().map(row).collect::<Vec<_>>());
        for key in rows("damaged") {
            output::line(format_args!(
                "  corrupt: {}/{}: {}",
                text(&key, "bucket"),
                text(&key, "key"),
                text(&key, "reason")
            ));
        }
    }
    match verdict {
        Verdict::Ok => Ok(()),
        Verdict::Warn => Err(Failure::new(Exit::CheckWarned, "")),
        Verdict::Fail => Err(Failure::new(Exit::CheckFailed, "")),
    }
}

async fn accept_loss(data: &std::path::Path) -> Done {
    let failed = |error: OfflineError| match error {
        OfflineError::InUse => Failure::new(Exit::TryAgain, "the node is running; stop it first; nothing was changed"),
        OfflineError::Failed(message) => Failure::new(Exit::Io, message),
    };
    let examination: Examination = offline::examine(data).map_err(failed)?;
    if examination.verdict() == Verdict::Ok {
        output::note("nothing is lost; nothing was changed");
        return Ok(());
    }
    let document = serde_json::to_value(&examination).unwrap_or_default();
    let _shown = report(&document, false, examination.verdict());
    output::note(format_args!("\nWhat is listed above is lost. To go on without it, type: {}", offline::CONFIRMATION));
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|error| Failure::io("standard input", &error))?;
    if line.trim() != offline::CONFIRMATION {
        return Err(Failure::new(Exit::Denied, "not confirmed; nothing was changed"));
    }
    for given_up in offline::accept_loss(data).await.map_err(failed)? {
        output::line(given_up);
    }
    output::note("the node can be started again");
    Ok(())
}
