//! Many of a kind.

use std::sync::Barrier;
use std::thread;

use serde_json::json;

use crate::check::{Check, Mode, Outcome, SECOND, measured, ms_or, took};
use crate::kit::client::Client;
use crate::kit::process::{in_front, mib};
use crate::support::proc;
use crate::support::session::REVISION;

pub(crate) const CHECKS: &[Check] = &[
    Check {
        slug: "hundred-gets",
        what: "100 clients ask for the GET stream of one session at once, 20 times",
        pass: "one gets 200, 99 get 409",
        waits: false,
        run: hundred_gets,
    },
    Check {
        slug: "hibernation",
        what: "1,000 sessions with --hibernate-after 1s; then each tenth is called",
        pass: "no child left, RSS at most 40 MiB; each call is answered",
        waits: false,
        run: hibernation,
    },
];

fn hundred_gets(_: Mode) -> Outcome {
    let gateway = in_front(&[]).run();
    let (mut fine, rounds) = (0, 20);
    let mut last = (0, 0);
    for _ in 0..rounds {
        let client = Client::open(gateway.address(), REVISION).expect("a session");
        let barrier = Barrier::new(100);
        let statuses: Vec<u16> = thread::scope(|scope| {
            let asking: Vec<_> = (0..100)
                .map(|_| {
                    scope.spawn(|| {
                        let connection = gateway.connect();
                        barrier.wait();
                        let (head, events) = connection.stream(&client.get());
                        (head.status, events)
                    })
                })
                .collect();
            // All are held until the last has its answer.
            let answers: Vec<_> = asking.into_iter().map(|asking| asking.join().expect("no panic")).collect();
            answers.iter().map(|(status, _)| *status).collect()
        });
        let count = |wanted| statuses.iter().filter(|status| **status == wanted).count();
        last = (count(200), count(409));
        fine += usize::from(last == (1, 99));
        client.delete().expect("it ends");
    }
    measured(fine == rounds, format!("{fine} of {rounds} times; the last time {} × 200, {} × 409", last.0, last.1))
}

fn hibernation(mode: Mode) -> Outcome {
    let count = mode.pick(300, 1000);
    let options = [
        "--hibernate-after",
        "1s",
        "--max-sessions",
        "1000",
        "--max-children",
        "1100",
        "--log",
        "warn,mcp_http_gateway::gateway=info",
    ];
    let gateway = in_front(&options).run();
    let ids: Vec<String> = (0..count).map(|_| Client::open(gateway.address(), REVISION).expect("a session").id).collect();
    let slept = took(30 * SECOND, || gateway.children().is_empty());
    thread::sleep(2 * SECOND);
    let sessions = gateway.metric("sessions_active", "");
    let resident = mib(proc::resident(gateway.pid()));
    let again = ids.iter().step_by(10).filter(|id| {
        let client = Client::resumed(gateway.address(), id, REVISION);
        client
            .and_then(|mut client| client.call(&json!(1), "echo", &json!({ "text": "awake" })))
            .is_ok_and(|text| text == "awake")
    });
    let again = again.count();
    let is_ok = slept.is_some() && sessions == count && resident <= 40.0 && again == ids.len().div_ceil(10);
    measured(
        is_ok,
        format!("{sessions} sessions, no child after {}: RSS {resident:.1} MiB; {again} answers", ms_or(slept, "more than 30 s")),
    )
}
