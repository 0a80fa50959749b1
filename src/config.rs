//! The configuration of a node: built-in default, then `ringfort.toml`, then `RINGFORT_*`, then flags. Each value
//! remembers where it came from; a key nobody knows is an error with its line and the nearest one that is known.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;

use toml_edit::Document;
use toml_edit::Item;

use crate::base::file;
use crate::base::file::Privacy;
use crate::base::limits::CONFIG_BYTES_MAX;
use crate::base::limits::DISK_RESERVE_BYTES;
use crate::base::listen::Listen;
use crate::base::redact;

mod check;
pub mod despite;

use check::check_advertise;
use check::check_layout_commit;
use check::check_listen;
use check::check_log;
use check::check_name;
use check::check_names;
use check::check_node_name;
use check::check_path;
use check::check_path_or_empty;
use check::check_peer_listen;
use check::check_ports;
use check::check_size;
use check::check_weight;
use check::parse_size;
use check::words;

/// Where a value came from; later ones win.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Built in.
    Default,
    /// A file and its line.
    File(PathBuf, usize),
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(name) => write!(f, "--{name}"),
        }
    }
}

/// What is wrong with the configuration. Nothing was started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct ConfigError {
    /// File with line and column, variable or flag.
    pub place: String,
    /// What is wrong and what would do.
    pub reason: String,
}

/// A key of the configuration.
struct KeyDefinition {
    name: &'static str,
    default: &'static str,
    help: &'static str,
    /// Whether a reload changes it without a restart.
    live: bool,
    /// Checks a value and says what is wrong with it.
    check: fn(&str) -> Result<(), String>,
}

/// Everything that can be configured. No key holds a secret: at most the path of a file that does.
const KEYS: [KeyDefinition; 14] = [
    KeyDefinition {
        name: "data",
        default: "/var/lib/ringfort",
        help: "data directory",
        live: false,
        check: check_path,
    },
    KeyDefinition {
        name: "name",
        default: "",
        help: "the name of a new node; default: the host's name",
        live: false,
        check: check_node_name,
    },
    KeyDefinition {
        name: "listen",
        default: "http://127.0.0.1:7480",
        help: "addresses for devices and programs: https://ADDRESS:PORT, or http:// on loopback; comma-separated",
        live: false,
        check: check_listen,
    },
    KeyDefinition {
        name: "names",
        default: "",
        help: "further names and addresses of this node, for its certificate and as hosts over plain HTTP; comma-separated",
        live: true,
        check: check_names,
    },
    KeyDefinition {
        name: "tls_cert",
        default: "",
        help: "PEM file of your own certificate and its chain; default: one issued by the node itself",
        live: true,
        check: check_path_or_empty,
    },
    KeyDefinition {
        name: "tls_key",
        default: "",
        help: "PEM file of its private key, or credential:NAME from the service manager",
        live: true,
        check: check_path_or_empty,
    },
    KeyDefinition {
        name: "peer_listen",
        default: "0.0.0.0:7400",
        help: "where other nodes are listened to: ADDRESS:PORT, or `none`",
        live: false,
        check: check_peer_listen,
    },
    KeyDefinition {
        name: "advertise",
        default: "",
        help: "where other nodes reach this one, behind NAT: HOST or HOST:PORT; comma-separated",
        live: false,
        check: check_advertise,
    },
    KeyDefinition {
        name: "zone",
        default: "default",
        help: "what fails together with this node, such as a rack: copies are kept in different ones",
        live: false,
        check: check_name,
    },
    KeyDefinition {
        name: "weight",
        default: "100",
        help: "the share of the data that this node takes, relative to others; 0: none",
        live: false,
        check: check_weight,
    },
    KeyDefinition {
        name: "layout_commit",
        default: "",
        help: "of the whole cluster: auto, joins and leaves move data by themselves; manual, they wait for `ringfort plan commit`",
        live: false,
        check: check_layout_commit,
    },
    KeyDefinition {
        name: "control_socket",
        default: "",
        help: "local control socket; default: /run/ringfort/ctl.sock for the installed data directory, else ctl.sock in the data directory",
        live: false,
        check: check_path_or_empty,
    },
    KeyDefinition {
        name: "disk_reserve",
        default: "256MiB",
        help: "free space below which writes are refused",
        live: true,
        check: check_size,
    },
    KeyDefinition {
        name: "log",
        default: "info",
        help: "error, warn, info, debug, trace, or per target",
        live: true,
        check: check_log,
    },
];

