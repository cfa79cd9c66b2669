//! The command line, and with it every option: every flag but `--env` is also an environment variable `MCP_GATEWAY_…`, and a
//! key of the file.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::given::Given;
use super::units::{duration, mode, size};

/// Puts any stdio MCP server on the network as Streamable HTTP.
#[derive(Debug, Parser)]
#[command(
    name = "mcp-http-gateway",
    version,
    args_conflicts_with_subcommands = true,
    override_usage = "mcp-http-gateway [OPTIONS] --cmd 'COMMAND LINE'\n       mcp-http-gateway [OPTIONS] -- PROGRAM [ARGS]...\n       mcp-http-gateway --demo\n       mcp-http-gateway --config FILE | --mcp-json FILE\n       mcp-http-gateway check-config FILE | print-config | healthcheck | token new NAME --file FILE",
    after_help = "Every option but --env is also an environment variable: --max-sessions is MCP_GATEWAY_MAX_SESSIONS. The option wins; then the\nvariable; then the file of --config, where it is max_sessions."
)]
pub struct Cli {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub task: Option<Task>,
    /// What to serve, and how.
    #[command(flatten)]
    pub given: Given,
}

/// What the program does beside serving.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Read a configuration file and say all that is wrong with it
    CheckConfig {
        /// The file, as for --config; or as for --mcp-json, if its name ends in .json
        file: PathBuf,
    },
    /// Print the configuration that these options, the environment and the file make
    PrintConfig(Given),
    /// Ask the admin listener whether sessions can be opened; exits 0 if so
    Healthcheck(Given),
    /// Tokens that clients show
    #[command(subcommand)]
    Token(TokenTask),
}

/// What can be done about tokens.
#[derive(Debug, Subcommand)]
pub enum TokenTask {
    /// Make a token, print it once, and add it to a file of tokens
    New {
        /// Who it is for; several tokens may have one name
        name: String,
        /// The file of --bearer-tokens; made if it is not there
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
}

/// The options of serving.
#[derive(Args, Clone, Debug)]
pub(crate) struct Flags {
    /// Read options from this file; what the command line and the environment say wins
    #[arg(long, env = "MCP_GATEWAY_CONFIG", value_name = "FILE", help_heading = "Configuration")]
    pub(super) config: Option<PathBuf>,
    /// Serve the stdio servers of this file: the mcpServers of Claude Desktop or Cursor, the servers of VS Code
    #[arg(long, env = "MCP_GATEWAY_MCP_JSON", value_name = "FILE", help_heading = "Configuration")]
    pub(super) mcp_json: Option<PathBuf>,

    /// The stdio server, split into words as a shell would; no shell runs
    #[arg(long, env = "MCP_GATEWAY_CMD", value_name = "COMMAND LINE", help_heading = "Server")]
    pub(super) cmd: Option<String>,
    /// The stdio server, as separate words
    #[arg(last = true, value_name = "PROGRAM [ARGS]", help_heading = "Server")]
    pub(super) program: Vec<OsString>,
    /// Run the built-in stdio server
    #[arg(long, env = "MCP_GATEWAY_DEMO", help_heading = "Server")]
    pub(super) demo: bool,
    /// Working directory of the server
    #[arg(long, env = "MCP_GATEWAY_CWD", value_name = "DIR", help_heading = "Server")]
    pub(super) cwd: Option<PathBuf>,
    /// Set a variable in the server's environment
    #[arg(long = "env", value_name = "K=V", help_heading = "Server")]
    pub(super) env: Vec<String>,
    /// Set the variables of this file (a line each, NAME=VALUE) in the server's environment
    #[arg(long, env = "MCP_GATEWAY_ENV_FILE", value_name = "FILE", help_heading = "Server")]
    pub(super) env_file: Option<PathBuf>,
    /// Variables that the server does not get. No option: the file of an MCP client says it.
    #[arg(skip)]
    pub(super) unset: Vec<String>,
    /// Pass a variable of the gateway's own environment on; '*' passes all
    #[arg(long, env = "MCP_GATEWAY_PASS_ENV", value_name = "NAME", value_delimiter = ',', help_heading = "Server")]
    pub(super) pass_env: Vec<String>,

