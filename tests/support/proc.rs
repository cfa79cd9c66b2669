//! What the kernel says about processes, and waiting for something to become true.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// One line of `/proc/PID/stat`, as far as tests look at it.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) name: String,
    pub(crate) state: char,
    pub(crate) parent: i32,
    ticks: u64,
}

impl Process {
    /// `None` once the process has been reaped.
    pub(crate) fn read(pid: i32) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything.
        let (head, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Process {
            pid,
            name: head.split_once('(')?.1.to_owned(),
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            ticks: number(11)? + number(12)?,
        })
    }

    pub(crate) fn all() -> Vec<Process> {
        let entries = fs::read_dir("/proc").expect("/proc").flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(Process::read).collect()
    }

    /// CPU time so far.
    pub(crate) fn cpu(&self) -> Duration {
        Duration::from_millis(self.ticks * 1000 / rustix::param::clock_ticks_per_second())
    }
}

/// The processes that a process started and nobody has reaped; without the guardian of their cgroups, which goes with the gateway.
pub(crate) fn children(parent: i32) -> Vec<Process> {
    let is_guardian = |pid: i32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| contains(&line, b"--guard-cgroup"));
    Process::all().into_iter().filter(|process| process.parent == parent && !is_guardian(process.pid)).collect()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Living processes whose environment holds this text. Only the process's owner may look.
pub(crate) fn marked(mark: &str) -> Vec<Process> {
    let holds = |pid: i32| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    };
    Process::all().into_iter().filter(|process| process.state != 'Z' && holds(process.pid)).collect()
}

/// Whether the process is there and not a zombie.
pub(crate) fn is_alive(pid: i32) -> bool {
    Process::read(pid).is_some_and(|process| process.state != 'Z')
}

/// Resident memory in bytes.
pub(crate) fn resident(pid: i32) -> usize {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).expect("the process is there");
    let pages: usize = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number of pages");
    pages * rustix::param::page_size()
}

/// The most resident memory that it ever had, in bytes.
pub(crate) fn peak(pid: i32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}

/// Open descriptors.
pub(crate) fn descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("the process is there").count()
}

pub(crate) fn kill(pid: i32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid).expect("a pid"), signal);
}

/// What a machine that has other work to do may take longer than any limit of ours.
const AIR: Duration = Duration::from_secs(5);

/// Fails if that took much longer than it should: not for being slow, but for waiting for something that it should not.
#[track_caller]
pub(crate) fn was_prompt(took: Duration, limit: Duration) {
    assert!(took < limit + AIR, "{took:?} instead of {limit:?}");
}

/// Looks until there is something to see; fails when the time is long over.
#[track_caller]
pub(crate) fn eventually<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let limit = limit + AIR;
    let began = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(began.elapsed() < limit, "not within {limit:?}: {what}");
        sleep(Duration::from_millis(5));
    }
}

/// Looks until it is true; says how long that took.
#[track_caller]
pub(crate) fn eventually_true(limit: Duration, what: &str, mut look: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    eventually(limit, what, || look().then(|| began.elapsed()))
}
