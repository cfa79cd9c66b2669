//! Processes that leave their server's process group, and servers that half leave.

use std::time::{Duration, Instant};

use rustix::fs::{XattrFlags, setxattr};
use rustix::process::Signal;
use serde_json::json;

use crate::check::{Cgroup, Check, Missing, Mode, Outcome, SECOND, measured, ms, ms_or, root, took};
use crate::kit::client::{Client, Trouble};
use crate::kit::process::{in_front, proof_child};
use crate::support::gateway::Start;
use crate::support::proc;
use crate::support::session::{REVISION, call};

pub(crate) const CHECKS: &[Check] = &[
    Check {
        slug: "daemon",
        what: "a server starts a daemon (new session, parent ended, no pipe of ours); DELETE; and again without the mark in its environment",
        pass: "gone within 5 s; without the mark gone too, or counted as escaped",
        waits: true,
        run: daemon,
    },
    Check {
        slug: "daemon-cgroup",
        what: "the same in a delegated cgroup (version 2), with an empty environment; and with the gateway killed (KILL)",
        pass: "each child in a cgroup of its own; gone within 5 s of DELETE, within 2 s of the kill",
        waits: true,
        run: daemon_cgroup,
    },
    Check {
        slug: "half-dead",
        what: "a server closes its stdout and lives; closes its stdin and lives; is stopped (STOP) with --idle-timeout 8s",
        pass: "each ended and reaped: 5 s after the first, 5 s after the next message, 5 s after the idle time",
        waits: true,
        run: half_dead,
    },
];

/// Processes with this word on their command line.
fn with_word(word: &str) -> Vec<i32> {
    let has = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        proc::is_alive(*pid) && line.split(|byte| *byte == 0).any(|own| own == word.as_bytes())
    };
    proc::Process::all().into_iter().map(|process| process.pid).filter(has).collect()
}

/// A word that no other process has: so many seconds and a fraction of one.
fn unique(at: u32) -> String {
    format!("3600.{:06}{at}", std::process::id())
}

/// A server that leaves `sleep WORD` behind as a daemon.
fn with_daemon(options: &[&str], word: &str, is_marked: bool) -> Start {
    let env = if is_marked { "" } else { "env -i " };
    let script = format!("{env}setsid sleep {word} </dev/null >/dev/null 2>&1 &");
    in_front(options).cmd(&format!("sh -c '({script}); exec {}'", proof_child()))
}

fn daemon(_: Mode) -> Outcome {
    let mut figures = Vec::new();
    let mut is_ok = true;
    for (at, is_marked) in [(1, true), (2, false)] {
        let word = unique(at);
        let gateway = with_daemon(&[], &word, is_marked).run();
        let session = gateway.open();
        took(2 * SECOND, || !with_word(&word).is_empty()).expect("a daemon");
        session.delete();
        let gone = took(8 * SECOND, || with_word(&word).is_empty());
        let escaped = gateway.metric("children_escaped_total", "");
        with_word(&word).iter().for_each(|pid| proc::kill(*pid, Signal::KILL));
        is_ok &= gone.is_some_and(|gone| gone <= 5 * SECOND) || (!is_marked && escaped > 0);
        let mark = if is_marked { "marked" } else { "without the mark" };
        figures.push(format!(
            "{mark}: {}, {escaped} counted as escaped",
            gone.map_or("not gone".to_owned(), |gone| format!("gone after {}", ms(gone)))
        ));
    }
    measured(is_ok, figures.join(" · "))
}

fn daemon_cgroup(_: Mode) -> Outcome {
    root()?;
    let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
    let is_v2 = |root: &&&str| std::path::Path::new(root).join("cgroup.controllers").exists();
    let root = roots.iter().find(is_v2).ok_or(Missing("writable cgroup of version 2"))?;
    let mut figures = Vec::new();
    let mut is_ok = true;
    for (at, is_killed) in [(3, false), (4, true)] {
        let cgroup =
            Cgroup::new(root, if is_killed { "killed" } else { "deleted" }).ok_or(Missing("writable cgroup of version 2"))?;
        setxattr(&cgroup.0, "user.delegate", b"1", XattrFlags::empty()).map_err(|_| Missing("extended attributes on cgroups"))?;
        let word = unique(at);
        let words = cgroup.words();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let gateway = with_daemon(&["--exit-with-parent"], &word, false).around(&words).run();
        let session = gateway.open();
        took(2 * SECOND, || !with_word(&word).is_empty()).expect("a daemon");
        let cgroup_of = |pid: i32| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            text.lines().find_map(|line| line.strip_prefix("0::").map(str::to_owned)).unwrap_or_default()
        };
        let daemon = with_word(&word)[0];
        let is_own = cgroup_of(daemon) != cgroup_of(gateway.pid());
        let limit = if is_killed {
            gateway.signal(Signal::KILL);
            2 * SECOND
        } else {
            session.delete();
            5 * SECOND
        };
        let gone = took(8 * SECOND, || with_word(&word).is_empty());
        with_word(&word).iter().for_each(|pid| proc::kill(*pid, Signal::KILL));
        is_ok &= is_own && gone.is_some_and(|gone| gone <= limit);
        let place = if is_own { "own cgroup" } else { "the gateway's cgroup" };
        let cause = if is_killed { "the kill" } else { "DELETE" };
        figures.push(format!("{place}, {cause}: {}", ms_or(gone, "not gone")));
        drop(gateway);
    }
    measured(is_ok, figures.join(" · "))
}

fn half_dead(_: Mode) -> Outcome {
    let gateway = in_front(&["--idle-timeout", "8s"]).run();
    let client = || Client::open(gateway.address(), REVISION).expect("a session");
    let pid_of =
        |client: &mut Client| -> i32 { client.call(&json!(1), "pid", &json!({})).expect("a pid").parse().expect("a number") };
    let mut stopped = client();
    let third = pid_of(&mut stopped);
    let stop = Instant::now();
    proc::kill(third, Signal::STOP);
    let (mut mute, mut deaf) = (client(), client());
    let pids = [pid_of(&mut mute), pid_of(&mut deaf)];
    let gone = |pid: i32, began: Instant| took(20 * SECOND, || proc::Process::read(pid).is_none()).map(|_| began.elapsed());
    // Its call is answered with an error.
    let began = Instant::now();
    let told = matches!(mute.call(&json!(2), "mute", &json!({})), Err(Trouble::Failed(_)));
    let first = gone(pids[0], began);
    drop(deaf.send(&call("2", "2", "deaf", &json!({}))));
    std::thread::sleep(SECOND / 4);
    let began = Instant::now();
    let _ = deaf.tell(&json!({ "jsonrpc": "2.0", "method": "notifications/x" }));
    let second = gone(pids[1], began);
    let was_there = proc::is_alive(third);
    let third = gone(third, stop);
    let within = |took: Option<Duration>, limit: u32| took.is_some_and(|took| took <= limit * SECOND);
    let figure = [first, second, third].map(|took| ms_or(took, "not")).join(", ");
    measured(told && was_there && within(first, 5) && within(second, 5) && within(third, 13), format!("reaped after {figure}"))
}
