//! What the gateway was told to do, checked: a [`Config`] that exists can be run. Loaded from what was [`Given`] and the files
//! that it names; read by everyone above `session`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

pub(crate) use self::build::DEFAULT as DEFAULT_SERVER;
pub(crate) use self::flags::{AtSessionCap, ChildEra, ChildScheduling, Children, Flags, OnChildExit, Response};
pub use self::flags::{Cli, LogFormat, Task, TokenTask};
pub use self::given::Given;
#[cfg(fuzzing)]
pub(crate) use self::load::reading;
pub(crate) use self::load::{Finding, check};

mod build;
mod command;
mod env_file;
pub(crate) mod environment;
mod expand;
mod file;
mod flags;
mod given;
mod jsonc;
mod layers;
mod load;
mod mcp_json;
mod names;
mod options;
mod place;
pub(crate) mod print;
pub(crate) mod probe;
mod settings;
mod syntax;
#[cfg(test)]
mod tests;
mod units;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A program to run as a child: found, but not started.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Command {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) cwd: Option<PathBuf>,
    /// The child's whole environment.
    pub(crate) env: Vec<(OsString, OsString)>,
    /// In which class the system schedules it.
    pub(crate) scheduling: ChildScheduling,
}

/// Who may ask, by the names they use.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Access {
    /// `host` or `host:port`, lower case; `*` is any.
    pub(crate) hosts: Vec<String>,
    /// `scheme://host[:port]`, lower case.
    pub(crate) origins: Vec<String>,
    /// Every name and origin of this machine is allowed, at any port.
    pub(crate) local: bool,
}

/// The bounds of one server and its sessions.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Limits {
    pub(crate) max_sessions: usize,
    pub(crate) max_children: usize,
    pub(crate) max_calls: usize,
    pub(crate) max_leases: usize,
    pub(crate) max_parked: usize,
    pub(crate) park_ttl: Duration,
    pub(crate) cancel_grace: Duration,
    pub(crate) max_body: usize,
    pub(crate) max_line: usize,
    pub(crate) log_bytes: usize,
    pub(crate) idle_timeout: Duration,
    /// A child that has had nothing to do for so long is stopped until it is needed.
    pub(crate) hibernate_after: Option<Duration>,
    pub(crate) request_timeout: Duration,
    pub(crate) request_timeout_max: Duration,
    pub(crate) initialize_timeout: Duration,
    pub(crate) question_timeout: Duration,
}

/// The bounds of the whole gateway.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) max_connections: usize,
    pub(crate) max_headers: usize,
    pub(crate) log_bytes_total: usize,
    /// In percent of the memory that may be used.
    pub(crate) memory_gate: u8,
}

/// What one principal may have of a server; no bound where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Share {
    pub(crate) sessions: Option<usize>,
    pub(crate) calls: Option<usize>,
    /// Calls a second.
    pub(crate) rate: Option<u32>,
}

/// A named server: two that are equal can stand for each other.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServerConfig {
    pub(crate) name: String,
    pub(crate) endpoint: String,
    pub(crate) command: Command,
    pub(crate) response: Response,
    /// Clients of legacy revisions get no sessions.
    pub(crate) is_stateless: bool,
    /// The transport of 2024-11-05 is served too.
    pub(crate) has_old_sse: bool,
    pub(crate) max_stream_age: Option<Duration>,
    pub(crate) expose_stderr: bool,
    pub(crate) child_era: ChildEra,
    pub(crate) children: Children,
    pub(crate) prewarm: usize,
    pub(crate) on_child_exit: OnChildExit,
    pub(crate) at_session_cap: AtSessionCap,
    /// Where the tokens of its clients are kept.
    pub(crate) bearer_tokens: Option<PathBuf>,
    /// The authorities that its clients' certificates are of.
    pub(crate) client_ca: Option<PathBuf>,
    pub(crate) share: Share,
    pub(crate) limits: Limits,
}

/// The files of TLS.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TlsFiles {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// By name, each once; at least one.
    pub(crate) servers: Vec<ServerConfig>,
    pub(crate) listen: Listen,
    /// Where it serves instead: a socket that somebody else bound.
    pub(crate) served_at: Option<Listen>,
    /// Others may reach a server that asks nobody who they are.
    pub(crate) allows_no_auth: bool,
    /// Tokens may cross a network in clear text.
    pub(crate) allows_cleartext_tokens: bool,
    pub(crate) admin_listen: Option<Listen>,
    /// Of unix sockets.
    pub(crate) socket_mode: u32,
    pub(crate) tls: Option<TlsFiles>,
    /// What session ids begin with.
    pub(crate) replica: Option<String>,
    /// That serve connections; as many as usual unless given.
    pub(crate) threads: Option<usize>,
    pub(crate) ready_file: Option<PathBuf>,
    pub(crate) drain: Duration,
    pub(crate) exit_with_parent: bool,
    pub(crate) access: Access,
    pub(crate) admin_access: Access,
    pub(crate) bounds: Bounds,
    /// A line is logged for each call.
    pub(crate) has_access_log: bool,
    /// No other part of this process starts programs: the gateway may take in and reap whatever is left to it.
    pub owns_process: bool,
    /// Shape of the log on stderr.
    pub log_format: LogFormat,
    /// What is logged.
    pub log: String,
    /// What was read and is not used, a line each: to be told once there is a log.
    pub warnings: Vec<String>,
}

