//! What the gateway was told to do, checked: a [`Config`] that exists can be run. Built from the flags; read by everyone
//! above `session`.

use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

pub(crate) use self::flags::{AtSessionCap, ChildEra, Children, OnChildExit, Response};
pub use self::flags::{Flags, LogFormat};

mod command;
pub(crate) mod environment;
mod flags;
mod units;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A program to run as a child: found, but not started.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) cwd: Option<PathBuf>,
    /// The child's whole environment.
    pub(crate) env: Vec<(OsString, OsString)>,
}

/// Who may ask, by the names they use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    /// `host` or `host:port`, lower case; `*` is any.
    pub(crate) hosts: Vec<String>,
    /// `scheme://host[:port]`, lower case.
    pub(crate) origins: Vec<String>,
    /// Every name and origin of this machine is allowed, at any port.
    pub(crate) local: bool,
}

/// The bounds of one server and its sessions.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) max_sessions: usize,
    pub(crate) max_connections: usize,
    pub(crate) max_children: usize,
    pub(crate) max_calls: usize,
    pub(crate) max_leases: usize,
    pub(crate) max_parked: usize,
    pub(crate) park_ttl: Duration,
    pub(crate) cancel_grace: Duration,
    pub(crate) max_body: usize,
    pub(crate) max_headers: usize,
    pub(crate) max_line: usize,
    pub(crate) log_bytes: usize,
    pub(crate) log_bytes_total: usize,
    pub(crate) idle_timeout: Duration,
    /// A child that has had nothing to do for so long is stopped until it is needed.
    pub(crate) hibernate_after: Option<Duration>,
    pub(crate) request_timeout: Duration,
    pub(crate) request_timeout_max: Duration,
    pub(crate) initialize_timeout: Duration,
    pub(crate) question_timeout: Duration,
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) command: Command,
    pub(crate) listen: Listen,
    pub(crate) admin_listen: Option<Listen>,
    pub(crate) endpoint: String,
    pub(crate) ready_file: Option<PathBuf>,
    pub(crate) response: Response,
    /// Clients of legacy revisions get no sessions.
    pub(crate) is_stateless: bool,
    /// The transport of 2024-11-05 is served too.
    pub(crate) has_old_sse: bool,
    pub(crate) max_stream_age: Option<Duration>,
    pub(crate) drain: Duration,
    pub(crate) exit_with_parent: bool,
    pub(crate) access: Access,
    pub(crate) admin_access: Access,
    pub(crate) expose_stderr: bool,
    pub(crate) child_era: ChildEra,
    pub(crate) children: Children,
    pub(crate) prewarm: usize,
    pub(crate) on_child_exit: OnChildExit,
    pub(crate) at_session_cap: AtSessionCap,
    /// In percent of the memory that may be used.
    pub(crate) memory_gate: u8,
    pub(crate) limits: Limits,
    /// No other part of this process starts programs: the gateway may take in and reap whatever is left to it.
    pub owns_process: bool,
    /// Shape of the log on stderr.
    pub log_format: LogFormat,
    /// What is logged.
    pub log: String,
}

/// Why a configuration cannot be run.
#[derive(Debug, Error)]
pub enum Fault {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// The child's program cannot be started.
    #[error("{0}")]
    Unavailable(String),
}

