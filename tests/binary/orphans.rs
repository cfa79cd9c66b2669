//! What a server leaves behind: processes that went their own way end with the child that they came from, and no others do. Each
//! is tried where the gateway has cgroups for its children, and where it has none and looks for orphans.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use rustix::process::Signal;

use crate::support::gateway::{Gateway, Start, stub};
use crate::support::proc::{self, Process, eventually, eventually_true};
use crate::support::session::Session;

const SECOND: Duration = Duration::from_secs(1);

static TOKENS: AtomicUsize = AtomicUsize::new(0);

/// Seconds to sleep that no other process of this machine sleeps: its command line finds it, whatever else it has lost.
fn token() -> String {
    format!("86400.{}{:03}", std::process::id(), TOKENS.fetch_add(1, Ordering::Relaxed))
}

/// The living processes that sleep so long.
fn asleep(token: &str) -> Vec<i32> {
    let sleeps = |pid: i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.starts_with(b"sleep\0") && line.split(|byte| *byte == 0).any(|word| word == token.as_bytes())
    };
    Process::all().into_iter().filter(|one| one.state != 'Z' && sleeps(one.pid)).map(|one| one.pid).collect()
}

/// A cgroup of this test's own, in which nothing is delegated; gone with the last process in it.
struct Below(PathBuf);

