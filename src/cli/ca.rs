//! `ringfort ca`: the certificate of the cluster's authority, for clients that should trust it.

use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use clap::Subcommand;
use hyper::Method;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;

use crate::base::exit::Exit;
use crate::cli::Global;
use crate::cli::client::Client;
use crate::cli::client::Target;
use crate::cli::client::full;
use crate::cli::connect;
use crate::cli::output;
use crate::cli::output::Done;
use crate::cli::output::Failure;
use crate::cli::trust;
use crate::cli::trust::Trust;
use crate::config::Config;
use crate::node::certificate;

/// `ringfort ca`.
#[derive(Args, Debug)]
pub struct CaArguments {
    #[command(subcommand)]
    command: Option<CaCommand>,
    #[command(flatten)]
    show: ShowArguments,
}

/// What to do with it.
#[derive(Subcommand, Debug)]
pub enum CaCommand {
    /// Print it (also without this word)
    Show(ShowArguments),
    /// Fetch it from a node far away, whose chain must end in the authority with this fingerprint
    Fetch(FetchArguments),
}

/// How to print it.
#[derive(Args, Debug)]
pub struct ShowArguments {
    /// Print its SHA-256 instead, to be read to somebody
    #[arg(long)]
    fingerprint: bool,
}

/// How to fetch it. `--url` says from where.
#[derive(Args, Debug)]
pub struct FetchArguments {
    /// What `ringfort ca --fingerprint` prints on the node's machine
    #[arg(long, value_name = "SHA256")]
    fingerprint: String,
    /// Where to put it [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs `ringfort ca`.
///
/// # Errors
/// Where there is no node and no data directory, or the node is another one.
pub async fn ca(arguments: &CaArguments, global: &Global, config: &Config) -> Done {
    match &arguments.command {
        None => show(&arguments.show, global, config).await,
        Some(CaCommand::Show(arguments)) => show(arguments, global, config).await,
        Some(CaCommand::Fetch(arguments)) => fetch(arguments, global).await,
    }
}

async fn show(arguments: &ShowArguments, global: &Global, config: &Config) -> Done {
    let pem = match ask_node(global, config).await {
        // On the node's machine it is known also while the node is down.
        Err(failure) if failure.exit == Exit::Unavailable && !connect::is_named(global) => {
            std::fs::read_to_string(connect::authority_of(&config.data())).map_err(|_not_here_either| failure)?
        }
        asked => asked?,
    };
    print(&pem, arguments.fingerprint, global.json)
}

async fn ask_node(global: &Global, config: &Config) -> Result<String, Failure> {
    pem(&connect::connect(global, config)?).await
}

async fn pem(client: &Client) -> Result<String, Failure> {
    let bytes = client.send(Method::GET, "/v1/ca", &[], full("")).await?.bytes().await?;
    String::from_utf8(bytes).map_err(|_binary| not_one())
}

fn not_one() -> Failure {
    Failure::new(Exit::BadData, "what the node sent is not a certificate; nothing was written")
}

fn fingerprint_of(pem: &str) -> Result<String, Failure> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_invalid| not_one())?;
    Ok(certificate::fingerprint(&der))
}

fn print(pem: &str, only_fingerprint: bool, as_json: bool) -> Done {
    let fingerprint = fingerprint_of(pem)?;
    if as_json {
        output::json(&json!({ "fingerprint": fingerprint, "pem": pem }));
    } else if only_fingerprint {
        output::line(fingerprint);
    } else {
        output::line(pem.trim_end());
    }
    Ok(())
}

async fn fetch(arguments: &FetchArguments, global: &Global) -> Done {
    let trust = Trust::fingerprint(&arguments.fingerprint)?;
    let url = connect::named(global)?
        .ok_or_else(|| Failure::new(Exit::Usage, "say from where: `--url https://HOST:7480`; nothing was sent"))?;
    let target = Target::parse(&url)?;
    if !matches!(target, Target::Tls(..)) {
        return Err(Failure::new(Exit::Usage, "a fingerprint is checked over https:// only; nothing was sent"));
    }
    // The first contact carries no token.
    let pem = pem(&Client::new(target, None).trusting(trust)).await?;
    // Sent by the node that was just checked; still, only what was asked for is written.
    if trust::parse(&fingerprint_of(&pem)?) != trust::parse(&arguments.fingerprint) {
        return Err(Failure::new(Exit::Denied, "the node sent another authority than it is from; nothing was written"));
    }
    match arguments.output.as_deref() {
        None => print(&pem, false, global.json),
        Some(path) => write(path, &pem),
    }
}

fn write(path: &Path, pem: &str) -> Done {
    std::fs::write(path, pem).map_err(|error| Failure::io(path.display(), &error))?;
    output::note(format_args!("written to {0}; use it with --ca {0} or RINGFORT_CA={0}", path.display()));
    Ok(())
}
