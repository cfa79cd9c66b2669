//! Builds the parts, runs them, and stops them in order.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use thiserror::Error;
use tokio::sync::Semaphore;
use tracing::{info, warn};

use self::fleet::Fleet;
use crate::budget::Budget;
use crate::child::spawner::Spawner;
use crate::child::wait;
use crate::config::{Bounds, Config, Limits, Listen};
use crate::http::admin::Admin;
use crate::http::inherited::{self, Inherited, InheritedFault};
use crate::http::listener::{self, Accepting, Listener};
use crate::http::wire::Ticker;
use crate::http::{Shared, Site, connection_bounds, look};
use crate::memory::Gate;
use crate::metrics::Metrics;
use crate::notify::{self, Pulse};
use crate::server::Commons;
use crate::shutdown::{Phase, Shutdown};
use crate::tls::{ClientCas, Handshakes, Tls, TlsFault};
use crate::workers::{self, Workers};

mod fleet;
mod stopping;

/// Connections to the admin listener at a time.
const ADMIN_CONNECTIONS: usize = 64;
/// How often a drain looks whether calls are still in flight.
const LOOK: Duration = Duration::from_millis(20);
/// How long children may take to end: the stop table's five seconds and their group's one, with some air.
const CHILDREN: Duration = Duration::from_secs(8);

/// Why the gateway cannot serve. The system refused.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}{hint}")]
    Listen {
        /// What was to be bound.
        address: String,
        /// What the system said.
        error: io::Error,
        /// What to do about it.
        hint: &'static str,
    },
    /// The ready file cannot be written.
    #[error("cannot write the ready file: {0}")]
    ReadyFile(io::Error),
    /// A socket that was passed on cannot be used.
    #[error("{0}")]
    Inherited(String),
    /// A socket that was passed on can be reached by those whom the configuration does not expect.
    #[error("{0}")]
    Exposed(String),
    /// The files of TLS cannot be used.
    #[error("{0}")]
    Tls(String),
    /// A file of tokens cannot be used.
    #[error("{0}")]
    Tokens(String),
    /// There are no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(io::Error),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

impl StartError {
    /// Whether what was configured cannot be served, and not what the system refused.
    #[must_use]
    pub fn is_of_configuration(&self) -> bool {
        matches!(self, StartError::Inherited(_) | StartError::Exposed(_) | StartError::Tls(_) | StartError::Tokens(_))
    }
}

impl From<InheritedFault> for StartError {
    fn from(fault: InheritedFault) -> Self {
        StartError::Inherited(fault.to_string())
    }
}

impl From<TlsFault> for StartError {
    fn from(fault: TlsFault) -> Self {
        StartError::Tls(fault.to_string())
    }
}

/// A gateway that listens and does not answer yet.
pub struct Gateway {
    fleet: Arc<Fleet>,
    listener: Listener,
    address: Listen,
    admin: Option<Listener>,
    handshakes: Option<Arc<Handshakes>>,
    shutdown: Arc<Shutdown>,
    connections: Arc<Semaphore>,
    spawner: Spawner,
}

/// Tells a gateway that runs that its configuration was read again.
#[derive(Clone)]
pub struct Reloader {
    fleet: Arc<Fleet>,
    handshakes: Option<Arc<Handshakes>>,
    /// Whether the service manager is told: it started this process.
    tells_manager: bool,
}

impl Reloader {
    /// Puts a configuration in force. Servers that are in it as they were go on; the others are begun, replaced or ended, and
    /// calls in flight there may finish. Files of tokens and certificates are read again. Called in the gateway's runtime.
    ///
    /// # Errors
    /// What is wrong, in words; all is as it was.
    pub fn reload(&self, config: impl FnOnce() -> Result<Config, String>) -> Result<(), String> {
        // Before it has heard that the gateway is ready, that is still to come.
        let tells_manager = self.tells_manager && self.fleet.is_ready_told() && !self.fleet.is_stopping();
        if tells_manager {
            notify::reloading();
        }
        let outcome = config().and_then(|config| self.put_in_force(config));
        self.fleet.metrics.reload_counted(if outcome.is_ok() { "done" } else { "refused" });
        if tells_manager {
            notify::ready();
            notify::status(&match &outcome {
                Ok(()) => self.fleet.status(),
                Err(text) => format!("the configuration was not read again: {text}"),
            });
        }
        outcome
    }

    fn put_in_force(&self, config: Config) -> Result<(), String> {
        let tls = read_tls(&config).map_err(|fault| fault.to_string())?;
        let holds_secrets = self.tells_manager && config.holds_secrets();
        self.fleet.reload(config, &tls.as_ref().map_or_else(ClientCas::new, |tls| tls.client_cas.clone()))?;
        if let (Some(handshakes), Some(tls)) = (&self.handshakes, tls) {
            handshakes.renew(tls);
        }
        if holds_secrets {
            hide_memory();
        }
        Ok(())
    }
}

