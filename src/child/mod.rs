//! One child: the stdio MCP server process of a session. Started by the spawner thread, fed by `session`, stopped by a
//! table. Knows bytes and processes, nothing of sessions or HTTP.

pub(crate) mod framer;
pub(crate) mod outbox;
pub(crate) mod pipe;
pub(crate) mod spawner;
pub(crate) mod stderr;
pub(crate) mod stop;
pub(crate) mod wait;

use std::os::fd::OwnedFd;

use rustix::process::Pid;

/// A started child: its process and our ends of its pipes, which do not block.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) process: Process,
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// A process that we started and have not reaped. It leads a process group of its own, with the same number.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    pub(crate) pidfd: OwnedFd,
}
