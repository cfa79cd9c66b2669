//! The servers that run, and what they share: begun, exchanged when the configuration is read again, ended. A server that is not
//! named any more, or in other words, retires: it begins nothing new, and what is in flight there may finish.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{info, warn};

use super::{CHILDREN, LOOK, StartError};
use crate::auth::Tokens;
use crate::config::{Config, DEFAULT_SERVER, ServerConfig};
use crate::http::endpoints::{Endpoints, Served};
use crate::http::entrance::{Entrance, Proofs};
use crate::http::{Doors, Http, refuser};
use crate::metrics::Metrics;
use crate::notify;
use crate::principal::Principal;
use crate::server::{Commons, Server};
use crate::shutdown::Shutdown;
use crate::tide::Tide;
use crate::tls::{ClientCa, ClientCas};

/// How often the gateway's own clock is looked at.
const TICK: Duration = Duration::from_millis(250);

pub(super) struct Fleet {
    pub(super) endpoints: Arc<Endpoints>,
    pub(super) metrics: Arc<Metrics>,
    commons: Commons,
    shutdown: Arc<Shutdown>,
    is_ready_told: AtomicBool,
    state: Mutex<State>,
}

struct State {
    /// What is in force.
    config: Config,
    running: Vec<Running>,
    /// Replaced, and not empty yet.
    retiring: Vec<Arc<Server>>,
    /// Counts go on when a server is replaced.
    metrics: BTreeMap<String, Arc<Metrics>>,
}

struct Running {
    http: Arc<Http>,
    tasks: Tasks,
}

