//! The cluster at a terminal: `members`, `ring`, `where`, `invite`, `leave`, `remove`,
//! `replace`, `drain` and `undrain`.

use clap::Args;
use clap::Subcommand;
use hyper::Method;
use serde_json::Value;
use serde_json::json;

use crate::base::exit::Exit;
use crate::cli::client::Client;
use crate::cli::client::escape;
use crate::cli::output;
use crate::cli::output::Done;
use crate::cli::output::Failure;

/// `ringfort ring`.
#[derive(Args, Debug)]
pub struct RingArguments {
    /// Every partition with its owners
    #[arg(long)]
    partitions: bool,
    #[command(subcommand)]
    order: Option<RingOrder>,
}

/// `ringfort ring pause` and `ringfort ring resume`.
#[derive(Subcommand, Debug)]
pub enum RingOrder {
    /// Let partitions on their way wait, on all nodes
    Pause {
        /// Why, for whoever looks at the cluster
        #[arg(long)]
        reason: Option<String>,
        /// How long, such as 30m, 72h at most
        #[arg(long = "for", default_value = "1h")]
        lasts: String,
    },
    /// Let them go on
    Resume,
}

/// `ringfort where`.
#[derive(Args, Debug)]
pub struct WhereArguments {
    /// The bucket
    bucket: String,
    /// The key
    key: String,
}

/// `ringfort invite`.
#[derive(Args, Debug)]
pub struct InviteArguments {
    /// How long it is good, such as 24h, 7d at most
    #[arg(long, default_value = "24h")]
    ttl: String,
}

/// `ringfort leave`.
#[derive(Args, Debug)]
pub struct LeaveArguments {
    /// Its number or name [default: the node that is asked]
    node: Option<String>,
}

/// `ringfort remove`.
#[derive(Args, Debug)]
pub struct RemoveArguments {
    /// Its number or name
    node: String,
    /// Go on where acked writes are lost with it
    #[arg(long)]
    accept_loss: bool,
}

/// `ringfort replace`.
#[derive(Args, Debug)]
pub struct ReplaceArguments {
    /// The node that goes, by number or name
    old: String,
    /// The one that comes, where it is in already and owns nothing yet [default: the node that is asked, if it is such a
    /// one; else the line for a new machine is printed]
    new: Option<String>,
    /// How long that line is good, such as 24h, 7d at most
    #[arg(long, default_value = "24h")]
    ttl: String,
}

/// `ringfort drain`.
#[derive(Args, Debug)]
pub struct DrainArguments {
    /// Its number or name
    node: String,
    /// Why, for whoever looks at the cluster
    #[arg(long)]
    reason: Option<String>,
    /// How long, such as 1h [default: until `ringfort undrain`]
    #[arg(long = "for")]
    lasts: Option<String>,
}

/// `ringfort undrain`.
#[derive(Args, Debug)]
pub struct UndrainArguments {
    /// Its number or name
    node: String,
}

/// A member of a document as it is shown in a table.
pub(super) fn cell(document: &Value, at: &str) -> String {
    match document.pointer(at) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(list)) => list.iter().map(|item| cell(item, "")).collect::<Vec<_>>().join(","),
        Some(Value::Bool(flag)) => if *flag { "yes" } else { "no" }.to_owned(),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other @ (Value::Number(_) | Value::Object(_))) => other.to_string(),
    }
}

/// The rows of a list in a document, below a head.
pub(super) fn rows(document: &Value, list: &str, columns: &[(&str, &str)]) -> Vec<Vec<String>> {
    let head = columns.iter().map(|(head, _)| (*head).to_owned()).collect();
    let items = document.pointer(list).and_then(Value::as_array).into_iter().flatten();
    std::iter::once(head).chain(items.map(|item| columns.iter().map(|(_, at)| cell(item, at)).collect())).collect()
}

