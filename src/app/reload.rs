//! What runs by the configuration: read at the start, and anew at SIGHUP or `ringfort config reload`. First all of it is
//! read and checked, then it is put in force; where anything is wrong, everything stays as it was. The node's own
//! certificate is also looked at by itself, because addresses and time go on.

use rustls::pki_types::CertificateDer;
use tokio::signal::unix;
use tokio::sync::mpsc;
use tokio::task::block_in_place;
use tokio::time::MissedTickBehavior;

use crate::base::limits::CERTIFICATE_CHECK_EVERY;
use crate::base::time;
use crate::cli::place::RunArguments;
use crate::config::Config;
use crate::front::tls::Tls;
use crate::node::Node;
use crate::node::access::Caller;
use crate::node::certificate::CertificateView;
use crate::node::certificate::Files;
use crate::node::certificate::Shown;
use crate::node::certificate::Wanted;
use crate::node::settings::ConfigEntry;
use crate::node::settings::ReloadWish;
use crate::node::settings::Reloaded;
use crate::node::settings::Settings;

/// Changes what is logged.
pub type SetLog = Box<dyn Fn(&str) + Send + Sync>;

/// What runs by the configuration; the one owner of all of it.
pub struct Live {
    arguments: RunArguments,
    in_force: Config,
    /// As read last: differs where a restart is needed.
    read: Config,
    node: Node,
    tls: Option<Tls>,
    certificate: Option<CertificateView>,
    /// What is shown, with all that goes with it.
    chain: Vec<CertificateDer<'static>>,
    set_log: SetLog,
}

impl Live {
    /// Checks or issues the certificate for HTTPS, where it is spoken.
    ///
    /// # Errors
    /// A sentence; nothing was changed.
    pub fn start(arguments: &RunArguments, config: &Config, node: &Node, set_log: SetLog) -> Result<Self, String> {
        let mut live = Self {
            arguments: arguments.clone(),
            in_force: config.clone(),
            read: config.clone(),
            node: node.clone(),
            tls: None,
            certificate: None,
            chain: Vec::new(),
            set_log,
        };
        if let Some(shown) = live.certificate_for(config).or_else(|reason| live.certificate_of_before(reason))? {
            live.tls = Some(Tls::new(shown.certified).map_err(|error| error.to_string())?);
            live.certificate = Some(shown.view);
        }
        live.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
        live.note();
        Ok(live)
    }

