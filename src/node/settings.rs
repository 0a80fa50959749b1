//! The configuration as people see it, and the way to have it read anew. Whoever wired this node up reads it; here are
//! only plain values and the wish. No key of the configuration holds a secret, only paths of files that do, so that all of
//! it can be shown.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use serde::Serialize;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::node::Node;
use crate::node::access::Caller;
use crate::node::certificate::CertificateView;
use crate::node::error::DoorError;
use crate::proto::control::Command;

/// Wishes that wait: one is read at a time, and a second one would find the same.
const RELOADS_WAITING: usize = 4;

/// One key of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigEntry {
    /// Its name.
    pub key: &'static str,
    /// In force.
    pub value: String,
    /// Where that came from: `default`, `FILE:LINE`, a variable or a flag.
    pub source: String,
    /// What was read since and waits for a restart.
    pub pending: Option<String>,
    /// Whether a reload changes it without a restart.
    pub live: bool,
    /// What it means.
    pub help: &'static str,
}

/// What runs by the configuration, for people.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Names of this node besides its own, as configured.
    pub names: Vec<String>,
    /// Every key.
    pub config: Vec<ConfigEntry>,
    /// What is shown to clients; none where nothing speaks HTTPS.
    pub certificate: Option<CertificateView>,
    /// Why what was configured last is not in force.
    pub refused: Option<String>,
}

/// What a reload did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// Keys with a new value in force.
    pub changed: Vec<&'static str>,
    /// Keys whose new value needs a restart.
    pub needs_restart: Vec<&'static str>,
    /// Whether another certificate is shown now.
    pub certificate_changed: bool,
    /// Worth saying.
    pub warnings: Vec<String>,
}

/// A wish to read the configuration anew. The answer is what was done, or why nothing was.
pub type ReloadWish = oneshot::Sender<Result<Reloaded, String>>;

impl Node {
    /// What runs by the configuration.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.0.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether this is the node's own name or one of the configured ones.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        let is = |known: &String| known.eq_ignore_ascii_case(name);
        is(&self.who().name) || self.settings().names.iter().any(is)
    }

    /// Notes what runs by the configuration now.
    pub fn note_settings(&self, settings: Settings) {
        *self.0.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// Notes that what was configured was not taken, or not put in force.
    pub fn note_refused_settings(&self, reason: &str) {
        let settings = Settings { refused: Some(reason.to_owned()), ..(*self.settings()).clone() };
        self.note_settings(settings);
    }

    /// Wishes come here from now on; the first caller hears them.
    pub fn hear_reloads(&self) -> mpsc::Receiver<ReloadWish> {
        let (sender, receiver) = mpsc::channel(RELOADS_WAITING);
        let _already_heard = self.0.reloads.set(sender);
        receiver
    }

    /// Has the configuration and the certificate read anew.
    ///
    /// # Errors
    /// [`DoorError::BadConfig`] where it is not good: then everything is as before.
    pub async fn reload(&self, caller: &Caller) -> Result<Reloaded, DoorError> {
        let (wish, answer) = oneshot::channel();
        let reloads = self.0.reloads.get().ok_or(DoorError::Stopping)?;
        reloads.try_send(wish).map_err(|_full_or_gone| DoorError::Busy)?;
        let done = answer.await.map_err(|_gone| DoorError::Stopping)?.map_err(DoorError::BadConfig)?;
        self.tell_reload(caller, &done).await?;
        Ok(done)
    }

    /// Notes a reload in the audit.
    ///
    /// # Errors
    /// [`DoorError`]; the reload is done all the same.
    pub async fn tell_reload(&self, caller: &Caller, done: &Reloaded) -> Result<(), DoorError> {
        let mut changed = done.changed.clone();
        changed.extend(done.certificate_changed.then_some("the certificate shown"));
        let changed = if changed.is_empty() { "nothing".to_owned() } else { changed.join(", ") };
        self.tell_of_a_reload(&caller.name, &changed);
        self.order_in_words(caller, format!("reads the configuration anew: changes {changed}"), Command::Note).await?;
        Ok(())
    }

    /// Free bytes below which writes are refused.
    #[must_use]
    pub fn disk_reserve(&self) -> u64 {
        self.0.disk_reserve.load(Ordering::Relaxed)
    }

    /// Changes them; the next look at the disk, half a second later at most, goes by them.
    pub fn reserve_disk(&self, bytes: u64) {
        self.0.disk_reserve.store(bytes, Ordering::Relaxed);
    }
}
