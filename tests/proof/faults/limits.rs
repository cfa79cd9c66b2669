//! Bounds that are reached: connections, sessions, memory.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::check::{Cgroup, Check, Missing, Mode, Outcome, SECOND, measured, ms_or, root, took};
use crate::kit::client::{Client, ask, connect, echo_times};
use crate::kit::process::{Usage, in_front, mib};
use crate::support::http::Connection;
use crate::support::session::{REVISION, initialize};

pub(crate) const CHECKS: &[Check] = &[
    Check {
        slug: "connection-cap",
        what: "--max-connections 500, and 500 clients beyond it while 200 connections are in use",
        pass: "each beyond it gets 503 or waits; 0 errors on the connections in use; served again once there is room",
        waits: false,
        run: connection_cap,
    },
    Check {
        slug: "initialize-flood",
        what: "1,000 initialize a second (20 s; --full: 60 s) with --max-sessions 50, refused; then with --at-session-cap evict-idle",
        pass: "at most 50 sessions and 64 children; 503 with Retry-After; with evict-idle old idle ones make room; at the start again after the idle time",
        waits: false,
        run: initialize_flood,
    },
    Check {
        slug: "memory-limit",
        what: "256 MiB for the gateway and its children (memory cgroup); sessions are opened whose servers take 8 MiB each",
        pass: "503 with Retry-After from 90 % on; nothing is killed for memory; open sessions are served; it opens again when there is room",
        waits: false,
        run: memory_limit,
    },
];

fn connection_cap(_: Mode) -> Outcome {
    let gateway = in_front(&["--max-connections", "500"]).run();
    let mut sessions: Vec<Client> = (0..50).map(|_| Client::open(gateway.address(), REVISION).expect("a session")).collect();
    let own = |client: &Client| client.post(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    let ping = own(&sessions[0]);
    let mut used: Vec<Connection> = (0..150).map(|_| gateway.connect()).collect();
    used.iter_mut().for_each(|connection| assert_eq!(connection.exchange(&ping).status(), 200, "within the cap"));
    let is_over = AtomicBool::new(false);
    let (errors, refused, waiting, answered) = thread::scope(|scope| {
        let busy = scope.spawn(|| {
            let mut count = (0, 0);
            while !is_over.load(Ordering::Relaxed) {
                for connection in &mut used {
                    let fine = ask(connection, &ping).is_ok_and(|reply| reply.status() == 200);
                    count = (count.0 + 1, count.1 + usize::from(!fine));
                }
                for session in &mut sessions {
                    let fine = session.call(&json!(1), "echo", &json!({ "text": "x" })).is_ok_and(|text| text == "x");
                    count = (count.0 + 1, count.1 + usize::from(!fine));
                }
            }
            count
        });
        // 300 fill it, 500 are beyond it.
        let beyond: Vec<Connection> = (0..800).map(|_| gateway.connect()).collect();
        let (mut refused, mut waiting, mut served) = (0, 0, 0);
        for mut connection in beyond.into_iter().skip(300) {
            connection.wait_at_most(SECOND / 10);
            let sent = connection.send(&ping.bytes());
            match (sent, connection.reply().map(|reply| reply.status())) {
                (_, Ok(503)) => refused += 1,
                (_, Ok(_)) => served += 1,
                (_, Err(error)) if error.kind() == std::io::ErrorKind::WouldBlock => waiting += 1,
                _ => refused += usize::from(gateway.metric("rejected_total", "connections") > 0),
            }
        }
        is_over.store(true, Ordering::Relaxed);
        let (count, errors) = busy.join().expect("no panic");
        (errors, refused, waiting + served, count)
    });
    let again = took(5 * SECOND, || {
        connect(gateway.address())
            .is_ok_and(|mut connection| ask(&mut connection, &ping).is_ok_and(|reply| reply.status() == 200))
    });
    let is_ok = errors == 0 && refused + waiting == 500 && refused > 0 && again.is_some();
    measured(
        is_ok,
        format!(
            "{refused} refused, {waiting} waited; {errors} errors in {answered} requests; served again after {}",
            ms_or(again, "never")
        ),
    )
}

/// What came of a flood.
#[derive(Default)]
struct Flood {
    asked: AtomicUsize,
    opened: AtomicUsize,
    refused: AtomicUsize,
    other: AtomicUsize,
}

fn flood(address: &str, length: Duration, rate: usize, flood: &Flood) {
    const CLIENTS: usize = 16;
    let began = Instant::now();
    let bytes = initialize(REVISION);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut connection = None;
                while began.elapsed() < length {
                    let at = flood.asked.fetch_add(1, Ordering::Relaxed);
                    sleep(Duration::from_secs_f64(at as f64 / rate as f64).saturating_sub(began.elapsed()));
                    let mut open = connection.take().or_else(|| connect(address).ok());
                    let reply = open.as_mut().map(|connection| ask(connection, &bytes));
                    match reply {
                        Some(Ok(reply)) if reply.status() == 200 => flood.opened.fetch_add(1, Ordering::Relaxed),
                        Some(Ok(reply)) if reply.status() == 503 && reply.head.field("retry-after").is_some() => {
                            flood.refused.fetch_add(1, Ordering::Relaxed)
                        }
                        Some(Ok(_)) => flood.other.fetch_add(1, Ordering::Relaxed),
                        _ => {
                            flood.other.fetch_add(1, Ordering::Relaxed);
                            continue;
                        }
                    };
                    connection = open;
                }
            });
        }
    });
}

