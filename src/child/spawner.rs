//! The one thread that forks. It lives as long as the process, because a child's parent-death signal fires when the
//! *thread* that forked it ends. Where the whole process is the gateway's, it also takes in, ends and reaps what children left
//! behind, which is safe only here: nothing is forked meanwhile, so an unknown pid is not one of ours.
#![allow(unsafe_code)] // what a child does between fork and exec, and one look at who has ended, have no safe form

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing::warn;

use super::capacity::{self, Pipe};
use super::cgroup::{self, Cgroups};
use super::{Process, Started, orphans, stop, wait};
use crate::config::{ChildScheduling, Command};
use crate::metrics::Metrics;

/// Two looks for orphans are at least this far apart.
const PACE: Duration = Duration::from_millis(100);
/// A child that has ended is reaped by its keeper within this; then it no longer hides an orphan that has ended.
const KEEPER: Duration = Duration::from_millis(50);

/// Asks the spawner thread. Cheap to clone; the thread ends when the last one is dropped.
#[derive(Clone)]
pub(crate) struct Spawner {
    jobs: mpsc::Sender<Job>,
    shared: Arc<Shared>,
}

struct Shared {
    ours: Mutex<HashMap<Pid, Own>>,
    /// Orphans become this process's children.
    adopts: bool,
    cgroups: Option<Cgroups>,
    /// A look for processes that have ended is on its way.
    reaps: AtomicBool,
    metrics: Arc<Metrics>,
}

/// What is known of a child that may not be gone.
#[derive(Clone)]
struct Own {
    number: u64,
    cgroup: Option<PathBuf>,
    /// It has been reaped, and what it left is being ended.
    is_ending: bool,
}

enum Job {
    Start(Arc<Command>, oneshot::Sender<io::Result<Started>>),
    Look(Look),
    /// Some process has ended.
    Reap,
}

/// A look for what has left a child's group: signalled, and counted.
struct Look {
    number: u64,
    signal: Option<Signal>,
    left: oneshot::Sender<usize>,
}

