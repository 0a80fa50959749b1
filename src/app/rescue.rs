//! The process of a rescue console: the same binary with the same arguments, in place of a worker that fails at every start. It
//! listens where the worker would, opens nothing of the store, and ends when it is told to or when a worker is to be tried.

use std::io;
use std::pin::pin;
use std::thread;
use std::time::Duration;

use tokio::runtime;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::app::Signals;
use crate::base::exit::Exit;
use crate::base::pulse;
use crate::cli::output::Failure;
use crate::config::Config;
use crate::console::rescue as pages;
use crate::front::rescue as front;
use crate::front::server;
use crate::front::server::Listeners;
use crate::front::tls::Tls;
use crate::http::rescue as documents;
use crate::node::certificate;
use crate::node::certificate::Files;
use crate::node::debug::logs::Logs;
use crate::node::rescue::AGAIN;
use crate::node::rescue::Rescue;
use crate::node::rescue::RescueOptions;
use crate::node::worker;
use crate::proto::rescue::Told;

/// Threads that may wait for a disk at once.
const THREADS: usize = 4;
/// For how long one that has nothing to do is kept: as long as this process lives.
const KEPT: Duration = Duration::from_secs(u32::MAX as u64);
/// How long the end waits for threads that wait for a disk.
const END: Duration = Duration::from_millis(500);

/// Serves until a stop, or until a worker is to be tried; returns the status to end with.
pub(super) fn process(config: &Config, logs: &Logs, told: &str) -> Result<u8, Failure> {
    let runtime = runtime().map_err(|error| Failure::io("starting", &error))?;
    let served = runtime.block_on(serve(config, logs, told));
    runtime.shutdown_timeout(END);
    logs.close();
    served.map(Exit::code)
}

/// A few browsers need one thread, and one that waits for the disk. Where the system gives no more than these that has to do.
fn runtime() -> io::Result<Runtime> {
    // The runtime would panic where it gets not even one.
    thread::Builder::new().spawn(|| ())?.join().map_err(|_panicked| io::Error::other("a thread failed at once"))?;
    let mut builder = runtime::Builder::new_current_thread();
    builder.enable_all().thread_name("rescue").max_blocking_threads(THREADS).thread_keep_alive(KEPT);
    let runtime = builder.build()?;
    runtime.block_on(async { worker::block("taking a thread", || Ok(())).await }).map_err(io::Error::other)?;
    Ok(runtime)
}

async fn serve(config: &Config, logs: &Logs, told: &str) -> Result<Exit, Failure> {
    pulse::begin().map_err(|error| Failure::io("starting a thread", &error))?;
    let mut signals = Signals::listen()?;
    let told = Told::parse(told).unwrap_or_default();
    let ends = told.ends;
    let (data, name, names, reserve) = (config.data(), config.name(), config.names(), config.disk_reserve());
    let rescue = Rescue::open(RescueOptions { data, name, names, reserve, told });
    let rescue = rescue.map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
    rescue.keep_log(logs);
    let listeners = bind(config).await?;
    let addresses: Vec<String> = listeners.addresses().iter().map(ToString::to_string).collect();
    tracing::warn!(?addresses, ends, "the rescue console is served; nothing is served to devices");
    let (stop, stopped) = watch::channel(false);
    let router = front::assemble(rescue.clone(), vec![documents::face(), pages::face()]);
    let serving = worker::vital("serve", listeners.serve(router, None, stopped));
    let mut again = pin!(rescue.asked_again());
    let exit = loop {
        tokio::select! {
            () = signals.stop.wait() => break Exit::Ok,
            () = &mut again => break AGAIN,
            // The supervisor hears it too, and tries a worker with what is configured now.
            _heard = signals.hangup.recv() => {}
        }
    };
    rescue.close();
    let _nobody_left = stop.send(true);
    let _ended = serving.await;
    Ok(exit)
}

/// All that the worker would listen on; where one of it cannot be had, the control socket at least.
async fn bind(config: &Config) -> Result<Listeners, Failure> {
    let files = config.tls_files().ok().flatten().map(|(certificate, key)| Files { certificate, key });
    let shown = certificate::of_stopped(&config.data(), files.as_ref());
    let tls = shown.and_then(|shown| Tls::new(shown.certified).ok());
    let (wanted, socket) = (config.listen(), config.control_socket());
    let (can, cannot): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|listen| !listen.tls || tls.is_some());
    if !cannot.is_empty() {
        tracing::error!(?cannot, "there is no certificate: the rescue console is not served there");
    }
    match server::bind(&can, tls.as_ref(), Some(&socket)).await {
        Ok(listeners) => Ok(listeners),
        Err(error) => {
            tracing::error!(%error, "the rescue console is served through the control socket only");
            let only = server::bind(&[], None, Some(&socket)).await;
            only.map_err(|error| Failure::new(Exit::Unavailable, error.to_string()))
        }
    }
}
