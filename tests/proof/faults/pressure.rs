//! One side does not read, or writes more than anybody wants.

use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::check::{Check, Mode, Outcome, SECOND, measured, ms, ms_or, took};
use crate::kit::client::{Client, Trouble, ask, connect, echo_times};
use crate::kit::process::{in_front, mib};
use crate::kit::stats::percentile;
use crate::support::gateway::Gateway;
use crate::support::http::{Connection, Socket};
use crate::support::proc;
use crate::support::session::{REVISION, call, text_of};

pub(crate) const CHECKS: &[Check] = &[
    Check {
        slug: "stderr-flood",
        what: "a server writes 1 GB to stderr while calls go on in its session",
        pass: "at most 100 lines a second logged (and 100 at once); all of it read, 50 MB/s and more; each call within 1 s",
        waits: false,
        run: stderr_flood,
    },
    Check {
        slug: "child-reads-nothing",
        what: "a server never reads again; 10,000 POSTs for it; another session beside it",
        pass: "at most 1 MiB and one message wait; then 503 with Retry-After; the session ends after 30 to 40 s; the other's p99 within 10 % + 1 ms",
        waits: false,
        run: reads_nothing,
    },
    Check {
        slug: "both-ways",
        what: "a server writes 8 MiB before it reads 8 MiB",
        pass: "both arrive within 5 s",
        waits: false,
        run: both_ways,
    },
    Check {
        slug: "endless-line",
        what: "a server writes a line of 1 GiB, then goes on",
        pass: "RSS +17 MiB at most; its call gets an error; the next line and the next call arrive",
        waits: false,
        run: endless_line,
    },
    Check {
        slug: "one-stalled",
        what: "100 streams in one session, all busy; one of them is not read",
        pass: "the others' p99 below twice what it is when all are read (and 1 ms)",
        waits: false,
        run: one_stalled,
    },
];

fn open(gateway: &Gateway) -> Client {
    Client::open(gateway.address(), REVISION).expect("a session")
}

fn stderr_flood(mode: Mode) -> Outcome {
    let bytes = mode.pick(200_000_000_u64, 1_000_000_000);
    let gateway = in_front(&["--request-timeout", "120s"]).run();
    let client = open(&gateway);
    let is_over = AtomicBool::new(false);
    let began = Instant::now();
    let (written, times) = thread::scope(|scope| {
        let times = scope.spawn(|| {
            let mut beside = Client::resumed(gateway.address(), &client.id, REVISION)?;
            echo_times(&mut beside, SECOND / 100, || !is_over.load(Ordering::Relaxed))
        });
        let mut flooding = connect(gateway.address()).expect("a connection");
        flooding.wait_at_most(120 * SECOND);
        let reply = ask(&mut flooding, &client.post(call("1", "1", "stderr", &json!({ "bytes": bytes }))));
        is_over.store(true, Ordering::Relaxed);
        (reply.map(|reply| text_of(&reply.json()).parse::<u64>().unwrap_or(0)), times.join().expect("no panic"))
    });
    let lasted = began.elapsed();
    let lines = bytes / 92;
    took(10 * SECOND, || gateway.metric("stderr_lines_total", "") >= lines);
    let read = gateway.metric("stderr_lines_total", "");
    let logged = gateway.log().iter().filter(|line| line.contains("a line of an excited server")).count();
    let rate = logged.saturating_sub(100) as f64 / lasted.as_secs_f64();
    let written = written.unwrap_or(0).max(1);
    let speed = bytes as f64 / 1e3 / written as f64;
    let (count, slowest) = times.map_or((0, f64::INFINITY), |mut times| (times.len(), percentile(&mut times, 100)));
    let is_ok = rate <= 101.0 && logged > 0 && read >= lines && speed >= 50.0 && slowest < 1000.0;
    measured(
        is_ok,
        format!("{speed:.0} MB/s, {read} lines read, {logged} logged in {}; {count} calls, slowest {slowest:.0} ms", ms(lasted)),
    )
}

fn reads_nothing(_: Mode) -> Outcome {
    let gateway = in_front(&["--max-calls", "20000"]).run();
    let mut beside = open(&gateway);
    let mut client = open(&gateway);
    let timed = |beside: &mut Client, length: Duration| {
        let began = Instant::now();
        let mut times = echo_times(beside, Duration::from_millis(2), || began.elapsed() < length).expect("answers");
        (percentile(&mut times, 50), percentile(&mut times, 99))
    };
    timed(&mut beside, SECOND);
    let before = timed(&mut beside, 4 * SECOND);
    drop(client.send(&call("1", "1", "hang", &json!({}))));
    let hung = Instant::now();
    let (mut taken, mut refused, mut other, mut most) = (0, 0, 0, 0);
    let pad = "x".repeat(400);
    for at in 0..10_000 {
        match client.tell(&json!({ "jsonrpc": "2.0", "method": "notifications/x", "params": { "at": at, "pad": pad } })) {
            Ok(()) => taken += 1,
            Err(Trouble::Refused(503, _)) => refused += 1,
            Err(_) => other += 1,
        }
        if at % 1000 == 999 {
            sleep(SECOND / 4); // the gauge is set by the clock
            most = most.max(gateway.metric("stdin_queue_bytes", ""));
        }
    }
    let post = client.post(call("2", "2", "echo", &json!({ "text": "x" })));
    let reply = gateway.ask(&post);
    let retry = reply.status() == 503 && reply.head.field("retry-after").is_some();
    let during = timed(&mut beside, 4 * SECOND);
    let ended = took(45 * SECOND, || gateway.ask(&post).status() == 404).map(|_| hung.elapsed());
    let is_near = during.1 <= before.1 * 1.1 + 1.0;
    let is_ok = most <= (1 << 20) + 1024 && most > 1 << 19 && refused > 0 && other == 0 && retry && is_near;
    let is_ok = is_ok && ended.is_some_and(|ended| (30 * SECOND..=40 * SECOND).contains(&ended));
    measured(
        is_ok,
        format!(
            "{taken} taken, {refused} refused, {other} other; {most} bytes waited; ended after {}; beside: p50 {:.2} → {:.2} ms, p99 {:.2} → {:.2} ms",
            ms_or(ended, "more than 45 s"),
            before.0,
            during.0,
            before.1,
            during.1
        ),
    )
}