fn initialize_flood(mode: Mode) -> Outcome {
    let length = match mode {
        Mode::Quick => 4,
        Mode::Usual => 20,
        Mode::Full => 60,
    } * SECOND;
    let mut figures = Vec::new();
    let mut is_ok = true;
    // Only who was idle for 5 s may be evicted.
    for (policy, length) in [("refuse", length / 2), ("evict-idle", (length / 2).max(8 * SECOND))] {
        let gateway = in_front(&[
            "--max-sessions",
            "50",
            "--max-children",
            "64",
            "--idle-timeout",
            "6s",
            "--at-session-cap",
            policy,
            "--log",
            "warn,mcp_http_gateway::gateway=info",
        ])
        .run();
        Client::open(gateway.address(), REVISION).and_then(Client::delete).expect("a session");
        took(5 * SECOND, || gateway.children().is_empty());
        let first = Usage::of(gateway.pid());
        let counts = Flood::default();
        let is_over = AtomicBool::new(false);
        let most = thread::scope(|scope| {
            let watching = scope.spawn(|| {
                let mut most = (0, 0);
                while !is_over.load(Ordering::Relaxed) {
                    most = (most.0.max(gateway.metric("sessions_active", "") as usize), most.1.max(gateway.children().len()));
                    sleep(SECOND / 20);
                }
                most
            });
            flood(gateway.address(), length, 1000, &counts);
            is_over.store(true, Ordering::Relaxed);
            watching.join().expect("no panic")
        });
        let read = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        let back = took(25 * SECOND, || {
            let now = Usage::of(gateway.pid());
            gateway.children().is_empty() && gateway.metric("sessions_active", "") == 0 && now.descriptors <= first.descriptors
        });
        let grown = mib(Usage::of(gateway.pid()).resident) - mib(first.resident);
        let makes_room = policy == "refuse" || read(&counts.opened) > 50;
        let rate = (read(&counts.asked) as f64 / length.as_secs_f64()) as usize;
        is_ok &=
            most.0 <= 50 && most.1 <= 64 && read(&counts.other) == 0 && read(&counts.refused) > 0 && back.is_some() && makes_room;
        is_ok &= rate >= 900 && grown < 16.0;
        figures.push(format!(
            "{policy}: {rate}/s, {} opened, {} refused, {} other, at most {} sessions, {} children; back after {}, RSS {grown:+.1} MiB",
            read(&counts.opened),
            read(&counts.refused),
            read(&counts.other),
            most.0,
            most.1,
            ms_or(back, "never")
        ));
    }
    measured(is_ok, figures.join(" · "))
}

fn memory_limit(_: Mode) -> Outcome {
    root()?;
    const MISSING: Missing = Missing("writable cgroup of the memory controller");
    const LIMIT: f64 = 256.0;
    let v1 = Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists();
    let (below, limit, current) = match v1 {
        true => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
        false => ("/sys/fs/cgroup", "memory.max", "memory.current"),
    };
    let cgroup = Cgroup::new(below, "memory").ok_or(MISSING)?;
    cgroup.write(limit, "268435456").then_some(()).ok_or(MISSING)?;
    let words = cgroup.words();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let gateway = in_front(&["--exit-with-parent"]).around(&words).run();
    let used = || cgroup.read(current).trim().parse::<usize>().map_or(0.0, mib);
    let mut sessions = Vec::new();
    let mut shed = None;
    for _ in 0..60 {
        let reply = gateway.ask(&initialize(REVISION));
        if reply.status() != 200 {
            shed = Some((reply.status(), reply.head.field("retry-after").is_some(), used()));
            break;
        }
        let id = reply.head.field("mcp-session-id").unwrap_or_default().to_owned();
        let mut client = Client::resumed(gateway.address(), &id, REVISION).expect("a connection");
        client.call(&json!(1), "take", &json!({ "bytes": 8 << 20 })).expect("memory");
        sessions.push(client);
        sleep(SECOND / 10); // memory is looked at now and then
    }
    // Others go on trying, and those that are open go on working.
    let began = Instant::now();
    let mut refused = 0;
    while began.elapsed() < 3 * SECOND {
        refused += usize::from(gateway.ask(&initialize(REVISION)).status() == 503);
        sleep(SECOND / 50);
    }
    let served = sessions.iter_mut().filter_map(|client| echo_times(client, Duration::ZERO, || false).ok()).count();
    let opened = sessions.len();
    let unready = gateway.admin("/readyz").status() == 503;
    let killed = oom_kills(&cgroup);
    sessions.into_iter().take(opened / 2).for_each(|client| drop(client.delete()));
    let again = took(10 * SECOND, || gateway.ask(&initialize(REVISION)).status() == 200);
    let at = shed.map_or(0.0, |(_, _, used)| used / LIMIT * 100.0);
    let is_ok = shed.is_some_and(|(status, retry, _)| status == 503 && retry) && (85.0..100.0).contains(&at);
    let is_ok = is_ok && killed == 0 && served == opened && refused > 0 && again.is_some() && unready;
    let figure = format!(
        "{opened} sessions, then {} at {at:.0} %; {served} of {opened} served; {killed} killed for memory; opens again after {}",
        shed.map_or("nothing".to_owned(), |(status, retry, _)| format!(
            "{status}{}",
            if retry { " with Retry-After" } else { "" }
        )),
        ms_or(again, "never")
    );
    measured(is_ok, figure)
}

fn oom_kills(cgroup: &Cgroup) -> u64 {
    let text = cgroup.read("memory.oom_control") + &cgroup.read("memory.events");
    text.lines().filter_map(|line| line.strip_prefix("oom_kill ")?.parse::<u64>().ok()).sum()
}
