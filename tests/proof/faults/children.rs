//! Children that are killed, hold on, or leave somebody behind.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::check::{Check, Measured, Mode, Outcome, SECOND, measured, ms, ms_or, program, root, took};
use crate::kit::client::Client;
use crate::kit::process::{example, in_front, proof_child};
use crate::support::gateway::{Gateway, Start};
use crate::support::http::Connection;
use crate::support::modern;
use crate::support::proc::{self, Process};
use crate::support::session::{REVISION, call};

pub(crate) const CHECKS: &[Check] = &[
    Check {
        slug: "killed-child",
        what: "a child is killed (KILL) with 200 calls in flight, 100 times",
        pass: "each call gets -32603 within 1 s, the next 404; a modern client's next call is served",
        waits: false,
        run: killed_child,
    },
    Check {
        slug: "process-1",
        what: "as process 1 of a namespace: 1,000 processes lose their parents while children of the gateway end with statuses",
        pass: "2 s later 0 zombies; each of 20 statuses is told to the right call",
        waits: false,
        run: process_1,
    },
    Check {
        slug: "launchers",
        what: "a server behind `sh -c 'server & wait'`, behind two shells, and behind node and a shell; DELETE",
        pass: "no process left within 5 s",
        waits: true,
        run: launchers,
    },
    Check {
        slug: "stdout-kept",
        what: "a child ends while its own child keeps its stdout for an hour",
        pass: "its call ends within 1 s, the next gets 404; nothing left after 5 s",
        waits: true,
        run: stdout_kept,
    },
    Check {
        slug: "ignores-term",
        what: "a child ignores the end of its input and TERM; DELETE",
        pass: "killed after 4 to 5 s, and reaped",
        waits: true,
        run: ignores_term,
    },
    Check {
        slug: "killed-gateway",
        what: "a gateway that idled for 16 s is killed (KILL) in front of five children that stay when their input ends",
        pass: "idling ends none; all gone within 2 s of the kill",
        waits: true,
        run: killed_gateway,
    },
    Check {
        slug: "clean-children",
        what: "200 children started side by side by a gateway with secrets in its environment, open files and ignored signals",
        pass: "each has descriptors 0, 1, 2, no secret, no signal blocked or ignored",
        waits: false,
        run: clean_children,
    },
];

fn open(gateway: &Gateway) -> Client {
    Client::open(gateway.address(), REVISION).expect("a session")
}

fn killed_child(mode: Mode) -> Outcome {
    const CALLS: usize = 200;
    let rounds = mode.pick(20, 100);
    let gateway = in_front(&["--log", "warn,mcp_http_gateway::gateway=info"]).run();
    let mut connections: Vec<Connection> = (0..CALLS).map(|_| gateway.connect()).collect();
    let (mut slowest, mut errors, mut next) = (Duration::ZERO, 0, 0);
    let sent = || gateway.metric("messages_total", "direction=\"to_child\",kind=\"request\"");
    for _ in 0..rounds {
        let mut client = open(&gateway);
        let pid = client.call(&json!(1), "pid", &json!({})).expect("a pid").parse().expect("a number");
        let before = sent();
        for (at, connection) in connections.iter_mut().enumerate() {
            let bytes = client.post(call(&at.to_string(), &at.to_string(), "never", &json!({}))).bytes();
            if connection.send(&bytes).is_err() {
                *connection = gateway.connect();
                connection.send(&bytes).expect("the gateway reads");
            }
        }
        took(10 * SECOND, || sent() == before + CALLS as u64).expect("all are in flight");
        proc::kill(pid, Signal::KILL);
        let killed = Instant::now();
        for (at, connection) in connections.iter_mut().enumerate() {
            let answer = connection.reply().expect("a response").json();
            slowest = slowest.max(killed.elapsed());
            errors += usize::from(answer["id"] == at && answer["error"]["code"] == -32603);
        }
        let post = client.post(call("1", "1", "echo", &json!({ "text": "x" })));
        next += usize::from(gateway.ask(&post).status() == 404);
    }
    let mut served = 0;
    for at in 0..rounds as u64 {
        let ask = |tool, at| gateway.ask(&modern::call(at, tool, &json!({ "text": "x" }), &json!({}), &json!({}))).json();
        let pid = ask("pid", 1)["result"]["content"][0]["text"].as_str().and_then(|pid| pid.parse().ok()).expect("a pid");
        proc::kill(pid, Signal::KILL);
        took(SECOND, || !proc::is_alive(pid)).expect("it dies");
        let again = took(SECOND, || ask("echo", at)["result"]["content"][0]["text"] == "x");
        served += usize::from(again.is_some());
    }
    let is_ok = errors == rounds * CALLS && next == rounds && slowest <= SECOND && served == rounds;
    let figure = format!(
        "{errors} of {} calls got it, the last after {}; {next} of {rounds} got 404; {served} of {rounds} served",
        rounds * CALLS,
        ms(slowest)
    );
    measured(is_ok, figure)
}