    /// Which revisions the server speaks; auto asks it at start
    #[arg(long, env = "MCP_GATEWAY_CHILD_ERA", value_enum, default_value = "auto", help_heading = "Server")]
    pub(super) child_era: ChildEra,
    /// Whether each session of an older client has a process of its own, or all share one; see the README
    #[arg(long, env = "MCP_GATEWAY_CHILDREN", value_enum, default_value = "per-session", help_heading = "Server")]
    pub(super) children: Children,
    /// How the system shares processors between the server and others; batch: who runs is not interrupted for it; see the README
    #[arg(long, env = "MCP_GATEWAY_CHILD_SCHEDULING", value_enum, default_value = "batch", help_heading = "Server")]
    pub(super) child_scheduling: ChildScheduling,
    /// Keep so many processes started for the next session or call
    #[arg(long, env = "MCP_GATEWAY_PREWARM", value_name = "N", default_value = "0", help_heading = "Server")]
    pub(super) prewarm: usize,

    /// What becomes of a session whose own process ends by itself: it ends, or another process takes up its place
    #[arg(long, env = "MCP_GATEWAY_ON_CHILD_EXIT", value_enum, default_value = "end", help_heading = "Server")]
    pub(super) on_child_exit: OnChildExit,
    /// Stop a session's own process once it has had nothing to do for this long, until the next message; off unless given
    #[arg(long, env = "MCP_GATEWAY_HIBERNATE_AFTER", value_name = "D", value_parser = duration, help_heading = "Server")]
    pub(super) hibernate_after: Option<Duration>,

    /// Where to serve: IP:PORT or unix:PATH; port 0 picks one
    #[arg(long, env = "MCP_GATEWAY_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:8080", help_heading = "Serving")]
    pub(super) listen: String,
    /// Mode of a unix socket, in octal
    #[arg(long, env = "MCP_GATEWAY_SOCKET_MODE", value_name = "MODE", value_parser = mode, default_value = "600", help_heading = "Serving")]
    pub(super) socket_mode: u32,
    /// Path of the MCP endpoint
    #[arg(long, env = "MCP_GATEWAY_ENDPOINT", value_name = "PATH", default_value = "/mcp", help_heading = "Serving")]
    pub(super) endpoint: String,
    /// Where to serve /livez, /readyz, /metrics and /version; off unless given
    #[arg(long, env = "MCP_GATEWAY_ADMIN_LISTEN", value_name = "ADDR", help_heading = "Serving")]
    pub(super) admin_listen: Option<String>,
    /// Write the address here once it is served
    #[arg(long, env = "MCP_GATEWAY_READY_FILE", value_name = "PATH", help_heading = "Serving")]
    pub(super) ready_file: Option<PathBuf>,
    /// How requests are answered: as an event stream, as plain JSON, or as JSON when the answer comes first and within 100 ms
    #[arg(long, env = "MCP_GATEWAY_RESPONSE", value_enum, default_value = "auto", help_heading = "Serving")]
    pub(super) response: Response,
    /// Give clients of older revisions no session: each POST is served by a process that all share; no GET, no DELETE
    #[arg(long, env = "MCP_GATEWAY_STATELESS", help_heading = "Serving")]
    pub(super) stateless: bool,
    /// Do not serve HTTP with SSE, the transport of 2024-11-05 (ENDPOINT/sse)
    #[arg(long, env = "MCP_GATEWAY_NO_LEGACY_SSE", help_heading = "Serving")]
    pub(super) no_legacy_sse: bool,
    /// End the connection of a stream at this age, for the client to resume; off unless given
    #[arg(long, env = "MCP_GATEWAY_MAX_STREAM_AGE", value_name = "D", value_parser = duration, help_heading = "Serving")]
    pub(super) max_stream_age: Option<Duration>,
    /// How long calls in flight may take once the gateway is asked to stop
    #[arg(long, env = "MCP_GATEWAY_DRAIN", value_name = "D", value_parser = duration, default_value = "30s", help_heading = "Serving")]
    pub(super) drain: Duration,
    /// Begin session ids with this name, for proxies that route by it (a to z and 0 to 9, 16 at most)
    #[arg(long, env = "MCP_GATEWAY_REPLICA", value_name = "NAME", help_heading = "Serving")]
    pub(super) replica: Option<String>,
    /// Threads that serve connections; unless given, half as many as there are processors, since each call also costs its server
    #[arg(long, env = "MCP_GATEWAY_THREADS", value_name = "N", help_heading = "Serving")]
    pub(super) threads: Option<usize>,
    /// Stop when the process that started the gateway is gone
    #[arg(long, env = "MCP_GATEWAY_EXIT_WITH_PARENT", help_heading = "Serving")]
    pub(super) exit_with_parent: bool,