impl Config {
    /// Checks the flags together. `demo` is the program that `--demo` runs.
    ///
    /// # Errors
    /// [`Fault::Usage`] says what to write instead, [`Fault::Unavailable`] why the program cannot be started.
    pub fn from_flags(flags: Flags, demo: &[OsString]) -> Result<Config, Fault> {
        let listen = Listen::parse("--listen", &flags.listen)?;
        let admin_listen = flags.admin_listen.as_deref().map(|text| Listen::parse("--admin-listen", text)).transpose()?;
        let local = listen.is_local();
        if !local {
            check_exposed(&flags)?;
        }
        if admin_listen.as_ref().is_some_and(|listen| !listen.is_local()) && flags.admin_allowed_host.is_empty() {
            return usage(
                "--admin-listen is not a loopback address or unix socket; add: --admin-allowed-host NAME ('*' allows any)",
            );
        }
        if flags.expose_stderr && !local {
            return usage("--expose-stderr works only on a loopback address or a unix socket; leave it out");
        }
        if !flags.endpoint.starts_with('/') || flags.endpoint.contains(['?', '#', ' ']) {
            return usage(&format!("--endpoint {:?} is not a path; write /mcp", flags.endpoint));
        }
        for (flag, value) in [
            ("--max-sessions", flags.max_sessions),
            ("--max-connections", flags.max_connections),
            ("--max-children", flags.max_children),
            ("--max-calls", flags.max_calls),
            ("--max-leases", flags.max_leases),
            ("--max-parked", flags.max_parked),
        ] {
            if value == 0 || value > 1 << 20 {
                return usage(&format!("{flag} must be between 1 and {}", 1 << 20));
            }
        }
        if flags.prewarm >= flags.max_children {
            return usage("--prewarm must be less than --max-children");
        }
        if flags.prewarm > 0 && flags.children == Children::Shared {
            return usage("--children shared is for a server of which there may be one process only; leave out --prewarm");
        }
        if flags.hibernate_after.is_some_and(|after| after < Duration::from_secs(1)) {
            return usage("--hibernate-after must be at least 1s");
        }
        if flags.max_stream_age.is_some_and(|age| age < Duration::from_secs(1)) {
            return usage("--max-stream-age must be at least 1s");
        }
        let origins = flags.allowed_origin.iter().map(|origin| parse_origin(origin)).collect::<Result<_, _>>()?;
        let lower = |hosts: &[String]| hosts.iter().map(|host| host.trim_end_matches('.').to_ascii_lowercase()).collect();
        Ok(Config {
            access: Access { hosts: lower(&flags.allowed_host), origins, local },
            admin_access: Access {
                hosts: lower(&flags.admin_allowed_host),
                origins: Vec::new(),
                local: admin_listen.as_ref().is_some_and(Listen::is_local),
            },
            command: command::command(&flags, demo)?,
            listen,
            admin_listen,
            endpoint: flags.endpoint,
            ready_file: flags.ready_file,
            response: flags.response,
            is_stateless: flags.stateless,
            has_old_sse: !flags.no_legacy_sse && !flags.stateless,
            max_stream_age: flags.max_stream_age,
            drain: flags.drain,
            exit_with_parent: flags.exit_with_parent,
            expose_stderr: flags.expose_stderr,
            child_era: flags.child_era,
            children: flags.children,
            prewarm: flags.prewarm,
            on_child_exit: flags.on_child_exit,
            at_session_cap: flags.at_session_cap,
            memory_gate: flags.memory_gate,
            limits: Limits {
                max_sessions: flags.max_sessions,
                max_connections: flags.max_connections,
                max_children: flags.max_children,
                max_calls: flags.max_calls,
                max_leases: flags.max_leases,
                max_parked: flags.max_parked,
                park_ttl: flags.park_ttl,
                cancel_grace: flags.cancel_grace,
                max_body: flags.max_body,
                max_headers: flags.max_headers,
                max_line: flags.max_line,
                log_bytes: flags.log_bytes,
                log_bytes_total: flags.log_bytes_total,
                idle_timeout: flags.idle_timeout,
                hibernate_after: flags.hibernate_after,
                request_timeout: flags.request_timeout,
                request_timeout_max: flags.request_timeout_max,
                initialize_timeout: flags.initialize_timeout,
                question_timeout: flags.question_timeout,
            },
            owns_process: false,
            log_format: flags.log_format,
            log: flags.log,
        })
    }
}

impl Listen {
    fn parse(flag: &str, text: &str) -> Result<Listen, Fault> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return usage(&format!("{flag} unix: has no path; write unix:/run/mcp.sock"));
            }
            return Ok(Listen::Unix(path.into()));
        }
        if let Some(port) = text.strip_prefix(':') {
            return usage(&format!("{flag} {text:?} has no host; write \"127.0.0.1:{port}\""));
        }
        if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
            return Ok(Listen::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)));
        }
        match text.parse() {
            Ok(address) => Ok(Listen::Tcp(address)),
            Err(_) => {
                usage(&format!("{flag} {text:?} is not an address; write \"127.0.0.1:8080\", \"[::1]:8080\" or \"unix:PATH\""))
            }
        }
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

fn usage<T>(text: &str) -> Result<T, Fault> {
    Err(Fault::Usage(text.to_owned()))
}

