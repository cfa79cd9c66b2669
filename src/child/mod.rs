//! One child: a stdio MCP server process. Started by the spawner thread, fed through a link, stopped by a table. Knows bytes
//! and processes, nothing of sessions or HTTP.

mod capacity;
mod cgroup;
pub(crate) mod framer;
pub(crate) mod line;
mod orphans;
pub(crate) mod outbox;
pub(crate) mod pipe;
pub(crate) mod restart;
pub(crate) mod spawner;
pub(crate) mod stderr;
pub(crate) mod stop;
pub(crate) mod wait;

pub(crate) use self::capacity::Pipe;
pub use self::cgroup::{GUARD_ARGUMENT, guard_cgroup};

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::framer::Framer;
use self::spawner::Spawner;
use self::stderr::Tail;
use crate::metrics::Metrics;

/// How long the last lines of stderr are waited for when the child has gone.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// A started child: its process and our ends of its pipes, which do not block.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) process: Process,
    pub(crate) stdin: Pipe,
    pub(crate) stdout: Pipe,
    pub(crate) stderr: OwnedFd,
}

/// A process that we started and have not reaped. It leads a process group of its own, with the same number.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    pub(crate) pidfd: OwnedFd,
}

/// A child whose pipes are registered with the reactor and whose stderr is being read.
pub(crate) struct Running {
    pub(crate) stdin: AsyncFd<Pipe>,
    pub(crate) output: Output,
}

/// Everything of a child but its input.
pub(crate) struct Output {
    pub(crate) process: Process,
    pub(crate) pidfd: AsyncFd<OwnedFd>,
    pub(crate) stdout: AsyncFd<Pipe>,
    /// Holds the line that is arriving.
    pub(crate) framer: Framer,
    pub(crate) stderr: StderrTask,
    pub(crate) tail: Option<Tail>,
    pub(crate) spawner: Spawner,
}

impl Running {
    /// Takes charge of a process that was just started; ends it if the system refuses.
    pub(crate) fn new(
        started: Started,
        max_line: usize,
        tail: Option<Tail>,
        spawner: Spawner,
        metrics: Arc<Metrics>,
    ) -> io::Result<Running> {
        let Started { process, stdin, stdout, stderr } = started;
        let pid = process.pid;
        let watched = || {
            let pidfd = wait::watch(&process)?;
            let stdin = pipe::watch(stdin, Interest::WRITABLE)?;
            Ok((pidfd, stdin, pipe::watch(stdout, Interest::READABLE)?))
        };
        let (pidfd, stdin, stdout) = match watched() {
            Ok(watched) => watched,
            Err(error) => {
                end_unwatched(&process, &spawner);
                return Err(error);
            }
        };
        let stderr = StderrTask(tokio::spawn(stderr::drain(stderr, pid, tail.clone(), metrics)));
        let framer = Framer::new(max_line);
        Ok(Running { stdin, output: Output { process, pidfd, stdout, framer, stderr, tail, spawner } })
    }

    /// The same, read and written on the caller's thread from here on; ends it if the system refuses.
    pub(crate) fn moved_here(self) -> io::Result<Running> {
        let Running { stdin, output } = self;
        let Output { process, pidfd, stdout, framer, stderr, tail, spawner } = output;
        let moved = pipe::watch(stdin.into_inner(), Interest::WRITABLE)
            .and_then(|stdin| Ok((stdin, pipe::watch(stdout.into_inner(), Interest::READABLE)?)));
        match moved {
            Ok((stdin, stdout)) => {
                Ok(Running { stdin, output: Output { process, pidfd, stdout, framer, stderr, tail, spawner } })
            }
            Err(error) => {
                end_unwatched(&process, &spawner);
                Err(error)
            }
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.output.process.pid.as_raw_nonzero().get()
    }
}

/// Ends a process whose pipes nobody can wait for.
fn end_unwatched(process: &Process, spawner: &Spawner) {
    let _ = rustix::process::kill_process_group(process.pid, Signal::KILL);
    wait::reap_killed(process);
    spawner.forget(process.pid);
}

/// The task that reads a child's stderr.
pub(crate) struct StderrTask(JoinHandle<()>);

impl StderrTask {
    /// Waits a little for the end of stderr. May be called again: a task that has ended must not be asked twice.
    pub(crate) async fn last_words(&mut self) {
        if !self.0.is_finished() {
            let _ = timeout(LAST_WORDS, &mut self.0).await;
        }
    }

    pub(crate) fn abort(&self) {
        self.0.abort();
    }
}