    /// For the listeners.
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Hears signals and wishes, and looks at the certificate, for ever.
    pub async fn watch(mut self, mut hangup: unix::Signal, mut wishes: mpsc::Receiver<ReloadWish>) {
        let mut every = tokio::time::interval(CERTIFICATE_CHECK_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut trouble = None;
        loop {
            tokio::select! {
                heard = hangup.recv() => match heard {
                    Some(()) => self.reload_for_owner().await,
                    None => return,
                },
                wish = wishes.recv() => match wish {
                    // Who has gone does not hear the answer.
                    Some(wish) => { let _gone = wish.send(self.reload()); }
                    None => return,
                },
                _ = every.tick() => {
                    let now = self.renew().err();
                    if let Some(trouble) = now.as_ref().filter(|now| trouble.as_ref() != Some(*now)) {
                        tracing::error!("the server certificate is not renewed: {trouble}");
                        self.node.note_refused_settings(&format!("the server certificate is not renewed: {trouble}"));
                    }
                    // Also where what is shown is still good.
                    if trouble.is_some() && now.is_none() {
                        self.note();
                    }
                    trouble = now;
                }
            }
        }
    }

    /// Reads everything anew. May wait for a disk.
    fn reload(&mut self) -> Result<Reloaded, String> {
        let done = block_in_place(|| self.try_reload());
        match &done {
            Ok(done) => tracing::info!(?done, "the configuration was read anew"),
            Err(reason) => {
                tracing::error!("the configuration was not taken: {reason}; what ran before runs on");
                self.node.note_refused_settings(reason);
            }
        }
        done
    }

    fn try_reload(&mut self) -> Result<Reloaded, String> {
        let read = self.arguments.read().map_err(|error| error.to_string())?;
        let next = self.in_force.with_live_values_of(&read);
        let shown = self.certificate_for(&next)?;
        let certificate_changed = self.show(shown)?;
        // From here on nothing fails.
        let changed = self.in_force.differing(&next);
        let needs_restart = next.differing(&read);
        (self.set_log)(next.log());
        self.node.reserve_disk(next.disk_reserve());
        (self.in_force, self.read) = (next, read);
        self.note();
        Ok(Reloaded { changed, needs_restart, certificate_changed, warnings: self.warnings() })
    }

    /// Looks at the node's own certificate. The customer's is read when that is asked for.
    fn renew(&mut self) -> Result<(), String> {
        if self.certificate.as_ref().is_some_and(CertificateView::is_own) {
            let shown = block_in_place(|| self.certificate_for(&self.in_force))?;
            if self.show(shown)? {
                tracing::info!("the server certificate was renewed");
                self.note();
            }
        }
        Ok(())
    }

    /// The certificate by this configuration, checked; files that are named are checked also where nothing speaks HTTPS.
    fn certificate_for(&self, config: &Config) -> Result<Option<Shown>, String> {
        let files = config.tls_files().map_err(|error| error.to_string())?;
        let files = files.map(|(certificate, key)| Files { certificate, key });
        let wanted = Wanted { files, names: config.names(), listen: config.listen() };
        let speaks_tls = wanted.listen.iter().any(|listen| listen.tls);
        if !speaks_tls && wanted.files.is_none() {
            return Ok(None);
        }
        let shown = self.node.certificate(&wanted).map_err(|error| error.to_string())?;
        Ok(speaks_tls.then_some(shown))
    }

    /// A reload by signal: its outcome is in the log, and in the audit where something was done.
    async fn reload_for_owner(&mut self) {
        let Ok(done) = self.reload() else { return };
        if let Err(error) = self.node.tell_reload(&Caller::local(), &done).await {
            tracing::error!(%error, "the reload is not in the audit");
        }
    }

    /// A full disk or a lost key of the authority must not keep a node with a valid certificate from starting.
    fn certificate_of_before(&self, reason: String) -> Result<Option<Shown>, String> {
        if self.in_force.tls_files() != Ok(None) {
            return Err(reason);
        }
        let shown = self.node.last_issued().ok_or_else(|| reason.clone())?;
        tracing::error!("the server certificate is not renewed: {reason}; the one of before is shown");
        Ok(Some(shown))
    }

    /// Shows it; whether it is another one.
    fn show(&mut self, shown: Option<Shown>) -> Result<bool, String> {
        let (Some(tls), Some(shown)) = (&self.tls, shown) else { return Ok(false) };
        // The whole chain counts: an intermediate that was missing may have been added.
        if self.chain == shown.certified.cert {
            return Ok(false);
        }
        self.chain.clone_from(&shown.certified.cert);
        tls.show(shown.certified).map_err(|error| error.to_string())?;
        self.certificate = Some(shown.view);
        Ok(true)
    }

    fn warnings(&self) -> Vec<String> {
        let ending = self.certificate.as_ref().and_then(|view| view.warning(time::wall_ms()));
        self.read.warnings.iter().cloned().chain(ending).collect()
    }

    /// Tells the node, for everyone who asks it.
    fn note(&self) {
        let read: Vec<_> = self.read.rows().collect();
        let entries = self.in_force.rows().map(|row| {
            let pending = read.iter().find(|read| read.key == row.key && read.value != row.value);
            ConfigEntry {
                key: row.key,
                value: row.value.to_owned(),
                source: row.source.to_string(),
                pending: pending.map(|pending| pending.value.to_owned()),
                live: row.live,
                help: row.help,
            }
        });
        let (config, names) = (entries.collect(), self.in_force.names());
        self.node.note_settings(Settings { names, config, certificate: self.certificate.clone(), refused: None });
    }
}
