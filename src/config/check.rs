//! What a value of the configuration may be: a check for each kind, and a sentence for what is wrong.

use std::net::IpAddr;
use std::net::SocketAddr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::base::limits::NODE_WEIGHT_MAX;
use crate::base::listen;
use crate::base::listen::Listen;
use crate::proto::control::members::is_address;

pub(super) fn check_peer_listen(value: &str) -> Result<(), String> {
    let good = value == "none" || value.parse::<SocketAddr>().is_ok();
    good.then_some(()).ok_or_else(|| format!("`{value}` is not ADDRESS:PORT, such as 0.0.0.0:7400, and not `none`"))
}

pub(super) fn check_advertise(value: &str) -> Result<(), String> {
    let good = |word: &str| is_address(&listen::with_port(word, 1));
    let reason = || format!("`{value}` is not HOST or HOST:PORT, with [brackets] around an IPv6 address and its port");
    words(value).all(good).then_some(()).ok_or_else(reason)
}

pub(super) fn check_layout_commit(value: &str) -> Result<(), String> {
    let good = ["", "auto", "manual"].contains(&value);
    good.then_some(()).ok_or_else(|| format!("`{value}` is neither auto nor manual"))
}

pub(super) fn check_weight(value: &str) -> Result<(), String> {
    let good = value.parse::<u32>().is_ok_and(|weight| weight <= NODE_WEIGHT_MAX);
    good.then_some(()).ok_or_else(|| format!("`{value}` is not a number from 0 to {NODE_WEIGHT_MAX}"))
}

/// A level, or targets with levels: `warn,ringfort::http=debug`. A word alone that is no level would mute all others.
pub(super) fn check_log(value: &str) -> Result<(), String> {
    let is_level = |word: &str| word.parse::<LevelFilter>().is_ok();
    match words(value).find(|word| !word.contains('=') && !is_level(word)) {
        Some(word) => Err(format!("`{word}` is not a level; write error, warn, info, debug, trace, or TARGET=LEVEL")),
        None => EnvFilter::try_new(value).map(|_| ()).map_err(|error| format!("`{value}` is not understood: {error}")),
    }
}

/// In a file a port is a number for others to know; a program that starts a node may let the system choose one.
pub(super) fn check_ports(value: &str) -> Result<(), String> {
    match words(value).find(|url| Listen::parse(url).is_ok_and(|listen| listen.address.port() == 0)) {
        Some(url) => Err(format!("`{url}` has port 0, which is none; write a port from 1 to 65535, such as 7480")),
        None => Ok(()),
    }
}

pub(super) fn check_path(value: &str) -> Result<(), String> {
    if value.is_empty() { Err("must be a path".to_owned()) } else { check_path_or_empty(value) }
}

pub(super) fn check_path_or_empty(value: &str) -> Result<(), String> {
    if value.contains('\0') { Err("must be a path".to_owned()) } else { Ok(()) }
}

pub(super) fn check_name(value: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if value.len() <= 63 && value.chars().all(good) {
        return Ok(());
    }
    Err("must have at most 63 characters A-Z a-z 0-9 . _ -".to_owned())
}

/// A number would be taken for that of another node.
pub(super) fn check_node_name(value: &str) -> Result<(), String> {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("must not be a number: nodes have numbers already".to_owned());
    }
    check_name(value)
}

pub(super) fn check_listen(value: &str) -> Result<(), String> {
    if words(value).next().is_none() {
        return Err("must name at least one address, such as https://0.0.0.0:7480".to_owned());
    }
    words(value).try_for_each(|url| Listen::parse(url).map(|_| ()))
}

/// What a comma-separated value lists.
pub(super) fn words(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|word| !word.is_empty())
}

pub(super) fn check_names(value: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let is_name = |name: &str| name.len() <= 253 && name.chars().all(good) && !name.starts_with(['.', '-']);
    match words(value).find(|name| !is_name(name) && name.parse::<IpAddr>().is_err()) {
        Some(bad) => Err(format!("has `{bad}`, which is no host name and no address; write it as a.example,10.0.0.5")),
        None => Ok(()),
    }
}

pub(super) fn check_size(value: &str) -> Result<(), String> {
    parse_size(value).map(|_| ())
}

/// Parses `64MiB`, `1GiB`, `512KiB`.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let form = || format!("`{text}` is not a size: write it as 512KiB, 64MiB or 1GiB");
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim() {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(form()),
    };
    let number: u64 = number.parse().map_err(|_invalid| form())?;
    number.checked_mul(factor).ok_or_else(form)
}