impl Gateway {
    /// Binds the addresses and writes the ready file.
    ///
    /// # Errors
    /// The system refuses an address, the file or a thread.
    pub async fn bind(config: Config) -> Result<Gateway, StartError> {
        let mut config = config;
        // What a service manager passed was not passed to a program that only has a gateway inside.
        let inherited = if config.owns_process { inherited::take()? } else { Inherited::default() };
        let listener = match inherited.http {
            Some(listener) => {
                config.serve_at(listener.address().clone()).map_err(StartError::Exposed)?;
                listener
            }
            None => bind(&config.listen, config.socket_mode).await?,
        };
        let address = listener.address().clone();
        let admin = match (inherited.admin, &config.admin_listen) {
            (Some(listener), _) => {
                config.serve_admin_at(listener.address()).map_err(StartError::Exposed)?;
                Some(listener)
            }
            (None, Some(listen)) => Some(bind(listen, config.socket_mode).await?),
            (None, None) => None,
        };
        let tls = read_tls(&config)?;
        let client_cas = tls.as_ref().map_or_else(ClientCas::new, |tls| tls.client_cas.clone());
        let handshakes = tls.map(|tls| Arc::new(Handshakes::new(tls)));
        if config.owns_process && config.holds_secrets() {
            hide_memory();
        }
        let (metrics, shutdown) = (Arc::new(Metrics::new()), Arc::new(Shutdown::new()));
        show_bounds(&metrics, &config.bounds);
        let spawner = Spawner::start(config.owns_process, Arc::clone(&metrics)).map_err(StartError::Thread)?;
        let commons = Commons {
            spawner: spawner.clone(),
            gate: Arc::new(Gate::new(config.bounds.memory_gate)),
            budget: Arc::new(Budget::new(config.bounds.log_bytes_total)),
            replica: config.replica.as_deref().map(Arc::from),
        };
        let connections = Arc::new(Semaphore::new(config.bounds.max_connections));
        let ready_file = config.ready_file.clone();
        let fleet = Fleet::new(config, &client_cas, commons, metrics, Arc::clone(&shutdown))?;
        if let Some(path) = &ready_file {
            std::fs::write(path, format!("{address}\n")).map_err(StartError::ReadyFile)?;
        }
        Ok(Gateway { fleet: Arc::new(fleet), listener, address, admin, handshakes, shutdown, connections, spawner })
    }

    /// Where it listens: `IP:PORT` with the port that was picked, or `unix:PATH`.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Where the admin listener is, if there is one.
    #[must_use]
    pub fn admin_address(&self) -> Option<String> {
        self.admin.as_ref().map(|listener| listener.address().to_string())
    }