/// The file that is read where no other is named and it is in the data directory.
pub const FILE: &str = "ringfort.toml";
/// And else this one, where it exists.
pub const DEFAULT_FILE: &str = "/etc/ringfort/ringfort.toml";
/// The installed data directory.
const INSTALLED_DATA: &str = "/var/lib/ringfort";
/// The control socket that goes with it.
const INSTALLED_SOCKET: &str = "/run/ringfort/ctl.sock";
/// Before the name of every variable.
const ENVIRONMENT_PREFIX: &str = "RINGFORT_";
/// Variables of ours that are not configuration of a node.
const OTHER_VARIABLES: [&str; 11] = [
    "RINGFORT_URL",
    "RINGFORT_TOKEN",
    "RINGFORT_CA",
    "RINGFORT_WORKER_OF",
    "RINGFORT_DECK",
    "RINGFORT_COURIER",
    "RINGFORT_RESCUE",
    "RINGFORT_DIE_WITH",
    "RINGFORT_COMMIT",
    "RINGFORT_CONFIG",
    "RINGFORT_TEST_CUT_FILE",
];

/// One key with its value.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Its name.
    pub key: &'static str,
    /// Its value.
    pub value: &'a str,
    /// Where that came from.
    pub source: &'a Source,
    /// Whether a reload changes it without a restart.
    pub live: bool,
    /// What it means.
    pub help: &'static str,
}

