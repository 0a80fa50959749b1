//! `ringfort recover control`: a survivor goes on alone after the majority of the voters is lost for ever.

use clap::Args;
use clap::Subcommand;

use crate::base::exit::Exit;
use crate::cli::output;
use crate::cli::output::Done;
use crate::cli::output::Failure;
use crate::cli::place::RunArguments;
use crate::node::doctor::offline::OfflineError;
use crate::node::recover;
use crate::node::recover::Outcome;
use crate::node::recover::Survey;

/// `ringfort recover`.
#[derive(Subcommand, Debug)]
pub enum RecoverCommand {
    /// Go on with the control plane from this node, after most of its voters are gone for ever
    Control(RecoverArguments),
}

/// `ringfort recover control`.
#[derive(Args, Debug)]
pub struct RecoverArguments {
    /// Where the node is
    #[command(flatten)]
    place: RunArguments,
    /// Do it; without this it only says what would be lost. The node must be stopped
    #[arg(long)]
    accept_loss: bool,
}

/// Runs `ringfort recover`.
///
/// # Errors
/// 77 where it was only looked at, 69 where another node is to be asked instead, others where it could not work.
pub async fn recover(command: &RecoverCommand, as_json: bool) -> Done {
    let RecoverCommand::Control(RecoverArguments { place, accept_loss }) = command;
    let data = place.load()?.data();
    let outcome = recover::recover(&data, *accept_loss).await.map_err(|error| match error {
        OfflineError::InUse => Failure::new(Exit::TryAgain, "the node is running; stop it first; nothing was changed"),
        OfflineError::Failed(message) => Failure::new(Exit::Io, format!("{message}; nothing was changed")),
    })?;
    match outcome {
        Outcome::Refused(reason) => Err(Failure::new(Exit::Unavailable, format!("{reason}; nothing was changed"))),
        Outcome::Finished => {
            output::note("an earlier recovery had not come to its end; it has now; start the node");
            Ok(())
        }
        Outcome::Surveyed(survey) => {
            show(&survey, "would be given up", as_json);
            Err(Failure::new(
                Exit::Denied,
                "nothing was changed; only if these machines are gone for ever and cannot serve anybody: the same with \
                 --accept-loss",
            ))
        }
        Outcome::Recovered(survey) => {
            show(&survey, "given up", as_json);
            let generation = survey.generation.saturating_add(1);
            let lost: Vec<String> =
                survey.lost.iter().map(|node| format!("ringfort remove {node} --accept-loss")).collect();
            output::note(format_args!(
                "generation {generation} begins with this node as the only voter; what was is kept as {}\nnow start the \
                 node; then, to go on without the data that only the lost ones had: {}\nthen let new machines join with \
                 `ringfort invite`",
                survey.kept_as.as_deref().unwrap_or("?"),
                lost.join("; "),
            ));
            Ok(())
        }
    }
}

fn show(survey: &Survey, heading: &str, as_json: bool) {
    if as_json {
        output::json(&serde_json::to_value(survey).unwrap_or_default());
        return;
    }
    output::line(format_args!(
        "node {} of cluster {}, generation {}; its voters:",
        survey.node, survey.cluster, survey.generation
    ));
    let row = |voter: &recover::VoterView| vec![voter.id.to_string(), voter.name.clone(), voter.found.clone()];
    output::table(&survey.voters.iter().map(row).collect::<Vec<_>>());
    output::line(format_args!("{heading}:"));
    survey.given_up.iter().for_each(|item| output::line(format_args!("- {item}")));
}
