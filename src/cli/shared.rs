//! `ringfort shared`: every piece of shared state, and what it costs.

use hyper::Method;

use crate::cli::client::Client;
use crate::cli::cluster::cell;
use crate::cli::cluster::rows;
use crate::cli::output;
use crate::cli::output::Done;

/// Runs `ringfort shared`.
///
/// # Errors
/// Of the node or the way to it.
pub async fn shared(client: &Client, as_json: bool) -> Done {
    let shared = client.ask(Method::GET, "/v1/shared").await?;
    if as_json {
        output::json(&shared);
        return Ok(());
    }
    output::table(&rows(&shared, "/kinds", &[("KIND", "/kind"), ("PIECES", "/pieces"), ("ONE CHANGE TAKES", "/cost")]));
    for kind in shared.get("kinds").and_then(serde_json::Value::as_array).into_iter().flatten() {
        output::note(format_args!("{}: {}", cell(kind, "/kind"), cell(kind, "/now")));
    }
    output::table(&rows(
        &shared,
        "/pieces",
        &[
            ("PIECE", "/name"),
            ("KIND", "/kind"),
            ("ENTRIES", "/entries"),
            ("BYTES", "/bytes"),
            ("STOPS WITHOUT IT", "/stops"),
        ],
    ));
    Ok(())
}
