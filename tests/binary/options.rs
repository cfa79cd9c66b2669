//! Options about the child that only the running program shows.

use std::time::Duration;

use serde_json::json;

use crate::support::gateway::{Gateway, Start, stub};
use crate::support::proc::{eventually_true, kill};
use crate::support::session::{call, initialize};

const SECOND: Duration = Duration::from_secs(1);
const REVISION: &str = "2025-11-25";

#[test]
fn a_dead_childs_stderr_is_told_only_where_that_was_asked_for() {
    for (options, told) in [(&["--expose-stderr"][..], true), (&[], false)] {
        let gateway = Gateway::start(options);
        let session = gateway.open();
        session.call("stderr", &json!({ "count": 3 }));
        let answer = session.call("exit", &json!({ "code": 3 }));
        let stderr = answer["error"]["data"]["stderr"].as_str();
        assert_eq!(stderr.is_some_and(|text| text.ends_with("stderr line 2\n")), told, "{answer}");
        assert_eq!(answer.to_string().contains("stderr line"), told, "{answer}");
    }
}

#[test]
fn children_beyond_their_bound_are_refused_until_one_is_gone() {
    let gateway = Gateway::start(&["--max-children", "1"]);
    let session = gateway.open();
    let refused = gateway.ask(&initialize(REVISION));
    assert_eq!(refused.status(), 503);
    assert!(refused.json().to_string().contains("--max-children"));
    assert_eq!(gateway.admin("/readyz").status(), 503);
    session.delete();
    eventually_true(5 * SECOND, "there is room again", || gateway.ask(&initialize(REVISION)).status() == 200);
}

#[test]
fn a_relative_program_is_looked_for_in_the_folder_that_was_given() {
    let dir = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::symlink(stub(), dir.path().join("server")).expect("a link");
    let gateway = Start::new(&["--cwd", dir.path().to_str().expect("UTF-8")]).cmd("./server").run();
    let session = gateway.open();
    session.echoes("it runs");
    let cwd = std::fs::read_link(format!("/proc/{}/cwd", gateway.child())).expect("its folder");
    assert_eq!(cwd, dir.path().canonicalize().expect("a folder"));
}

#[test]
fn a_child_that_says_nothing_gets_one_hint_about_buffering() {
    let gateway = Start::new(&[]).cmd("sh -c 'exec sleep 60'").run();
    let mut opening = gateway.connect();
    opening.send(&initialize(REVISION).bytes()).expect("the gateway reads");
    let hints = || gateway.log().iter().filter(|line| line.contains("block-buffered")).count();
    eventually_true(15 * SECOND, "the hint", || hints() == 1);
    kill(gateway.child(), rustix::process::Signal::KILL);
    drop(opening);
    eventually_true(5 * SECOND, "its child is gone", || gateway.children().is_empty());
    assert_eq!(hints(), 1);
}

#[test]
fn a_call_of_a_child_that_was_stopped_waits_for_it() {
    let gateway = Gateway::start(&[]);
    let session = gateway.open();
    kill(gateway.child(), rustix::process::Signal::STOP);
    let mut waiting = session.send(&call("1", "1", "echo", &json!({ "text": "late" })));
    kill(gateway.child(), rustix::process::Signal::CONT);
    assert!(waiting.reply().expect("a response").json().to_string().contains("late"));
}
