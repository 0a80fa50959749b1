//! Floor 6: wiring. Which command runs in which process; for a node: open, bind, start, serve, and stop in reverse.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use clap::CommandFactory;
use clap::Parser;
use tokio::runtime;
use tokio::signal::unix;
use tokio::signal::unix::SignalKind;
use tokio::sync::mpsc;
use tokio::sync::watch;

use crate::base::exit;
use crate::base::exit::Exit;
use crate::base::file_size;
use crate::base::flight;
use crate::base::flight::PanicSaid;
use crate::base::flight::Stage;
use crate::base::limits::RUNTIME_BEAT;
use crate::base::limits::TIMELINE_STOP;
use crate::base::memory;
use crate::base::pulse;
use crate::base::time;
use crate::cli::Arguments;
use crate::cli::Command;
use crate::cli::admin;
use crate::cli::audit;
use crate::cli::bucket;
use crate::cli::ca;
use crate::cli::cluster;
use crate::cli::connect;
use crate::cli::crashes;
use crate::cli::dev;
use crate::cli::doctor;
use crate::cli::events;
use crate::cli::kv;
use crate::cli::load;
use crate::cli::logs;
use crate::cli::output;
use crate::cli::output::Done;
use crate::cli::output::Failure;
use crate::cli::place;
use crate::cli::place::ConfigCommand;
use crate::cli::place::RunArguments;
use crate::cli::plan;
use crate::cli::recover;
use crate::cli::rescue as rescue_command;
use crate::cli::shared;
use crate::cli::status;
use crate::cli::timeline;
use crate::cli::transfer;
use crate::config::Config;
use crate::console;
use crate::front::route;
use crate::front::route::Face;
use crate::front::server;
use crate::http::routes;
use crate::node::Node;
use crate::node::birth;
use crate::node::birth::NodeOptions;
use crate::node::birth::OpenNode;
use crate::node::debug::courier;
use crate::node::debug::gasp;
use crate::node::debug::logs::Logs;
use crate::node::debug::panics;
use crate::node::debug::refusal;
use crate::node::debug::supervisor;
use crate::node::rescue as node_rescue;
use crate::node::worker;
use crate::proto::invite::JoinToken;
use crate::store::journal::writer::OnPoison;

mod reload;
mod rescue;

use reload::Live;
use reload::SetLog;

/// Runs the command line and returns the status to end with.
#[must_use]
pub fn main() -> u8 {
    memory::outlive_file_limit();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(usage) => {
            // Help and version are answers; everything else is a wrong command line.
            let _gone = usage.print();
            return if usage.use_stderr() { Exit::Usage.code() } else { Exit::Ok.code() };
        }
    };
    match run(&arguments) {
        Ok(code) => code,
        Err(Failure { exit, message }) => {
            if !message.is_empty() {
                output::error(message);
            }
            exit.code()
        }
    }
}

fn run(arguments: &Arguments) -> Result<u8, Failure> {
    arguments.global.check()?;
    if let Command::Run(place) = &arguments.command {
        return run_node(place);
    }
    Logs::new().listen("warn");
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::io("starting", &error))?;
    runtime.block_on(run_client(arguments, &arguments.command)).map(|()| Exit::Ok.code())
}