fn process_1(_: Mode) -> Outcome {
    root()?;
    program("unshare")?;
    let gateway = in_front(&["--max-sessions", "100"]).around(&["unshare", "-pf", "--mount-proc"]).run();
    let mut session = open(&gateway);
    let orphans = std::thread::scope(|scope| {
        let orphans = scope.spawn(|| session.call(&json!(1), "orphans", &json!({ "count": 1000 })));
        let told = (1..=20).filter(|code| {
            let status = exit_of(&gateway, *code);
            status == format!("exit status {code}")
        });
        let told = told.count();
        orphans.join().expect("no panic").map(|_| told)
    });
    let Ok(told) = orphans else { return measured(false, format!("{orphans:?}")) };
    std::thread::sleep(2 * SECOND);
    let zombies = gateway.children().iter().filter(|child| child.state == 'Z').count();
    let reaped = gateway.metric("orphans_reaped_total", "");
    let is_ok = zombies == 0 && told == 20 && reaped >= 1000;
    measured(is_ok, format!("{zombies} zombies, {reaped} orphans reaped, {told} of 20 statuses told"))
}

/// What a call hears of the end of its child.
fn exit_of(gateway: &Gateway, code: u64) -> String {
    let session = gateway.open();
    let answer: Value = session.call("exit", &json!({ "code": code }));
    answer["error"]["data"]["exit"].as_str().unwrap_or_default().to_owned()
}

fn launchers(_: Mode) -> Outcome {
    let child = proof_child();
    let one = format!("sh -c \"exec 3<&0; {child} linger <&3 3<&- & wait\"");
    let two = format!("sh -c \"exec 3<&0; sh -c 'exec 4<&0; {child} linger <&4 4<&- & wait' <&3 3<&- & wait\"");
    let script = format!("require('child_process').spawn('sh',['-c','{child} linger; true'],{{stdio:'inherit'}})");
    let three = format!("node -e \"{script}\"");
    let mut figures = Vec::new();
    let mut is_ok = true;
    let has_node = program("node").is_ok();
    for (line, count) in [(one, 2), (two, 3), (three, 3)].into_iter().take(if has_node { 3 } else { 2 }) {
        let gateway = Start::new(&[]).cmd(&line).run();
        let session = gateway.open();
        session.echoes("it works");
        let processes = gateway.descendants().len();
        session.delete();
        let gone = took(10 * SECOND, || gateway.descendants().is_empty() && gateway.children().is_empty());
        is_ok &= processes >= count && gone.is_some_and(|gone| gone <= 5 * SECOND);
        figures.push(format!("{processes} gone after {}", ms_or(gone, "more than 10 s")));
    }
    if !has_node {
        figures.push("no node here".to_owned());
    }
    measured(is_ok, figures.join(" · "))
}

fn stdout_kept(_: Mode) -> Outcome {
    let gateway = Start::new(&[]).cmd(&format!("sh -c 'sleep 3600 & exec {}'", proof_child())).run();
    let session = gateway.open();
    let began = Instant::now();
    let answer = session.call("exit", &json!({ "code": 3 }));
    let told = began.elapsed();
    let next = session.tell(call("1", "1", "echo", &json!({}))).status();
    let gone = took(10 * SECOND, || gateway.descendants().is_empty());
    let is_ok = answer["error"]["data"]["exit"] == "exit status 3" && told <= SECOND && next == 404;
    let figure = format!("told after {}, then {next}; all gone after {}", ms(told), ms_or(gone, "more than 10 s"));
    measured(is_ok && gone.is_some_and(|gone| gone <= 5 * SECOND), figure)
}

