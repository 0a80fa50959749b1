//! Crash reports of the whole cluster, as any node shows them: all are asked, what several keep is one, and who did not
//! answer is named.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::base::id::NodeId;
use crate::node::Node;
use crate::node::error::DoorError;
use crate::proto::crash::CrashId;
use crate::proto::crash::Report;
use crate::proto::crash::Short;
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

impl Node {
    /// All crash reports that the cluster keeps.
    pub async fn crashes(&self) -> CrashesView {
        let (mut found, mut unheard) = (BTreeMap::<CrashId, CrashView>::new(), Vec::new());
        for said in self.ask_all(&Wish::Crashes).await {
            let reports = match said.found {
                Ok(Found::Crashes(reports)) => reports,
                Ok(_) => {
                    unheard.push(Unheard { node: said.node, reason: "its answer is not understood" });
                    continue;
                }
                Err(reason) => {
                    unheard.push(Unheard { node: said.node, reason });
                    continue;
                }
            };
            for crash in reports.iter().take(SHOWN_MAX).filter_map(|short| Short::parse(&short.0)) {
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
