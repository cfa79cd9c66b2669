//! The end of a process, through its pidfd, or where the system has none of those, a thread that waits.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::thread;

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, getppid, pidfd_open, waitid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{Process, pipe};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Code(i32),
    Signal(i32),
    Unknown,
}

impl Exit {
    /// A metric's label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Exit::Code(0) => "exit_zero",
            Exit::Code(_) => "exit_nonzero",
            Exit::Signal(_) => "signal",
            Exit::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit status {code}"),
            Exit::Signal(signal) => write!(f, "signal {signal}"),
            Exit::Unknown => f.write_str("unknown status"),
        }
    }
}

/// A descriptor that is readable once this child of ours has ended: its pidfd, or where the system has none (Linux before
/// 5.3, some sandboxes), a pipe that a thread closes then.
pub(crate) fn end_of(pid: Pid) -> io::Result<OwnedFd> {
    match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::NOSYS) => by_thread(pid),
        pidfd => Ok(pidfd?),
    }
}

fn by_thread(pid: Pid) -> io::Result<OwnedFd> {
    let (seen, open) = pipe_with(PipeFlags::CLOEXEC)?;
    thread::Builder::new().name("mcp-wait".to_owned()).spawn(move || {
        // Its status is left to whoever reaps it.
        while matches!(waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT), Err(Errno::INTR)) {}
        drop(open);
    })?;
    Ok(seen)
}

/// Waits for the end of a process, without reaping it. Safe to drop.
pub(crate) async fn ended(pidfd: &AsyncFd<OwnedFd>) {
    // Readable means ended, and stays so.
    let _ = pidfd.readable().await;
}

/// Registers a pidfd with the reactor.
pub(crate) fn watch(process: &Process) -> io::Result<AsyncFd<OwnedFd>> {
    pipe::watch(process.pidfd.try_clone()?, Interest::READABLE)
}

/// Waits for the end of the process that started us; for ever, if there is none to be seen.
pub(crate) async fn parent_ended() {
    let parent = getppid().and_then(|parent| pidfd_open(parent, PidfdFlags::empty()).ok());
    match parent.and_then(|fd| pipe::watch(fd, Interest::READABLE).ok()) {
        Some(parent) => ended(&parent).await,
        None => std::future::pending().await,
    }
}

/// Takes the status of a process that has ended. Never waits for one that has not.
pub(crate) fn reap(process: &Process) -> Exit {
    status(process, WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
}

/// Takes the status of a process that was killed just now.
pub(crate) fn reap_killed(process: &Process) -> Exit {
    status(process, WaitIdOptions::EXITED)
}

fn status(process: &Process, options: WaitIdOptions) -> Exit {
    // Nobody but us reaps it: its number is still its own.
    match waitid(WaitId::Pid(process.pid), options) {
        Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Unknown,
        },
        _ => Exit::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn the_end_of_a_process_is_seen_without_a_pidfd() {
        let mut child = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().expect("cat");
        let seen = by_thread(Pid::from_child(&child)).expect("a thread");
        let seen = pipe::watch(seen, Interest::READABLE).expect("a pipe");
        assert!(timeout(Duration::from_millis(50), ended(&seen)).await.is_err(), "it has not ended");
        drop(child.stdin.take());
        timeout(Duration::from_secs(10), ended(&seen)).await.expect("it has ended");
        assert!(child.wait().expect("it is left to be reaped").success());
    }
}
