//! The threads that serve connections, each with a runtime of its own. A connection, the sessions that are opened on it and
//! their children stay on one thread, so that a call wakes nobody else. The first thread is the gateway's own; others begin
//! only when those that are there have enough to do.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::runtime::{Builder, EnterGuard, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::warn;

/// So many connections a thread serves before another one begins: for fewer, waking a second thread costs more than it gives.
const ENOUGH: usize = 32;

/// As many threads as serve best: half of the processors, since each call also costs its server, and its client where that is on
/// the same machine.
pub(crate) fn usual() -> usize {
    thread::available_parallelism().map_or(1, |processors| processors.get().div_ceil(2))
}

/// All of them; those that were begun end when this is dropped.
pub(crate) struct Workers {
    most: usize,
    threads: Mutex<Vec<Worker>>,
}

struct Worker {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
    /// Dropped to end the thread; the gateway's own has none.
    _stay: Option<oneshot::Sender<()>>,
}

/// Where one connection is served.
pub(crate) struct Place {
    runtime: Handle,
    seat: Seat,
}

/// Counts a connection for as long as it is there.
pub(crate) struct Seat(Arc<AtomicUsize>);

impl Workers {
    /// At most so many threads, the caller's among them. Called in the caller's runtime.
    pub(crate) fn new(most: usize) -> Workers {
        let own = Worker { runtime: Handle::current(), connections: Arc::default(), _stay: None };
        Workers { most, threads: Mutex::new(vec![own]) }
    }

    /// The first thread that has not enough to do; one more, if there may be; else the one with the fewest connections.
    pub(crate) fn place(&self) -> Place {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if threads.len() < self.most && threads.iter().all(|worker| worker.load() >= ENOUGH) {
            match Worker::start(threads.len()) {
                Ok(worker) => threads.push(worker),
                Err(error) => warn!(%error, "cannot start another thread"),
            }
        }
        let free = threads.iter().find(|worker| worker.load() < ENOUGH);
        let worker = free.or_else(|| threads.iter().min_by_key(|worker| worker.load()));
        worker.map_or_else(Place::here, Worker::place)
    }
}

impl Worker {
    fn start(number: usize) -> io::Result<Worker> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stay, left) = oneshot::channel::<()>();
        let handle = runtime.handle().clone();
        thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            let _ = runtime.block_on(left);
            runtime.shutdown_background();
        })?;
        Ok(Worker { runtime: handle, connections: Arc::default(), _stay: Some(stay) })
    }

    fn load(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    fn place(&self) -> Place {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Place { runtime: self.runtime.clone(), seat: Seat(Arc::clone(&self.connections)) }
    }
}

impl Place {
    /// On the caller's own thread, which does not count it.
    pub(crate) fn here() -> Place {
        Place { runtime: Handle::current(), seat: Seat(Arc::new(AtomicUsize::new(1))) }
    }

    /// What is registered while this is held belongs to this place's thread.
    pub(crate) fn enter(&self) -> EnterGuard<'_> {
        self.runtime.enter()
    }

    /// Runs there what `task` makes of the seat.
    pub(crate) fn spawn<F: Future<Output = ()> + Send + 'static>(self, task: impl FnOnce(Seat) -> F) -> JoinHandle<()> {
        self.runtime.spawn(task(self.seat))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread_of(place: Place) -> (thread::ThreadId, Seat) {
        let (tell, told) = std::sync::mpsc::channel();
        drop(place.spawn(|seat| async move {
            let _ = tell.send((thread::current().id(), seat));
        }));
        told.recv().expect("it ran")
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_thread_has_enough_to_do_before_another_begins_and_what_leaves_makes_room() {
        let workers = Workers::new(3);
        let ask = || tokio::task::block_in_place(|| thread_of(workers.place()));
        let mut seats: Vec<_> = (0..3 * ENOUGH + 2).map(|_| ask()).collect();
        let of = |at: usize| seats[at].0;
        assert_ne!(of(ENOUGH - 1), of(ENOUGH));
        assert_eq!(of(ENOUGH), of(2 * ENOUGH - 1));
        assert_ne!(of(2 * ENOUGH - 1), of(2 * ENOUGH));
        assert_eq!(workers.threads.lock().expect("no panic").len(), 3);
        let second = of(ENOUGH);
        seats.drain(ENOUGH..ENOUGH + 2);
        assert_eq!(ask().0, second);
        let loads = || workers.threads.lock().expect("no panic").iter().map(Worker::load).collect::<Vec<_>>();
        let all: usize = loads().iter().sum();
        assert_eq!(all, seats.len());
        seats.clear();
        assert_eq!(loads(), [0, 0, 0]);
    }

    #[tokio::test]
    async fn where_there_may_be_one_thread_all_is_served_on_it() {
        let workers = Workers::new(1);
        let places: Vec<Place> = (0..2 * ENOUGH).map(|_| workers.place()).collect();
        assert_eq!(workers.threads.lock().expect("no panic").len(), 1);
        assert_eq!(places.len(), 2 * ENOUGH);
    }
}
