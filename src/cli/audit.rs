//! `ringfort audit`: who changed what, with every hash checked here and not only where the entries are kept.

use std::time::Duration;

use clap::Args;
use hyper::Method;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::base::exit::Exit;
use crate::cli::client::Client;
use crate::cli::output;
use crate::cli::output::Done;
use crate::cli::output::Failure;
use crate::proto::audit::Chain;
use crate::proto::audit::Shown;

/// Between two questions for new entries.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// `ringfort audit`.
#[derive(Args, Debug)]
pub struct AuditArguments {
    /// Go on with new entries as they come; with --json one document a line
    #[arg(long)]
    follow: bool,
    /// Only changes of who gets in: users, tokens, scopes, the claim; numbered, chained and kept by themselves
    #[arg(long)]
    access: bool,
    /// Only entries behind this number
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    after: u64,
}

#[derive(Deserialize)]
struct Place {
    seq: u64,
    hash: String,
}

#[derive(Deserialize)]
struct Page {
    anchor: Place,
    entries: Vec<Shown>,
    head: Place,
    next: Option<u64>,
}

/// Where the walk along the chain has come to; nothing is known before the first entry.
struct Walk {
    chain: Chain,
    after: u64,
    last: Option<Place>,
}

/// Runs `ringfort audit`.
///
/// # Errors
/// Of the node or the way to it; [`Exit::CheckFailed`] where the chain does not hold.
pub async fn audit(client: &Client, arguments: &AuditArguments, as_json: bool) -> Done {
    let chain = if arguments.access { Chain::Access } else { Chain::All };
    let mut walk = Walk { chain, after: arguments.after, last: None };
    let entries = walk.on(client).await?;
    if arguments.follow {
        print(&entries, as_json);
        loop {
            tokio::time::sleep(FOLLOW_EVERY).await;
            print(&walk.on(client).await?, as_json);
        }
    }
    if as_json {
        output::json(&json!({ "verified": true, "entries": entries }));
    } else {
        print(&entries, false);
        output::note(format_args!("{} entries; the chain of their hashes holds", entries.len()));
    }
    Ok(())
}

impl Walk {
    /// All entries from here to the head, every one checked against the one before.
    async fn on(&mut self, client: &Client) -> Result<Vec<Shown>, Failure> {
        let mut all = Vec::new();
        loop {
            let page: Value = client.ask(Method::GET, &self.path()).await?;
            let page: Page = serde_json::from_value(page)
                .map_err(|error| Failure::new(Exit::BadData, format!("the node's answer is not an audit: {error}")))?;
            let start = self.start(&page)?;
            self.check(start, &page)?;
            all.extend(page.entries);
            if page.next.is_none() {
                return Ok(all);
            }
        }
    }

    fn path(&self) -> String {
        format!("/v1/audit?chain={}&after={}", self.chain.name(), self.after)
    }

    /// What the first entry of a page must follow, where that is known.
    fn start(&mut self, page: &Page) -> Result<Option<Place>, Failure> {
        match self.last.take() {
            Some(last) if last.seq < page.anchor.seq => Err(Failure::new(
                Exit::CheckFailed,
                format!("entries {} to {} are gone: more were added than are kept", last.seq + 1, page.anchor.seq),
            )),
            Some(last) => Ok(Some(last)),
            None if self.after <= page.anchor.seq => {
                if page.anchor.seq > 0 {
                    let longer = match self.chain {
                        Chain::All => "; those of users, tokens and scopes are kept longer: `ringfort audit --access`",
                        Chain::Access => "",
                    };
                    output::note(format_args!("entries up to {} are not kept any more{longer}", page.anchor.seq));
                }
                Ok(Some(Place { seq: page.anchor.seq, hash: page.anchor.hash.clone() }))
            }
            None => Ok(None),
        }
    }

    fn check(&mut self, start: Option<Place>, page: &Page) -> Done {
        let broken = |seq: u64| {
            Failure::new(
                Exit::CheckFailed,
                format!("entry {seq} does not follow the one before: entries were changed, left out or moved"),
            )
        };
        let mut last = start;
        for entry in &page.entries {
            // Behind a number of the user's choice the first entry says itself what it follows.
            let (seq, hash) = last.as_ref().map_or((self.after, &entry.prev), |last| (last.seq, &last.hash));
            if !entry.follows(seq, hash) {
                return Err(broken(entry.seq));
            }
            last = Some(Place { seq: entry.seq, hash: entry.hash.clone() });
        }
        let at_end = page.next.is_none();
        match &last {
            Some(last) if at_end && (last.seq, &last.hash) != (page.head.seq, &page.head.hash) => {
                return Err(broken(page.head.seq));
            }
            Some(last) => self.after = last.seq,
            None => {}
        }
        self.last = last;
        Ok(())
    }
}

fn print(entries: &[Shown], as_json: bool) {
    for entry in entries {
        if as_json {
            output::line(serde_json::to_string(entry).unwrap_or_default());
            continue;
        }
        let from = entry.from.map(|from| format!(" from {from}")).unwrap_or_default();
        output::line(format_args!("{:>6}  {}  {}{from}: {}", entry.seq, entry.at, entry.by, entry.what));
    }
}