/// Runs `ringfort members`.
///
/// # Errors
/// Of the node or the way to it.
pub async fn members(client: &Client, as_json: bool) -> Done {
    let all = client.ask(Method::GET, "/v1/members").await?;
    if as_json {
        output::json(&all);
        return Ok(());
    }
    output::table(&rows(
        &all,
        "/members",
        &[
            ("ID", "/id"),
            ("NAME", "/name"),
            ("ZONE", "/zone"),
            ("WEIGHT", "/weight"),
            ("STATE", "/state"),
            ("PART", "/part"),
            ("SERVING", "/serving"),
            ("VOTER", "/voter"),
            ("LOAD %", "/figures/load"),
            ("REQUESTS/S", "/figures/requests_per_s"),
            ("DISK FREE", "/figures/disk_free"),
            ("STORED", "/figures/stored"),
            ("RELEASE", "/release"),
            ("SINCE", "/since"),
            ("REASON", "/reason"),
        ],
    ));
    Ok(())
}

/// Runs `ringfort ring`.
///
/// # Errors
/// Of the node or the way to it.
pub async fn ring(client: &Client, arguments: &RingArguments, as_json: bool) -> Done {
    if let Some(order) = &arguments.order {
        return order_ring(client, order).await;
    }
    let ring = client.ask(Method::GET, "/v1/ring").await?;
    if as_json {
        output::json(&ring);
        return Ok(());
    }
    let text = |at: &str| cell(&ring, at);
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let [settled, both, read_next] = ["settled", "both", "read_next"].map(|phase| text(&format!("/phases/{phase}")));
    output::table(&[
        row("layout", format!("version {}, owners decided in version {}", text("/version"), text("/planned"))),
        row(
            "partitions",
            format!(
                "{settled} settled, {both} written to old and new owners, {read_next} read from the new ones as well"
            ),
        ),
        row("buckets that read what was acked", standing(&ring, "strict")),
        row("weak buckets", standing(&ring, "weak")),
        row("handoff", handoff(&ring)),
    ]);
    if ring.get("pause").is_some_and(|pause| !pause.is_null()) {
        let (until, reason) = (text("/pause/until"), text("/pause/reason"));
        output::note(format_args!("handoff is paused until {until}: {reason}; `ringfort ring resume` lets it go on"));
    }
    let transfers = [
        ("TO", "/to"),
        ("NAME", "/name"),
        ("UP", "/up"),
        ("PARTITIONS LEFT", "/partitions"),
        ("BYTES/S", "/bytes_per_s"),
        ("SECONDS LEFT", "/eta_s"),
    ];
    if ring.get("transfers").and_then(Value::as_array).is_some_and(|all| !all.is_empty()) {
        output::table(&rows(&ring, "/transfers", &transfers));
    }
    let nodes = [("ID", "/id"), ("NAME", "/name"), ("ZONE", "/zone"), ("OWNS", "/owns"), ("COMES", "/comes")];
    output::table(&rows(&ring, "/nodes", &[&nodes[..], &[("ADOPTED", "/adopted")]].concat()));
    if arguments.partitions {
        output::table(&rows(
            &ring,
            "/partitions",
            &[
                ("PARTITION", "/id"),
                ("EPOCH", "/epoch"),
                ("PHASE", "/phase"),
                ("STANDS", "/strict"),
                ("OWNERS", "/now/owners"),
                ("SYNCED", "/now/synced"),
                ("NEXT", "/next/owners"),
                ("NEXT SYNCED", "/next/synced"),
            ],
        ));
    }
    Ok(())
}

async fn order_ring(client: &Client, order: &RingOrder) -> Done {
    match order {
        RingOrder::Pause { reason, lasts } => {
            let document = json!({ "reason": reason, "for": lasts });
            client.tell(Method::POST, "/v1/ring/pause", &document).await?;
            output::note(format_args!(
                "partitions on their way wait on all nodes for {lasts}; `ringfort ring resume` lets them go on"
            ));
        }
        RingOrder::Resume => {
            client.ask(Method::POST, "/v1/ring/resume").await?;
            output::note("partitions on their way go on");
        }
    }
    Ok(())
}