    /// Serve TLS with the certificates of this file (PEM, the server's own first)
    #[arg(long, env = "MCP_GATEWAY_TLS_CERT", value_name = "FILE", help_heading = "Access")]
    pub(super) tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert (PEM)
    #[arg(long, env = "MCP_GATEWAY_TLS_KEY", value_name = "FILE", help_heading = "Access")]
    pub(super) tls_key: Option<PathBuf>,
    /// Serve clients that have a certificate of these authorities (PEM)
    #[arg(long, env = "MCP_GATEWAY_CLIENT_CA", value_name = "FILE", help_heading = "Access")]
    pub(super) client_ca: Option<PathBuf>,
    /// Serve clients that show a token of this file, which `token new` makes
    #[arg(long, env = "MCP_GATEWAY_BEARER_TOKENS", value_name = "FILE", help_heading = "Access")]
    pub(super) bearer_tokens: Option<PathBuf>,
    /// Take tokens over clear text from beyond this machine
    #[arg(long, env = "MCP_GATEWAY_INSECURE_CLEARTEXT_TOKENS", help_heading = "Access")]
    pub(super) insecure_cleartext_tokens: bool,
    /// Serve requests for this host name (NAME or NAME:PORT); '*' allows any
    #[arg(long, env = "MCP_GATEWAY_ALLOWED_HOST", value_name = "NAME", value_delimiter = ',', help_heading = "Access")]
    pub(super) allowed_host: Vec<String>,
    /// Serve web pages of this origin (SCHEME://HOST or SCHEME://HOST:PORT)
    #[arg(long, env = "MCP_GATEWAY_ALLOWED_ORIGIN", value_name = "ORIGIN", value_delimiter = ',', help_heading = "Access")]
    pub(super) allowed_origin: Vec<String>,
    /// Serve the admin listener for this host name; '*' allows any
    #[arg(long, env = "MCP_GATEWAY_ADMIN_ALLOWED_HOST", value_name = "NAME", value_delimiter = ',', help_heading = "Access")]
    pub(super) admin_allowed_host: Vec<String>,
    /// Listen beyond this machine although nobody is asked who they are
    #[arg(long, env = "MCP_GATEWAY_INSECURE_NO_AUTH", help_heading = "Access")]
    pub(super) insecure_no_auth: bool,
    /// Tell clients the last lines of a dead server's stderr (loopback and unix sockets only)
    #[arg(long, env = "MCP_GATEWAY_EXPOSE_STDERR", help_heading = "Access")]
    pub(super) expose_stderr: bool,

