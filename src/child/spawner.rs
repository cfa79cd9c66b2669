//! The one thread that forks. It lives as long as the process, because a child's parent-death signal fires when the
//! *thread* that forked it ends. As PID 1 it also reaps what others left behind, which is safe only here: nothing is forked
//! meanwhile, so an unknown pid is not one of ours.
#![allow(unsafe_code)] // what a child does between fork and exec, and one signal call, have no safe form

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use tokio::sync::oneshot;

use super::{Process, Started};
use crate::config::Command;
use crate::metrics::Metrics;

/// Asks the spawner thread. Cheap to clone; the thread ends when the last one is dropped.
#[derive(Clone)]
pub(crate) struct Spawner {
    jobs: mpsc::Sender<Job>,
    ours: Arc<Mutex<HashSet<Pid>>>,
}

struct Job {
    command: Arc<Command>,
    started: oneshot::Sender<io::Result<Started>>,
}

/// How often PID 1 looks for orphans.
const SWEEP: Duration = Duration::from_millis(500);

impl Spawner {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(crate) fn start(metrics: Arc<Metrics>) -> io::Result<Spawner> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let ours = Arc::new(Mutex::new(HashSet::new()));
        let spawner = Spawner { jobs, ours: Arc::clone(&ours) };
        std::thread::Builder::new().name("spawner".into()).spawn(move || serve(&queue, &ours, &metrics))?;
        Ok(spawner)
    }

    /// Starts a process.
    pub(crate) async fn spawn(&self, command: Arc<Command>) -> io::Result<Started> {
        let (started, answer) = oneshot::channel();
        let gone = |_| io::Error::other("the spawner thread has ended");
        self.jobs.send(Job { command, started }).map_err(|_| gone(()))?;
        answer.await.map_err(|_| gone(()))?
    }

    /// A process has been reaped: its number means nothing any more.
    pub(crate) fn forget(&self, pid: Pid) {
        self.ours.lock().unwrap_or_else(PoisonError::into_inner).remove(&pid);
    }

    /// Resident memory of all children.
    pub(crate) fn resident_bytes(&self) -> i64 {
        let ours = self.ours.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ours.iter().map(|pid| crate::metrics::resident_bytes(&pid.as_raw_nonzero().to_string())).sum()
    }

    /// Kills every process group that is still ours. For an end without delay.
    pub(crate) fn kill_all(&self) {
        for pid in self.ours.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = rustix::process::kill_process_group(*pid, Signal::KILL);
        }
    }
}

fn serve(queue: &mpsc::Receiver<Job>, ours: &Mutex<HashSet<Pid>>, metrics: &Metrics) {
    let is_init = rustix::process::getpid() == Pid::INIT;
    loop {
        let job = if is_init { queue.recv_timeout(SWEEP) } else { queue.recv().map_err(mpsc::RecvTimeoutError::from) };
        match job {
            Ok(job) => {
                let started = spawn(&job.command);
                if let Ok(started) = &started {
                    ours.lock().unwrap_or_else(PoisonError::into_inner).insert(started.process.pid);
                }
                if let Err(Ok(unwanted)) = job.started.send(started) {
                    let _ = rustix::process::kill_process_group(unwanted.process.pid, Signal::KILL);
                    let _ = super::wait::reap(&unwanted.process);
                    ours.lock().unwrap_or_else(PoisonError::into_inner).remove(&unwanted.process.pid);
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => sweep(ours, metrics),
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn spawn(command: &Command) -> io::Result<Started> {
    let (stdin_theirs, stdin) = pipe()?;
    let (stdout, stdout_theirs) = pipe()?;
    let (stderr, stderr_theirs) = pipe()?;
    for ours in [&stdin, &stdout, &stderr] {
        ioctl_fionbio(ours, true)?;
    }
    let mut program = std::process::Command::new(&command.program);
    program.args(&command.args).env_clear().envs(command.env.iter().map(|(name, value)| (name, value)));
    program.stdin(Stdio::from(stdin_theirs)).stdout(Stdio::from(stdout_theirs)).stderr(Stdio::from(stderr_theirs));
    program.process_group(0);
    if let Some(cwd) = &command.cwd {
        program.current_dir(cwd);
    }
    let gateway = rustix::process::getpid();
    // SAFETY: only system calls that are safe between fork and exec, and no allocation.
    unsafe {
        program.pre_exec(move || before_exec(gateway));
    }
    let child = program.spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("a child without a pid"))?;
    // The child is not reaped by anyone but us, so its number is still its own. `child` itself does nothing on drop.
    match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Started { process: Process { pid, pidfd }, stdin, stdout, stderr }),
        Err(error) => {
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
            let _ = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
            Err(error.into())
        }
    }
}

fn pipe() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
}

/// In the child: dies with the gateway, inherits no descriptor but its three, ignores no signal.
fn before_exec(gateway: Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::process::getppid() != Some(gateway) {
        return Err(io::Error::other("the gateway has gone"));
    }
    // SAFETY: plain system calls with constant arguments.
    unsafe {
        // Not an error where the kernel is older: our own descriptors close on exec anyway.
        libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int);
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2, libc::SIGCHLD] {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
    Ok(())
}

/// Reaps processes that became ours because their parent ended. Ours are left for their own waiters.
fn sweep(ours: &Mutex<HashSet<Pid>>, metrics: &Metrics) {
    while let Some(pid) = ended_process() {
        if ours.lock().unwrap_or_else(PoisonError::into_inner).contains(&pid) {
            return; // its waiter takes it soon; the next look sees past it
        }
        let _ = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        metrics.orphans_reaped.inc();
    }
}

/// Some process that has ended and is not reaped.
fn ended_process() -> Option<Pid> {
    // SAFETY: `info` is plain data, all zeros is a valid value of it, and the call writes nothing else. (rustix does not
    // tell whose status it is.)
    let pid = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let look = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        if libc::waitid(libc::P_ALL, 0, &raw mut info, look) != 0 {
            return None;
        }
        info.si_pid()
    };
    Pid::from_raw(pid)
}