/// What goes on for a server, until this is dropped.
#[derive(Default)]
struct Tasks(Vec<AbortHandle>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

impl Fleet {
    /// Builds the servers; none begins anything before `start`.
    pub(super) fn new(
        config: Config,
        client_cas: &ClientCas,
        commons: Commons,
        metrics: Arc<Metrics>,
        shutdown: Arc<Shutdown>,
    ) -> Result<Fleet, StartError> {
        let proofs = proofs(&config, client_cas).map_err(StartError::Tokens)?;
        let nothing = Served { access: config.access.clone(), max_headers: config.bounds.max_headers, servers: Vec::new() };
        let endpoints = Endpoints::new(nothing, config.has_access_log, Arc::clone(&metrics));
        let state = State { config, running: Vec::new(), retiring: Vec::new(), metrics: BTreeMap::new() };
        let (endpoints, is_ready_told) = (Arc::new(endpoints), AtomicBool::new(false));
        let fleet = Fleet { endpoints, metrics, commons, shutdown, is_ready_told, state: Mutex::new(state) };
        {
            let mut state = fleet.lock();
            let servers = state.config.servers.clone();
            for (server, proofs) in servers.iter().zip(proofs) {
                let http = fleet.build(&mut state, server, proofs, None).map_err(StartError::Random)?;
                state.running.push(Running { http, tasks: Tasks::default() });
            }
            fleet.serve(&state);
        }
        Ok(fleet)
    }

    /// Begins what goes on for each server.
    pub(super) fn start(&self) {
        for running in &mut self.lock().running {
            running.tasks = begun(&running.http.server);
        }
    }

    /// Tells the service manager that the gateway is ready: every server is, or has been asked and will not be soon.
    pub(super) async fn tell_ready(self: Arc<Self>) {
        while self.servers().iter().any(|server| !server.was_asked()) {
            sleep(LOOK).await;
        }
        self.is_ready_told.store(true, Ordering::Relaxed);
        notify::ready();
        notify::status(&self.status());
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.shutdown.is_draining()
    }

    /// Whether the service manager knows that it is ready.
    pub(super) fn is_ready_told(&self) -> bool {
        self.is_ready_told.load(Ordering::Relaxed)
    }

    /// What the gateway does, in words.
    pub(super) fn status(&self) -> String {
        let servers = self.servers();
        let unready = servers.iter().filter_map(|server| Some((server.name, server.readiness().err()?)));
        let unready: Vec<String> = unready.map(|(name, reason)| format!("; {name} is not ready: {reason}")).collect();
        let count = servers.len();
        format!("serving {count} {}{}", if count == 1 { "server" } else { "servers" }, unready.concat())
    }

    /// Ends what goes on for each server.
    pub(super) fn stop(&self) {
        self.lock().running.clear();
    }

    /// Exchanges what is served. Whatever is wrong was found before anything was changed.
    ///
    /// # Errors
    /// What is wrong, in words; all is as it was.
    pub(super) fn reload(self: &Arc<Self>, config: Config, client_cas: &ClientCas) -> Result<(), String> {
        if self.is_stopping() {
            return Err("the gateway is stopping".to_owned());
        }
        let proofs = proofs(&config, client_cas)?;
        let mut state = self.lock();
        let moves = state.config.served_at.is_none() && state.config.listen != config.listen;
        if moves || state.config.tls.is_some() != config.tls.is_some() {
            // Who may enter was checked against where that configuration listens, which is not where this gateway does.
            return Err("--listen, and whether there is TLS, cannot change while the gateway runs: start it again".to_owned());
        }
        if let Some(at) = &state.config.served_at {
            config.check_exposed(at)?;
        }
        for option in state.config.fixed_differences(&config) {
            warn!("--{option} is read at the start only; what was in force stays so until the gateway is started again");
        }
        let mut former: Vec<Running> = std::mem::take(&mut state.running);
        let mut next = Vec::new();
        let (mut kept, mut begun_anew) = (0, 0);
        for (server, proofs) in config.servers.iter().zip(proofs) {
            let before = former.iter().position(|running| running.http.server.config.name == server.name);
            let before = before.map(|at| former.swap_remove(at));
            match before {
                Some(running) if running.http.server.config == *server => {
                    renew(&running.http, proofs);
                    kept += 1;
                    next.push(running);
                }
                before => {
                    let elder = before.as_ref().map(|running| Arc::clone(&running.http));
                    match self.build(&mut state, server, proofs, elder.as_ref()) {
                        Ok(http) => {
                            let elder = elder.as_ref();
                            shut_out(&http, elder.is_some_and(|elder| http.entrance.lacks_authority_of(&elder.entrance)));
                            let tasks = begun(&http.server);
                            next.push(Running { http, tasks });
                            begun_anew += 1;
                            former.extend(before);
                        }
                        // The only thing that can go wrong is that there are no random bytes: it stays as it is.
                        Err(error) => {
                            warn!(server = server.name, %error, "a server cannot be replaced; it goes on as it was");
                            next.extend(before);
                        }
                    }
                }
            }
        }
        let retired = former.len();
        for running in former {
            state.retiring.push(Arc::clone(&running.http.server));
            drop(tokio::spawn(Arc::clone(self).retire(running, config.drain)));
        }
        state.running = next;
        state.config = state.config.renewed(config);
        self.serve(&state);
        info!(kept, begun = begun_anew, retired, "the configuration was read again");
        Ok(())
    }

    /// What is in force.
    pub(super) fn config(&self) -> Config {
        self.lock().config.clone()
    }

    /// Every server that there is, those that retire among them.
    pub(super) fn servers(&self) -> Vec<Arc<Server>> {
        let state = self.lock();
        state.running.iter().map(|running| Arc::clone(&running.http.server)).chain(state.retiring.iter().cloned()).collect()
    }

    pub(super) fn calls_in_flight(&self) -> usize {
        self.servers().iter().map(|server| server.calls_in_flight()).sum()
    }

    /// Waits until every child of every server is gone.
    pub(super) async fn all_children_gone(&self) {
        for server in self.servers() {
            server.all_children_gone().await;
        }
    }

    pub(super) fn kill_all_children(&self) {
        self.commons.spawner.kill_all();
    }

    /// Looks at the clock for what all servers share, until it is dropped.
    pub(super) async fn watch_clock(self: Arc<Self>) {
        let mut tide = Tide::default();
        loop {
            sleep(TICK).await;
            let now = Instant::now();
            let servers = self.servers();
            let sessions: i64 = servers.iter().map(|server| server.registry.all().len() as i64).sum();
            let opened = servers.iter().map(|server| server.metrics.sessions_opened.get()).sum();
            let here = self.metrics.connections_active.get() + sessions;
            tide.look(usize::try_from(here).unwrap_or(0), opened, now);
            self.metrics.memory_percent.set(i64::from(self.commons.gate.used_percent(now)));
            self.metrics.stored_bytes.set(i64::try_from(self.commons.budget.used()).unwrap_or(i64::MAX));
        }
    }

    /// A server, and by what its clients prove who they are. It takes the place of `elder`, if there is one.
    fn build(
        &self,
        state: &mut State,
        config: &ServerConfig,
        proofs: Proofs,
        elder: Option<&Arc<Http>>,
    ) -> io::Result<Arc<Http>> {
        let metrics = if config.name == DEFAULT_SERVER {
            Arc::clone(&self.metrics)
        } else {
            let known = state.metrics.entry(config.name.clone());
            Arc::clone(known.or_insert_with(|| Arc::new(Metrics::of_server(&config.name))))
        };
        super::show_limits(&metrics, &config.limits);
        let server = Arc::new(Server::new(config, &self.commons, Arc::clone(&metrics))?);
        let quotas = Arc::clone(&server.quotas);
        let entrance = Arc::new(Entrance::new(server.name, proofs, quotas));
        let asked = Arc::clone(&entrance);
        server.admit_by(Box::new(move |principal| asked.knows(principal)));
        let doors = || Arc::new(Doors::new(&config.endpoint, config.limits.max_sessions));
        // Whoever has a stream of before sends what it says to its path.
        let before = elder.filter(|elder| elder.endpoint == config.endpoint).and_then(|elder| elder.doors.clone());
        before.iter().for_each(|doors| doors.bound(config.limits.max_sessions));
        let mut elders: Vec<Weak<Server>> = elder.map(|elder| elder.elders.clone()).unwrap_or_default();
        elders.retain(|elder| elder.strong_count() > 0);
        elders.extend(elder.map(|elder| Arc::downgrade(&elder.server)));
        Ok(Arc::new(Http {
            entrance,
            endpoint: config.endpoint.clone(),
            doors: config.has_old_sse.then(|| before.unwrap_or_else(doors)),
            response: config.response,
            is_stateless: config.is_stateless,
            max_stream_age: config.max_stream_age,
            refuse: refuser(&server.pool),
            elders,
            shutdown: Arc::clone(&self.shutdown),
            metrics,
            server,
        }))
    }

    fn serve(&self, state: &State) {
        self.endpoints.serve(Served {
            access: state.config.access.clone(),
            max_headers: state.config.bounds.max_headers,
            servers: state.running.iter().map(|running| Arc::clone(&running.http)).collect(),
        });
    }

    /// Lets a server that was replaced finish what is in flight, and ends it.
    async fn retire(self: Arc<Self>, running: Running, drain: Duration) {
        let server = Arc::clone(&running.http.server);
        let deadline = Instant::now() + drain;
        server.retire();
        let finished = async {
            while server.calls_in_flight() > 0 {
                sleep(LOOK).await;
            }
        };
        if timeout_at(deadline, finished).await.is_err() {
            warn!(server = server.name, "a server that was replaced still has calls in flight; they get an error");
        }
        server.end_retired();
        if timeout(CHILDREN, server.all_children_gone()).await.is_err() {
            warn!(server = server.name, "some children of a server that was replaced do not end");
        }
        drop(running.tasks);
        self.lock().retiring.retain(|other| !Arc::ptr_eq(other, &server));
        info!(server = server.name, "a server that was replaced has ended");
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What each server takes as a proof, in their order; or all that is wrong with their tokens.
fn proofs(config: &Config, client_cas: &ClientCas) -> Result<Vec<Proofs>, String> {
    let mut wrong = Vec::new();
    let mut all = Vec::new();
    for server in &config.servers {
        // A server is never open because what it asks for was not read.
        // Each has its own, as it has its own tokens: what a connection was let in by at one does not count at another.
        let client_ca = server.client_ca.as_ref().map(|file| {
            let read = client_cas.get(file).map(|read| Arc::new(ClientCa::clone(read)));
            read.ok_or_else(|| format!("--client-ca {}: is of use with TLS only", file.display()))
        });
        let tokens = server.bearer_tokens.as_deref().map(Tokens::read).transpose().map_err(|fault| fault.to_string());
        match (tokens, client_ca.transpose()) {
            (Ok(tokens), Ok(client_ca)) => all.push(Proofs { tokens, client_ca }),
            (tokens, client_ca) => wrong.extend(tokens.err().into_iter().chain(client_ca.err())),
        }
    }
    if wrong.is_empty() { Ok(all) } else { Err(wrong.join("\n")) }
}

/// Other proofs are good from here on; who has none any more is no longer served.
fn renew(http: &Http, proofs: Proofs) {
    let is_authority_gone = http.entrance.renew(proofs);
    shut_out(http, is_authority_gone);
}

/// Ends what principals have open that may not enter, here and at the servers before.
fn shut_out(http: &Http, is_authority_gone: bool) {
    let is_gone = |principal: &Principal| match principal {
        // Who was asked nothing finishes what is under way.
        Principal::Anonymous => false,
        // Another authority may give the same names.
        Principal::Certificate(_) if is_authority_gone => true,
        principal => !http.entrance.knows(principal),
    };
    if let Some(doors) = &http.doors {
        doors.shut_out(&is_gone);
    }
    let elders = http.elders.iter().filter_map(Weak::upgrade);
    elders.chain([Arc::clone(&http.server)]).for_each(|server| server.shut_out(&is_gone));
}

fn begun(server: &Arc<Server>) -> Tasks {
    Tasks(vec![
        tokio::spawn(Arc::clone(server).watch_clock()).abort_handle(),
        tokio::spawn(Arc::clone(server).watch_era()).abort_handle(),
        tokio::spawn(Arc::clone(server).keep_spares()).abort_handle(),
    ])
}
