//! The child process: what it is given, what becomes of it, and that nothing of it stays behind.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::clocks::ALL;
use crate::support::early::outcome;
use crate::support::gateway::{Gateway, Start};
use crate::support::http::{Connection, Request};
use crate::support::proc::{self, Process, eventually, eventually_true};
use crate::support::session::{Session, call, text_of};

const SECOND: Duration = Duration::from_secs(1);

/// Sends so many calls that are never answered, each on a connection of its own.
fn unanswered(gateway: &Gateway, session: &Session<'_>, count: usize) -> Vec<Connection> {
    let sent = || gateway.metric("messages_total", "direction=\"to_child\",kind=\"request\"");
    let before = sent();
    let calls: Vec<Connection> =
        (0..count).map(|at| session.send(&call(&at.to_string(), &at.to_string(), "never", &json!({})))).collect();
    // Connections overtake each other: only the gateway knows that it has them all.
    eventually_true(5 * SECOND, "all are in flight", || sent() == before + count as u64);
    session.echoes("behind them"); // the child has read all of them
    calls
}

#[test]
fn each_call_in_flight_gets_an_error_within_a_second_of_its_childs_death() {
    let gateway = Gateway::start(&[]);
    let session = gateway.open();
    let calls = unanswered(&gateway, &session, 200);
    proc::kill(gateway.child(), Signal::KILL);
    let killed = Instant::now();
    let mut correlations = Vec::new();
    for (at, mut call) in calls.into_iter().enumerate() {
        let answer = call.reply().expect("a response").json();
        assert_eq!(answer["id"], at, "{answer}");
        assert_eq!(answer["error"]["code"], -32603, "{answer}");
        assert_eq!(answer["error"]["data"]["exit"], "signal 9", "{answer}");
        let correlation = answer["error"]["data"]["correlationId"].as_str().expect("a correlation id").to_owned();
        correlations.push(correlation);
    }
    proc::was_prompt(killed.elapsed(), SECOND);
    correlations.dedup();
    assert_eq!(correlations.len(), 1, "one death, one id");
    eventually_true(SECOND, "it is in the log", || gateway.log().iter().any(|line| line.contains(&correlations[0])));
    assert_eq!(session.tell(call("1", "1", "echo", &json!({}))).status(), 404);
}

#[test]
fn an_exit_status_is_told_to_the_calls_in_flight() {
    let gateway = Gateway::start(&[]);
    let answer = gateway.open().call("exit", &json!({ "code": 7 }));
    assert_eq!(answer["error"]["data"]["exit"], "exit status 7", "{answer}");
}

#[test]
fn what_a_child_wrote_before_it_died_arrives() {
    let gateway = Gateway::start(&["--response", "sse"]);
    let session = gateway.open();
    let (_, mut events) = session.stream(&call("1", "5", "progress", &json!({ "count": 500, "us": 1 })));
    let (_, dying) = session.stream(&call("2", "6", "exit", &json!({ "code": 0 })));
    let seen: Vec<u64> = events
        .by_ref()
        .filter_map(|event| serde_json::from_slice::<serde_json::Value>(&event.data).ok()?["params"]["progress"].as_u64())
        .collect();
    assert!(seen.iter().copied().eq(1..=seen.len() as u64), "{seen:?}");
    assert!(matches!(events.ended, Some(Ok(()))));
    drop(dying);
}

#[test]
fn nothing_stays_behind_a_shell_or_two_after_delete() {
    // Neither the end of its input nor TERM ends the first, and only the shell in front of it is known to the gateway.
    let behind_one = "sh -c \"exec 3<&0; (trap '' TERM; exec STUB linger) <&3 3<&- & wait\"";
    let behind_two = "sh -c \"exec 3<&0; sh -c 'exec 4<&0; STUB linger <&4 4<&- & wait' <&3 3<&- & wait\"";
    for (line, count) in [(behind_one, 2), (behind_two, 3)] {
        let gateway = Start::new(&[]).cmd(line).run();
        let session = gateway.open();
        session.echoes("it works");
        assert_eq!(gateway.descendants().len(), count, "{line}");
        session.delete();
        let took = eventually_true(5 * SECOND, "no process is left", || gateway.descendants().is_empty());
        eprintln!("{count} processes gone after {took:?}");
        eventually_true(SECOND, "no zombie is left", || gateway.children().is_empty());
    }
}