/// An address that others can reach needs to be asked for, word by word.
fn check_exposed(flags: &Flags) -> Result<(), Fault> {
    let mut missing = Vec::new();
    if !flags.insecure_no_auth {
        missing.push("--insecure-no-auth".to_owned());
    }
    if flags.allowed_host.is_empty() {
        missing.push("--allowed-host NAME".to_owned());
    }
    if missing.is_empty() {
        return Ok(());
    }
    usage(&format!(
        "--listen {} can be reached from other machines, and whoever reaches it can use the server's tools; to allow that, add: {} \
         (NAME is the host name that clients use, '*' allows any)",
        flags.listen,
        missing.join(" ")
    ))
}

fn parse_origin(text: &str) -> Result<String, Fault> {
    let lower = text.trim_end_matches('/').to_ascii_lowercase();
    match lower.split_once("://") {
        Some((scheme, host)) if !scheme.is_empty() && !host.is_empty() && !host.contains(['/', '*']) => Ok(lower),
        _ => usage(&format!("--allowed-origin {text:?} is not an origin; write https://app.example.com")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn config(words: &[&str]) -> Result<Config, Fault> {
        let flags = Flags::try_parse_from([&["mcp-http-gateway"], words].concat()).expect("the words are flags");
        Config::from_flags(flags, &["/bin/true".into()])
    }

    fn refusal(words: &[&str]) -> String {
        config(words).expect_err("it is refused").to_string()
    }

    #[test]
    fn an_exposed_address_is_refused_with_the_line_to_add() {
        let text = refusal(&["--demo", "--listen", "0.0.0.0:8080"]);
        assert!(text.contains("add: --insecure-no-auth --allowed-host NAME"), "{text}");
        let text = refusal(&["--demo", "--listen", "[::]:8080", "--insecure-no-auth"]);
        assert!(text.contains("add: --allowed-host NAME"), "{text}");
        assert!(config(&["--demo", "--listen", "0.0.0.0:8080", "--insecure-no-auth", "--allowed-host", "*"]).is_ok());
        for local in ["127.0.0.1:0", "127.8.9.1:1", "[::1]:8080", "localhost:80", "unix:/tmp/x.sock"] {
            assert!(config(&["--demo", "--listen", local]).is_ok(), "{local}");
        }
        assert!(refusal(&["--demo", "--admin-listen", "0.0.0.0:9"]).contains("--admin-allowed-host"));
        assert!(
            refusal(&["--demo", "--listen", "0.0.0.0:1", "--insecure-no-auth", "--allowed-host", "x", "--expose-stderr"])
                .contains("--expose-stderr")
        );
    }

    #[test]
    fn a_command_is_split_as_a_shell_would_and_named_once() {
        let config = config(&["--cmd", "sh -c 'echo \"a b\"' c\\ d"]).expect("a command");
        assert!(config.command.program.is_absolute());
        assert_eq!(config.command.args, ["-c", "echo \"a b\"", "c d"]);
        assert!(refusal(&[]).contains("--cmd"));
        assert!(refusal(&["--demo", "--cmd", "sh"]).contains("once"));
        assert!(refusal(&["--cmd", "sh 'open"]).contains("not closed"));
        assert!(refusal(&["--cmd", " "]).contains("empty"));
        assert!(refusal(&["--demo", "--children", "shared", "--prewarm", "1"]).contains("leave out --prewarm"));
    }

    #[test]
    fn a_program_that_cannot_be_started_is_refused_before_anything_is_served() {
        for (words, reason) in [
            (&["--", "/nonexistent/server"][..], "does not exist"),
            (&["--", "/etc/passwd"], "not an executable file"),
            (&["--", "no-such-program-anywhere"], "not on the PATH"),
            (&["--cwd", "/nonexistent", "--", "sh"], "not a directory"),
        ] {
            assert!(matches!(config(words), Err(Fault::Unavailable(text)) if text.contains(reason)), "{words:?}");
        }
    }

    #[test]
    fn a_wrong_address_says_what_to_write() {
        assert!(refusal(&["--demo", "--listen", ":3000"]).contains("127.0.0.1:3000"));
        assert!(refusal(&["--demo", "--listen", "8080"]).contains("127.0.0.1:8080"));
        assert!(refusal(&["--demo", "--listen", "unix:"]).contains("unix:/run"));
        assert!(refusal(&["--demo", "--endpoint", "mcp"]).contains("/mcp"));
        assert!(refusal(&["--demo", "--allowed-origin", "app.example.com"]).contains("https://"));
    }
}