async fn run_client(arguments: &Arguments, command: &Command) -> Done {
    let as_json = arguments.global.json;
    let client = || {
        let config = RunArguments::default().load()?;
        connect::connect(&arguments.global, &config)
    };
    match command {
        Command::Run(_) => Ok(()),
        Command::Dev(options) => dev::dev(options, as_json).await,
        Command::Status => status::status(&client()?, as_json).await,
        Command::Members => cluster::members(&client()?, as_json).await,
        Command::Ring(options) => cluster::ring(&client()?, options, as_json).await,
        Command::Events(options) => events::events(&client()?, options, as_json).await,
        Command::Timeline(options) => timeline::timeline(&client()?, options, as_json).await,
        Command::Crashes { command } => crashes::crashes(&client()?, command.as_ref(), as_json).await,
        Command::Logs(options) => logs::logs(&client()?, options, as_json).await,
        Command::LogLevel(options) => logs::log_level(&client()?, options, as_json).await,
        Command::Shared => shared::shared(&client()?, as_json).await,
        Command::Where(options) => cluster::whereabouts(&client()?, options, as_json).await,
        Command::Invite(options) => cluster::invite(&client()?, options, as_json).await,
        Command::Leave(options) => cluster::leave(&client()?, options, as_json).await,
        Command::Remove(options) => cluster::remove(&client()?, options, as_json).await,
        Command::Replace(options) => cluster::replace(&client()?, options, as_json).await,
        Command::Drain(options) => cluster::drain(&client()?, options, as_json).await,
        Command::Undrain(options) => cluster::undrain(&client()?, options, as_json).await,
        Command::Plan(command) => plan::plan(&client()?, command, as_json).await,
        Command::Recover(command) => recover::recover(command, as_json).await,
        Command::Rescue(options) => rescue_command::rescue(options, as_json).await,
        Command::Bucket(command) => bucket::bucket(&client()?, command, as_json).await,
        Command::Kv(command) => kv::kv(&client()?, command, as_json).await,
        Command::Import(options) => transfer::import(&client()?, options, as_json).await,
        Command::Export(options) => transfer::export(&client()?, options).await,
        Command::Load(options) => load::load(&client()?, options, as_json).await,
        Command::Audit(options) => audit::audit(&client()?, options, as_json).await,
        Command::ClaimCode => admin::claim_code(&client()?, as_json).await,
        Command::Token(command) => admin::token(&client()?, command, as_json).await,
        Command::User(command) => admin::user(&client()?, command, as_json).await,
        Command::Ca(options) => ca::ca(options, &arguments.global, &RunArguments::default().load()?).await,
        Command::Config(ConfigCommand::Reload) => place::reload(&client()?, as_json).await,
        Command::Config(command) => place::config(command, as_json),
        Command::Doctor(options) => doctor::doctor(options, as_json).await,
        Command::Version => {
            status::version(as_json);
            Ok(())
        }
        Command::Paths(options) => place::paths(options, as_json),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "ringfort", &mut script);
            output::raw(&script).map_err(|error| Failure::io("standard output", &error))
        }
    }
}

/// What changes the filter when the configuration is read anew.
fn set_log(logs: &Logs) -> SetLog {
    let logs = logs.clone();
    Box::new(move |filter| logs.set_filter(filter))
}

/// What a worker ends with is on its deck too, so that its report has it: the terminal may be nobody's.
fn note_failure(failure: &Failure) {
    if !failure.message.is_empty() {
        let (at, message) = (time::rfc3339(time::wall_ms()), failure.message.replace('\n', " "));
        flight::note_line(format!("{at} ERROR ringfort: {message}").as_bytes());
    }
}

/// `ringfort run`: the supervisor first, which starts this binary again as the worker.
fn run_node(place: &RunArguments) -> Result<u8, Failure> {
    let worker_of = started_by(supervisor::WORKER_OF);
    if worker_of.is_some() {
        flight::board();
    }
    let is_first = worker_of.is_none() && std::env::var_os(node_rescue::RESCUE).is_none();
    run_process(place, worker_of).map_err(|failure| {
        note_failure(&failure);
        if is_first { refuse(place, failure) } else { failure }
    })
}

/// Says at once why nothing is started, and then the same to other nodes: here somebody may wait for it.
fn refuse(place: &RunArguments, failure: Failure) -> Failure {
    let Failure { exit, message } = failure;
    output::error(&message);
    if let Ok(runtime) = runtime::Builder::new_current_thread().enable_io().enable_time().build() {
        runtime.block_on(refusal::tell(&place.data_despite(), exit, &message));
    }
    Failure::new(exit, "")
}

/// The process that a variable names as the one that started this one.
fn started_by(name: &str) -> Option<u32> {
    std::env::var(name).ok().and_then(|pid| pid.parse().ok())
}

