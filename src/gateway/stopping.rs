//! The order of stopping. Hyper's own graceful shutdown comes late: alone it would never end an event stream.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{info, warn};

use super::fleet::Fleet;
use super::{CHILDREN, LOOK};
use crate::link::EndReason;
use crate::session::Session;
use crate::shutdown::{Phase, Shutdown};

/// How long the last errors may take to reach their clients.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Lets what is in flight finish, for as long as `patience` at most, and ends everything. `all` is how many connections there may be.
pub(super) async fn drain(fleet: &Fleet, shutdown: &Shutdown, connections: &Arc<Semaphore>, all: usize, patience: Duration) {
    let deadline = Instant::now() + patience;
    let sessions = || -> Vec<Arc<Session>> { fleet.servers().iter().flat_map(|server| server.registry.all()).collect() };
    info!(
        sessions = sessions().len(),
        calls = fleet.calls_in_flight(),
        deadline = ?patience,
        "stopping: no new requests; calls in flight may finish"
    );
    shutdown.advance(Phase::Draining);
    sessions().iter().for_each(|session| session.release_get());
    fleet.servers().iter().for_each(|server| server.pool.drain());
    let finished = async {
        while fleet.calls_in_flight() > 0 {
            sleep(LOOK).await;
        }
    };
    let mut is_clean = timeout_at(deadline, finished).await.is_ok();
    sessions().iter().for_each(|session| session.release_get());
    shutdown.advance(Phase::Closing);
    let all = u32::try_from(all).unwrap_or(u32::MAX);
    if is_clean {
        is_clean = timeout_at(deadline, connections.acquire_many(all)).await.is_ok();
    }
    if !is_clean {
        warn!(calls = fleet.calls_in_flight(), "the drain reached its deadline; what is left gets an error");
    }
    for session in sessions() {
        session.end(EndReason::Shutdown);
    }
    fleet.servers().iter().for_each(|server| server.pool.end_all());
    if !is_clean {
        let _ = timeout(LAST_WORDS, connections.acquire_many(all)).await;
    }
    shutdown.advance(Phase::Cut);
    if timeout(CHILDREN, fleet.all_children_gone()).await.is_err() {
        warn!("some children do not end; they are killed");
        fleet.kill_all_children();
    }
    info!("stopped");
}
