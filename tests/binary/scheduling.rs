//! Who gets the processors: the threads that serve, and how the system schedules servers beside them (sched(7)).

use std::fs;
use std::time::Duration;

use crate::support::gateway::{Gateway, Start};
use crate::support::proc::{Process, children, eventually};

const OTHER: u32 = 0;
const BATCH: u32 = 3;
const IDLE: u32 = 5;

/// A server that has started a program before it speaks.
const WITH_HELPER: &str = "sh -c 'sleep 86398 & exec STUB'";

/// The scheduling class of a process: the 41st field of its `stat`, the 39th behind its name.
fn class_of(pid: i32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
    fields.split(' ').nth(38).and_then(|class| class.parse().ok()).expect("a class")
}

/// The classes of the server's process and of what it started.
fn classes(start: Start) -> [u32; 2] {
    let gateway = start.cmd(WITH_HELPER).run();
    let _session = gateway.open();
    let server = gateway.child();
    let helper = |pid| children(pid).into_iter().find(|process: &Process| process.name == "sleep");
    let helper = eventually(Duration::from_secs(5), "it starts what it starts", || helper(server));
    [class_of(server), class_of(helper.pid)]
}

#[test]
fn a_server_and_what_it_starts_interrupt_nobody_when_they_wake() {
    assert_eq!(classes(Start::new(&[])), [BATCH, BATCH]);
}

#[test]
fn a_server_is_scheduled_as_usual_where_that_was_asked_for() {
    assert_eq!(classes(Start::new(&["--child-scheduling", "other"])), [OTHER, OTHER]);
}

#[test]
fn a_server_stays_in_the_class_that_the_gateway_was_started_in() {
    assert_eq!(classes(Start::new(&[]).around(&["chrt", "--idle", "0"])), [IDLE, IDLE]);
}

/// The threads that serve, when a hundred clients are there.
fn serving(options: &[&str]) -> usize {
    let gateway = Gateway::start(options);
    let _clients: Vec<_> = (0..100).map(|_| gateway.connect()).collect();
    gateway.open();
    let names = fs::read_dir(format!("/proc/{}/task", gateway.pid())).expect("it runs").flatten();
    let names = names.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    1 + names.filter(|name| name.starts_with("worker-")).count()
}

#[test]
fn as_many_threads_serve_as_were_asked_for() {
    assert_eq!(serving(&["--threads", "1"]), 1);
    assert_eq!(serving(&["--threads", "3"]), 3);
}

#[test]
fn as_many_threads_serve_as_half_of_the_processors_unless_told_otherwise() {
    let processors = std::thread::available_parallelism().expect("Linux").get();
    // A hundred clients are enough for four threads.
    assert_eq!(serving(&[]), processors.div_ceil(2).min(4));
}