    /// For as long as it runs: whoever is to read the configuration again tells it by this.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        let tells_manager = self.fleet.config().owns_process;
        Reloader { fleet: Arc::clone(&self.fleet), handshakes: self.handshakes.clone(), tells_manager }
    }

    /// Waits for the end of the process that started this one, if the configuration asks for that; else for ever.
    pub fn parent_ended(&self) -> impl Future<Output = ()> + use<> {
        let is_asked = self.fleet.config().exit_with_parent;
        async move {
            if !is_asked {
                std::future::pending::<()>().await;
            }
            wait::parent_ended().await;
        }
    }

    /// Serves until `stop` is ready, then drains. If `now` becomes ready meanwhile, ends at once: children are killed, and
    /// what it gave is given back.
    pub async fn run<T>(self, stop: impl Future<Output = ()>, now: impl Future<Output = T>) -> Option<T> {
        let Gateway { fleet, listener, address, admin, handshakes, shutdown, connections, spawner } = self;
        let (config, metrics) = (fleet.config(), Arc::clone(&fleet.metrics));
        // In somebody else's process all is served where that wants it to be.
        let workers = Arc::new(Workers::new(if config.owns_process { config.threads.unwrap_or_else(workers::usual) } else { 1 }));
        let max_calls = config.servers.iter().map(|server| server.limits.max_calls).max().unwrap_or(1);
        let bounds = connection_bounds(max_calls, config.bounds.max_headers);
        let ticker = Ticker::new(Arc::clone(&shutdown));
        let accepting = |site, connections: &Arc<Semaphore>, until, handshakes: Option<Arc<Handshakes>>| Accepting {
            shared: Arc::new(Shared { site, bounds, ticker: Arc::clone(&ticker), metrics: Arc::clone(&metrics), handshakes }),
            connections: Arc::clone(connections),
            shutdown: Arc::clone(&shutdown),
            until,
            workers: None,
            pulse: None,
        };
        announce(&config, &address, admin.as_ref());
        let mut tasks = tokio::task::JoinSet::new();
        let pulse = notify::watchdog_interval().filter(|_| config.owns_process).map(Pulse::new);
        let mcp = accepting(Site::Mcp(Arc::clone(&fleet.endpoints)), &connections, Phase::Draining, handshakes);
        tasks.spawn(listener::accept(listener, Accepting { workers: Some(Arc::clone(&workers)), pulse: pulse.clone(), ..mcp }));
        if let Some(pulse) = pulse {
            tasks.spawn(notify::watch(pulse));
        }
        let counted = Arc::clone(&metrics);
        tasks.spawn(Arc::clone(&ticker).run(move |wire, since| look(&counted, wire, since)));
        tasks.spawn(Arc::clone(&fleet).watch_clock());
        fleet.start();
        if config.owns_process {
            tasks.spawn(Arc::clone(&fleet).tell_ready());
        }
        if let Some(admin) = admin {
            // Probes are answered also when all connections are in use.
            let probes = Arc::new(Semaphore::new(ADMIN_CONNECTIONS));
            let site = Admin {
                endpoints: Arc::clone(&fleet.endpoints),
                spawner,
                access: config.admin_access.clone(),
                shutdown: Arc::clone(&shutdown),
                metrics: Arc::clone(&metrics),
            };
            tasks.spawn(listener::accept(admin, accepting(Site::Admin(Arc::new(site)), &probes, Phase::Cut, None)));
        }
        let drained = async {
            stop.await;
            if config.owns_process {
                notify::stopping();
            }
            let patience = fleet.config().drain;
            stopping::drain(&fleet, &shutdown, &connections, config.bounds.max_connections, patience).await;
        };
        let outcome = tokio::select! {
            () = drained => None,
            now = now => {
                fleet.kill_all_children();
                Some(now)
            }
        };
        fleet.stop();
        // What they serve outlives the accept loop.
        drop(workers);
        outcome
    }
}

/// No core dump of it, and no other process of its user looks into its memory. A system that refuses has no such thing.
fn hide_memory() {
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

fn read_tls(config: &Config) -> Result<Option<Tls>, TlsFault> {
    let Some(files) = &config.tls else { return Ok(None) };
    let tls = Tls::read(&files.cert, &files.key, config.client_cas())?;
    tls.warnings().iter().for_each(|text| warn!("{text}"));
    Ok(Some(tls))
}

async fn bind(listen: &Listen, mode: u32) -> Result<Listener, StartError> {
    Listener::bind(listen, mode).await.map_err(|error| refused(listen, error))
}

fn refused(listen: &Listen, error: io::Error) -> StartError {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => "; another program has it: choose another address, or port 0 for any free port",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need a privilege: choose a higher one",
        _ => "",
    };
    StartError::Listen { address: listen.to_string(), error, hint }
}

fn announce(config: &Config, address: &Listen, admin: Option<&Listener>) {
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let url = |endpoint: &str| match address {
        Listen::Tcp(address) => format!("{scheme}://{address}{endpoint}"),
        Listen::Unix(path) => format!("{endpoint} on the unix socket {}", path.display()),
    };
    let admin = admin.map(|listener| listener.address().to_string());
    for server in &config.servers {
        info!(
            url = url(&server.endpoint),
            program = %server.command.program.display(),
            admin,
            "serving; give this URL to an MCP client as a Streamable HTTP server"
        );
    }
}

fn show_bounds(metrics: &Metrics, bounds: &Bounds) {
    set_limits(
        metrics,
        &[
            ("max_connections", bounds.max_connections),
            ("max_headers_bytes", bounds.max_headers),
            ("log_bytes_total", bounds.log_bytes_total),
        ],
    );
}

fn show_limits(metrics: &Metrics, limits: &Limits) {
    set_limits(
        metrics,
        &[
            ("max_sessions", limits.max_sessions),
            ("max_children", limits.max_children),
            ("max_calls", limits.max_calls),
            ("max_leases", limits.max_leases),
            ("max_parked", limits.max_parked),
            ("max_body_bytes", limits.max_body),
            ("max_line_bytes", limits.max_line),
            ("log_bytes", limits.log_bytes),
        ],
    );
}

fn set_limits(metrics: &Metrics, limits: &[(&'static str, usize)]) {
    for (bound, value) in limits {
        metrics.limit_set(bound, i64::try_from(*value).unwrap_or(i64::MAX));
    }
}
