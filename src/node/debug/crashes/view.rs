//! Crash reports of the whole cluster, as any node shows them: all are asked, what several keep is one, and who did not
//! answer is named.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::base::id::NodeId;
use crate::base::time;
use crate::node::Node;
use crate::node::error::DoorError;
use crate::proto::crash::CrashId;
use crate::proto::crash::Kind;
use crate::proto::crash::Report;
use crate::proto::crash::Short;
use crate::proto::crash::filter::Search;
use crate::proto::diagnosis::Found;
use crate::proto::diagnosis::Wish;

/// Reports that are shown at most: those of every node of a large cluster.
const SHOWN_MAX: usize = 5000;

/// A report in short, and who keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CrashView {
    /// The report.
    #[serde(flatten)]
    pub crash: Short,
    /// Nodes on which it was found.
    pub kept_on: Vec<NodeId>,
}

/// A node that said nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unheard {
    /// Which.
    pub node: NodeId,
    /// Why, for people.
    pub reason: &'static str,
}

/// All that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CrashesView {
    /// Reports, the newest first.
    pub crashes: Vec<CrashView>,
    /// Who did not answer: what only these keep is missing.
    pub unheard: Vec<Unheard>,
    /// Files of this node that are no reports any more.
    pub damaged: Vec<String>,
}

/// Which reports are meant. Everything that is not given fits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CrashQuery {
    /// Of this kind.
    pub kind: Option<Kind>,
    /// Of the node with this number or name.
    pub node: Option<String>,
    /// From then on, wall milliseconds.
    pub since_ms: Option<u64>,
    /// Up to then.
    pub until_ms: Option<u64>,
    /// That say this.
    pub search: Search,
}

impl CrashQuery {
    /// Whether it is meant, but for what its report says.
    pub(in crate::node) fn takes(&self, crash: &Short) -> bool {
        let at_ms = time::parse_rfc3339(&crash.at).unwrap_or_default();
        self.kind.is_none_or(|kind| crash.kind == kind)
            && self.node.as_ref().is_none_or(|node| crash.name == *node || crash.node.to_string() == *node)
            && self.since_ms.is_none_or(|since| at_ms >= since)
            && self.until_ms.is_none_or(|until| at_ms <= until)
    }
}

impl Node {
    /// All crash reports that the cluster keeps.
    pub async fn crashes(&self) -> CrashesView {
        self.crashes_of(&CrashQuery::default()).await
    }

    /// Those that are meant.
    pub async fn crashes_of(&self, query: &CrashQuery) -> CrashesView {
        let wish = match &query.search {
            Search { text: None, regex: None } => Wish::Crashes,
            search => Wish::FindCrashes(search.clone()),
        };
        let (mut found, mut unheard) = (BTreeMap::<CrashId, CrashView>::new(), Vec::new());
        for said in self.ask_all(&wish).await {
            let reports = match said.found {
                Ok(Found::Crashes(reports)) => reports,
                Ok(Found::CrashesFound { reports, cut }) => {
                    if cut {
                        let reason = "it has too many reports to look through in time: older ones are missing";
                        unheard.push(Unheard { node: said.node, reason });
                    }
                    reports
                }
                Ok(Found::Refused(_)) => {
                    unheard.push(Unheard { node: said.node, reason: "too many look at once there" });
                    continue;
                }
                Ok(_) => {
                    unheard.push(Unheard { node: said.node, reason: "its answer is not understood" });
                    continue;
                }
                Err(reason) => {
                    unheard.push(Unheard { node: said.node, reason });
                    continue;
                }
            };
            let meant = reports.iter().take(SHOWN_MAX).filter_map(|short| Short::parse(&short.0));
            for crash in meant.filter(|crash| query.takes(crash)) {
                let view = CrashView { crash, kept_on: Vec::new() };
                found.entry(view.crash.id.clone()).or_insert(view).kept_on.push(said.node);
            }
        }
        let damaged = self.crashes_here().await.map(|listing| listing.damaged).unwrap_or_default();
        CrashesView { crashes: found.into_values().rev().take(SHOWN_MAX).collect(), unheard, damaged }
    }

    /// A whole report, from whoever keeps it.
    ///
    /// # Errors
    /// [`DoorError::NotFound`] where nobody who answers does.
    pub async fn crash(&self, id: &str) -> Result<Report, DoorError> {
        let missing = || DoorError::NotFound { what: "crash report", name: id.to_owned() };
        let id = CrashId::parse(id).ok_or_else(missing)?;
        let here = self.ask_one(self.who().node, &Wish::Crash { id: id.as_str().to_owned() }).await;
        let mut answers = vec![here];
        if !matches!(answers.as_slice(), [Ok(Found::Crash(Some(_)))]) {
            let all = self.ask_all(&Wish::Crash { id: id.as_str().to_owned() }).await;
            answers.extend(all.into_iter().map(|said| said.found));
        }
        let reports = answers.into_iter().filter_map(|answer| match answer {
            Ok(Found::Crash(Some(report))) => Report::parse(&report.0).ok(),
            Ok(_) | Err(_) => None,
        });
        reports.into_iter().find(|report| report.id == id).ok_or_else(missing)
    }
}
