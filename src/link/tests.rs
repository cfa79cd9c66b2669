//! A link for unit tests.

use std::sync::Arc;
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::Interest;
use tokio::time::Instant;

use super::Link;
use super::log::Log;
use super::state::State;
use crate::budget::Budget;
use crate::child::outbox::Outbox;
use crate::child::{Pipe, pipe};
use crate::metrics::Metrics;
use crate::session::router::{Patience, Router};

/// In front of nobody; with the other end of what it writes to.
pub(crate) fn link() -> (Arc<Link<Router>>, Pipe) {
    let (theirs, ours) = pipe_with(PipeFlags::NONBLOCK).expect("a pipe");
    let (budget, metrics, hour) = (Arc::new(Budget::new(1 << 30)), Arc::new(Metrics::new()), Duration::from_secs(3600));
    let router = Router::new(Patience { request: hour, hard: hour, question: hour, cancelled: hour });
    let log = Log::new(1, 1 << 20, Arc::clone(&budget), Arc::clone(&metrics), Instant::now());
    let state = State::new(router, log, Outbox::new(1 << 20, budget), 10, Arc::clone(&metrics), Instant::now());
    let stdin = pipe::watch(Pipe::new(ours), Interest::WRITABLE).expect("it can be watched");
    (Arc::new(Link::new(state, stdin, metrics)), Pipe::new(theirs))
}
