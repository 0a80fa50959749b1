//! Floor 5, the face for people at a terminal. One file per family of commands; [`client`] talks to a node, [`output`]
//! to the terminal.

use std::path::PathBuf;

use clap::Parser;
use clap::Subcommand;

use crate::base::exit::Exit;
use crate::cli::output::Failure;

pub mod admin;
pub mod audit;
pub mod bucket;
pub mod ca;
pub mod client;
pub mod cluster;
pub mod connect;
pub mod crashes;
pub mod dev;
pub mod doctor;
pub mod events;
pub mod kv;
pub mod load;
pub mod logs;
pub mod output;
pub mod place;
pub mod plan;
pub mod prompt;
pub mod recover;
pub mod rescue;
pub mod secret;
pub mod shared;
pub mod status;
pub mod timeline;
pub mod transfer;
pub mod trust;

/// A store for devices: one binary, an ack that is on disk.
#[derive(Parser, Debug)]
#[command(name = "ringfort", version, about, propagate_version = true, disable_help_subcommand = true)]
#[command(color = clap::ColorChoice::Never)]
pub struct Arguments {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
    /// The same for every command
    #[command(flatten)]
    pub global: Global,
}

/// Options of every command.
#[derive(Parser, Debug, Clone, Default)]
pub struct Global {
    /// Print JSON for programs
    #[arg(long, global = true)]
    pub json: bool,
    /// Say which node is asked, and how it was found
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// The node's address, such as https://host.example:7480, or http://127.0.0.1:7480
    #[arg(long, global = true, value_name = "URL")]
    pub url: Option<String>,
    /// A file whose first line is the token; - is standard input, credential:NAME one of the service manager's
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// A PEM file with the authority that the node's certificate must come from; `ringfort ca` prints it
    #[arg(long, global = true, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    // Accepted only to be refused with a reason.
    #[arg(long = "token", global = true, hide = true)]
    refused_token: Option<String>,
    #[arg(long = "password", global = true, hide = true)]
    refused_password: Option<String>,
}

impl Global {
    /// Refuses what many would try: every process of the machine can read a command line.
    ///
    /// # Errors
    /// A usage failure, without the secret in it.
    pub fn check(&self) -> Result<(), Failure> {
        let refuse = |flag: &str, instead: &str| {
            let reason = "a secret on a command line can be read by every process of this machine";
            Err(Failure::new(Exit::Usage, format!("{flag}: {reason}; {instead}; nothing was sent")))
        };
        if self.refused_token.is_some() {
            return refuse("--token", "give --token-file FILE or set RINGFORT_TOKEN, and replace this token");
        }
        if self.refused_password.is_some() {
            return refuse("--password", "give --password-file FILE, and choose another password");
        }
        Ok(())
    }
}

/// Commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run a node
    Run(place::RunArguments),
    /// Try it out on loopback: a node with everything under one directory
    Dev(dev::DevArguments),
    /// A node in one view
    Status,
    /// Every node: whether it is there, serves and votes
    Members,
    /// Who owns what, and how far a change of it has come
    Ring(cluster::RingArguments),
    /// What happened in the cluster, as one node saw it
    Events(events::EventsArguments),
    /// What changed, each with what it follows from, as all nodes saw it
    Timeline(timeline::TimelineArguments),
    /// What failed in the cluster: crash reports of all nodes
    Crashes {
        /// list, if nothing else is said
        #[command(subcommand)]
        command: Option<crashes::CrashesCommand>,
    },
    /// The log of all nodes, from any of them
    Logs(logs::LogsArguments),
    /// Change what is logged of a part of the program, for a time
    LogLevel(logs::LogLevelArguments),
    /// Every piece of shared state: its kind, its cost, what stops without it
    Shared,
    /// A key's owners, and what each of them holds
    Where(cluster::WhereArguments),
    /// Print the line that brings a new machine into the cluster
    Invite(cluster::InviteArguments),
    /// Let a node that is up give away what it owns and go
    Leave(cluster::LeaveArguments),
    /// Strike off a node that is gone for ever
    Remove(cluster::RemoveArguments),
    /// Put a new node in the places of another
    Replace(cluster::ReplaceArguments),
    /// Ask devices to use other nodes; the node keeps what it owns
    Drain(cluster::DrainArguments),
    /// Let devices use a node again
    Undrain(cluster::UndrainArguments),
    /// Staged changes of who owns what
    #[command(subcommand)]
    Plan(plan::PlanCommand),
    /// Go on from a survivor
    #[command(subcommand)]
    Recover(recover::RecoverCommand),
    /// Why a node does not come up, and how to go on: from its rescue console, or from its files
    Rescue(rescue::RescueArguments),
    /// Make, show and remove buckets
    #[command(subcommand)]
    Bucket(bucket::BucketCommand),
    /// Read and write values
    #[command(subcommand)]
    Kv(kv::KvCommand),
    /// Import a CSV or NDJSON file; repeating it goes on where it stopped
    Import(transfer::ImportArguments),
    /// Export a bucket in key order
    Export(transfer::ExportArguments),
    /// Measure a node under load: requests fall due on a schedule, latency counts from then
    Load(load::LoadArguments),
    /// Make, list and remove tokens
    #[command(subcommand)]
    Token(admin::TokenCommand),
    /// Add, list and remove users
    #[command(subcommand)]
    User(admin::UserCommand),
    /// Who changed what: every change, chained by hashes that are checked
    Audit(audit::AuditArguments),
    /// The code that makes the first user in a browser; for the node's owner
    ClaimCode,
    /// Print or fetch the certificate of the cluster's authority
    Ca(ca::CaArguments),
    /// Show, check or reload the configuration
    #[command(subcommand)]
    Config(place::ConfigCommand),
    /// Check everything stored
    Doctor(doctor::DoctorArguments),
    /// The release of this binary
    Version,
    /// Where things are on this machine
    Paths(place::RunArguments),
    /// Completions for a shell
    Completions {
        /// bash, zsh, fish, elvish or powershell
        shell: clap_complete::Shell,
    },
}
