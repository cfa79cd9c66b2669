//! The one task that owns a link's child: reads it, waits for its end or the link's, and leaves nothing behind. Where a link
//! outlives its child, the next one too.

use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;
use tracing::{info, warn};

use super::bell::rarely;
use super::route::Route;
use super::{BadLines, EndReason, Link};
use crate::child::framer::Framer;
use crate::child::pipe::{self, Read};
use crate::child::wait::Exit;
use crate::child::{Output as ChildOutput, Pipe, Running, stop, wait};
use crate::prefetch::prefetch;
use crate::protocol::object;

/// How often the pipe is read once more after the child's end; a grandchild may go on writing.
const LAST_READS: usize = 64;

/// How long the end of a child that closed a pipe is waited for.
const ENDING: Duration = Duration::from_millis(500);

/// What follows a link's child when that has ended.
pub(crate) trait Successor<R: Route>: Send {
    /// Tells a child that follows another what it has to know; returns only if that fails. The first child is told nothing.
    fn greet(&mut self, link: &Arc<Link<R>>) -> impl Future<Output = EndReason> + Send;

    /// Whether another child takes the place of one that ended for this reason.
    fn follows(&mut self, link: &Arc<Link<R>>, reason: EndReason) -> bool;

    /// The calls that the ended child did not answer get this.
    fn interrupt(&mut self, link: &Arc<Link<R>>, message: &str, data: &Value);

    /// The next child, once one is wanted; `None` if the link ends instead.
    fn next(&mut self, link: &Arc<Link<R>>, reason: EndReason) -> impl Future<Output = Option<Running>> + Send;
}

/// A link that ends with its child.
pub(crate) struct NoSuccessor;

impl<R: Route> Successor<R> for NoSuccessor {
    async fn greet(&mut self, _: &Arc<Link<R>>) -> EndReason {
        std::future::pending().await
    }

    fn follows(&mut self, _: &Arc<Link<R>>, _: EndReason) -> bool {
        false
    }

    fn interrupt(&mut self, _: &Arc<Link<R>>, _: &str, _: &Value) {}

    async fn next(&mut self, _: &Arc<Link<R>>, _: EndReason) -> Option<Running> {
        None
    }
}

/// Runs until the child is gone with its whole group, and none follows it. `forget` makes the link unknown, before anything is
/// waited for.
pub(crate) async fn keep<R: Route, S: Successor<R>>(
    link: Arc<Link<R>>,
    child: ChildOutput,
    max_line: usize,
    mut successor: S,
    forget: impl FnOnce(EndReason),
) {
    let mut child = child;
    loop {
        let mut life = Life::new(child, max_line);
        let reason = life.end(&link, successor.greet(&link)).await;
        // What comes once in a life has no room in a task that mostly reads.
        if !successor.follows(&link, reason) {
            return Box::pin(life.close(&link, reason, forget)).await;
        }
        Box::pin(life.make_way(&link, reason, &mut successor)).await;
        match Box::pin(successor.next(&link, reason)).await {
            Some(next) => {
                link.adopt(next.stdin);
                child = next.output;
            }
            None => {
                let reason = link.end_reason().unwrap_or(reason);
                link.end(reason);
                forget(reason);
                return link.finish(last_words(reason), &json!({ "reason": reason.label(), "correlationId": correlation_id() }));
            }
        }
    }
}

/// One child, from its start to the end of its group.
struct Life {
    child: ChildOutput,
    bad_lines: BadLines,
    max_line: usize,
}

impl Life {
    fn new(child: ChildOutput, max_line: usize) -> Life {
        Life { child, bad_lines: BadLines::new(), max_line }
    }

    /// Waits for the first reason for the child to be gone; `greet` may have one.
    async fn end<R: Route>(&mut self, link: &Arc<Link<R>>, greet: impl Future<Output = EndReason>) -> EndReason {
        let Life { child, bad_lines, max_line } = self;
        let ChildOutput { pidfd, stdout, framer, .. } = child;
        let mut rare = Box::pin(async {
            tokio::select! {
                biased;
                reason = link.stop_asked() => reason,
                () = wait::ended(pidfd) => EndReason::ChildExited,
                reason = greet => reason,
            }
        });
        let reason = tokio::select! {
            biased;
            reason = rarely(link, &mut rare) => Some(reason),
            () = read(stdout, framer, bad_lines, *max_line, link) => None,
        };
        // A child that closes a pipe is mostly one that is ending: its status says more.
        match reason {
            None => Box::pin(timeout(ENDING, rare)).await.unwrap_or(EndReason::ChildClosedStdout),
            Some(EndReason::ChildClosedStdin) if Box::pin(is_ending(pidfd)).await => EndReason::ChildExited,
            Some(reason) => reason,
        }
    }

    /// Ends the link with its child.
    async fn close<R: Route>(mut self, link: &Arc<Link<R>>, reason: EndReason, forget: impl FnOnce(EndReason)) {
        link.end(reason);
        let correlation = correlation_id();
        if reason == EndReason::ChildExited {
            let exit = self.collect(link);
            forget(reason);
            let data = self.obituary(link, exit, &correlation).await;
            link.finish(&died(exit, &correlation), &data);
            link.close_stdin();
        } else {
            forget(reason);
            link.finish(last_words(reason), &json!({ "reason": reason.label(), "correlationId": correlation }));
            let exit = self.stop(link).await;
            info!(reason = reason.label(), %exit, "the server was ended");
        }
        self.clear(link).await;
    }