    /// Sessions at a time
    #[arg(long, env = "MCP_GATEWAY_MAX_SESSIONS", value_name = "N", default_value = "64", help_heading = "Bounds")]
    pub(super) max_sessions: usize,
    /// Sessions of one principal at a time; no bound of its own unless given
    #[arg(long, env = "MCP_GATEWAY_MAX_PRINCIPAL_SESSIONS", value_name = "N", help_heading = "Bounds")]
    pub(super) max_principal_sessions: Option<usize>,
    /// Calls of one principal in flight; no bound of its own unless given
    #[arg(long, env = "MCP_GATEWAY_MAX_PRINCIPAL_CALLS", value_name = "N", help_heading = "Bounds")]
    pub(super) max_principal_calls: Option<usize>,
    /// Calls of one principal a second, as many of them at once; no bound unless given
    #[arg(long, env = "MCP_GATEWAY_MAX_PRINCIPAL_RATE", value_name = "N", help_heading = "Bounds")]
    pub(super) max_principal_rate: Option<u32>,
    /// What becomes of a new session beyond --max-sessions: it is refused, or takes the place of the one idle for longest
    #[arg(long, env = "MCP_GATEWAY_AT_SESSION_CAP", value_enum, default_value = "refuse", help_heading = "Bounds")]
    pub(super) at_session_cap: AtSessionCap,
    /// Open no session and start no process while so much of the memory is in use that cgroup and machine allow; 100 never does
    #[arg(long, env = "MCP_GATEWAY_MEMORY_GATE", value_name = "PERCENT", default_value = "90", value_parser = clap::value_parser!(u8).range(1..=100), help_heading = "Bounds")]
    pub(super) memory_gate: u8,
    /// Connections at a time
    #[arg(long, env = "MCP_GATEWAY_MAX_CONNECTIONS", value_name = "N", default_value = "10240", help_heading = "Bounds")]
    pub(super) max_connections: usize,
    /// Server processes at a time, those that are ending included
    #[arg(long, env = "MCP_GATEWAY_MAX_CHILDREN", value_name = "N", default_value = "128", help_heading = "Bounds")]
    pub(super) max_children: usize,
    /// Calls in flight in one session, or in one process that modern clients share
    #[arg(long, env = "MCP_GATEWAY_MAX_CALLS", value_name = "N", default_value = "1024", help_heading = "Bounds")]
    pub(super) max_calls: usize,
    /// Calls of modern clients that the server may ask something in, running at a time, for one principal; each has a process
    #[arg(long, env = "MCP_GATEWAY_MAX_LEASES", value_name = "N", default_value = "8", help_heading = "Bounds")]
    pub(super) max_leases: usize,
    /// Calls that wait for their user, for one principal (twice as many in all); each keeps a process. The oldest is given up
    #[arg(long, env = "MCP_GATEWAY_MAX_PARKED", value_name = "N", default_value = "32", help_heading = "Bounds")]
    pub(super) max_parked: usize,
    /// How long a call may wait for its user
    #[arg(long, env = "MCP_GATEWAY_PARK_TTL", value_name = "D", value_parser = duration, default_value = "10m", help_heading = "Bounds")]
    pub(super) park_ttl: Duration,
    /// How long a cancelled call that could be asked something may go on before its process is ended
    #[arg(long, env = "MCP_GATEWAY_CANCEL_GRACE", value_name = "D", value_parser = duration, default_value = "30s", help_heading = "Bounds")]
    pub(super) cancel_grace: Duration,
    /// Size of a request's body
    #[arg(long, env = "MCP_GATEWAY_MAX_BODY", value_name = "SIZE", value_parser = size, default_value = "8MiB", help_heading = "Bounds")]
    pub(super) max_body: usize,
    /// Size of a request's header fields together
    #[arg(long, env = "MCP_GATEWAY_MAX_HEADERS", value_name = "SIZE", value_parser = size, default_value = "32KiB", help_heading = "Bounds")]
    pub(super) max_headers: usize,
    /// Size of a line that the server writes
    #[arg(long, env = "MCP_GATEWAY_MAX_LINE", value_name = "SIZE", value_parser = size, default_value = "16MiB", help_heading = "Bounds")]
    pub(super) max_line: usize,
    /// Events kept for one session
    #[arg(long, env = "MCP_GATEWAY_LOG_BYTES", value_name = "SIZE", value_parser = size, default_value = "1MiB", help_heading = "Bounds")]
    pub(super) log_bytes: usize,
    /// Events kept, and messages that wait for servers to read, in all
    #[arg(long, env = "MCP_GATEWAY_LOG_BYTES_TOTAL", value_name = "SIZE", value_parser = size, default_value = "64MiB", help_heading = "Bounds")]
    pub(super) log_bytes_total: usize,
    /// A session that nothing happens in ends after this
    #[arg(long, env = "MCP_GATEWAY_IDLE_TIMEOUT", value_name = "D", value_parser = duration, default_value = "30m", help_heading = "Bounds")]
    pub(super) idle_timeout: Duration,
    /// A call without an answer and without progress ends after this
    #[arg(long, env = "MCP_GATEWAY_REQUEST_TIMEOUT", value_name = "D", value_parser = duration, default_value = "5m", help_heading = "Bounds")]
    pub(super) request_timeout: Duration,
    /// A call ends after this, whatever its progress
    #[arg(long, env = "MCP_GATEWAY_REQUEST_TIMEOUT_MAX", value_name = "D", value_parser = duration, default_value = "1h", help_heading = "Bounds")]
    pub(super) request_timeout_max: Duration,
    /// How long a server may take to answer initialize
    #[arg(long, env = "MCP_GATEWAY_INITIALIZE_TIMEOUT", value_name = "D", value_parser = duration, default_value = "60s", help_heading = "Bounds")]
    pub(super) initialize_timeout: Duration,
    /// How long a client may take to answer a question of the server
    #[arg(long, env = "MCP_GATEWAY_QUESTION_TIMEOUT", value_name = "D", value_parser = duration, default_value = "10m", help_heading = "Bounds")]
    pub(super) question_timeout: Duration,