impl Drop for Below {
    fn drop(&mut self) {
        let began = std::time::Instant::now();
        while fs::remove_dir(&self.0).is_err() && self.0.exists() && began.elapsed() < 5 * SECOND {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// This process's cgroup of version 2; `None` where there is none that may be divided.
fn own_cgroup() -> Option<PathBuf> {
    let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    let (mounts, cgroups) = (read("mountinfo"), read("cgroup"));
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    let path = cgroups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    rustix::process::geteuid().is_root().then(|| Path::new(mount.split(' ').nth(4).unwrap_or_default()).join(path))
}

/// A gateway whose children are this script, `STUB` the scripted child in it, and what it needs to run without cgroups.
struct Ground {
    gateway: Gateway,
    has_cgroups: bool,
    _below: Option<Below>,
}

fn ground(script: &str, options: &[&str], in_cgroups: bool) -> Option<Ground> {
    let Some(own) = own_cgroup() else {
        eprintln!("skipped: no cgroup2 mount, or not root");
        return None;
    };
    let script = script.replace("STUB", &stub());
    let start = Start::new(options).child(&["--", "sh", "-c", &script]);
    let below = (!in_cgroups).then(|| Below(own.join(format!("test.{}", token()))));
    let start = match &below {
        Some(Below(folder)) => {
            fs::create_dir(folder).expect("a cgroup");
            let enter = format!("echo $$ > {}/cgroup.procs; exec \"$0\" \"$@\"", folder.display());
            start.around(&["sh", "-c", &enter])
        }
        None => start,
    };
    let before = SystemTime::now() - SECOND;
    let gateway = start.run();
    // One that was killed with its guardian may have left a folder of that name behind.
    let made = folder_of(&gateway).and_then(|folder| fs::metadata(folder).ok()?.modified().ok());
    let has_cgroups = made.is_some_and(|made| made > before);
    assert!(in_cgroups || !has_cgroups, "nothing was delegated");
    if in_cgroups && !has_cgroups {
        eprintln!("skipped: this machine's cgroup is not ours to divide");
        return None;
    }
    Some(Ground { gateway, has_cgroups, _below: below })
}

fn folder_of(gateway: &Gateway) -> Option<PathBuf> {
    Some(own_cgroup()?.join(format!("mcp-http-gateway.{}", gateway.pid())))
}

/// Tries it with cgroups and without.
fn in_both(script: &str, options: &[&str], test: impl Fn(&mut Ground)) {
    for in_cgroups in [true, false] {
        eprintln!("cgroups: {in_cgroups}");
        if let Some(mut ground) = ground(script, options, in_cgroups) {
            test(&mut ground);
        }
    }
}

fn appear(token: &str, count: usize) -> Vec<i32> {
    eventually(5 * SECOND, "they have escaped", || Some(asleep(token)).filter(|found| found.len() == count))
}

fn vanish(token: &str, what: &str) {
    eventually_true(6 * SECOND, what, || asleep(token).is_empty());
}

/// Its own session, its own group, its parent gone.
fn daemon(token: &str) -> String {
    format!("(setsid sleep {token} </dev/null >/dev/null 2>&1 &)")
}

/// The same, and deaf to TERM.
fn deaf(token: &str) -> String {
    format!("(setsid sh -c \"trap '' TERM; exec sleep {token}\" </dev/null >/dev/null 2>&1 &)")
}

/// The same, and without anything in its environment.
fn bare(token: &str) -> String {
    format!("(setsid env -i $(command -v sh) -c \"trap '' TERM; exec sleep {token}\" </dev/null >/dev/null 2>&1 &)")
}

#[test]
fn a_daemon_ends_with_the_child_that_it_came_from() {
    // A child is ours to the last process, also one that has left its group, its session and its parent.
    for leave in [daemon, deaf, bare] {
        let token = token();
        in_both(&format!("{}; exec STUB", leave(&token)), &[], |ground| {
            let session = ground.gateway.open();
            appear(&token, 1);
            session.delete();
            vanish(&token, "the daemon ends");
            eventually_true(5 * SECOND, "its place is free", || ground.gateway.metric("children_running", "") == 0);
            assert!(ground.gateway.children().is_empty(), "no zombie: {:?}", ground.gateway.children());
            assert_eq!(ground.gateway.metric("children_escaped_total", ""), 0);
        });
    }
}

#[test]
fn a_daemon_ends_with_a_child_that_was_killed() {
    // A child that ends by itself leaves no more behind than one that is ended.
    let token = token();
    in_both(&format!("{}; exec STUB", deaf(&token)), &[], |ground| {
        let session = ground.gateway.open();
        appear(&token, 1);
        let child = eventually(SECOND, "the child", || {
            ground.gateway.children().into_iter().find(|child| child.name == "stub_child").map(|child| child.pid)
        });
        proc::kill(child, Signal::KILL);
        vanish(&token, "the daemon ends");
        drop(session);
    });
}

#[test]
fn a_daemon_of_another_child_goes_on() {
    // What is ended is the one child's; another's daemons are found by its mark, and are not touched.
    let token = token();
    in_both(&format!("{}; exec STUB", daemon(&token)), &[], |ground| {
        let first = ground.gateway.open();
        let of_first = appear(&token, 1);
        let second = ground.gateway.open();
        let both = appear(&token, 2);
        first.delete();
        eventually_true(5 * SECOND, "its own daemon ends", || !asleep(&token).contains(&of_first[0]));
        eventually_true(5 * SECOND, "its place is free", || ground.gateway.metric("children_running", "") == 1);
        assert_eq!(asleep(&token).len(), 1, "{both:?}");
        second.echoes("it works");
        second.delete();
        vanish(&token, "the second daemon ends");
    });
}

#[test]
fn a_bare_daemon_goes_on_while_it_may_be_another_childs() {
    // Whose a process is that has wiped its environment cannot be told while two children live: it ends with the last.
    let token = token();
    in_both(&format!("{}; exec STUB", bare(&token)), &[], |ground| {
        let first = ground.gateway.open();
        appear(&token, 1);
        let second = ground.gateway.open();
        appear(&token, 2);
        first.delete();
        eventually_true(5 * SECOND, "its place is free", || ground.gateway.metric("children_running", "") == 1);
        assert_eq!(asleep(&token).len(), if ground.has_cgroups { 1 } else { 2 });
        second.delete();
        vanish(&token, "the last takes both along");
    });
}

#[test]
fn bare_daemons_of_children_that_end_together_end_with_them() {
    // A child is ours to the last process, also where two are ended at the same time.
    let token = token();
    in_both(&format!("{}; exec STUB", bare(&token)), &[], |ground| {
        let sessions: Vec<Session<'_>> = (0..4).map(|_| ground.gateway.open()).collect();
        appear(&token, 4);
        std::thread::scope(|scope| sessions.into_iter().for_each(|session| drop(scope.spawn(|| session.delete()))));
        eventually_true(8 * SECOND, "their places are free", || ground.gateway.metric("children_running", "") == 0);
        let left = asleep(&token);
        left.iter().for_each(|pid| proc::kill(*pid, Signal::KILL));
        let escaped = ground.gateway.metric("children_escaped_total", "");
        assert!(left.is_empty(), "{} are left, {escaped} were counted", left.len());
    });
}

#[test]
fn a_gateway_that_stops_leaves_no_daemon_no_guardian_and_no_cgroup() {
    // After a normal end nothing of the gateway is there.
    for leave in [daemon, deaf, bare] {
        let token = token();
        in_both(&format!("{}; exec STUB", leave(&token)), &[], |ground| {
            let (pid, folder) = (ground.gateway.pid(), folder_of(&ground.gateway).expect("a cgroup"));
            let own = format!("mcp-http-gateway.{pid}");
            let names = |one: &Process| {
                let line = fs::read(format!("/proc/{}/cmdline", one.pid)).unwrap_or_default();
                one.state != 'Z' && String::from_utf8_lossy(&line).contains(&own)
            };
            let guardians = || Process::all().iter().filter(|one| names(one)).count();
            assert_eq!(guardians(), usize::from(ground.has_cgroups));
            let session = ground.gateway.open();
            appear(&token, 1);
            drop(session);
            ground.gateway.signal(Signal::TERM);
            eventually_true(10 * SECOND, "it stops", || !proc::is_alive(pid));
            let left = asleep(&token);
            left.iter().for_each(|pid| proc::kill(*pid, Signal::KILL));
            assert!(left.is_empty(), "the daemon is left");
            eventually_true(3 * SECOND, "the guardian ends", || guardians() == 0);
            eventually_true(SECOND, "the cgroups are removed", || !ground.has_cgroups || !folder.exists());
        });
    }
}

#[test]
fn a_killed_gateway_leaves_no_daemon_where_it_has_cgroups() {
    // The guardian ends all that is in the cgroups of a gateway that was killed, and removes them.
    let token = token();
    let script = format!("{}; {}; {}; exec STUB linger", daemon(&token), deaf(&token), bare(&token));
    let Some(mut ground) = ground(&script, &[], true) else { return };
    let sessions: Vec<Session<'_>> = (0..3).map(|_| ground.gateway.open()).collect();
    appear(&token, 9);
    let folder = folder_of(&ground.gateway).expect("a cgroup");
    drop(sessions);
    ground.gateway.signal(Signal::KILL);
    assert_eq!(ground.gateway.exit_code(SECOND), 1009);
    vanish(&token, "the daemons end");
    eventually_true(3 * SECOND, "the cgroups are removed", || !folder.exists());
}

#[test]
fn a_second_signal_ends_daemons_and_what_is_left_of_a_group() {
    // At once means all: also what is left of a group whose leader was reaped, and those that have left their group.
    let (token, in_group) = (token(), token());
    let script = format!("{}; {}; (trap '' TERM; exec sleep {in_group}) & exec STUB", deaf(&token), bare(&token));
    in_both(&script, &[], |ground| {
        let session = ground.gateway.open();
        appear(&token, 2);
        appear(&in_group, 1);
        let call = session.send(&crate::support::session::call("1", "1", "never", &serde_json::json!({})));
        session.echoes("it is in flight");
        let leader = ground.gateway.children().into_iter().find(|child| child.name == "stub_child").expect("the child").pid;
        ground.gateway.signal(Signal::TERM);
        eventually_true(SECOND, "it drains", || ground.gateway.admin("/readyz").status() == 503);
        proc::kill(leader, Signal::KILL);
        eventually_true(SECOND, "it is reaped", || Process::read(leader).is_none());
        ground.gateway.signal(Signal::TERM);
        drop((call, session));
        assert_eq!(ground.gateway.exit_code(2 * SECOND), 143);
        vanish(&token, "the daemons are killed");
        vanish(&in_group, "the rest of the group is killed");
    });
}

#[test]
fn a_hundred_daemons_end_with_their_child() {
    // However many: they are ended together, not one after the other.
    let token = token();
    let script = format!("for n in $(seq 100); do {}; done; exec STUB", deaf(&token));
    in_both(&script, &[], |ground| {
        let session = ground.gateway.open();
        appear(&token, 100);
        session.delete();
        let took = eventually_true(8 * SECOND, "they end", || asleep(&token).is_empty());
        eprintln!("gone after {took:?}");
        eventually_true(5 * SECOND, "none is a zombie", || ground.gateway.children().is_empty());
        assert_eq!(ground.gateway.metric("children_escaped_total", ""), 0);
    });
}

#[test]
fn processes_that_are_not_a_childs_are_not_touched() {
    // A mark alone makes no process ours: neither one that stands elsewhere, nor another gateway's.
    let (token, elsewhere) = (token(), token());
    in_both(&format!("{}; exec STUB", daemon(&token)), &[], |ground| {
        let mark = format!("{}.1", ground.gateway.pid());
        let mut other = Command::new("sleep").arg(&elsewhere).env("MCP_GATEWAY_CHILD", mark).spawn().expect("sleep");
        let neighbour = Gateway::start(&[]);
        let neighbours = neighbour.open();
        let session = ground.gateway.open();
        appear(&token, 1);
        session.delete();
        vanish(&token, "the daemon ends");
        assert_eq!(asleep(&elsewhere).len(), 1);
        neighbours.echoes("it works");
        let _ = (other.kill(), other.wait());
    });
}

#[test]
fn a_cgroup_that_was_left_behind_is_taken_over() {
    // In a container the gateway is process 1 each time: what one that was killed together with its guardian left must not cost
    // the next one its cgroups.
    let Some(own) = own_cgroup() else { return eprintln!("skipped: no cgroup2 mount, or not root") };
    let leave = format!("mkdir -p {}/mcp-http-gateway.$$/1; exec \"$0\" \"$@\"", own.display());
    let gateway = Start::new(&[]).around(&["sh", "-c", &leave]).run();
    let folder = folder_of(&gateway).expect("a cgroup");
    let session = gateway.open();
    let child = gateway.child();
    let inside = fs::read_to_string(format!("/proc/{child}/cgroup")).unwrap_or_default().contains("mcp-http-gateway.");
    drop(session);
    drop(gateway);
    eventually_true(3 * SECOND, "it is empty", || {
        let _ = (fs::remove_dir(folder.join("1")), fs::remove_dir(&folder));
        !folder.exists()
    });
    assert!(inside, "its children have no cgroup");
}