#[test]
fn a_grandchild_that_keeps_stdout_does_not_keep_the_session() {
    let gateway = Start::new(&[]).cmd("sh -c 'sleep 3600 & exec STUB'").run();
    let session = gateway.open();
    let began = Instant::now();
    let answer = session.call("exit", &json!({ "code": 3 }));
    assert_eq!(answer["error"]["data"]["exit"], "exit status 3", "{answer}");
    proc::was_prompt(began.elapsed(), SECOND);
    assert_eq!(session.tell(call("1", "1", "echo", &json!({}))).status(), 404);
    eventually_true(2 * SECOND, "the grandchild ends too", || gateway.descendants().is_empty());
}

#[test]
fn a_grandchild_in_a_session_of_its_own_does_not_keep_the_session_either() {
    let gateway = Start::new(&[]).cmd("sh -c 'setsid sleep 3600 & exec STUB'").run();
    let session = gateway.open();
    let escaped =
        eventually(SECOND, "it has escaped", || gateway.descendants().into_iter().find(|process| process.name == "sleep"));
    let began = Instant::now();
    assert!(session.call("exit", &json!({ "code": 3 }))["error"].is_object());
    proc::was_prompt(began.elapsed(), SECOND);
    eventually_true(3 * SECOND, "the child's place is free", || gateway.metric("children_running", "") == 0);
    proc::kill(escaped.pid, Signal::KILL);
}

#[test]
fn a_child_that_ignores_the_end_of_its_input_and_term_is_killed_after_four_seconds() {
    let gateway = Start::new(&[]).cmd("sh -c \"trap '' TERM; exec STUB linger\"").run();
    let session = gateway.open();
    session.echoes("it works");
    let child = gateway.child();
    let began = Instant::now();
    session.delete();
    eventually_true(15 * SECOND, "it is reaped", || Process::read(child).is_none());
    let took = began.elapsed();
    eprintln!("killed and reaped after {took:?}");
    assert!((4 * SECOND..12 * SECOND).contains(&took), "{took:?}");
    eventually_true(SECOND, "its end is counted", || gateway.metric("child_exits_total", "signal") == 1);
}

#[test]
fn a_child_is_not_killed_by_a_gateway_that_idles() {
    outcome(ALL, "idleness");
}

#[test]
fn a_child_that_ends_with_its_input_is_not_signalled() {
    let gateway = Gateway::start(&[]);
    gateway.open().delete();
    eventually_true(SECOND, "it ends by itself", || gateway.metric("child_exits_total", "exit_zero") == 1);
}

#[test]
fn a_child_that_writes_much_before_it_reads_much_does_not_deadlock() {
    let gateway = Gateway::start(&[]);
    let session = gateway.open();
    let began = Instant::now();
    let (_, events) = session.stream(&call("1", "\"t\"", "gush", &json!({ "bytes": 8 << 20 })));
    let text = "y".repeat((8 << 20) - 400);
    let reading = std::thread::scope(|scope| {
        let reading = scope.spawn(|| events.filter(|event| event.data.len() > 64 << 10).count());
        assert_eq!(text_of(&session.call("length", &json!({ "text": text }))), text.len().to_string());
        reading.join().expect("a reader")
    });
    assert_eq!(reading, 128, "every one of its messages arrives");
    eprintln!("8 MiB both ways in {:?}", began.elapsed());
    proc::was_prompt(began.elapsed(), 5 * SECOND);
}

#[test]
fn children_die_with_a_killed_gateway() {
    let mut gateway = Start::new(&[]).cmd("STUB linger").run();
    let sessions: Vec<Session<'_>> = (0..5).map(|_| gateway.open()).collect();
    assert_eq!(gateway.descendants().len(), sessions.len());
    drop(sessions);
    gateway.signal(Signal::KILL);
    assert_eq!(gateway.exit_code(SECOND), 1009);
    let took = eventually_true(2 * SECOND, "the children are gone", || gateway.descendants().is_empty());
    eprintln!("children gone {took:?} after SIGKILL");
}

#[test]
fn the_gateway_stops_when_who_started_it_has_gone() {
    // The shell in between is the parent.
    let mut gateway = Start::new(&["--exit-with-parent"]).around(&["sh", "-c", "\"$0\" \"$@\" & wait; sleep 0"]).run();
    gateway.open().echoes("it works");
    let (own, child) = (gateway.pid(), gateway.child());
    let shell = Process::read(own).expect("it runs").parent;
    proc::kill(shell, Signal::KILL);
    eventually_true(4 * SECOND, "the gateway stops", || !proc::is_alive(own));
    eventually_true(SECOND, "its child has gone", || !proc::is_alive(child));
    assert!(gateway.has_ended());
}