/// All values with their sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    values: BTreeMap<&'static str, (String, Source)>,
    /// Worth saying, not worth stopping for.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads all sources in their order.
    ///
    /// # Errors
    /// [`ConfigError`] for the first thing wrong.
    pub fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (OsString, OsString)>,
        flags: &[(&'static str, String)],
    ) -> Result<Self, ConfigError> {
        let defaults = KEYS.iter().map(|key| (key.name, (key.default.to_owned(), Source::Default)));
        let mut config = Self { values: defaults.collect(), warnings: Vec::new() };
        let environment: Vec<_> = environment.collect();
        if let Some(file) = file.map(Path::to_owned).or_else(|| file_of(&environment, flags)) {
            config.read_file(&file, &text_of_file(&file)?)?;
        }
        config.read_environment(environment.into_iter())?;
        for (name, value) in flags {
            config.set(name, value.clone(), Source::Flag(name))?;
        }
        config.check_pair("tls_cert", "tls_key")?;
        config.check_pair("tls_key", "tls_cert")?;
        Ok(config)
    }

    /// Either key is worth nothing without the other.
    fn check_pair(&self, given: &str, other: &str) -> Result<(), ConfigError> {
        if self.value(given).is_empty() || !self.value(other).is_empty() {
            return Ok(());
        }
        let place = self.values.get(given).map_or_else(String::new, |(_, source)| source.to_string());
        Err(ConfigError { place, reason: format!("`{given}` needs `{other}` beside it; give both or none") })
    }

    /// Reads what a file could hold, over the defaults.
    ///
    /// # Errors
    /// [`ConfigError`] for the first thing wrong.
    pub fn from_text(text: &str) -> Result<Self, ConfigError> {
        let mut config = Self::load(None, std::iter::empty(), &[])?;
        config.read_file(Path::new("ringfort.toml"), text)?;
        Ok(config)
    }

    fn read_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let at = |offset: Option<usize>| {
            let (line, column) = line_and_column(text, offset.unwrap_or(0));
            format!("{}:{line}:{column}", path.display())
        };
        let document = Document::parse(text).map_err(|error| ConfigError {
            place: at(error.span().map(|span| span.start)),
            reason: error.message().to_owned(),
        })?;
        for (name, item) in document.as_table() {
            let key_span = document.as_table().key(name).and_then(toml_edit::Key::span);
            let place = at(key_span.map(|span| span.start));
            let Some(key) = KEYS.iter().find(|key| key.name == name) else {
                return Err(ConfigError { place, reason: unknown(name) });
            };
            let value = text_of(item).ok_or_else(|| ConfigError {
                place: place.clone(),
                reason: format!("`{name}` must be text in quotes, or a list of it"),
            })?;
            let line = line_and_column(text, item.span().map_or(0, |span| span.start)).0;
            let checked =
                (key.check)(&value).and_then(|()| if name == "listen" { check_ports(&value) } else { Ok(()) });
            let checked = checked.map_err(|reason| redact::addresses(&reason));
            checked.map_err(|reason| ConfigError { place, reason: format!("`{name}`: {reason}") })?;
            self.values.insert(key.name, (value, Source::File(path.to_owned(), line)));
        }
        Ok(())
    }

    fn read_environment(&mut self, environment: impl Iterator<Item = (OsString, OsString)>) -> Result<(), ConfigError> {
        for (variable, value) in environment {
            // Others may have names and values that are no text.
            let Ok(variable) = variable.into_string() else { continue };
            let Some(name) = variable.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
            if OTHER_VARIABLES.contains(&variable.as_str()) {
                continue;
            }
            match KEYS.iter().find(|key| key.name == name.to_ascii_lowercase()) {
                Some(key) => {
                    let not_text = |_| ConfigError { place: variable.clone(), reason: "is not UTF-8 text".to_owned() };
                    let value = value.into_string().map_err(not_text)?;
                    self.set(key.name, value, Source::Environment(variable))?;
                }
                None => self.warnings.push(format!("{variable}: {}", unknown(&name.to_ascii_lowercase()))),
            }
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: String, source: Source) -> Result<(), ConfigError> {
        let key = KEYS
            .iter()
            .find(|key| key.name == name)
            .ok_or_else(|| ConfigError { place: source.to_string(), reason: unknown(name) })?;
        let checked = (key.check)(&value).map_err(|reason| redact::addresses(&reason));
        checked.map_err(|reason| ConfigError { place: source.to_string(), reason })?;
        self.values.insert(key.name, (value, source));
        Ok(())
    }

    fn value(&self, name: &str) -> &str {
        self.values.get(name).map_or("", |(value, _)| value.as_str())
    }

    /// Every key with its value.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        KEYS.iter().filter_map(|key| {
            let (value, source) = self.values.get(key.name)?;
            Some(Row { key: key.name, value, source, live: key.live, help: key.help })
        })
    }

    /// These values, with those of `other` where a reload may change them.
    #[must_use]
    pub fn with_live_values_of(&self, other: &Self) -> Self {
        let mut values = self.values.clone();
        for key in KEYS.iter().filter(|key| key.live) {
            if let Some(value) = other.values.get(key.name) {
                values.insert(key.name, value.clone());
            }
        }
        Self { values, warnings: other.warnings.clone() }
    }

    /// The keys that have another value in `other`.
    #[must_use]
    pub fn differing(&self, other: &Self) -> Vec<&'static str> {
        let names = KEYS.iter().map(|key| key.name);
        names.filter(|name| self.value(name) != other.value(name)).collect()
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.value("data").into()
    }

    /// The node's name; the host's where none is given.
    #[must_use]
    pub fn name(&self) -> String {
        let given = self.value("name");
        if !given.is_empty() {
            return given.to_owned();
        }
        // Not the file in /etc: an image that is started on many machines has one for all of them, or none.
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        if check_name(&host).is_ok() && !host.is_empty() { host } else { "n1".to_owned() }
    }

    /// Addresses for devices and programs.
    #[must_use]
    pub fn listen(&self) -> Vec<Listen> {
        words(self.value("listen")).filter_map(|url| Listen::parse(url).ok()).collect()
    }

    /// Further names and addresses for the node's own certificate.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        words(self.value("names")).map(str::to_owned).collect()
    }

    /// The customer's certificate and key, where both are named.
    ///
    /// # Errors
    /// [`ConfigError`] where a credential was not handed over.
    pub fn tls_files(&self) -> Result<Option<(PathBuf, PathBuf)>, ConfigError> {
        let locate = |name: &str| {
            let place = self.values.get(name).map_or_else(String::new, |(_, source)| source.to_string());
            file::locate(self.value(name)).map_err(|error| ConfigError { place, reason: format!("`{name}`: {error}") })
        };
        let given = !self.value("tls_cert").is_empty() && !self.value("tls_key").is_empty();
        if given { Ok(Some((locate("tls_cert")?, locate("tls_key")?))) } else { Ok(None) }
    }

    /// The local control socket.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        match self.value("control_socket") {
            "" => control_socket_of(&self.data()),
            given => given.into(),
        }
    }

    /// Where other nodes are listened to.
    #[must_use]
    pub fn peer_listen(&self) -> Option<SocketAddr> {
        self.value("peer_listen").parse().ok()
    }

    /// Where other nodes reach this one, where that is not where it listens.
    #[must_use]
    pub fn advertise(&self) -> Vec<String> {
        words(self.value("advertise")).map(str::to_owned).collect()
    }

    /// What fails together with this node, where somebody said so.
    #[must_use]
    pub fn zone(&self) -> Option<String> {
        self.given("zone").map(str::to_owned)
    }

    /// The share of this node, where somebody said so.
    #[must_use]
    pub fn weight(&self) -> Option<u32> {
        self.given("weight").and_then(|weight| weight.parse().ok())
    }

    /// Whether plans wait for an operator, where somebody said so.
    #[must_use]
    pub fn plans_wait(&self) -> Option<bool> {
        self.given("layout_commit").map(|who| who == "manual")
    }

    /// What is not just the default.
    fn given(&self, name: &str) -> Option<&str> {
        self.values.get(name).filter(|(_, source)| *source != Source::Default).map(|(value, _)| value.as_str())
    }

    /// Free bytes below which writes are refused.
    #[must_use]
    pub fn disk_reserve(&self) -> u64 {
        parse_size(self.value("disk_reserve")).unwrap_or(DISK_RESERVE_BYTES)
    }

    /// What is logged.
    #[must_use]
    pub fn log(&self) -> &str {
        self.value("log")
    }
}

