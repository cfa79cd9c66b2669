//! More than anybody reads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use serde_json::json;

use super::pressure::most_resident;
use crate::check::{Check, Mode, Outcome, SECOND, measured, ms};
use crate::kit::client::{Client, connect, echo_times, events_of};
use crate::kit::process::{in_front, mib};
use crate::kit::stats::percentile;
use crate::support::proc;
use crate::support::session::{REVISION, call};

pub(crate) const CHECKS: &[Check] = &[
    Check {
        slug: "stdout-flood",
        what: "a server writes 10 GB of valid notifications, nobody reads them; another session beside it",
        pass: "RSS at most base + 1.3 × 1 MiB + 1 MiB; its call is answered; the other's p99 < 100 ms",
        waits: false,
        run: stdout_flood,
    },
    Check {
        slug: "hundred-floods",
        what: "the servers of 100 sessions write 10 GB in all; nobody reads; 1 MiB a session, 64 MiB in all",
        pass: "RSS at most base + 1.3 × 64 MiB; each call is answered or told what was lost",
        waits: false,
        run: hundred_floods,
    },
];

/// Bytes of one line: as long as lines of servers that have something to say.
const LINE: u64 = 4000;

fn stdout_flood(mode: Mode) -> Outcome {
    let bytes = mode.pick(1_000_000_000_u64, 10_000_000_000);
    let gateway = in_front(&["--request-timeout", "10m", "--response", "json"]).run();
    let mut beside = Client::open(gateway.address(), REVISION).expect("a session");
    let client = Client::open(gateway.address(), REVISION).expect("a session");
    // Its answer is not waited for: the flood belongs to no call that somebody reads.
    let mut flooding = connect(gateway.address()).expect("a connection");
    let is_over = AtomicBool::new(false);
    echo_times(&mut beside, SECOND / 100, || false).expect("an answer");
    let first = proc::resident(gateway.pid());
    let began = Instant::now();
    let ((times, answered), most) = most_resident(&gateway, || {
        thread::scope(|scope| {
            let times = scope.spawn(|| echo_times(&mut beside, SECOND / 100, || !is_over.load(Ordering::Relaxed)));
            let arguments = json!({ "bytes": bytes, "line": LINE });
            // Its response is plain JSON: nothing but the answer comes to its client.
            let request = client.post(call("1", "1", "flood", &arguments));
            flooding.wait_at_most(300 * SECOND);
            let reply = flooding.send(&request.bytes()).and_then(|()| flooding.reply());
            is_over.store(true, Ordering::Relaxed);
            let answered = reply.is_ok_and(|reply| reply.text().contains("flooded"));
            (times.join().expect("no panic"), answered)
        })
    });
    let lasted = began.elapsed();
    let grown = mib(most) - mib(first);
    let speed = bytes as f64 / 1e6 / lasted.as_secs_f64();
    let p99 = times.map_or(f64::INFINITY, |mut times| percentile(&mut times, 99));
    let answer = if answered { "answered" } else { "not answered" };
    let is_ok = grown <= 2.3 && answered && p99 < 100.0;
    measured(is_ok, format!("{speed:.0} MB/s for {}: RSS {grown:+.1} MiB, {answer}; beside: p99 {p99:.1} ms", ms(lasted)))
}

fn hundred_floods(mode: Mode) -> Outcome {
    const SESSIONS: u64 = 100;
    let bytes = mode.pick(1_000_000_000_u64, 10_000_000_000) / SESSIONS;
    let gateway =
        in_front(&["--max-sessions", "128", "--max-children", "128", "--request-timeout", "10m", "--response", "sse"]).run();
    let clients: Vec<Client> = (0..SESSIONS).map(|_| Client::open(gateway.address(), REVISION).expect("a session")).collect();
    let first = proc::resident(gateway.pid());
    let began = Instant::now();
    let body = call("1", "1", "flood", &json!({ "bytes": bytes, "line": LINE }));
    let (answered, most) = most_resident(&gateway, || {
        // The calls' streams are open and not read: what comes on them is kept, as far as there is room.
        let calls: Vec<_> = clients.iter().map(|client| client.send(&body).expect("it is sent")).collect();
        let done = || gateway.metric("messages_total", "direction=\"to_client\",kind=\"answer\"");
        let wanted = 2 * SESSIONS;
        let limit = 300 * SECOND;
        crate::check::took(limit, || {
            thread::sleep(SECOND / 10);
            done() >= wanted
        });
        let held = gateway.metric("events_stored_bytes", "");
        let answered = calls.into_iter().map(|call| {
            call.wait_at_most(10 * SECOND);
            events_of(call)
                .is_ok_and(|events| events.is_some_and(|events| events.filter(|event| !event.data.is_empty()).last().is_some()))
        });
        (answered.filter(|answered| *answered).count(), held)
    });
    let (streams, held) = answered;
    let lasted = began.elapsed();
    let told = clients.iter().filter(|client| is_told(client)).count();
    let grown = mib(most) - mib(first);
    let total = (bytes * SESSIONS) as f64 / 1e9;
    let is_ok = grown <= 64.0 * 1.3 && streams == SESSIONS as usize && told == SESSIONS as usize && held <= 64 << 20;
    measured(
        is_ok,
        format!(
            "{total:.0} GB in {}: RSS {grown:+.1} MiB, {:.1} MiB held; {streams} streams read, {told} of {SESSIONS} sessions work",
            ms(lasted),
            held as f64 / f64::from(1 << 20)
        ),
    )
}

/// Whether the session goes on.
fn is_told(client: &Client) -> bool {
    let again = Client::resumed(client.address(), &client.id, REVISION);
    again.and_then(|mut again| again.call(&json!(2), "echo", &json!({ "text": "x" }))).is_ok_and(|text| text == "x")
}
