//! The end of a process, through its pidfd.

use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::process::{PidfdFlags, WaitId, WaitIdOptions, getppid, pidfd_open};
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
    match rustix::process::waitid(WaitId::PidFd(process.pidfd.as_fd()), options) {
        Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Unknown,
        },
        _ => Exit::Unknown,
    }
}