fn run_process(place: &RunArguments, worker_of: Option<u32>) -> Result<u8, Failure> {
    let config = place.load()?;
    let logs = Logs::new();
    logs.listen(config.log());
    if let Some(starter) = worker_of.or_else(|| started_by(supervisor::DIE_WITH)) {
        let alive =
            supervisor::die_with(starter).map_err(|error| Failure::io("tying this process to its parent", &error))?;
        if !alive {
            return Ok(Exit::Ok.code());
        }
    }
    if std::env::var_os(courier::COURIER).is_some() {
        return courier_process(config.data().as_path());
    }
    if let Ok(told) = std::env::var(node_rescue::RESCUE) {
        return rescue::process(&config, &logs, &told);
    }
    if let Some(forbids) = file_size::forbids(file_size::limit()) {
        return Err(Failure::new(Exit::Denied, forbids));
    }
    if worker_of.is_some() {
        return worker_process(place, &config, logs);
    }
    config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(|error| Failure::io("starting", &error))?;
    runtime
        .block_on(supervisor::run(&arguments, &config.data()))
        .map_err(|error| Failure::io("starting the worker", &error))
}

fn worker_process(place: &RunArguments, config: &Config, logs: Logs) -> Result<u8, Failure> {
    memory::keep_little();
    let panics = panics::note_all();
    let runtime = runtime::Builder::new_multi_thread().enable_all().thread_name("worker").build();
    let runtime = runtime.map_err(|error| Failure::io("starting", &error))?;
    let served = runtime.block_on(serve(place, config, &logs, panics));
    // Behind all that the end of the runtime says.
    drop(runtime);
    logs.close();
    served.map(|()| Exit::Ok.code())
}

/// `ringfort run` once more, for a moment: takes a crash report to other nodes.
fn courier_process(data: &Path) -> Result<u8, Failure> {
    let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(|error| Failure::io("starting", &error))?;
    Ok(runtime.block_on(courier::run(data)).code())
}

/// The runtime says that it turns, for the watchdog of the supervisor.
async fn beat() {
    let mut tick = tokio::time::interval(RUNTIME_BEAT);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        flight::beat_runtime();
    }
}

/// What has to be done about an error before a new start helps.
fn mend_first(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut errors = causes.filter_map(|cause| cause.downcast_ref::<io::Error>());
    let mends = [
        (io::ErrorKind::ReadOnlyFilesystem, "its disk can only be read: repair or remount it first"),
        (
            io::ErrorKind::WouldBlock,
            "the system gives this service no further threads or processes: raise TasksMax, the pids limit of its group, or ulimit -u",
        ),
        (
            io::ErrorKind::PermissionDenied,
            "its files may not be written: give them back to the user of this service, and take away what protects them \
             (`chattr -R -i`, a security policy)",
        ),
    ];
    let to_do = |error: &io::Error| {
        let mend = mends.iter().find(|(of, _)| *of == error.kind()).map(|(_, to_do)| (*to_do).to_owned());
        mend.or_else(|| file_size::behind(error, file_size::limit()))
    };
    errors.find_map(to_do).map_or_else(String::new, |to_do| format!("; {to_do}"))
}

/// A journal that cannot be trusted any more ends the process; the supervisor starts it anew.
fn die_on_poison() -> OnPoison {
    Box::new(|error| {
        let error = format!("{error}{}", mend_first(error));
        tracing::error!(%error, "the journal failed; the process ends and starts anew");
        gasp::last_words(&format!("its journal failed: {error}"));
        exit::die(Exit::Io);
    })
}

/// Everything that is served.
#[must_use]
pub fn faces() -> Vec<Face> {
    vec![routes::face(), console::face()]
}

/// Who is in a cluster needs no token any more: the file that it was in may be gone when the supervisor starts a worker anew.
fn join_token(place: &RunArguments, config: &Config) -> Result<Option<JoinToken>, Failure> {
    match place.join_token() {
        Err(failure) if failure.exit == Exit::NoInput && config.data().join("identity/node.json").exists() => Ok(None),
        given => given,
    }
}