/// Where the control socket of a data directory is by default.
#[must_use]
pub fn control_socket_of(data: &Path) -> PathBuf {
    if data == Path::new(INSTALLED_DATA) { INSTALLED_SOCKET.into() } else { data.join("ctl.sock") }
}

/// What a node reads where nobody names a file: its own, or the machine's.
fn file_of(environment: &[(OsString, OsString)], flags: &[(&'static str, String)]) -> Option<PathBuf> {
    let flag = flags.iter().find(|(name, _)| *name == "data").map(|(_, value)| PathBuf::from(value));
    let variable = environment.iter().find(|(name, _)| name == "RINGFORT_DATA").map(|(_, value)| PathBuf::from(value));
    let file = file_beside(&flag.or(variable).unwrap_or_else(|| INSTALLED_DATA.into()));
    file.exists().then_some(file)
}

/// The one in a data directory, where there is one; else the machine's.
#[must_use]
pub fn file_beside(data: &Path) -> PathBuf {
    let own = data.join(FILE);
    if own.exists() { own } else { DEFAULT_FILE.into() }
}

fn unknown(name: &str) -> String {
    let nearest = KEYS.iter().min_by_key(|key| distance(name, key.name)).map_or("", |key| key.name);
    format!("`{}` is not a key; did you mean `{nearest}`?", name.escape_default())
}

/// Levenshtein's distance: insertions, removals and replacements between two words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let cost = |at: usize, row: &[usize]| row.get(at).copied().unwrap_or(usize::MAX - 1);
            let replace = cost(j, &row) + usize::from(from != *to);
            next.push(replace.min(cost(j + 1, &row) + 1).min(cost(j, &next) + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    (line, before.rsplit('\n').next().unwrap_or("").chars().count() + 1)
}

fn text_of(item: &Item) -> Option<String> {
    if let Some(text) = item.as_str() {
        return Some(text.to_owned());
    }
    let list: Option<Vec<&str>> = item.as_array()?.iter().map(toml_edit::Value::as_str).collect();
    Some(list?.join(","))
}

/// A configuration is the operator's own, so it may be linked; for the rest it is a file as any other.
fn text_of_file(path: &Path) -> Result<String, ConfigError> {
    let refused = |error: &dyn fmt::Display| ConfigError {
        place: path.display().to_string(),
        reason: format!("cannot be read: {error}"),
    };
    let file = std::fs::canonicalize(path).map_err(|error| refused(&error))?;
    let bytes = file::read(&file, CONFIG_BYTES_MAX, Privacy::Public).map_err(|error| refused(&error))?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes().get(..good).unwrap_or_default()).into_owned();
        let (line, column) = line_and_column(&text, text.len());
        ConfigError { place: format!("{}:{line}:{column}", path.display()), reason: "is not UTF-8 text".to_owned() }
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Config;
    use super::Source;

    fn read(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(Some(&path), std::iter::empty(), &[])
            .map_err(|error| error.to_string().replace(&format!("{}", dir.path().display()), ""))
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_its_neighbour() {
        let error = read("# a comment\nlisten = \"http://127.0.0.1:1\"\n  dsik_reserve = \"1GiB\"\n").unwrap_err();
        assert_eq!(error, "/r.toml:3:3: `dsik_reserve` is not a key; did you mean `disk_reserve`?");
    }

    #[test]
    fn a_bad_value_or_syntax_is_refused_with_its_place() {
        for bad in [
            "listen = \"http://0.0.0.0:80\"",
            "listen = \"127.0.0.1:80\"",
            "listen = \"http://127.0.0.1:65536\"",
            "listen = [\"http://127.0.0.1:1\", \"ftp://x\"]",
            "disk_reserve = \"12\"",
            "disk_reserve = 12",
            "data = \"a\"\ndata = \"b\"",
            "data = ",
        ] {
            let error = read(bad).unwrap_err();
            assert!(error.starts_with("/r.toml:"), "{bad}: {error}");
        }
    }

    #[test]
    fn later_sources_win_and_are_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.toml");
        std::fs::write(&path, "name = \"a\"\ndata = \"/a\"\nlog = \"warn\"\n").unwrap();
        let environment = [("RINGFORT_DATA", "/b"), ("RINGFORT_LOG", "debug"), ("RINGFORT_DTA", "x"), ("HOME", "/")];
        let environment = environment.into_iter().map(|(name, value)| (name.into(), value.into()));
        let config = Config::load(Some(&path), environment, &[("log", "error".to_owned())]).unwrap();
        let source = |name: &str| {
            config.rows().find(|row| row.key == name).map(|row| (row.value.to_owned(), row.source.clone()))
        };
        assert_eq!(source("name"), Some(("a".into(), Source::File(path.clone(), 1))));
        assert_eq!(source("data"), Some(("/b".into(), Source::Environment("RINGFORT_DATA".into()))));
        assert_eq!(source("log"), Some(("error".into(), Source::Flag("log"))));
        assert_eq!(source("listen").map(|row| row.1), Some(Source::Default));
        assert_eq!(config.warnings, ["RINGFORT_DTA: `dta` is not a key; did you mean `data`?"]);
        assert_eq!(config.control_socket(), Path::new("/b/ctl.sock"));
    }
}