fn both_ways(_: Mode) -> Outcome {
    let gateway = Gateway::start(&[]);
    let session = gateway.open();
    let began = Instant::now();
    let (_, events) = session.stream(&call("1", "\"t\"", "gush", &json!({ "bytes": 8 << 20 })));
    let text = "y".repeat((8 << 20) - 400);
    let (events, length) = thread::scope(|scope| {
        let reading = scope.spawn(|| events.filter(|event| event.data.len() > 64 << 10).count());
        let length = text_of(&session.call("length", &json!({ "text": text })));
        (reading.join().expect("no panic"), length)
    });
    let took = began.elapsed();
    let is_ok = events == 128 && length == text.len().to_string() && took < 5 * SECOND;
    measured(is_ok, format!("{events} of 128 messages of 64 KiB, {length} bytes read, in {}", ms(took)))
}

/// The most memory that a gateway has while something goes on.
pub(crate) fn most_resident<T>(gateway: &Gateway, work: impl FnOnce() -> T) -> (T, usize) {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut most = 0;
            while !is_over.load(Ordering::Relaxed) {
                most = most.max(proc::resident(gateway.pid()));
                sleep(Duration::from_millis(2));
            }
            most
        });
        let value = work();
        is_over.store(true, Ordering::Relaxed);
        (value, watching.join().expect("no panic"))
    })
}

fn endless_line(mode: Mode) -> Outcome {
    let bytes = mode.pick(1_u64 << 28, 1 << 30);
    let gateway = in_front(&[]).run();
    let mut client = open(&gateway);
    client.call(&json!(1), "echo", &json!({ "text": "x" })).expect("it works");
    let first = proc::resident(gateway.pid());
    let began = Instant::now();
    // The next call is answered behind the whole line: its server writes one thing after the other.
    let ((answer, next), most) = most_resident(&gateway, || {
        let answer = client.call(&json!(2), "line", &json!({ "bytes": bytes }));
        (answer, client.call(&json!(3), "echo", &json!({ "text": "behind it" })))
    });
    let lasted = began.elapsed();
    let grown = mib(most) - mib(first);
    let answer = match answer {
        Err(Trouble::Failed(error)) => format!("error {}", error["code"]),
        other => format!("{other:?}"),
    };
    let lines = gateway.metric("bad_lines_total", "too_long");
    let is_ok = grown <= 17.0 && answer.starts_with("error") && next.is_ok_and(|text| text == "behind it") && lines == 1;
    measured(is_ok, format!("RSS {grown:+.1} MiB, {answer}, {lines} line dropped, the next call answered; {}", ms(lasted)))
}

fn one_stalled(mode: Mode) -> Outcome {
    let length = mode.pick(4, 8) * SECOND;
    // The one that may be stalled brings 4 KB every 0.2 ms; a minute of it.
    let flood = call("\"f\"", "\"f\"", "progress", &json!({ "text": "f", "count": 300_000, "us": 200, "pad": 4000 }));
    let p99 = |is_read: bool| {
        let gateway = in_front(&["--response", "sse"]).run();
        let client = open(&gateway);
        let mut one = connect(gateway.address()).expect("a connection");
        one.send(&client.post(flood.as_str()).bytes()).expect("it is read");
        let cut = one.socket();
        thread::scope(|scope| {
            if is_read {
                scope.spawn(|| one.arriving().map(|(_, events)| events.count()));
            } else {
                sleep(SECOND); // the buffers between fill
            }
            let began = Instant::now();
            let others: Vec<_> = (0..99_u64)
                .map(|at| {
                    let client = &client;
                    scope.spawn(move || {
                        let mut connection = connect(client.address()).expect("a connection");
                        let mut times = Vec::new();
                        while began.elapsed() < length {
                            times.push(one_call(client, &mut connection, at));
                            sleep(Duration::from_millis(70 + (at * 37 + times.len() as u64 * 13) % 60)); // out of step
                        }
                        times
                    })
                })
                .collect();
            let mut times: Vec<f64> = others.into_iter().flat_map(|other| other.join().expect("no panic")).collect();
            if let Socket::Tcp(stream) = &cut {
                let _ = stream.shutdown(Shutdown::Both);
            }
            (percentile(&mut times, 50), percentile(&mut times, 99), times.len())
        })
    };
    let read = p99(true);
    let stalled = p99(false);
    let is_ok = stalled.1 < read.1 * 2.0 + 1.0 && stalled.2 > 1000;
    measured(
        is_ok,
        format!("{} calls: p50 {:.2} → {:.2} ms, p99 {:.2} → {:.2} ms", stalled.2, read.0, stalled.0, read.1, stalled.1),
    )
}

/// A call with one notification of progress, on a stream; how long until its answer, in milliseconds.
fn one_call(client: &Client, connection: &mut Connection, at: u64) -> f64 {
    let text = format!("stream {at}");
    let body = call(&at.to_string(), &at.to_string(), "progress", &json!({ "text": text, "count": 1 }));
    let began = Instant::now();
    let reply = ask(connection, &client.post(body)).expect("an answer");
    assert_eq!(text_of(&reply.json()), text, "{}", reply.text());
    began.elapsed().as_secs_f64() * 1e3
}
