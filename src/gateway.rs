//! Builds the parts, runs them, and stops them in order.

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{info, warn};

use crate::child::spawner::Spawner;
use crate::child::wait;
use crate::config::{Config, Limits, Listen};
use crate::http::admin::Admin;
use crate::http::listener::{self, Accepting, Listener};
use crate::http::wire::Ticker;
use crate::http::{Doors, Http, Shared, Site, connection_bounds, look, refuser};
use crate::link::EndReason;
use crate::metrics::Metrics;
use crate::server::Server;
use crate::shutdown::{Phase, Shutdown};
use crate::workers::Workers;

/// Connections to the admin listener at a time.
const ADMIN_CONNECTIONS: usize = 64;
/// How often a drain looks whether calls are still in flight.
const LOOK: Duration = Duration::from_millis(20);
/// How long the last errors may take to reach their clients.
const LAST_WORDS: Duration = Duration::from_millis(500);
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
    /// There are no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(io::Error),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// A gateway that listens and does not answer yet.
pub struct Gateway {
    config: Config,
    listener: Listener,
    address: Listen,
    admin: Option<Listener>,
    server: Arc<Server>,
    metrics: Arc<Metrics>,
    shutdown: Arc<Shutdown>,
    connections: Arc<Semaphore>,
}

impl Gateway {
    /// Binds the addresses and writes the ready file.
    ///
    /// # Errors
    /// The system refuses an address, the file or a thread.
    pub async fn bind(config: Config) -> Result<Gateway, StartError> {
        let listener = bind(&config.listen).await?;
        let address = listener.address().clone();
        let admin = match &config.admin_listen {
            Some(listen) => Some(bind(listen).await?),
            None => None,
        };
        let metrics = Arc::new(Metrics::new());
        show_limits(&metrics, &config.limits);
        let spawner = Spawner::start(config.owns_process, Arc::clone(&metrics)).map_err(StartError::Thread)?;
        let server = Server::new(&config, spawner, Arc::clone(&metrics)).map_err(StartError::Random)?;
        if let Some(path) = &config.ready_file {
            std::fs::write(path, format!("{address}\n")).map_err(StartError::ReadyFile)?;
        }
        Ok(Gateway {
            connections: Arc::new(Semaphore::new(config.limits.max_connections)),
            config,
            listener,
            address,
            admin,
            server: Arc::new(server),
            metrics,
            shutdown: Arc::new(Shutdown::new()),
        })
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

    /// Waits for the end of the process that started this one, if the configuration asks for that; else for ever.
    pub fn parent_ended(&self) -> impl Future<Output = ()> + use<> {
        let is_asked = self.config.exit_with_parent;
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
        let Gateway { config, listener, address, admin, server, metrics, shutdown, connections } = self;
        // In somebody else's process all is served where that wants it to be.
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let workers = Arc::new(Workers::new(if config.owns_process { cores } else { 1 }));
        let bounds = connection_bounds(&config.limits);
        let ticker = Ticker::new(Arc::clone(&shutdown));
        let accepting = |site, connections: &Arc<Semaphore>, until, workers: Option<&Arc<Workers>>| Accepting {
            shared: Arc::new(Shared { site, bounds, ticker: Arc::clone(&ticker), metrics: Arc::clone(&metrics) }),
            connections: Arc::clone(connections),
            shutdown: Arc::clone(&shutdown),
            until,
            workers: workers.cloned(),
        };
        let http = Http {
            server: Arc::clone(&server),
            access: config.access.clone(),
            endpoint: config.endpoint.clone(),
            doors: config.has_old_sse.then(|| Arc::new(Doors::new(&config.endpoint, config.limits.max_sessions))),
            response: config.response,
            is_stateless: config.is_stateless,
            max_stream_age: config.max_stream_age,
            refuse: refuser(&server.pool),
            shutdown: Arc::clone(&shutdown),
            metrics: Arc::clone(&metrics),
        };
        announce(&config, &address, admin.as_ref());
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(listener::accept(
            listener,
            accepting(Site::Mcp(Arc::new(http)), &connections, Phase::Draining, Some(&workers)),
        ));
        let counted = Arc::clone(&metrics);
        tasks.spawn(Arc::clone(&ticker).run(move |wire, since| look(&counted, wire, since)));
        tasks.spawn(Arc::clone(&server).watch_clock());
        tasks.spawn(Arc::clone(&server).watch_era());
        tasks.spawn(Arc::clone(&server).keep_spares());
        if let Some(admin) = admin {
            // Probes are answered also when all connections are in use.
            let probes = Arc::new(Semaphore::new(ADMIN_CONNECTIONS));
            let site = Admin {
                server: Arc::clone(&server),
                access: config.admin_access.clone(),
                shutdown: Arc::clone(&shutdown),
                metrics: Arc::clone(&metrics),
            };
            tasks.spawn(listener::accept(admin, accepting(Site::Admin(Arc::new(site)), &probes, Phase::Cut, None)));
        }
        let drained = async {
            stop.await;
            drain(&server, &shutdown, &connections, &config).await;
        };
        tokio::select! {
            () = drained => None,
            now = now => {
                server.kill_all_children();
                Some(now)
            }
        }
    }
}

/// The order of stopping. Hyper's own graceful shutdown comes late: alone it would never end an event stream.
async fn drain(server: &Arc<Server>, shutdown: &Shutdown, connections: &Arc<Semaphore>, config: &Config) {
    let deadline = Instant::now() + config.drain;
    let sessions = server.registry.all();
    let calls = || {
        let sessions: usize = server.registry.all().iter().map(|session| session.calls_in_flight()).sum();
        sessions + server.pool.calls_in_flight()
    };
    info!(sessions = sessions.len(), calls = calls(), deadline = ?config.drain, "stopping: no new requests; calls in flight may finish");
    shutdown.advance(Phase::Draining);
    sessions.iter().for_each(|session| session.release_get());
    server.pool.drain();
    let finished = async {
        while calls() > 0 {
            sleep(LOOK).await;
        }
    };
    let mut is_clean = timeout_at(deadline, finished).await.is_ok();
    server.registry.all().iter().for_each(|session| session.release_get());
    shutdown.advance(Phase::Closing);
    let all = u32::try_from(config.limits.max_connections).unwrap_or(u32::MAX);
    if is_clean {
        is_clean = timeout_at(deadline, connections.acquire_many(all)).await.is_ok();
    }
    if !is_clean {
        warn!(calls = calls(), "the drain reached its deadline; what is left gets an error");
    }
    for session in server.registry.all() {
        session.end(EndReason::Shutdown);
    }
    server.pool.end_all();
    if !is_clean {
        let _ = timeout(LAST_WORDS, connections.acquire_many(all)).await;
    }
    shutdown.advance(Phase::Cut);
    if timeout(CHILDREN, server.all_children_gone()).await.is_err() {
        warn!("some children do not end; they are killed");
        server.kill_all_children();
    }
    info!("stopped");
}

async fn bind(listen: &Listen) -> Result<Listener, StartError> {
    Listener::bind(listen).await.map_err(|error| refused(listen, error))
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
    let url = match address {
        Listen::Tcp(address) => format!("http://{address}{}", config.endpoint),
        Listen::Unix(path) => format!("{} on the unix socket {}", config.endpoint, path.display()),
    };
    info!(
        url,
        program = %config.command.program.display(),
        admin = admin.map(|listener| listener.address().to_string()),
        "serving; give this URL to an MCP client as a Streamable HTTP server"
    );
}

fn show_limits(metrics: &Metrics, limits: &Limits) {
    for (bound, value) in [
        ("max_sessions", limits.max_sessions),
        ("max_connections", limits.max_connections),
        ("max_children", limits.max_children),
        ("max_calls", limits.max_calls),
        ("max_leases", limits.max_leases),
        ("max_parked", limits.max_parked),
        ("max_body_bytes", limits.max_body),
        ("max_headers_bytes", limits.max_headers),
        ("max_line_bytes", limits.max_line),
        ("log_bytes", limits.log_bytes),
        ("log_bytes_total", limits.log_bytes_total),
    ] {
        metrics.limit_set(bound, i64::try_from(value).unwrap_or(i64::MAX));
    }
}
