//! Starts children, within the bound on their number: from the spares that wait, else anew.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::spares::Spares;
use crate::child::Running;
use crate::child::spawner::Spawner;
use crate::child::stderr::Tail;
use crate::config::Command;
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

/// Why there is no child.
#[derive(Clone, Debug)]
pub(crate) enum NotStarted {
    TooManyChildren,
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
    /// The gateway stops: what is being started is not waited for.
    stopping: watch::Sender<bool>,
    pub(super) metrics: Arc<Metrics>,
}

impl Starter {
    pub(crate) fn new(
        command: Arc<Command>,
        max_line: usize,
        max_children: usize,
        exposes_stderr: bool,
        spawner: Spawner,
        metrics: Arc<Metrics>,
    ) -> Self {
        let children = Arc::new(Semaphore::new(max_children));
        Starter {
            command,
            max_line,
            exposes_stderr,
            spawner,
            children,
            spares: Spares::default(),
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
        let permit = Arc::clone(&self.children).try_acquire_owned().map_err(|_| NotStarted::TooManyChildren)?;
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

    pub(crate) fn resident_bytes(&self) -> i64 {
        self.spawner.resident_bytes()
    }

    pub(crate) fn kill_all(&self) {
        self.spawner.kill_all();
    }
}
