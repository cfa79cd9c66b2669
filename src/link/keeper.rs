//! The one task that owns a link's child: reads it, waits for its end or the link's, and leaves nothing behind.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;
use tracing::{info, warn};

use super::route::Route;
use super::{BadLines, EndReason, Link};
use crate::child::framer::Framer;
use crate::child::pipe::{self, Read};
use crate::child::wait::Exit;
use crate::child::{Output as ChildOutput, stop, wait};

/// How often the pipe is read once more after the child's end; a grandchild may go on writing.
const LAST_READS: usize = 64;

/// Runs until the child is gone with its whole group. `forget` makes the link unknown, before anything is waited for.
pub(crate) async fn keep<R: Route>(link: Arc<Link<R>>, child: ChildOutput, max_line: usize, forget: impl FnOnce(EndReason)) {
    let ChildOutput { process, pidfd, stdout, framer, mut stderr, tail, spawner } = child;
    let mut output = Output { stdout, framer, bad_lines: BadLines::new(), max_line };
    let reason = tokio::select! {
        biased;
        reason = link.end_asked() => reason,
        () = wait::ended(&pidfd) => EndReason::ChildExited,
        () = output.read(&link) => EndReason::ChildClosedStdout,
    };
    let reason = match reason {
        // A child that closes a pipe is mostly one that is ending: its status says more.
        EndReason::ChildClosedStdout | EndReason::ChildClosedStdin if is_ending(&pidfd).await => EndReason::ChildExited,
        reason => reason,
    };
    link.end(reason);
    let correlation = correlation_id();
    let reap = || -> Exit {
        let exit = wait::reap(&process);
        spawner.forget(process.pid);
        link.metrics.exit_counted(exit.label());
        exit
    };
    if reason != EndReason::ChildExited {
        forget_and_finish(&link, forget, reason, &correlation);
        tokio::select! {
            () = stop::walk(process.pid, &pidfd, || link.close_stdin()) => {}
            () = output.read_forever(&link) => {}
        }
        let exit = reap();
        info!(reason = reason.label(), %exit, "the server was ended");
    } else {
        output.read_what_is_there(&link);
        let exit = reap();
        forget(reason);
        stderr.last_words().await;
        warn!(%exit, correlation, calls = link.calls_in_flight(), "the server ended by itself");
        let mut data = json!({ "reason": "child_exited", "exit": exit.to_string(), "correlationId": correlation });
        if let Some(tail) = tail {
            data["stderr"] = tail.text().into();
        }
        link.finish(&format!("the server ended ({exit}) before it answered; see the gateway's log for {correlation}"), &data);
        link.close_stdin();
    }
    stop::empty_group(process.pid).await;
    // Only a process that left the group can still hold the other end.
    stderr.last_words().await;
    stderr.abort();
}

async fn is_ending(pidfd: &AsyncFd<OwnedFd>) -> bool {
    timeout(Duration::from_millis(500), wait::ended(pidfd)).await.is_ok()
}

fn forget_and_finish<R: Route>(link: &Arc<Link<R>>, forget: impl FnOnce(EndReason), reason: EndReason, correlation: &str) {
    forget(reason);
    let message = match reason {
        EndReason::ChildClosedStdout => "the server closed its output before it answered",
        EndReason::ChildClosedStdin => "the server closed its input",
        EndReason::Shutdown => "the gateway stops",
        _ => "the session ended before the server answered",
    };
    link.finish(message, &json!({ "reason": reason.label(), "correlationId": correlation }));
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
    async fn read<R: Route>(&mut self, link: &Arc<Link<R>>) {
        loop {
            let Ok(mut ready) = self.stdout.readable().await else { return };
            let read = read_once(&self.stdout, &mut self.framer, &mut self.bad_lines, self.max_line, link);
            match read {
                Read::More => {}
                Read::Empty => ready.clear_ready(),
                Read::End => return,
            }
            drop(ready);
            link.wait_for_room().await;
        }
    }

    /// Keeps the pipe from filling while the child is being stopped.
    async fn read_forever<R: Route>(&mut self, link: &Arc<Link<R>>) {
        self.read(link).await;
        std::future::pending().await
    }

    /// What the child wrote before it ended.
    fn read_what_is_there<R: Route>(&mut self, link: &Arc<Link<R>>) {
        for _ in 0..LAST_READS {
            if read_once(&self.stdout, &mut self.framer, &mut self.bad_lines, self.max_line, link) != Read::More {
                break;
            }
        }
        if self.framer.has_partial() {
            link.metrics.bad_line_counted("cut_off");
        }
    }
}

fn read_once<R: Route>(
    stdout: &AsyncFd<OwnedFd>,
    framer: &mut Framer,
    bad_lines: &mut BadLines,
    max_line: usize,
    link: &Arc<Link<R>>,
) -> Read {
    pipe::read_once(stdout.get_ref(), |bytes| link.child_wrote(&framer.feed(bytes), max_line, bad_lines))
}