    /// Log a line for each call: who, what, how it ended, how long, how large
    #[arg(long, env = "MCP_GATEWAY_ACCESS_LOG", help_heading = "Logging")]
    pub(super) access_log: bool,
    /// Shape of the log on stderr
    #[arg(long, env = "MCP_GATEWAY_LOG_FORMAT", value_enum, default_value = "text", help_heading = "Logging")]
    pub(super) log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or a filter such as info,child=warn
    #[arg(long, env = "MCP_GATEWAY_LOG", value_name = "FILTER", default_value = "info", help_heading = "Logging")]
    pub(super) log: String,
}

/// Which revisions the server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ChildEra {
    /// Found out by asking two processes at start.
    Auto,
    /// Up to 2025-11-25: it is initialised.
    Legacy,
    /// From 2026-07-28 on: it is not.
    Modern,
}

/// Whose a server's process is, where the server speaks the session's revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Children {
    /// One session's.
    PerSession,
    /// All sessions'.
    Shared,
}

/// How the system shares processors between a server's process and others (sched(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ChildScheduling {
    /// `SCHED_BATCH`: when it wakes, it waits until whoever runs has run its time, or waits.
    Batch,
    /// `SCHED_OTHER`, as everything that nobody has said anything about.
    Other,
}

/// What becomes of a session when its own child has ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnChildExit {
    /// It ends.
    End,
    /// It goes on with another.
    Respawn,
}

/// What becomes of a new session when there are as many as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AtSessionCap {
    /// It is refused.
    Refuse,
    /// The one that has been idle for longest ends for it.
    EvictIdle,
}

/// How a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Response {
    /// JSON if the answer is the first thing that comes and comes within 100 ms, else an event stream.
    Auto,
    /// Always an event stream (if the client accepts one).
    Sse,
    /// Always plain JSON.
    Json,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line of text an event.
    Text,
    /// One JSON object a line.
    Json,
}