impl Spawner {
    /// Starts the thread. `adopts` says that the whole process is the gateway's, so that it may take in orphans.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(crate) fn start(adopts: bool, metrics: Arc<Metrics>) -> io::Result<Spawner> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let adopts = adopts && rustix::process::set_child_subreaper(Some(rustix::process::getpid())).is_ok();
        let (cgroups, guardian) = if adopts { Cgroups::new().unzip() } else { (None, None) };
        let ours = guardian.map(|pid| (pid, Own { number: u64::MAX, cgroup: None, is_ending: false })).into_iter().collect();
        let shared = Arc::new(Shared { ours: Mutex::new(ours), adopts, cgroups, reaps: AtomicBool::new(false), metrics });
        let spawner = Spawner { jobs, shared: Arc::clone(&shared) };
        if adopts {
            let mut ended = signal(SignalKind::child())?;
            let (jobs, shared) = (spawner.jobs.clone(), Arc::downgrade(&shared));
            // Ends with the thread, whose queue is gone then.
            drop(tokio::spawn(async move {
                while ended.recv().await.is_some()
                    && let Some(shared) = shared.upgrade()
                {
                    if !shared.reaps.swap(true, Ordering::Relaxed) && jobs.send(Job::Reap).is_err() {
                        return;
                    }
                }
            }));
        }
        std::thread::Builder::new().name("spawner".into()).spawn(move || Thread::new(&shared).serve(&queue))?;
        Ok(spawner)
    }

    /// Starts a process.
    pub(crate) async fn spawn(&self, command: Arc<Command>) -> io::Result<Started> {
        let (started, answer) = oneshot::channel();
        let gone = |_| io::Error::other("the spawner thread has ended");
        self.jobs.send(Job::Start(command, started)).map_err(|_| gone(()))?;
        answer.await.map_err(|_| gone(()))?
    }

    /// Ends what a child that has been reaped left behind: its group, its cgroup, and what hid from both. Says how many processes
    /// are still there.
    pub(crate) async fn clear(&self, pid: Pid) -> u64 {
        stop::empty_group(pid).await;
        let own = self.shared.lock().get_mut(&pid).map(|own| {
            own.is_ending = true;
            own.clone()
        });
        let Some(own) = own else { return 0 };
        if let Some(folder) = &own.cgroup {
            cgroup::kill(folder);
            stop::wait_until(|| !cgroup::is_populated(folder)).await;
            cgroup::remove(folder);
        }
        let left = if self.shared.adopts { self.end_orphans(own.number).await } else { 0 };
        self.forget(pid);
        left as u64
    }

    /// Walks the end of a stop table for the orphans of a child.
    async fn end_orphans(&self, number: u64) -> usize {
        let mut left = self.look(number, Some(Signal::TERM)).await;
        for signal in [None, Some(Signal::KILL)] {
            let began = Instant::now();
            while left > 0 && began.elapsed() < stop::GROUP_GRACE {
                left = self.look(number, signal).await;
            }
        }
        if left > 0 {
            warn!(left, "processes that a server left behind cannot be ended");
        }
        left
    }

    async fn look(&self, number: u64, signal: Option<Signal>) -> usize {
        let (left, answer) = oneshot::channel();
        let _ = self.jobs.send(Job::Look(Look { number, signal, left }));
        // Without the thread there is nobody to look.
        answer.await.unwrap_or(0)
    }

    /// A process is gone with all that it started: its number means nothing any more.
    pub(crate) fn forget(&self, pid: Pid) {
        self.shared.lock().remove(&pid);
    }

    /// Resident memory of all children.
    pub(crate) fn resident_bytes(&self) -> i64 {
        let ours: Vec<Pid> = self.shared.lock().keys().copied().collect();
        ours.iter().map(|pid| crate::metrics::resident_bytes(&pid.as_raw_nonzero().to_string())).sum()
    }

    /// Kills everything that is still ours. For an end without delay.
    pub(crate) fn kill_all(&self) {
        let ours = self.shared.lock().clone();
        for pid in ours.iter().filter(|(_, own)| own.number != u64::MAX).map(|(pid, _)| *pid) {
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        }
        if let Some(cgroups) = &self.shared.cgroups {
            cgroups.kill_all();
        }
        if self.shared.adopts {
            orphans::adopted(|pid| ours.contains_key(&pid)).into_iter().for_each(|pid| orphans::signal(pid, Signal::KILL));
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<Pid, Own>> {
        self.ours.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the spawner's thread knows.
struct Thread<'a> {
    shared: &'a Shared,
    /// How many children have been started.
    started: u64,
    looks: Vec<Look>,
    looked: Option<Instant>,
}

impl Thread<'_> {
    fn new(shared: &Shared) -> Thread<'_> {
        Thread { shared, started: 0, looks: Vec::new(), looked: None }
    }

    fn serve(mut self, queue: &mpsc::Receiver<Job>) {
        let mut reaps_again = false;
        loop {
            let wait = if reaps_again { Some(KEEPER) } else { (!self.looks.is_empty()).then(|| self.until_look()) };
            let job = match wait {
                Some(wait) => queue.recv_timeout(wait),
                None => queue.recv().map_err(mpsc::RecvTimeoutError::from),
            };
            match job {
                Ok(Job::Start(command, started)) => self.start(&command, started),
                Ok(Job::Look(look)) => self.looks.push(look),
                Ok(Job::Reap) => {
                    self.shared.reaps.store(false, Ordering::Relaxed);
                    reaps_again = !self.reap();
                }
                Err(mpsc::RecvTimeoutError::Timeout) if reaps_again => reaps_again = !self.reap(),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
            if !self.looks.is_empty() && self.until_look().is_zero() {
                self.look();
            }
        }
    }

    fn until_look(&self) -> Duration {
        self.looked.map_or(Duration::ZERO, |looked| PACE.saturating_sub(looked.elapsed()))
    }

    fn start(&mut self, command: &Command, started: oneshot::Sender<io::Result<Started>>) {
        self.started += 1;
        let group = self.shared.cgroups.as_ref().map(|cgroups| cgroups.create(self.started));
        let (folder, entry) = match group.transpose() {
            Ok(group) => group.unzip(),
            Err(error) => {
                warn!(%error, "a server process gets no cgroup of its own");
                (None, None)
            }
        };
        let outcome = spawn(command, self.started, entry);
        match &outcome {
            Ok(outcome) => {
                self.shared.lock().insert(outcome.process.pid, Own { number: self.started, cgroup: folder, is_ending: false });
            }
            Err(_) => folder.iter().for_each(|folder| cgroup::remove(folder)),
        }
        if let Err(Ok(unwanted)) = started.send(outcome) {
            let pid = unwanted.process.pid;
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
            let _ = super::wait::reap_killed(&unwanted.process);
            if let Some(folder) = self.shared.lock().remove(&pid).and_then(|own| own.cgroup) {
                cgroup::kill(&folder);
                cgroup::remove(&folder);
            }
        }
    }

    /// Reaps orphans that have ended; our own are left for their keepers. Says whether it saw past those.
    fn reap(&self) -> bool {
        while let Some(pid) = ended_process() {
            if self.shared.lock().contains_key(&pid) {
                return false;
            }
            orphans::reap(pid);
            self.shared.metrics.orphans_reaped.inc();
        }
        true
    }

    /// Answers everybody who wants to know what a child left behind.
    fn look(&mut self) {
        let ours = self.shared.lock().clone();
        let is_living = |own: &&Own| own.number != u64::MAX && !own.is_ending;
        let living: Vec<u64> = ours.values().filter(is_living).map(|own| own.number).collect();
        let adopted = orphans::adopted(|pid| ours.contains_key(&pid));
        let adopted: Vec<(Pid, Option<u64>)> = adopted
            .into_iter()
            .filter(|pid| {
                let has_ended = orphans::reap(*pid);
                self.shared.metrics.orphans_reaped.inc_by(u64::from(has_ended));
                !has_ended
            })
            .map(|pid| (pid, orphans::origin(pid)))
            .collect();
        for look in self.looks.drain(..) {
            let is_of = |origin: Option<u64>| match origin {
                Some(number) => number == look.number || !living.contains(&number),
                // Whoever has wiped its environment may have been started by any of those that live.
                None => living.is_empty(),
            };
            let left: Vec<Pid> = adopted.iter().filter(|(_, origin)| is_of(*origin)).map(|(pid, _)| *pid).collect();
            if let Some(signal) = look.signal {
                left.iter().for_each(|pid| orphans::signal(*pid, signal));
            }
            let _ = look.left.send(left.len());
        }
        self.looked = Some(Instant::now());
    }
}

fn spawn(command: &Command, number: u64, cgroup: Option<File>) -> io::Result<Started> {
    let (stdin_theirs, stdin) = pipe(capacity::FIRST)?;
    let (stdout, stdout_theirs) = pipe(capacity::FIRST)?;
    let (stderr, stderr_theirs) = pipe(capacity::STDERR)?;
    for ours in [&stdin, &stdout, &stderr] {
        ioctl_fionbio(ours, true)?;
    }
    let mut program = std::process::Command::new(&command.program);
    program.args(&command.args).env_clear().envs(command.env.iter().map(|(name, value)| (name, value)));
    program.env(orphans::VARIABLE, orphans::mark(number));
    program.stdin(Stdio::from(stdin_theirs)).stdout(Stdio::from(stdout_theirs)).stderr(Stdio::from(stderr_theirs));
    program.process_group(0);
    if let Some(cwd) = &command.cwd {
        program.current_dir(cwd);
    }
    let gateway = rustix::process::getpid();
    let scheduling = command.scheduling;
    // SAFETY: only system calls that are safe between fork and exec, and no allocation.
    unsafe {
        program.pre_exec(move || before_exec(gateway, cgroup.as_ref(), scheduling));
    }
    let child = program.spawn()?;
    let pid = Pid::from_child(&child);
    // The child is not reaped by anyone but us, so its number is still its own. `child` itself does nothing on drop.
    match wait::end_of(pid) {
        Ok(pidfd) => Ok(Started { process: Process { pid, pidfd }, stdin: Pipe::new(stdin), stdout: Pipe::new(stdout), stderr }),
        Err(error) => {
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
            let _ = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
            Err(error)
        }
    }
}

fn pipe(holds: usize) -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    capacity::limit(&reader, holds);
    Ok((reader, writer))
}

/// In the child: dies with the gateway, is in its cgroup, inherits no descriptor but its three, ignores no signal, and is
/// scheduled as it should be.
fn before_exec(gateway: Pid, mut cgroup: Option<&File>, scheduling: ChildScheduling) -> io::Result<()> {
    if let Some(entry) = &mut cgroup {
        entry.write_all(b"0")?;
    }
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::process::getppid() != Some(gateway) {
        return Err(io::Error::other("the gateway has gone"));
    }
    // SAFETY: plain system calls with constant arguments, and plain data of zeros, which is a valid value of it.
    unsafe {
        // Not an error where the kernel is older: our own descriptors close on exec anyway.
        libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int);
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2, libc::SIGCHLD] {
            libc::signal(signal, libc::SIG_DFL);
        }
        // Who was started in another class stays there. Where the system refuses it, the program is scheduled as usual. Asked of
        // the system itself: one of the C libraries (musl) has these calls and makes none.
        let class = libc::syscall(libc::SYS_sched_getscheduler, 0);
        if scheduling == ChildScheduling::Batch && class == libc::c_long::from(libc::SCHED_OTHER) {
            let usual: libc::sched_param = std::mem::zeroed();
            libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_BATCH, &raw const usual);
        }
    }
    Ok(())
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
