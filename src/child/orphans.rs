//! Processes that became ours because their parent ended: the gateway is their subreaper, or process 1. They are found again by
//! a variable that every child's environment has, and that its descendants inherit. Used by the spawner's thread only, which
//! forks and reaps: nothing that is looked at here can end and have its number given away meanwhile.

use std::fs;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpgid, getpid, kill_process, kill_process_group, waitid};

/// The variable, and what stands before a child's number in it: another gateway's children are not ours.
pub(crate) const VARIABLE: &str = "MCP_GATEWAY_CHILD";

/// Its value for a child.
pub(crate) fn mark(child: u64) -> String {
    format!("{}.{child}", getpid())
}

/// Processes below this one that `is_ours` does not know.
pub(crate) fn adopted(is_ours: impl Fn(Pid) -> bool) -> Vec<Pid> {
    children().into_iter().filter(|pid| !is_ours(*pid)).collect()
}

/// Takes the status of a process if it has ended. Says whether it had.
pub(crate) fn reap(pid: Pid) -> bool {
    matches!(waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG), Ok(Some(_)))
}

/// Which child a process descends from; `None` if that cannot be told any more.
pub(crate) fn origin(pid: Pid) -> Option<u64> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let prefix = format!("{VARIABLE}={}.", getpid());
    let value = environment.split(|byte| *byte == 0).find_map(|variable| variable.strip_prefix(prefix.as_bytes()))?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Signals a process, and all of its group if it leads one.
pub(crate) fn signal(pid: Pid, signal: Signal) {
    let _ = match getpgid(Some(pid)) {
        Ok(group) if group == pid => kill_process_group(pid, signal),
        _ => kill_process(pid, signal),
    };
}

/// Every process whose parent this one is.
fn children() -> Vec<Pid> {
    let Some(lists) = lists() else { return by_parent() };
    lists.iter().flat_map(|list| list.split_ascii_whitespace()).filter_map(number).collect()
}

/// What the kernel lists for each of our threads, where it does.
fn lists() -> Option<Vec<String>> {
    let threads = fs::read_dir("/proc/self/task").ok()?.flatten();
    let mut lists = Vec::new();
    for thread in threads {
        match fs::read_to_string(thread.path().join("children")) {
            Ok(list) => lists.push(list),
            Err(_) if thread.path().exists() => return None,
            Err(_) => {} // the thread has ended
        }
    }
    Some(lists)
}

/// The same from what every process says of itself.
fn by_parent() -> Vec<Pid> {
    let own = getpid();
    let is_child = |pid: &Pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name in parentheses may hold spaces; state and parent are the fields behind it.
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_ascii_whitespace().nth(1));
        parent.and_then(number) == Some(own)
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|process| number(process.file_name().to_str()?)).filter(is_child).collect()
}

fn number(text: &str) -> Option<Pid> {
    text.parse().ok().and_then(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_by_its_parent_and_by_its_mark() {
        let mut child = std::process::Command::new("sleep").arg("60").env(VARIABLE, mark(7)).spawn().expect("sleep starts");
        let pid = Pid::from_child(&child);
        let mut unmarked = std::process::Command::new("sleep").arg("60").env_clear().spawn().expect("sleep starts");
        // A process that was just started still has its parent's environment, until it has become another program.
        while origin(pid).is_none() {
            std::thread::yield_now();
        }
        assert!(children().contains(&pid) && by_parent().contains(&pid));
        assert!(adopted(|_| false).contains(&pid) && !adopted(|other| other == pid).contains(&pid));
        assert_eq!((origin(pid), origin(Pid::from_child(&unmarked))), (Some(7), None));
        assert!(!reap(pid), "it has not ended");
        signal(pid, Signal::KILL);
        let _ = (unmarked.kill(), unmarked.wait());
        while !reap(pid) {
            std::thread::yield_now();
        }
        assert!(child.try_wait().is_err(), "it was reaped");
    }
}