    /// Ends the child; the link goes on without one.
    async fn make_way<R: Route>(mut self, link: &Arc<Link<R>>, reason: EndReason, successor: &mut impl Successor<R>) {
        let correlation = correlation_id();
        if reason == EndReason::ChildExited {
            let exit = self.collect(link);
            let data = self.obituary(link, exit, &correlation).await;
            successor.interrupt(link, &died(exit, &correlation), &data);
        } else {
            if reason != EndReason::Asleep {
                successor.interrupt(link, last_words(reason), &json!({ "reason": reason.label(), "correlationId": correlation }));
            }
            let exit = self.stop(link).await;
            info!(reason = reason.label(), %exit, "the server was stopped; the session goes on");
        }
        link.close_stdin();
        self.clear(link).await;
    }

    /// Walks the stop table; what the child still says goes where it belongs.
    async fn stop<R: Route>(&mut self, link: &Arc<Link<R>>) -> Exit {
        let Life { child, bad_lines, max_line } = self;
        let ChildOutput { process, pidfd, stdout, framer, .. } = child;
        tokio::select! {
            () = stop::walk(process.pid, pidfd, || link.close_stdin()) => {}
            () = async {
                read(stdout, framer, bad_lines, *max_line, link).await;
                std::future::pending().await
            } => {}
        }
        self.reap(link)
    }

    /// Takes what a child that has ended wrote before.
    fn collect<R: Route>(&mut self, link: &Arc<Link<R>>) -> Exit {
        let Life { child, bad_lines, max_line } = self;
        for _ in 0..LAST_READS {
            if read_once(&child.stdout, &mut child.framer, bad_lines, *max_line, link) != Read::More {
                break;
            }
        }
        if child.framer.has_partial() {
            link.metrics.bad_line_counted("cut_off");
        }
        self.reap(link)
    }

    fn reap<R: Route>(&self, link: &Link<R>) -> Exit {
        let exit = wait::reap(&self.child.process);
        link.metrics.exit_counted(exit.label());
        exit
    }

    /// Logs how a child ended by itself, and says it to programs.
    async fn obituary<R: Route>(&mut self, link: &Link<R>, exit: Exit, correlation: &str) -> Value {
        self.child.stderr.last_words().await;
        warn!(%exit, correlation, calls = link.calls_in_flight(), "the server ended by itself");
        let mut data = json!({ "reason": "child_exited", "exit": exit.to_string(), "correlationId": correlation });
        if let Some(tail) = &self.child.tail {
            data["stderr"] = tail.text().into();
        }
        data
    }

    /// Leaves nothing of a child that has been reaped.
    async fn clear<R: Route>(self, link: &Link<R>) {
        let ChildOutput { process, mut stderr, spawner, .. } = self.child;
        link.metrics.escaped.inc_by(spawner.clear(process.pid).await);
        // Only a process that nobody can find can still hold the other end.
        stderr.last_words().await;
        stderr.abort();
    }
}

fn died(exit: Exit, correlation: &str) -> String {
    format!("the server ended ({exit}) before it answered; see the gateway's log for {correlation}")
}

fn last_words(reason: EndReason) -> &'static str {
    match reason {
        EndReason::ChildExited => "the server ended, and cannot be started again",
        EndReason::ChildClosedStdout => "the server closed its output before it answered",
        EndReason::ChildClosedStdin => "the server closed its input",
        EndReason::ChildStalled => "the server does not read its input",
        EndReason::ChildChanged => "the server that was started in the place of one that ended is another",
        EndReason::Shutdown => "the gateway stops",
        _ => "the session ended before the server answered",
    }
}

async fn is_ending(pidfd: &AsyncFd<OwnedFd>) -> bool {
    timeout(ENDING, wait::ended(pidfd)).await.is_ok()
}

/// Names one failure in an answer and in the log.
pub(crate) fn correlation_id() -> String {
    let mut bytes = [0; 4];
    // Without random bytes the id is only less telling.
    let _ = getrandom::fill(&mut bytes);
    format!("{:08x}", u32::from_ne_bytes(bytes))
}

/// How a child ended, if this error is what its calls get then.
pub(crate) fn how_it_ended(error: &[u8]) -> Option<String> {
    object::at(error, &["data", "correlationId"])?;
    let exit = object::at(error, &["data", "exit"]).and_then(|exit| object::string(exit.value));
    exit.or_else(|| object::at(error, &["data", "reason"]).and_then(|reason| object::string(reason.value)))
}

/// Reads until nobody writes any more. Safe to drop: what was read has been routed.
async fn read<R: Route>(
    stdout: &AsyncFd<Pipe>,
    framer: &mut Framer,
    bad_lines: &mut BadLines,
    max_line: usize,
    link: &Arc<Link<R>>,
) {
    loop {
        // There is one reader: its place is in the descriptor's own state, not in a list.
        let Ok(mut ready) = poll_fn(|cx| stdout.poll_read_ready(cx)).await else { return };
        prefetch(&**link);
        match read_once(stdout, framer, bad_lines, max_line, link) {
            Read::More => {}
            Read::Empty => ready.clear_ready(),
            Read::End => return,
        }
        drop(ready);
        if !link.has_room() {
            Box::pin(link.wait_for_room()).await;
        }
    }
}

fn read_once<R: Route>(
    stdout: &AsyncFd<Pipe>,
    framer: &mut Framer,
    bad_lines: &mut BadLines,
    max_line: usize,
    link: &Arc<Link<R>>,
) -> Read {
    pipe::read_once(stdout.get_ref(), |bytes| link.child_wrote(&mut framer.feed(bytes), max_line, bad_lines))
}
