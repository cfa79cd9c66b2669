//! Spare children: started and warm, for the next legacy handshake. One is spare once it has answered a `ping`, or, where the
//! server leaves that unanswered, once its start-up output is quiet.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, warn};

use super::starter::{Child, NotStarted, Starter};
use crate::child::pipe::{self, Read, Written};
use crate::child::{stop, wait};
use crate::protocol::jsonrpc::{self, Kind};

/// Two starts are at least this far apart.
const PACE: Duration = Duration::from_millis(200);
/// A server that has answered nothing is taken for warm when it was quiet for this long, and this long after its start.
const QUIET: Duration = Duration::from_secs(1);
const UNANSWERED: Duration = Duration::from_secs(5);
/// How long a spare may take to be handed over.
const HAND_OVER: Duration = Duration::from_secs(1);

/// The line that tells whether a child is up. Its id is none that a link ever gives.
const PING: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"ping\"}\n";

type Take = oneshot::Sender<Child>;

/// The spares that wait, each kept by a task of its own.
#[derive(Default)]
pub(crate) struct Spares {
    waiting: Mutex<VecDeque<mpsc::Sender<Take>>>,
    /// No more are wanted.
    is_closed: AtomicBool,
}

impl Spares {
    /// The spare that waits longest.
    pub(super) async fn take(&self) -> Option<Child> {
        loop {
            let spare = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()?;
            let (give, given) = oneshot::channel();
            if spare.try_send(give).is_ok()
                && let Ok(Ok(child)) = timeout(HAND_OVER, given).await
                && let Ok(running) = child.running.moved_here()
            {
                return Some(Child { running, ..child });
            }
        }
    }

    /// Ends the spare that waits longest. Says whether there was one.
    pub(crate) fn end_one(&self) -> bool {
        // Without its sender the keeper has nobody to keep it for.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front().is_some()
    }

    /// Ends them all, for good.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn len(&self) -> usize {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|spare| !spare.is_closed());
        waiting.len()
    }
}

/// Keeps so many spares, until it is dropped. One is started at a time, at a limited pace.
pub(crate) async fn keep(starter: Arc<Starter>, count: usize) {
    loop {
        starter.metrics.spares.set(i64::try_from(starter.spares.len()).unwrap_or(i64::MAX));
        sleep(PACE).await;
        if starter.spares.is_closed.load(Ordering::Relaxed) {
            return;
        }
        if starter.gate.is_shut(Instant::now()) {
            starter.spares.end_one(); // its memory is worth more than the wait it spares
            continue;
        }
        if starter.spares.len() >= count {
            continue;
        }
        let Ok(began) = starter.begin() else { continue };
        match warm(&starter).await {
            Ok(child) => {
                let (spare, taken) = mpsc::channel(1);
                let mut waiting = starter.spares.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                if !starter.spares.is_closed.load(Ordering::Relaxed) {
                    waiting.push_back(spare);
                }
                drop(waiting);
                // It ends when it is taken, when its process ends, or when nobody can take it any more.
                drop(tokio::spawn(wait_to_be_taken(child, taken)));
            }
            // Others need the room more.
            Err(NotStarted::Short(_)) => {}
            Err(NotStarted::Failed(reason)) => {
                starter.failed(began, &reason);
                warn!(reason, "a spare server process could not be started");
            }
        }
    }
}

/// Starts a child and waits until it is up.
async fn warm(starter: &Starter) -> Result<Child, NotStarted> {
    let mut child = starter.start().await?;
    let write = pipe::write(child.running.stdin.get_ref(), VecDeque::from([PING.to_vec().into()]));
    let failure = if write == Written::All {
        tokio::select! {
            () = starter.stopped() => Some("the gateway stops"),
            failure = up(&mut child) => failure,
        }
    } else {
        Some("it closed its input")
    };
    match failure {
        None => {
            debug!(pid = child.running.pid(), "a spare server process is up");
            Ok(child)
        }
        Some(reason) => {
            end(child).await;
            Err(NotStarted::Failed(reason.to_owned()))
        }
    }
}

/// Waits until the child is up. Safe to drop.
async fn up(child: &mut Child) -> Option<&'static str> {
    let output = &mut child.running.output;
    let began = Instant::now();
    let mut spoke = began;
    loop {
        let quiet = (spoke + QUIET).max(began + UNANSWERED);
        tokio::select! {
            () = wait::ended(&output.pidfd) => return Some("it ended before it was up"),
            ready = output.stdout.readable() => {
                let Ok(mut ready) = ready else { return Some("its output cannot be read") };
                spoke = Instant::now();
                let mut is_up = false;
                let framer = &mut output.framer;
                let read = pipe::read_once(output.stdout.get_ref(), |bytes| {
                    let is_answer = |line: &[u8]| jsonrpc::read(line).is_ok_and(|envelope| envelope.kind == Kind::Answer);
                    is_up = framer.feed(bytes).lines().any(is_answer);
                });
                match read {
                    _ if is_up => return None,
                    Read::More => {}
                    Read::Empty => ready.clear_ready(),
                    Read::End => return Some("it closed its output"),
                }
            }
            () = sleep_until(quiet) => return None,
        }
    }
}

async fn wait_to_be_taken(mut child: Child, mut taken: mpsc::Receiver<Take>) {
    let output = &mut child.running.output;
    let take = loop {
        tokio::select! {
            take = taken.recv() => break take,
            () = wait::ended(&output.pidfd) => break None,
            ready = output.stdout.readable() => {
                let Ok(mut ready) = ready else { break None };
                // What a server says to nobody is for nobody.
                let framer = &mut output.framer;
                match pipe::read_once(output.stdout.get_ref(), |bytes| drop(framer.feed(bytes))) {
                    Read::More => {}
                    Read::Empty => ready.clear_ready(),
                    Read::End => break None,
                }
            }
        }
    };
    taken.close();
    let refused = match take {
        Some(take) => take.send(child).err(),
        None => Some(child),
    };
    if let Some(child) = refused {
        end(child).await;
    }
}

/// Ends a child that no link keeps.
async fn end(child: Child) {
    let Child { running, place } = child;
    let mut output = running.output;
    let mut stdin = Some(running.stdin);
    let group = output.process.pid;
    stop::walk(group, &output.pidfd, || drop(stdin.take())).await;
    wait::reap(&output.process);
    output.spawner.clear(group).await;
    output.stderr.last_words().await;
    output.stderr.abort();
    drop(place);
}