#[test]
fn as_process_1_it_leaves_no_zombie_and_takes_no_status_from_its_own_children() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("only root may make a process namespace");
    }
    let gateway = Start::new(&[]).around(&["unshare", "-pf", "--mount-proc"]).run();
    let session = gateway.open();
    let other = gateway.open();
    session.call("orphans", &json!({ "count": 100 }));
    // Meanwhile children of its own end, with a status that must reach their calls.
    for code in 1..=20 {
        let answer = gateway.open().call("exit", &json!({ "code": code }));
        assert_eq!(answer["error"]["data"]["exit"], format!("exit status {code}"), "{answer}");
    }
    eventually_true(5 * SECOND, "the orphans end", || gateway.metric("orphans_reaped_total", "") >= 100);
    eventually_true(2 * SECOND, "there is no zombie", || gateway.children().iter().all(|child| child.state != 'Z'));
    assert_eq!(gateway.children().len(), 2, "{:?}", gateway.children());
    other.echoes("it works");
}

#[test]
fn what_a_child_leaves_behind_is_reaped_while_the_child_lives() {
    let gateway = Gateway::start(&[]);
    let session = gateway.open();
    session.call("orphans", &json!({ "count": 10 }));
    eventually_true(5 * SECOND, "all are reaped", || gateway.metric("orphans_reaped_total", "") == 10);
    assert!(gateway.children().iter().all(|child| child.state != 'Z'), "{:?}", gateway.children());
    session.echoes("it works");
}

#[test]
fn a_hundred_sessions_leave_nothing_behind() {
    let gateway = Gateway::start(&[]);
    let round = || {
        for _ in 0..10 {
            let sessions: Vec<Session<'_>> = (0..10).map(|_| gateway.open()).collect();
            for session in sessions {
                session.echoes(&"x".repeat(10_000));
                session.delete();
            }
        }
        eventually_true(5 * SECOND, "all children are gone", || gateway.children().is_empty());
        eventually_true(12 * SECOND, "all connections are gone", || gateway.metric("connections_active", "") == 1);
        (proc::descriptors(gateway.pid()), proc::resident(gateway.pid()))
    };
    let rounds = [round(), round(), round()];
    eprintln!("descriptors and resident bytes after each hundred: {rounds:?}");
    assert!(gateway.descendants().is_empty());
    // The connection that asked for the metrics may be on its way out when the descriptors are counted.
    eventually_true(2 * SECOND, "no descriptor is left", || proc::descriptors(gateway.pid()) <= rounds[0].0);
    assert!(rounds[2].1 < rounds[1].1 + (1 << 20), "{rounds:?}");
}

#[test]
fn a_childs_environment_is_what_was_allowed() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "# for the server\nFROM_FILE=1\nBOTH=file\n").expect("written");
    let path = file.path().to_str().expect("UTF-8");
    let gateway =
        Start::new(&["--env", "GIVEN=2", "--env", "BOTH=flag", "--env-file", path, "--pass-env", "PASSED,MCP_GATEWAY_LOG"])
            .env("PASSED", "3")
            .env("SECRET_TOKEN", "canary")
            .env("LD_SOMETHING", "canary")
            .env("MCP_GATEWAY_LOG", "info")
            .env("NOTIFY_SOCKET", "/canary")
            .env("LISTEN_FDS", "1")
            .env("OTEL_EXPORTER_OTLP_HEADERS", "canary")
            .env("LC_TIME", "C")
            .run();
    let text = text_of(&gateway.open().call("env", &json!({})));
    let lines: Vec<&str> = text.lines().collect();
    for expected in ["FROM_FILE=1", "GIVEN=2", "BOTH=flag", "PASSED=3", "LC_TIME=C"] {
        assert!(lines.contains(&expected), "{expected}: {lines:?}");
    }
    let known = [
        "PATH",
        "HOME",
        "LANG",
        "TZ",
        "TMPDIR",
        "USER",
        "LOGNAME",
        "SHELL",
        "FROM_FILE",
        "GIVEN",
        "BOTH",
        "PASSED",
        "TEST_MARK",
        "MCP_GATEWAY_CHILD",
    ];
    for line in lines {
        let name = line.split('=').next().unwrap_or_default();
        assert!(known.contains(&name) || name.starts_with("LC_"), "{line}");
    }
}

#[test]
fn a_child_has_three_descriptors() {
    let gateway = Gateway::start(&[]);
    let sessions: Vec<Session<'_>> = (0..5).map(|_| gateway.open()).collect();
    // The fourth is the directory that the child reads to find out.
    assert_eq!(text_of(&sessions[4].call("fds", &json!({}))), "0 1 2 3");
    for child in gateway.children() {
        assert_eq!(proc::descriptors(child.pid), 3, "{child:?}");
    }
}