fn standing(ring: &Value, of: &str) -> String {
    let [whole, below, lost] = ["whole", "below", "lost"].map(|word| cell(ring, &format!("/{of}/{word}")));
    match ring.get(of) {
        Some(Value::Object(_)) => format!("{whole} partitions whole, {below} below N, {lost} without a quorum"),
        Some(_) | None => "none".to_owned(),
    }
}

fn handoff(ring: &Value) -> String {
    let number = |at: &str| ring.pointer(at).and_then(Value::as_u64);
    let (node, came) = (cell(ring, "/handoff/node"), number("/handoff/bytes").unwrap_or(0) >> 20);
    match (number("/handoff/partitions").unwrap_or(0), number("/handoff/eta_s")) {
        (0, _) => format!("node {node} has nothing left to merge"),
        (left, None) => format!("node {node} has {left} partitions left to merge, {came} MiB came"),
        (left, Some(eta)) => format!("node {node} has {left} partitions left to merge, {came} MiB came, about {eta} s"),
    }
}

/// Runs `ringfort where`.
///
/// # Errors
/// Of the node or the way to it.
pub async fn whereabouts(client: &Client, arguments: &WhereArguments, as_json: bool) -> Done {
    let WhereArguments { bucket, key } = arguments;
    let path = format!("/v1/where/{}/{}", escape(bucket.as_bytes()), escape(key.as_bytes()));
    let found = client.ask(Method::GET, &path).await?;
    if as_json {
        output::json(&found);
        return Ok(());
    }
    let text = |at: &str| cell(&found, at);
    output::line(format_args!(
        "partition {} of hash {}, epoch {}, {}",
        text("/partition"),
        text("/hash"),
        text("/epoch"),
        text("/phase")
    ));
    output::table(&rows(
        &found,
        "/owners",
        &[
            ("NODE", "/node"),
            ("NAME", "/name"),
            ("LISTS", "/lists"),
            ("SYNCED", "/synced"),
            ("VALUES", "/holds/values"),
            ("BYTES", "/holds/size"),
            ("CONTEXT", "/holds/context"),
            ("HINT WAITS", "/hint_pending"),
            ("NO ANSWER", "/why"),
        ],
    ));
    Ok(())
}

/// Runs `ringfort invite`.
///
/// # Errors
/// Of the node or the way to it.
pub async fn invite(client: &Client, arguments: &InviteArguments, as_json: bool) -> Done {
    show_invite(client.tell(Method::POST, "/v1/invites", &json!({ "ttl": arguments.ttl })).await?, as_json);
    Ok(())
}

fn show_invite(made: Value, as_json: bool) {
    let command = format!("ringfort run --join {}", cell(&made, "/token"));
    if as_json {
        let mut made = made;
        if let Value::Object(members) = &mut made {
            members.insert("command".to_owned(), command.into());
        }
        output::json(&made);
        return;
    }
    output::line(command);
    output::note(format_args!(
        "paste this line on the new machine; it lets in one node, until {}, and is shown once",
        cell(&made, "/expires_at")
    ));
    output::note(format_args!(
        "firewall: the new machine has to reach {} over TCP, and all of these the new machine at TCP 7400, or where its \
         --peer-listen says; behind NAT give it --advertise ADDRESS",
        cell(&made, "/seeds").replace(',', ", ")
    ));
    output::note("devices and browsers reach it at TCP 7480, once --listen names an address beyond loopback");
}

/// The node that answers.
async fn asked(client: &Client) -> Result<String, Failure> {
    Ok(cell(&client.ask(Method::GET, "/v1/status").await?, "/node"))
}

fn path(node: &str, what: &str) -> String {
    format!("/v1/members/{}/{what}", escape(node.as_bytes()))
}

fn show_part(part: &Value, as_json: bool) {
    if as_json {
        output::json(part);
        return;
    }
    let text = |at: &str| cell(part, at);
    let state = match text("/part").as_str() {
        "removed" => "is removed",
        "leaving" => "leaves",
        "joining" => "joins",
        _ => "takes part",
    };
    output::note(format_args!("node {} ({}) {state}: {}", text("/id"), text("/name"), text("/reason")));
    if text("/part") == "leaving" {
        output::note(
            "leave the machine running until `ringfort members` shows it no more: until then it may have the only copy",
        );
    }
    if let Some(plan) = part.get("plan").and_then(Value::as_u64) {
        output::note(format_args!(
            "plan {plan} waits: look at `ringfort plan show`, then `ringfort plan commit {plan}`"
        ));
    }
}