async fn serve(place: &RunArguments, config: &Config, logs: &Logs, panics: mpsc::Receiver<PanicSaid>) -> Done {
    pulse::begin().map_err(|error| Failure::io("starting a thread", &error))?;
    worker::spawn("beat", beat());
    // Before anything is opened: a stop during a long replay is an orderly one after it.
    let mut signals = Signals::listen()?;
    let options = NodeOptions {
        data: config.data(),
        name: config.name(),
        disk_reserve: config.disk_reserve(),
        peer_listen: config.peer_listen(),
        advertise: config.advertise(),
        zone: config.zone(),
        weight: config.weight(),
        plans_wait: config.plans_wait(),
        join: join_token(place, config)?,
    };
    let opened = birth::open(options, die_on_poison).await.map_err(|error| {
        let exit = error.exit();
        let hint = if exit == Exit::BadData { "; `ringfort doctor` says more".to_owned() } else { mend_first(&error) };
        Failure::new(exit, format!("{error}{hint}"))
    })?;
    let OpenNode { node, dir, way, said } = opened;
    node.keep_log(logs);
    let live = Live::start(place, config, &node, set_log(logs));
    let live = live.map_err(|reason| Failure::new(Exit::Config, format!("{reason}; nothing was started")))?;
    let listeners = server::bind(&config.listen(), live.tls(), Some(&config.control_socket())).await;
    let listeners =
        listeners.map_err(|error| Failure::new(Exit::Unavailable, format!("{error}; nothing was started")))?;
    let addresses: Vec<String> = listeners.addresses().iter().map(ToString::to_string).collect();
    tracing::info!(?addresses, authority = node.authority().fingerprint, "serving");
    node.listens_at(addresses);
    // `ringfort dev` makes the first user itself.
    if std::env::var_os(supervisor::DIE_WITH).is_none() {
        node.announce_claim();
    }
    gasp::speaks(&node);
    if let Some(why) = listeners.no_control() {
        node.note_no_socket(why.to_owned());
    }
    node.watch();
    let peers = way.peers.clone();
    keep_all(&node);
    let telling = worker::vital("timeline", node.clone().keep_timeline());
    worker::vital("crashes", node.clone().keep_crashes(panics));
    let talking = worker::vital("members", node.clone().keep_members(way));
    worker::vital("said", node.clone().keep_said(said));
    let reloading = worker::vital("reload", live.watch(signals.hangup, node.hear_reloads()));
    let (stop, stopped) = watch::channel(false);
    let serving =
        worker::vital("serve", listeners.serve(route::assemble(node.clone(), faces()), Some(node.clone()), stopped));
    signals.stop.wait().await;
    reloading.abort();
    tracing::info!("stopping: requests in flight are finished");
    flight::note_stage(Stage::Stops);
    node.drain();
    let _nobody_left = stop.send(true);
    let _ended = serving.await;
    node.end_talk();
    let _ended = talking.await;
    let _hangs = tokio::time::timeout(TIMELINE_STOP, telling).await;
    if let Some(peers) = peers {
        peers.close().await;
    }
    let closing = tokio::task::spawn_blocking(move || node.close());
    closing.await.map_err(|error| Failure::new(Exit::Internal, format!("closing the store: {error}")))?;
    tracing::info!("stopped in order");
    drop(dir);
    Ok(())
}

/// What goes on as long as the node does, and can be begun again by itself.
fn keep_all(node: &Node) {
    kept("ring", node, Node::keep_ring);
    kept("views", node, Node::follow_views);
    kept("surveys", node, Node::keep_surveyed);
    kept("repair", node, Node::keep_equal);
    kept("events", node, Node::keep_events);
    kept("standing", node, Node::keep_standing);
    kept("graves", node, Node::keep_purged);
    kept("black box", node, Node::keep_box);
    kept("operators", node, Node::keep_operators);
}

/// Something that goes on as long as the node does, and can be begun again at any time.
fn kept<F>(name: &'static str, node: &Node, run: impl Fn(Node) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let node = node.clone();
    worker::keep(name, move || run(node.clone()));
}

/// What asks a worker to stop, or to read its configuration anew.
struct Signals {
    stop: StopSignals,
    hangup: unix::Signal,
}

struct StopSignals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let signal = |kind| unix::signal(kind).map_err(|error| Failure::io("listening for signals", &error));
        let stop =
            StopSignals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
        Ok(Self { stop, hangup: signal(SignalKind::hangup())? })
    }
}

impl StopSignals {
    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            // From a terminal; the supervisor hears it too and says TERM.
            _ = self.interrupt.recv() => {}
        }
    }
}
