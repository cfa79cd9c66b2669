//! What a contestant uses, as the kernel counts it: all processes that descend from it, but not its stdio children.
//!
//! CPU time is summed over threads in nanoseconds (`/proc/PID/task/TID/schedstat`). That forgets threads which have ended; where
//! one did, the process's own sum stands in for them (`/proc/PID/stat`), which counts them too, but in ticks of 10 ms.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// The processes that descend from this one, itself first. Zombies are among them.
pub(crate) fn descendants(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = numbers("/proc").filter_map(|pid| Some((pid, stat(pid, 1)? as u32))).collect();
    let mut tree = vec![root];
    let mut at = 0;
    while let Some(parent) = tree.get(at).copied() {
        tree.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    tree
}

/// Those of them that are no stdio children.
fn own(root: u32) -> impl Iterator<Item = u32> {
    let mut child = std::env::current_exe().unwrap_or_else(|_| PathBuf::new()).into_os_string().into_encoded_bytes();
    child.extend_from_slice(b"\0child\0");
    descendants(root).into_iter().filter(move |pid| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line != child))
}

/// CPU time up to a moment.
pub(crate) struct Cpu {
    /// Each thread's, in nanoseconds, by process and thread.
    threads: BTreeMap<(u32, u32), u64>,
    /// Each process's, in ticks.
    ticks: BTreeMap<u32, u64>,
}

impl Cpu {
    pub(crate) fn of(root: u32) -> Cpu {
        let mut cpu = Cpu { threads: BTreeMap::new(), ticks: BTreeMap::new() };
        for pid in own(root) {
            for thread in numbers(&format!("/proc/{pid}/task")) {
                let line = fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat")).unwrap_or_default();
                if let Some(time) = line.split(' ').next().and_then(|time| time.parse().ok()) {
                    cpu.threads.insert((pid, thread), time);
                }
            }
            cpu.ticks.insert(pid, stat(pid, 11).unwrap_or(0) + stat(pid, 12).unwrap_or(0));
        }
        cpu
    }

    /// Seconds since then.
    pub(crate) fn since(&self, then: &Cpu) -> f64 {
        let before = |pid| then.threads.range((pid, 0)..=(pid, u32::MAX));
        let process = |(pid, ticks): (&u32, &u64)| {
            if before(*pid).any(|(thread, _)| !self.threads.contains_key(thread)) {
                let past = ticks.saturating_sub(then.ticks.get(pid).copied().unwrap_or(0));
                return past as f64 / rustix::param::clock_ticks_per_second() as f64;
            }
            let sum = |times: &mut dyn Iterator<Item = u64>| times.sum::<u64>();
            let now = sum(&mut self.threads.range((*pid, 0)..=(*pid, u32::MAX)).map(|(_, time)| *time));
            now.saturating_sub(sum(&mut before(*pid).map(|(_, time)| *time))) as f64 / 1e9
        };
        self.ticks.iter().map(process).sum()
    }
}

/// Resident memory in bytes. What processes share is shared out among them: some start a shell for each child.
pub(crate) fn resident(root: u32) -> f64 {
    own(root).map(|pid| by_share(pid).unwrap_or_else(|| in_whole(pid))).sum()
}

fn by_share(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok().map(|kib: f64| kib * 1024.0)
}

fn in_whole(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages: f64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0.0);
    pages * rustix::param::page_size() as f64
}

/// A number among the fields behind the name in `/proc/PID/stat`.
fn stat(pid: u32, field: usize) -> Option<u64> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    line.rsplit_once(") ")?.1.split(' ').nth(field)?.parse().ok()
}

/// The entries of a folder whose names are numbers.
fn numbers(folder: &str) -> impl Iterator<Item = u32> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}