/// Runs `ringfort leave`.
///
/// # Errors
/// Of the node or the way to it.
pub async fn leave(client: &Client, arguments: &LeaveArguments, as_json: bool) -> Done {
    let node = match &arguments.node {
        Some(node) => node.clone(),
        None => asked(client).await?,
    };
    show_part(&client.ask(Method::POST, &path(&node, "leave")).await?, as_json);
    Ok(())
}

/// Runs `ringfort remove`.
///
/// # Errors
/// Of the node or the way to it.
pub async fn remove(client: &Client, arguments: &RemoveArguments, as_json: bool) -> Done {
    let RemoveArguments { node, accept_loss } = arguments;
    let document = json!({ "accept_loss": accept_loss });
    show_part(&client.tell(Method::POST, &path(node, "remove"), &document).await?, as_json);
    Ok(())
}

/// The node that answers, where it owns nothing.
async fn newcomer(client: &Client) -> Result<Option<String>, Failure> {
    let status = client.ask(Method::GET, "/v1/status").await?;
    let owns = status.get("partitions").and_then(Value::as_u64) != Some(0);
    Ok((!owns).then(|| cell(&status, "/node")))
}

/// Runs `ringfort replace`.
///
/// # Errors
/// Of the node or the way to it; [`Exit::NoInput`] where there is no such node.
pub async fn replace(client: &Client, arguments: &ReplaceArguments, as_json: bool) -> Done {
    let ReplaceArguments { old, new, ttl } = arguments;
    let new = match new {
        Some(new) => Some(new.clone()),
        None => newcomer(client).await?,
    };
    let Some(new) = new else {
        let made = client.tell(Method::POST, "/v1/invites", &json!({ "ttl": ttl, "replaces": old })).await?;
        show_invite(made, as_json);
        if !as_json {
            output::note(format_args!(
                "it takes the places of node `{old}`, which goes when the others have what it had"
            ));
        }
        return Ok(());
    };
    let all = client.ask(Method::GET, "/v1/members").await?;
    let mut members = all.get("members").and_then(Value::as_array).into_iter().flatten();
    let found = members.find(|member| cell(member, "/id") == new || cell(member, "/name") == new);
    let Some(by) = found.and_then(|member| member.get("id")) else {
        return Err(Failure::new(Exit::NoInput, format!("there is no node `{new}`; nothing was changed")));
    };
    show_part(&client.tell(Method::POST, &path(old, "replace"), &json!({ "by": by })).await?, as_json);
    Ok(())
}

/// Runs `ringfort drain`.
///
/// # Errors
/// Of the node or the way to it.
pub async fn drain(client: &Client, arguments: &DrainArguments, as_json: bool) -> Done {
    let DrainArguments { node, reason, lasts } = arguments;
    let document = json!({ "reason": reason, "for": lasts });
    let part = client.tell(Method::POST, &path(node, "drain"), &document).await?;
    if as_json {
        output::json(&part);
        return Ok(());
    }
    let name = cell(&part, "/name");
    output::note(format_args!(
        "node {} ({name}) asks devices to go elsewhere: its /readyz says 503, connections close after an answer; it keeps \
         and replicates what it owns; `ringfort undrain {name}` ends it",
        cell(&part, "/id"),
    ));
    Ok(())
}

/// Runs `ringfort undrain`.
///
/// # Errors
/// Of the node or the way to it.
pub async fn undrain(client: &Client, arguments: &UndrainArguments, as_json: bool) -> Done {
    let part = client.ask(Method::POST, &path(&arguments.node, "undrain")).await?;
    if as_json {
        output::json(&part);
        return Ok(());
    }
    output::note(format_args!("node {} ({}) takes devices again", cell(&part, "/id"), cell(&part, "/name")));
    Ok(())
}