/// Why a configuration cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// A file is wrong: a line for each fault, with its place.
    #[error("{0}")]
    Configuration(String),
    /// The child's program cannot be started.
    #[error("{0}")]
    Unavailable(String),
}

impl Config {
    /// The options that are read at the start only, and are others in `next`.
    pub(crate) fn fixed_differences(&self, next: &Config) -> Vec<&'static str> {
        [
            ("admin-listen", self.admin_listen != next.admin_listen),
            ("admin-allowed-host", self.admin_access != next.admin_access),
            ("socket-mode", self.socket_mode != next.socket_mode),
            ("replica", self.replica != next.replica),
            ("ready-file", self.ready_file != next.ready_file),
            ("threads", self.threads != next.threads),
            ("exit-with-parent", self.exit_with_parent != next.exit_with_parent),
            ("max-connections", self.bounds.max_connections != next.bounds.max_connections),
            ("log-bytes-total", self.bounds.log_bytes_total != next.bounds.log_bytes_total),
            ("memory-gate", self.bounds.memory_gate != next.bounds.memory_gate),
            ("access-log", self.has_access_log != next.has_access_log),
            ("log-format", self.log_format != next.log_format),
            ("log", self.log != next.log),
        ]
        .into_iter()
        .filter_map(|(option, differs)| differs.then_some(option))
        .collect()
    }

    /// Whether there are keys that must not be seen.
    pub(crate) fn holds_secrets(&self) -> bool {
        self.tls.is_some() || self.servers.iter().any(|server| server.bearer_tokens.is_some())
    }

    /// It serves on a socket that was bound elsewhere.
    ///
    /// # Errors
    /// Others can reach it, and nothing says that they may.
    pub(crate) fn serve_at(&mut self, at: Listen) -> Result<(), String> {
        self.check_exposed(&at)?;
        self.access.local = at.is_local();
        self.served_at = Some(at);
        Ok(())
    }

    /// The same for the admin listener.
    pub(crate) fn serve_admin_at(&mut self, at: &Listen) -> Result<(), String> {
        self.admin_access.local = at.is_local();
        if at.is_local() || !self.admin_access.hosts.is_empty() {
            return Ok(());
        }
        Err(format!("the inherited admin socket {at} can be reached from other machines; add: --admin-allowed-host NAME"))
    }

    /// Whether it may serve where `at` says.
    pub(crate) fn check_exposed(&self, at: &Listen) -> Result<(), String> {
        let missing = if at.is_local() {
            return Ok(());
        } else if self.access.hosts.is_empty() {
            "--allowed-host NAME"
        } else if !self.allows_no_auth && self.servers.iter().any(ServerConfig::is_open) {
            "--bearer-tokens FILE, or --insecure-no-auth"
        } else if !self.allows_cleartext_tokens
            && self.tls.is_none()
            && self.servers.iter().any(|server| server.bearer_tokens.is_some())
        {
            "--tls-cert FILE --tls-key FILE, or --insecure-cleartext-tokens"
        } else if self.servers.iter().any(|server| server.expose_stderr) {
            return Err(format!("the inherited socket {at} can be reached from other machines; leave out --expose-stderr"));
        } else {
            return Ok(());
        };
        Err(format!("the inherited socket {at} can be reached from other machines; add: {missing}"))
    }

    /// The files of authorities that some server believes, each once.
    pub(crate) fn client_cas(&self) -> BTreeSet<&Path> {
        self.servers.iter().filter_map(|server| server.client_ca.as_deref()).collect()
    }

    /// What is in force once `next` was read: what is fixed stays as it is.
    pub(crate) fn renewed(&self, next: Config) -> Config {
        let bounds = Bounds { max_headers: next.bounds.max_headers, ..self.bounds.clone() };
        let tls = if self.tls.is_some() { next.tls.or_else(|| self.tls.clone()) } else { None };
        Config {
            servers: next.servers,
            access: Access { local: self.access.local, ..next.access },
            drain: next.drain,
            bounds,
            tls,
            ..self.clone()
        }
    }
}

impl ServerConfig {
    /// Nobody is asked who they are.
    fn is_open(&self) -> bool {
        self.bearer_tokens.is_none() && self.client_ca.is_none()
    }
}

impl Fault {
    /// What to print on stderr. A line of a file stands by itself, for editors to find its place.
    #[must_use]
    pub fn report(&self) -> String {
        match self {
            Fault::Usage(text) | Fault::Unavailable(text) => format!("error: {text}\n"),
            Fault::Configuration(text) => format!("{text}\n"),
        }
    }

    /// As in `sysexits.h`.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Fault::Usage(_) => 64,
            Fault::Unavailable(_) => 69,
            Fault::Configuration(_) => 78,
        }
    }
}

impl Listen {
    fn parse(flag: &str, text: &str) -> Result<Listen, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(format!("{flag} unix: has no path; write unix:/run/mcp.sock"));
            }
            return Ok(Listen::Unix(path.into()));
        }
        if let Some(port) = text.strip_prefix(':') {
            return Err(format!("{flag} {text:?} has no host; write \"127.0.0.1:{port}\""));
        }
        if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
            return Ok(Listen::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)));
        }
        let wrong = || format!("{flag} {text:?} is not an address; write \"127.0.0.1:8080\", \"[::1]:8080\" or \"unix:PATH\"");
        text.parse().map(Listen::Tcp).map_err(|_| wrong())
    }

    /// Only this machine can reach it.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Listen::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Listen::Unix(_) => true,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(address) => address.fmt(f),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
