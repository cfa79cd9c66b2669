//! Options are checked together: what they make is a [`Config`], or all that is wrong with them.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::command;
use super::{Access, Bounds, Children, Config, Flags, Limits, Listen, ServerConfig, Share, TlsFiles};

/// What the server of a command line is called.
pub(crate) const DEFAULT: &str = "default";
/// The path of a named server is this, its name, and the endpoint.
const SERVERS: &str = "/servers/";
const MAX_REPLICA: usize = 16;
/// The most that a bound of a number of things can be.
const MOST: usize = 1 << 20;

/// The options of one server, the ones that it shares with others among them.
pub(super) struct Entry {
    /// None for the one of the command line, or of a file's top level.
    pub(super) name: Option<String>,
    pub(super) flags: Flags,
}

/// Something wrong with an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    /// Whose option it is; none for the gateway's, or the one server of a command line.
    pub(super) server: Option<String>,
    /// As a flag, without its dashes.
    pub(super) option: &'static str,
    /// What is wrong, and what to write. Names options as flags.
    pub(super) text: String,
    /// The options are good, and the child cannot be started.
    pub(super) is_unavailable: bool,
}

/// All complaints of one place.
#[derive(Default)]
pub(super) struct Complaints {
    server: Option<String>,
    pub(super) all: Vec<Complaint>,
}

impl Complaints {
    pub(super) fn add(&mut self, option: &'static str, text: impl Into<String>) {
        self.all.push(Complaint { server: self.server.clone(), option, text: text.into(), is_unavailable: false });
    }

    pub(super) fn unavailable(&mut self, option: &'static str, text: impl Into<String>) {
        self.all.push(Complaint { server: self.server.clone(), option, text: text.into(), is_unavailable: true });
    }

    /// The value of what went well; what did not is noted.
    fn note<T>(&mut self, option: &'static str, outcome: Result<T, String>) -> Option<T> {
        outcome.map_err(|text| self.add(option, text)).ok()
    }
}