#[test]
fn a_child_gets_no_descriptor_that_the_gateway_was_given() {
    let given = ["sh", "-c", "exec 7</dev/null 8>/dev/null; exec \"$0\" \"$@\""];
    let gateway = Start::new(&[]).around(&given).run();
    gateway.open().echoes("it works");
    assert!(std::fs::exists(format!("/proc/{}/fd/7", gateway.pid())).expect("it can be read"), "the gateway has it");
    assert_eq!(proc::descriptors(gateway.child()), 3);
}

#[test]
fn a_child_blocks_no_signal_and_ignores_none_that_ends_it() {
    let ignoring = ["sh", "-c", "trap '' HUP INT QUIT PIPE USR1 USR2; exec \"$0\" \"$@\""];
    let gateway = Start::new(&[]).around(&ignoring).cmd("sh -c 'grep ^Sig /proc/self/status >&2; exec STUB'").run();
    gateway.open().echoes("it works");
    let mask = |name: &str| {
        let log = gateway.log();
        let line = log.iter().find_map(|line| Some(line.split_once(name)?.1.to_owned()))?;
        let digits: String = line.chars().skip_while(|c| !c.is_ascii_digit()).collect();
        u64::from_str_radix(digits.get(..16)?, 16).ok()
    };
    let (blocked, ignored) =
        (eventually(SECOND, "a log line", || mask("SigBlk:")), eventually(SECOND, "a log line", || mask("SigIgn:")));
    // Real-time signals are whatever the tester's own shell has.
    assert_eq!((blocked, ignored & 0x7fff_ffff), (0, 0), "{ignored:x}");
}

#[test]
fn a_childs_stderr_is_logged_and_never_blocks_it() {
    let gateway = Gateway::start(&[]);
    let session = gateway.open();
    session.call("stderr", &json!({ "count": 50_000 }));
    eventually_true(2 * SECOND, "all of it is read", || gateway.metric("stderr_lines_total", "") == 50_000);
    let logged = gateway.log().iter().filter(|line| line.contains("stderr line ")).count();
    assert!((1..=1000).contains(&logged), "{logged}");
}

#[test]
fn a_line_of_stderr_is_kept_up_to_4_kib() {
    let line = "sh -c 'head -c 100000 /dev/zero | tr \"\\0\" x >&2; echo >&2; echo after >&2; exec STUB'";
    let gateway = Start::new(&[]).cmd(line).run();
    gateway.open().echoes("it works");
    eventually_true(2 * SECOND, "the next line is logged", || gateway.log().iter().any(|line| line.contains("after")));
    assert_eq!(gateway.metric("stderr_lines_unlogged_total", ""), 1);
    assert!(gateway.log().iter().all(|line| line.len() < 5000));
}

#[test]
fn lines_that_are_no_messages_do_not_fill_the_log() {
    let gateway = Gateway::start(&[]);
    let session = gateway.open();
    session.call("write", &json!({ "text": "no message\n".repeat(1000) }));
    eventually_true(2 * SECOND, "all are counted", || gateway.metric("bad_lines_total", "not_json") == 1000);
    session.echoes("it works");
    let logged = gateway.log().iter().filter(|line| line.contains("no message")).count();
    assert!((1..=20).contains(&logged), "{logged}");
}

#[test]
fn a_childs_place_is_taken_until_its_group_is_empty() {
    let gateway = Start::new(&["--max-children", "1"]).cmd("sh -c '(trap \"\" TERM; exec sleep 60) & exec STUB'").run();
    gateway.open().delete();
    eventually_true(3 * SECOND, "the child itself is gone", || {
        let left = gateway.descendants();
        left.len() == 1 && left[0].name == "sleep"
    });
    assert_eq!(gateway.metric("children_running", ""), 1, "what it left is still there: {:?}", gateway.descendants());
    eventually_true(5 * SECOND, "there is room again", || gateway.metric("children_running", "") == 0);
    assert!(gateway.descendants().is_empty());
}

#[test]
fn a_request_chooses_no_program() {
    let gateway = Gateway::start(&[]);
    let session = gateway.open();
    let command = std::fs::read(format!("/proc/{}/cmdline", gateway.child())).expect("it lives");
    for name in ["cmd", "command", "args", "env", "cwd"] {
        let target = format!("/mcp?{name}=/bin/false");
        let request = session.post(call("1", "1", "echo", &json!({ "text": "x", name: "/bin/false" }))).with(name, "/bin/false");
        assert_eq!(gateway.ask(&request).status(), 200);
        assert!(gateway.ask(&Request::new("GET", &target)).status() >= 400);
    }
    assert_eq!(std::fs::read(format!("/proc/{}/cmdline", gateway.child())).expect("it lives"), command);
}
