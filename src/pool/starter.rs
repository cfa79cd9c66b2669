//! Starts children, within the bound on their number: from the spares that wait, else anew. A server whose starts fail has to
//! wait, and where memory is short nothing is started.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use super::spares::Spares;
use crate::budget::Budget;
pub(crate) use crate::child::Running;
pub(crate) use crate::child::restart::{Restart, Wait};
use crate::child::spawner::Spawner;
use crate::child::stderr::Tail;
use crate::config::{Command, Limits};
use crate::memory::Gate;
use crate::metrics::{ActiveGuard, Metrics};

/// A place among all children; taken until the process is gone.
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    _counted: ActiveGuard,
}

/// A child that was asked nothing but perhaps a `ping`.
pub(crate) struct Child {
    pub(crate) running: Running,
    pub(crate) place: Place,
}

/// Why no child is started now.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum Shortage {
    #[error("too many children")]
    Children,
    #[error("too little memory is left")]
    Memory,
    /// What is kept for clients and children is at its bound.
    #[error("too much is kept for clients and servers")]
    Budget,
    /// The last starts failed.
    #[error("the server keeps failing to start")]
    BackingOff(Wait),
    /// Another has taken the server's place; whoever asks again asks that.
    #[error("the server was replaced")]
    Replaced,
}

/// Why there is no child.
#[derive(Clone, Debug)]
pub(crate) enum NotStarted {
    Short(Shortage),
    /// What the system said.
    Failed(String),
}

pub(crate) struct Starter {
    command: Arc<Command>,
    pub(super) max_line: usize,
    exposes_stderr: bool,
    spawner: Spawner,
    pub(crate) children: Arc<Semaphore>,
    pub(crate) spares: Spares,
    restart: Mutex<Restart>,
    pub(crate) gate: Arc<Gate>,
    budget: Arc<Budget>,
    /// The gateway stops: what is being started is not waited for.
    stopping: watch::Sender<bool>,
    pub(super) metrics: Arc<Metrics>,
}

impl Starter {
    pub(crate) fn new(
        command: Arc<Command>,
        limits: &Limits,
        exposes_stderr: bool,
        spawner: Spawner,
        gate: Arc<Gate>,
        budget: Arc<Budget>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let children = Arc::new(Semaphore::new(limits.max_children));
        Starter {
            command,
            max_line: limits.max_line,
            exposes_stderr,
            spawner,
            children,
            spares: Spares::default(),
            restart: Mutex::default(),
            gate,
            budget,
            stopping: watch::Sender::new(false),
            metrics,
        }
    }

    /// A spare if there is one, else a new child.
    pub(crate) async fn take_or_start(&self) -> Result<Child, NotStarted> {
        match self.spares.take().await {
            Some(spare) => Ok(spare),
            None => self.start().await,
        }
    }

    /// A child that has read nothing.
    pub(crate) async fn start(&self) -> Result<Child, NotStarted> {
        let permit = Arc::clone(&self.children).try_acquire_owned().map_err(|_| NotStarted::Short(Shortage::Children))?;
        self.start_within(permit).await
    }

    pub(super) async fn start_within(&self, permit: OwnedSemaphorePermit) -> Result<Child, NotStarted> {
        let started = self.spawner.spawn(Arc::clone(&self.command)).await;
        let tail = self.exposes_stderr.then(Tail::default);
        let running = started
            .and_then(|started| Running::new(started, self.max_line, tail, self.spawner.clone(), Arc::clone(&self.metrics)));
        match running {
            Ok(running) => {
                let counted = ActiveGuard::new(self.metrics.children_running.clone());
                Ok(Child { running, place: Place { _permit: permit, _counted: counted } })
            }
            Err(error) => Err(NotStarted::Failed(error.to_string())),
        }
    }

    /// Whether a start may begin: whoever begins one says how it went, with what this gives.
    pub(crate) fn begin(&self) -> Result<Instant, Shortage> {
        let now = Instant::now();
        self.has_means(now)?;
        self.restart().begin(now).map(|()| now).map_err(Shortage::BackingOff)
    }

    /// Whether one could begin now, without beginning it.
    pub(crate) fn may_begin(&self) -> Result<(), Shortage> {
        self.has_means(Instant::now())?;
        self.wait().map_or(Ok(()), |wait| Err(Shortage::BackingOff(wait)))
    }

    fn has_means(&self, now: Instant) -> Result<(), Shortage> {
        if self.gate.is_shut(now) {
            return Err(Shortage::Memory);
        }
        if !self.budget.fits(1) {
            return Err(Shortage::Budget);
        }
        Ok(())
    }

    /// A start that began then has failed.
    pub(crate) fn failed(&self, began: Instant, reason: &str) {
        let mut jitter = [0];
        // Without random bytes the wait is only more regular.
        let _ = getrandom::fill(&mut jitter);
        let mut restart = self.restart();
        restart.failed(began, Instant::now(), jitter[0], reason);
        self.metrics.failed_starts.set(i64::from(restart.failures()));
    }

    pub(crate) fn succeeded(&self) {
        self.restart().succeeded();
        self.metrics.failed_starts.set(0);
    }

    /// How long the next start has to wait.
    pub(crate) fn wait(&self) -> Option<Wait> {
        self.restart().wait(Instant::now())
    }

    /// How many starts in a row have failed, and why the last did, where it is a crash loop.
    pub(crate) fn crash_loop(&self) -> Option<(u32, String)> {
        self.restart().is_loop().map(|(failures, reason)| (failures, reason.to_owned()))
    }

    fn restart(&self) -> MutexGuard<'_, Restart> {
        self.restart.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    pub(super) async fn stopped(&self) {
        // The sender lives as long as `self`.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    pub(crate) fn has_room(&self) -> bool {
        self.children.available_permits() > 0 || self.spares.len() > 0
    }
}