fn ignores_term(_: Mode) -> Outcome {
    let gateway = Start::new(&[]).cmd(&format!("sh -c \"trap '' TERM; exec {} linger\"", proof_child())).run();
    let session = gateway.open();
    session.echoes("it works");
    let child = gateway.child();
    let began = Instant::now();
    session.delete();
    let reaped = took(15 * SECOND, || Process::read(child).is_none());
    let after = began.elapsed();
    measured(reaped.is_some() && (4 * SECOND..=5 * SECOND).contains(&after), format!("reaped after {}", ms(after)))
}

fn killed_gateway(mode: Mode) -> Outcome {
    let gateway = Start::new(&[]).child(&["--", &proof_child(), "linger"]).run();
    let sessions: Vec<Client> = (0..5).map(|_| open(&gateway)).collect();
    let idle = mode.pick(12, 16) * SECOND;
    std::thread::sleep(idle);
    let left = gateway.descendants().len();
    gateway.signal(Signal::KILL);
    let gone = took(10 * SECOND, || gateway.descendants().is_empty());
    drop(sessions);
    let figure = format!("{left} of 5 alive after {}; gone {} after the kill", ms(idle), ms_or(gone, "not"));
    measured(left == 5 && gone.is_some_and(|gone| gone <= 2 * SECOND), figure)
}

fn clean_children(_: Mode) -> Outcome {
    const COUNT: usize = 200;
    // The shell ignores signals and holds a file open when it becomes the gateway.
    let around = ["sh", "-c", "trap '' HUP INT QUIT PIPE USR1 USR2; exec 9</etc/passwd; exec \"$0\" \"$@\""];
    let gateway = in_front(&["--max-sessions", "250", "--max-children", "250"])
        .around(&around)
        .env("SECRET_TOKEN", "canary-7f3a")
        .env("NOTIFY_SOCKET", "/canary-7f3a")
        .env("OTEL_EXPORTER_OTLP_HEADERS", "canary-7f3a")
        .run();
    let sessions: Vec<Client> = std::thread::scope(|scope| {
        let opening: Vec<_> = (0..COUNT).map(|_| scope.spawn(|| open(&gateway))).collect();
        opening.into_iter().map(|opening| opening.join().expect("no panic")).collect()
    });
    let children = gateway.children();
    let mut wrong = Vec::new();
    let mut servers = 0;
    for child in &children {
        let read = |name: &str| std::fs::read(format!("/proc/{}/{name}", child.pid)).unwrap_or_default();
        if !String::from_utf8_lossy(&read("cmdline")).contains("proof_child") {
            continue;
        }
        servers += 1;
        if String::from_utf8_lossy(&read("environ")).contains("canary-7f3a") {
            wrong.push("a secret".to_owned());
        }
        let descriptors = proc::descriptors(child.pid);
        if descriptors != 3 {
            wrong.push(format!("{descriptors} descriptors"));
        }
        let status = String::from_utf8_lossy(&read("status")).into_owned();
        let mask = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(u64::MAX)
        };
        // The Rust runtime of this server itself ignores PIPE; real-time signals are whatever the tester's shell has.
        let (blocked, ignored) = (mask("SigBlk:"), mask("SigIgn:") & 0x7fff_ffff & !(1 << 12));
        if (blocked, ignored) != (0, 0) {
            wrong.push(format!("signals {blocked:x} {ignored:x}"));
        }
    }
    let pipe = signal_13_of_a_plain_child();
    drop(sessions);
    let Measured { figure, is_ok } = pipe;
    let count = wrong.len();
    wrong.truncate(3);
    measured(
        servers == COUNT && count == 0 && is_ok,
        format!("{servers} children, {count} with a fault {}; {figure}", wrong.join(", ")),
    )
}

/// PIPE is not ignored in a child that does not do so itself.
fn signal_13_of_a_plain_child() -> Measured {
    let gateway =
        Start::new(&[]).cmd(&format!("sh -c 'grep SigIgn /proc/self/status >&2; exec {}'", example("proof_child"))).run();
    drop(open(&gateway));
    let mask = || gateway.log().iter().find_map(|line| line.split_once("SigIgn:").map(|(_, mask)| mask.to_owned()));
    took(SECOND, || mask().is_some());
    let digits: String = mask().unwrap_or_default().chars().filter(char::is_ascii_hexdigit).take(18).collect();
    let digits = digits.trim_start_matches('9').to_owned(); // a tab is logged escaped
    let is_ok = digits.ends_with("0000") && !digits.is_empty();
    Measured { figure: format!("SigIgn {}", digits.trim_start_matches('0')).trim_end().to_owned() + " in a plain child", is_ok }
}
