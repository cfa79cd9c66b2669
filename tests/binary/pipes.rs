//! How much a child's pipes hold: little at first, since a user's pages for pipes are few, and as much as usual once that is used.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Command;

use rustix::pipe::fcntl_getpipe_size;
use serde_json::json;

use crate::support::gateway::{Gateway, Start};
use crate::support::session::text_of;

const KIB: usize = 1024;

/// What the pipes of a child hold: stdin, stdout, stderr.
fn sizes(pid: i32) -> [usize; 3] {
    std::array::from_fn(|fd| {
        let path = format!("/proc/{pid}/fd/{fd}");
        let end = OpenOptions::new().read(fd == 0).write(fd != 0).custom_flags(not_blocking()).open(path).expect("a pipe");
        fcntl_getpipe_size(&end).expect("it is a pipe")
    })
}

fn not_blocking() -> i32 {
    i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).expect("a flag")
}

/// Started without root's right to any number of pages, if it is root who tests.
fn without_privileges(start: Start) -> Start {
    let words = ["setpriv", "--bounding-set=-sys_resource,-sys_admin", "--"];
    let is_root = rustix::process::geteuid().is_root();
    let can = || Command::new(words[0]).args(&words[1..]).arg("true").status().is_ok_and(|status| status.success());
    if is_root && can() { start.around(&words) } else { start }
}

#[test]
fn pipes_hold_little_until_that_is_too_little() {
    let gateway = Gateway::start(&[]);
    let session = gateway.open();
    let child = gateway.child();
    session.echoes("a word");
    assert_eq!(sizes(child), [16 * KIB, 16 * KIB, 4 * KIB]);
    assert_eq!(text_of(&session.call("big", &json!({ "bytes": 12_000 }))).len(), 12_000);
    assert_eq!(sizes(child), [16 * KIB, 64 * KIB, 4 * KIB]);
    session.echoes(&"x".repeat(12_000));
    assert_eq!(sizes(child), [64 * KIB, 64 * KIB, 4 * KIB]);
    session.echoes(&"x".repeat(200_000));
    assert_eq!(sizes(child), [128 * KIB, 128 * KIB, 4 * KIB]);
}

#[test]
fn five_hundred_children_of_a_user_have_pipes_of_the_usual_size() {
    let options = ["--max-children", "600", "--max-sessions", "600"];
    let gateway = without_privileges(Start::new(&options)).run();
    let sessions: Vec<_> = (0..500).map(|_| gateway.open()).collect();
    let children = gateway.children();
    assert_eq!(children.iter().filter(|child| child.name == "stub_child").count(), 500);
    let all = || children.iter().filter(|child| child.name == "stub_child").map(|child| sizes(child.pid));
    assert!(all().all(|sizes| sizes == [16 * KIB, 16 * KIB, 4 * KIB]), "{:?}", all().collect::<Vec<_>>());
    // There are pages left for those that need more: the last ones, too.
    for session in sessions.iter().rev().take(100) {
        assert_eq!(text_of(&session.call("big", &json!({ "bytes": 100_000 }))).len(), 100_000);
        session.echoes(&"x".repeat(100_000));
    }
    assert_eq!(all().filter(|[input, output, _]| *input >= 64 * KIB && *output >= 64 * KIB).count(), 100);
    assert_eq!(all().flatten().filter(|size| *size > 64 * KIB).count(), 64, "the others can have no more");
}