/// `gateway` holds the options of the whole gateway; `demo` is the program that `--demo` runs.
pub(super) fn build(gateway: &Flags, entries: &[Entry], demo: &[OsString]) -> Result<Config, Vec<Complaint>> {
    let mut wrong = Complaints::default();
    let listen = wrong.note("listen", Listen::parse("--listen", &gateway.listen));
    let admin_listen = gateway.admin_listen.as_deref().map(|text| Listen::parse("--admin-listen", text)).transpose();
    let admin_listen = wrong.note("admin-listen", admin_listen);
    let is_local = listen.as_ref().is_none_or(Listen::is_local);
    if let Some(listen) = &listen {
        check_listen(gateway, listen, entries, &mut wrong);
    }
    if admin_listen.as_ref().is_some_and(|listen| listen.as_ref().is_some_and(|listen| !listen.is_local()))
        && gateway.admin_allowed_host.is_empty()
    {
        wrong.add(
            "admin-listen",
            "--admin-listen is not a loopback address or unix socket; add: --admin-allowed-host NAME ('*' allows any)",
        );
    }
    check_tls(gateway, &mut wrong);
    check_log(gateway, &mut wrong);
    check_endpoint(gateway, entries, &mut wrong);
    check_count("max-connections", gateway.max_connections, &mut wrong);
    gateway.threads.into_iter().for_each(|threads| check_count("threads", threads, &mut wrong));
    let origins = gateway.allowed_origin.iter().filter_map(|text| wrong.note("allowed-origin", parse_origin(text))).collect();
    let replica_is_name = |name: &String| {
        (1..=MAX_REPLICA).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    if let Some(name) = gateway.replica.as_ref().filter(|name| !replica_is_name(name)) {
        wrong.add("replica", format!("--replica {name:?} is not 1 to {MAX_REPLICA} of a to z and 0 to 9; write a"));
    }
    let mut servers: Vec<ServerConfig> = Vec::new();
    for entry in entries {
        let mut own = Complaints { server: entry.name.clone(), all: Vec::new() };
        servers.extend(server(entry, gateway, is_local, demo, &mut own));
        wrong.all.append(&mut own.all);
    }
    if entries.is_empty() {
        wrong.add("cmd", command::NONE);
    }
    let (Some(listen), Some(admin_listen), true) = (listen, admin_listen, wrong.all.is_empty()) else { return Err(wrong.all) };
    let lower = |hosts: &[String]| hosts.iter().map(|host| host.trim_end_matches('.').to_ascii_lowercase()).collect();
    Ok(Config {
        servers,
        access: Access { hosts: lower(&gateway.allowed_host), origins, local: is_local },
        admin_access: Access {
            hosts: lower(&gateway.admin_allowed_host),
            origins: Vec::new(),
            local: admin_listen.as_ref().is_some_and(Listen::is_local),
        },
        listen,
        admin_listen,
        served_at: None,
        allows_no_auth: gateway.insecure_no_auth,
        allows_cleartext_tokens: gateway.insecure_cleartext_tokens,
        socket_mode: gateway.socket_mode,
        tls: match (&gateway.tls_cert, &gateway.tls_key) {
            (Some(cert), Some(key)) => Some(TlsFiles { cert: cert.clone(), key: key.clone() }),
            _ => None,
        },
        replica: gateway.replica.clone(),
        threads: gateway.threads,
        ready_file: gateway.ready_file.clone(),
        drain: gateway.drain,
        exit_with_parent: gateway.exit_with_parent,
        bounds: Bounds {
            max_connections: gateway.max_connections,
            max_headers: gateway.max_headers,
            log_bytes_total: gateway.log_bytes_total,
            memory_gate: gateway.memory_gate,
        },
        has_access_log: gateway.access_log,
        owns_process: false,
        warnings: Vec::new(),
        log_format: gateway.log_format,
        log: gateway.log.clone(),
    })
}

/// One server, if nothing is wrong with it.
fn server(entry: &Entry, gateway: &Flags, is_local: bool, demo: &[OsString], wrong: &mut Complaints) -> Option<ServerConfig> {
    let flags = &entry.flags;
    if flags.expose_stderr && !is_local {
        wrong.add("expose-stderr", "--expose-stderr works only on a loopback address or a unix socket; leave it out");
    }
    for (option, value) in [
        ("max-sessions", Some(flags.max_sessions)),
        ("max-children", Some(flags.max_children)),
        ("max-calls", Some(flags.max_calls)),
        ("max-leases", Some(flags.max_leases)),
        ("max-parked", Some(flags.max_parked)),
        ("max-principal-sessions", flags.max_principal_sessions),
        ("max-principal-calls", flags.max_principal_calls),
        ("max-principal-rate", flags.max_principal_rate.map(|rate| rate as usize)),
    ] {
        value.into_iter().for_each(|value| check_count(option, value, wrong));
    }
    if flags.prewarm >= flags.max_children {
        wrong.add("prewarm", "--prewarm must be less than --max-children");
    }
    if flags.prewarm > 0 && flags.children == Children::Shared {
        wrong.add("prewarm", "--children shared is for a server of which there may be one process only; leave out --prewarm");
    }
    check_tokens(flags.bearer_tokens.as_deref(), wrong);
    if flags.client_ca.is_some() && gateway.tls_cert.is_none() && gateway.tls_key.is_none() {
        wrong.add("client-ca", "--client-ca asks for certificates, which needs TLS; add: --tls-cert FILE --tls-key FILE");
    }
    check_readable("client-ca", flags.client_ca.as_deref(), wrong);
    for (option, value) in [("hibernate-after", flags.hibernate_after), ("max-stream-age", flags.max_stream_age)] {
        if value.is_some_and(|value| value < Duration::from_secs(1)) {
            wrong.add(option, format!("--{option} must be at least 1s"));
        }
    }
    let command = command::command(flags, demo, wrong)?;
    let endpoint = &gateway.endpoint;
    Some(ServerConfig {
        name: entry.name.as_deref().unwrap_or(DEFAULT).to_owned(),
        endpoint: entry.name.as_deref().map_or_else(|| endpoint.clone(), |name| format!("{SERVERS}{name}{endpoint}")),
        command,
        response: flags.response,
        is_stateless: flags.stateless,
        has_old_sse: !flags.no_legacy_sse && !flags.stateless,
        max_stream_age: flags.max_stream_age,
        expose_stderr: flags.expose_stderr,
        child_era: flags.child_era,
        children: flags.children,
        prewarm: flags.prewarm,
        on_child_exit: flags.on_child_exit,
        at_session_cap: flags.at_session_cap,
        bearer_tokens: flags.bearer_tokens.clone(),
        client_ca: flags.client_ca.clone(),
        share: Share { sessions: flags.max_principal_sessions, calls: flags.max_principal_calls, rate: flags.max_principal_rate },
        limits: limits(flags),
    })
}

fn limits(flags: &Flags) -> Limits {
    Limits {
        max_sessions: flags.max_sessions,
        max_children: flags.max_children,
        max_calls: flags.max_calls,
        max_leases: flags.max_leases,
        max_parked: flags.max_parked,
        park_ttl: flags.park_ttl,
        cancel_grace: flags.cancel_grace,
        max_body: flags.max_body,
        max_line: flags.max_line,
        log_bytes: flags.log_bytes,
        idle_timeout: flags.idle_timeout,
        hibernate_after: flags.hibernate_after,
        request_timeout: flags.request_timeout,
        request_timeout_max: flags.request_timeout_max,
        initialize_timeout: flags.initialize_timeout,
        question_timeout: flags.question_timeout,
    }
}

/// An address that others can reach needs to be asked for, word by word.
fn check_listen(gateway: &Flags, listen: &Listen, entries: &[Entry], wrong: &mut Complaints) {
    if matches!(listen, Listen::Unix(_)) && gateway.tls_cert.is_some() {
        wrong.add("tls-cert", "--tls-cert is for an address: a unix socket has no TLS; leave it out, or write --listen IP:PORT");
    }
    if listen.is_local() {
        return;
    }
    let is_open = |entry: &Entry| entry.flags.bearer_tokens.is_none() && entry.flags.client_ca.is_none();
    let open = entries.iter().find(|entry| is_open(entry));
    let mut missing = Vec::new();
    if open.is_some() && !gateway.insecure_no_auth {
        missing.push("--insecure-no-auth".to_owned());
    }
    if gateway.allowed_host.is_empty() {
        missing.push("--allowed-host NAME".to_owned());
    }
    if !missing.is_empty() {
        let risk = match open.map(|entry| entry.name.as_deref()) {
            Some(Some(name)) => format!(", and whoever reaches it can use the tools of server {name:?}"),
            Some(None) => ", and whoever reaches it can use the server's tools".to_owned(),
            None => String::new(),
        };
        let instead = if open.is_some() { " (or --bearer-tokens FILE in place of --insecure-no-auth)" } else { "" };
        wrong.add(
            "listen",
            format!(
                "--listen {} can be reached from other machines{risk}; to allow that, add: {}{instead} \
                 (NAME is the host name that clients use, '*' allows any)",
                gateway.listen,
                missing.join(" ")
            ),
        );
    }
    let with_tokens = entries.iter().find(|entry| entry.flags.bearer_tokens.is_some());
    if let Some(entry) = with_tokens.filter(|_| gateway.tls_cert.is_none() && !gateway.insecure_cleartext_tokens) {
        let text = format!(
            "--bearer-tokens with --listen {} would send tokens over clear text; add: --tls-cert FILE --tls-key FILE, or \
             --insecure-cleartext-tokens where a proxy in front or the network itself keeps them secret",
            gateway.listen
        );
        wrong.all.push(Complaint { server: entry.name.clone(), option: "bearer-tokens", text, is_unavailable: false });
    }
}

/// The files of TLS are given together, and can be read.
fn check_tls(gateway: &Flags, wrong: &mut Complaints) {
    match (&gateway.tls_cert, &gateway.tls_key) {
        (Some(_), None) => wrong.add("tls-cert", "--tls-cert has no key; add: --tls-key FILE"),
        (None, Some(_)) => wrong.add("tls-key", "--tls-key has no certificate; add: --tls-cert FILE"),
        _ => {}
    }
    let files = [("tls-cert", &gateway.tls_cert), ("tls-key", &gateway.tls_key)];
    files.into_iter().for_each(|(option, path)| check_readable(option, path.as_deref(), wrong));
}

fn check_readable(option: &'static str, path: Option<&Path>, wrong: &mut Complaints) {
    let Some(path) = path else { return };
    if let Err(error) = rustix::fs::access(path, rustix::fs::Access::READ_OK) {
        wrong.add(option, format!("--{option} {}: cannot be read: {error}", path.display()));
    }
}

fn check_tokens(path: Option<&Path>, wrong: &mut Complaints) {
    match path {
        Some(path) if !path.exists() => {
            let text = format!(
                "--bearer-tokens {path}: is not there; `mcp-http-gateway token new NAME --file {path}` makes it, with a first token",
                path = path.display()
            );
            wrong.add("bearer-tokens", text);
        }
        path => check_readable("bearer-tokens", path, wrong),
    }
}

fn check_log(gateway: &Flags, wrong: &mut Complaints) {
    if let Err(error) = EnvFilter::try_new(&gateway.log) {
        wrong.add("log", format!("--log {:?}: {error}; write info, or info,child=warn", gateway.log));
    }
}

fn check_endpoint(gateway: &Flags, entries: &[Entry], wrong: &mut Complaints) {
    let endpoint = &gateway.endpoint;
    if !endpoint.starts_with('/') || endpoint.contains(['?', '#', ' ']) {
        wrong.add("endpoint", format!("--endpoint {endpoint:?} is not a path; write /mcp"));
    } else if endpoint.starts_with(SERVERS) && entries.iter().any(|entry| entry.name.is_some()) {
        wrong.add("endpoint", format!("--endpoint {endpoint:?} is where named servers are; write /mcp"));
    }
}

fn check_count(option: &'static str, value: usize, wrong: &mut Complaints) {
    if value == 0 || value > MOST {
        wrong.add(option, format!("--{option} must be between 1 and {MOST}"));
    }
}

fn parse_origin(text: &str) -> Result<String, String> {
    let lower = text.trim_end_matches('/').to_ascii_lowercase();
    match lower.split_once("://") {
        Some((scheme, host)) if !scheme.is_empty() && !host.is_empty() && !host.contains(['/', '*']) => Ok(lower),
        _ => Err(format!("--allowed-origin {text:?} is not an origin; write https://app.example.com")),
    }
}
