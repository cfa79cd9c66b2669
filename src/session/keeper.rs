//! The one task that owns a session's child: reads it, waits for its end or the session's, and leaves nothing behind.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{info, warn};

use super::{BadLines, EndReason, Session};
use crate::child::framer::Framer;
use crate::child::pipe::{self, Read};
use crate::child::spawner::Spawner;
use crate::child::stderr::Tail;
use crate::child::wait::Exit;
use crate::child::{Process, stop, wait};

/// How long the last lines of stderr are waited for when the child has gone.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// How often the pipe is read once more after the child's end; a grandchild may go on writing.
const LAST_READS: usize = 64;

/// What a keeper keeps.
pub(crate) struct Kept {
    pub(crate) session: Arc<Session>,
    pub(crate) process: Process,
    pub(crate) pidfd: AsyncFd<OwnedFd>,
    pub(crate) stdout: AsyncFd<OwnedFd>,
    pub(crate) stderr: JoinHandle<()>,
    pub(crate) tail: Option<Tail>,
    pub(crate) spawner: Spawner,
    pub(crate) max_line: usize,
}

/// Runs until the child is gone with its whole group. `forget` takes the session out of the registry, before anything
/// is waited for.
pub(crate) async fn keep(kept: Kept, forget: impl FnOnce(EndReason)) {
    let Kept { session, process, pidfd, stdout, mut stderr, tail, spawner, max_line } = kept;
    let mut output = Output { stdout, framer: Framer::new(max_line), bad_lines: BadLines::new(), max_line };
    let reason = tokio::select! {
        biased;
        reason = session.end_asked() => reason,
        () = wait::ended(&pidfd) => EndReason::ChildExited,
        () = output.read(&session) => EndReason::ChildClosedStdout,
    };
    let reason = match reason {
        // A child that closes a pipe is mostly one that is ending: its status says more.
        EndReason::ChildClosedStdout | EndReason::ChildClosedStdin if is_ending(&pidfd).await => EndReason::ChildExited,
        reason => reason,
    };
    session.end(reason);
    let correlation = correlation_id();
    if reason != EndReason::ChildExited {
        forget_and_finish(&session, forget, reason, &correlation);
        tokio::select! {
            () = stop::walk(process.pid, &pidfd, || session.close_stdin()) => {}
            () = output.read_forever(&session) => {}
        }
        let exit = reap(&session, &process, &spawner);
        info!(reason = reason.label(), %exit, "session ended");
    } else {
        output.read_what_is_there(&session);
        let exit = reap(&session, &process, &spawner);
        last_words(&mut stderr).await;
        warn!(%exit, correlation, calls = session.calls_in_flight(), "the server ended by itself; its session ends");
        forget(reason);
        let mut data = json!({ "reason": "child_exited", "exit": exit.to_string(), "correlationId": correlation });
        if let Some(tail) = tail {
            data["stderr"] = tail.text().into();
        }
        session.finish(&format!("the server ended ({exit}) before it answered; see the gateway's log for {correlation}"), &data);
        session.close_stdin();
    }
    session.metrics.session_closed_counted(reason.label());
    stop::empty_group(process.pid).await;
    // Only a process that left the group can still hold the other end.
    last_words(&mut stderr).await;
    stderr.abort();
}

/// Waits a little for the end of stderr. May be called again: a task that has ended must not be asked twice.
async fn last_words(stderr: &mut JoinHandle<()>) {
    if !stderr.is_finished() {
        let _ = timeout(LAST_WORDS, stderr).await;
    }
}

async fn is_ending(pidfd: &AsyncFd<OwnedFd>) -> bool {
    timeout(Duration::from_millis(500), wait::ended(pidfd)).await.is_ok()
}

fn forget_and_finish(session: &Session, forget: impl FnOnce(EndReason), reason: EndReason, correlation: &str) {
    forget(reason);
    let message = match reason {
        EndReason::ChildClosedStdout => "the server closed its output before it answered",
        EndReason::ChildClosedStdin => "the server closed its input",
        EndReason::Shutdown => "the gateway stops",
        _ => "the session ended before the server answered",
    };
    session.finish(message, &json!({ "reason": reason.label(), "correlationId": correlation }));
}

fn reap(session: &Session, process: &Process, spawner: &Spawner) -> Exit {
    let exit = wait::reap(process);
    spawner.forget(process.pid);
    session.metrics.exit_counted(exit.label());
    exit
}

/// Names one failure in an answer and in the log.
pub(crate) fn correlation_id() -> String {
    let mut bytes = [0; 4];
    // Without random bytes the id is only less telling.
    let _ = getrandom::fill(&mut bytes);
    format!("{:08x}", u32::from_ne_bytes(bytes))
}

/// The reading end of a child's stdout, with the line that is arriving.
struct Output {
    stdout: AsyncFd<OwnedFd>,
    framer: Framer,
    bad_lines: BadLines,
    max_line: usize,
}

impl Output {
    /// Reads until nobody writes any more. Safe to drop: what was read has been routed.
    async fn read(&mut self, session: &Arc<Session>) {
        loop {
            let Ok(mut ready) = self.stdout.readable().await else { return };
            let read = read_once(&self.stdout, &mut self.framer, &mut self.bad_lines, self.max_line, session);
            match read {
                Read::More => {}
                Read::Empty => ready.clear_ready(),
                Read::End => return,
            }
            drop(ready);
            session.wait_for_room().await;
        }
    }

    /// Keeps the pipe from filling while the child is being stopped.
    async fn read_forever(&mut self, session: &Arc<Session>) {
        self.read(session).await;
        std::future::pending().await
    }

    /// What the child wrote before it ended.
    fn read_what_is_there(&mut self, session: &Arc<Session>) {
        for _ in 0..LAST_READS {
            if read_once(&self.stdout, &mut self.framer, &mut self.bad_lines, self.max_line, session) != Read::More {
                break;
            }
        }
        if self.framer.has_partial() {
            session.metrics.bad_line_counted("cut_off");
        }
    }
}

fn read_once(
    stdout: &AsyncFd<OwnedFd>,
    framer: &mut Framer,
    bad_lines: &mut BadLines,
    max_line: usize,
    session: &Arc<Session>,
) -> Read {
    pipe::read_once(stdout.get_ref(), |bytes| session.child_wrote(&framer.feed(bytes), max_line, bad_lines))
}
