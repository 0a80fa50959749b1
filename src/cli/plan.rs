//! `ringfort plan`: what moves where, before it moves.

use clap::Subcommand;
use hyper::Method;
use serde_json::Value;
use serde_json::json;

use crate::cli::client::Client;
use crate::cli::cluster::cell;
use crate::cli::cluster::rows;
use crate::cli::output;
use crate::cli::output::Done;

/// `ringfort plan`.
#[derive(Subcommand, Debug)]
pub enum PlanCommand {
    /// What is staged, and what it would bring
    Show,
    /// Stage a plan for all nodes, also for a second one
    Stage,
    /// Begin what is staged under this number
    Commit {
        /// The number that `ringfort plan show` prints
        number: u64,
        /// Give up what only removed nodes had
        #[arg(long)]
        accept_loss: bool,
    },
    /// Drop what is staged; nodes that were to leave by it stay
    Clear,
}

/// Runs `ringfort plan`.
///
/// # Errors
/// Of the node or the way to it.
pub async fn plan(client: &Client, command: &PlanCommand, as_json: bool) -> Done {
    match command {
        PlanCommand::Show => show(&client.ask(Method::GET, "/v1/plan").await?, as_json),
        PlanCommand::Stage => show(&client.ask(Method::POST, "/v1/plan").await?, as_json),
        PlanCommand::Commit { number, accept_loss } => commit(client, *number, *accept_loss, as_json).await?,
        PlanCommand::Clear => {
            client.ask(Method::DELETE, "/v1/plan").await?;
            output::note("nothing is staged");
        }
    }
    Ok(())
}

/// Losses are accepted for those that the node names as removed, as it shows them now.
async fn commit(client: &Client, number: u64, accept_loss: bool, as_json: bool) -> Done {
    let removed = match accept_loss {
        true => client.ask(Method::GET, "/v1/plan").await?.get("removed").cloned().unwrap_or_else(|| json!([])),
        false => json!([]),
    };
    let document = json!({ "version": number, "accept_loss": removed });
    let done = client.tell(Method::POST, "/v1/plan/commit", &document).await?;
    if as_json {
        output::json(&done);
    } else {
        output::note(format_args!("plan {number} has begun; `ringfort ring` shows how far it is"));
    }
    Ok(())
}

fn show(plans: &Value, as_json: bool) {
    if as_json {
        output::json(plans);
        return;
    }
    let text = |at: &str| cell(plans, at);
    if plans.get("removed").and_then(Value::as_array).is_some_and(|removed| !removed.is_empty()) {
        output::note(format_args!("removed and still in some list: node {}", text("/removed").replace(',', ", node ")));
    }
    if plans.get("plan").is_none_or(Value::is_null) {
        let commits = if text("/commit") == "auto" { "; plans commit themselves here" } else { "" };
        output::note(format_args!("nothing is staged{commits}"));
        return;
    }
    let moves = plans.pointer("/plan/moves").and_then(Value::as_array).map_or(0, Vec::len);
    let may_be_lost = |when: &str| {
        let [machines, zones] = ["machines", "zones"].map(|what| text(&format!("/plan/{when}/{what}")));
        format!("{machines} machines, {zones} zones")
    };
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    output::table(&[
        row("plan", text("/plan/version")),
        row("to be copied", format!("{moves} partitions")),
        row("at least", format!("{} bytes, {} s", text("/plan/bytes"), text("/plan/seconds"))),
        row("may be lost now", may_be_lost("before")),
        row("may be lost meanwhile", may_be_lost("during")),
        row("may be lost then", may_be_lost("after")),
    ]);
    let columns = [
        ("ID", "/id"),
        ("NAME", "/name"),
        ("NOW", "/before"),
        ("THEN", "/after"),
        ("GAINS", "/gains"),
        ("LOSES", "/loses"),
    ];
    output::table(&rows(plans, "/plan/nodes", &columns));
    output::note(format_args!("`ringfort plan commit {}` begins it", text("/plan/version")));
}
