//! What takes its time: servers that never start, clients that vanish or do not read.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::check::{Check, Missing, Mode, Outcome, SECOND, measured, ms, ms_or, program, root, took};
use crate::kit::client::{Client, Trouble, connect, echo_times, hello};
use crate::kit::process::{in_front, proof_child};
use crate::kit::stats::percentile;
use crate::support::gateway::{Gateway, Start, stub};
use crate::support::http::Request;
use crate::support::session::{REVISION, call, initialize};

pub(crate) const CHECKS: &[Check] = &[
    Check {
        slug: "crash-loop",
        what: "a server that ends at once with status 1; a client that tries to open a session 20 times a second, for a minute",
        pass: "at most 20 starts a minute; not ready after 5 at the latest, and to the end; each try gets 503 and Retry-After",
        waits: true,
        run: crash_loop,
    },
    Check {
        slug: "slow-initialize",
        what: "a server that answers initialize after 45 s, one that never does; a third session works meanwhile",
        pass: "200 after 45 s; 503 after --initialize-timeout (60 s) and the process is gone; the third's p99 < 250 ms",
        waits: true,
        run: slow_initialize,
    },
    Check {
        slug: "vanished-client",
        what: "a client vanishes (its network is gone) with its GET stream open, --idle-timeout 5s",
        pass: "the stream is free within 45 s (and 1 s for timers); the child is gone within 65 s",
        waits: true,
        run: vanished,
    },
    Check {
        slug: "slow-reader",
        what: "a client stops reading the stream of a call that writes 200 MB; others of its session and beside it go on",
        pass: "at most 1.5 MiB held; cut within 45 s; the stream can be resumed to its answer; its session is served, the other's p99 < 250 ms",
        waits: true,
        run: slow_reader,
    },
];

fn crash_loop(mode: Mode) -> Outcome {
    let length = mode.pick(20, 60) * SECOND;
    let gateway = Start::new(&[]).cmd("sh -c 'exit 1'").run();
    let began = Instant::now();
    let (mut tries, mut refused, mut unready) = (0, 0, None);
    while began.elapsed() < length {
        let reply = gateway.ask(&initialize(REVISION));
        tries += 1;
        refused += usize::from(reply.status() == 503 && reply.head.field("retry-after").is_some());
        if unready.is_none() && gateway.admin("/readyz").status() == 503 {
            unready = Some(gateway.spawns());
        }
        sleep(SECOND / 20);
    }
    let spawns = gateway.spawns();
    let a_minute = spawns as f64 * 60.0 / began.elapsed().as_secs_f64();
    // While a start that failed is not tried again no session can be opened.
    let is_unready = eventually_unready(&gateway);
    let is_ok = (5..=20).contains(&spawns) && refused == tries && unready.is_some_and(|after| after <= 6) && is_unready;
    let unready = unready.map_or("always ready".to_owned(), |after| format!("not ready after {after}"));
    measured(
        is_ok,
        format!(
            "{spawns} starts in {} ({a_minute:.0} a minute); {unready}; {refused} of {tries} tries got it",
            ms(began.elapsed())
        ),
    )
}

/// A start that is being tried just now may still succeed.
fn eventually_unready(gateway: &Gateway) -> bool {
    took(SECOND, || gateway.admin("/readyz").status() == 503).is_some()
}

fn slow_initialize(mode: Mode) -> Outcome {
    let (late, bound) = mode.pick((6, 10), (45, 60));
    let timeout = format!("{bound}s");
    let gateway = in_front(&["--initialize-timeout", &timeout]).run();
    let mut third = Client::open(gateway.address(), REVISION).expect("a session");
    let is_over = AtomicBool::new(false);
    let open = |name: String| {
        let began = Instant::now();
        let mut connection = gateway.connect();
        connection.wait_at_most((bound + 20) * SECOND);
        connection.send(&hello(&name, REVISION).bytes()).expect("it is read");
        let reply = connection.reply().expect("a reply");
        (reply.status(), began.elapsed())
    };
    let (slow, never, times) = thread::scope(|scope| {
        let times = scope.spawn(|| echo_times(&mut third, SECOND / 50, || !is_over.load(Ordering::Relaxed)));
        let slow = scope.spawn(|| open(format!("late:{}", late * 1000)));
        let never = scope.spawn(|| open("never".to_owned()));
        let answered = (slow.join().expect("no panic"), never.join().expect("no panic"));
        is_over.store(true, Ordering::Relaxed);
        (answered.0, answered.1, times.join().expect("no panic"))
    });
    // The session that came late is nobody's business here; two are left: it and the third.
    let gone = took(6 * SECOND, || gateway.children().len() == 2);
    let p99 = times.map(|mut times| percentile(&mut times, 99)).unwrap_or(f64::INFINITY);
    let near = |took: Duration, wanted: u32| (wanted * SECOND..(wanted + 3) * SECOND).contains(&took);
    let is_ok = slow.0 == 200 && near(slow.1, late) && never.0 == 503 && near(never.1, bound) && gone.is_some() && p99 < 250.0;
    let figure =
        format!("{} after {}; {} after {}, process gone; the third's p99 {p99:.1} ms", slow.0, ms(slow.1), never.0, ms(never.1));
    measured(is_ok, figure)
}

/// A network namespace with one link to this one; removed when dropped.
struct Elsewhere {
    name: String,
    link: String,
}

impl Elsewhere {
    fn new(here: &str, there: &str) -> Option<Elsewhere> {
        let id = std::process::id();
        let elsewhere = Elsewhere { name: format!("gateway-proof-{id}"), link: format!("proof{}", id % 100_000) };
        let Elsewhere { name, link } = &elsewhere;
        let steps = [
            format!("netns add {name}"),
            format!("link add {link} type veth peer name p0 netns {name}"),
            format!("addr add {here}/30 dev {link}"),
            format!("link set {link} up"),
            format!("-n {name} addr add {there}/30 dev p0"),
            format!("-n {name} link set p0 up"),
        ];
        steps.iter().all(|step| ip(step)).then_some(elsewhere)
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        ip(&format!("link del {}", self.link));
        ip(&format!("netns del {}", self.name));
    }
}

fn ip(words: &str) -> bool {
    let done = Command::new("ip").args(words.split(' ')).stderr(Stdio::null()).status();
    done.is_ok_and(|status| status.success())
}

fn vanished(_: Mode) -> Outcome {
    root()?;
    program("ip")?;
    let subnet = std::process::id() % 250;
    let (here, there) = (format!("10.217.{subnet}.1"), format!("10.217.{subnet}.2"));
    let elsewhere = Elsewhere::new(&here, &there).ok_or(Missing("network namespaces"))?;
    let listen = format!("{here}:0");
    let gateway = Start::new(&["--listen", &listen, "--insecure-no-auth", "--allowed-host", "*", "--idle-timeout", "5s"])
        .child(&["--", &proof_child()])
        .run();
    let session = gateway.open();
    let mut client = Command::new("ip")
        .args(["netns", "exec", &elsewhere.name, &stub(), "connect", gateway.address()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a client");
    client.stdin.as_mut().expect("piped").write_all(&session.own(Request::get()).bytes()).expect("it reads");
    let mut head = [0; 12];
    client.stdout.as_mut().expect("piped").read_exact(&mut head).expect("a response");
    assert!(ip(&format!("-n {} link set p0 down", elsewhere.name)), "the link can be cut");
    let began = Instant::now();
    let was_held = session.listen().0.status == 409;
    let freed = took(60 * SECOND, || session.listen().0.status == 200).map(|_| began.elapsed());
    let gone = took(70 * SECOND, || gateway.children().is_empty()).map(|_| began.elapsed());
    let _ = client.kill().and_then(|()| client.wait());
    let is_ok = &head == b"HTTP/1.1 200"
        && was_held
        && freed.is_some_and(|freed| freed <= 46 * SECOND)
        && gone.is_some_and(|gone| gone <= 65 * SECOND);
    measured(
        is_ok,
        format!("stream free after {}, child gone after {}", ms_or(freed, "more than 60 s"), ms_or(gone, "more than 70 s")),
    )
}

fn slow_reader(mode: Mode) -> Outcome {
    let gateway = in_front(&["--response", "sse"]).run();
    let slow = Client::open(gateway.address(), REVISION).expect("a session");
    let mut beside = Client::open(gateway.address(), REVISION).expect("a session");
    let is_over = AtomicBool::new(false);
    let before = gateway.metric("events_stored_bytes", "");
    let mut stalled = connect(gateway.address()).expect("a connection");
    let arguments = json!({ "bytes": mode.pick(20_000_000, 200_000_000), "line": 4000 });
    stalled.send(&slow.post(call("\"slow\"", "1", "flood", &arguments)).bytes()).expect("it is read");
    let began = Instant::now();
    let (held, cut, times) = thread::scope(|scope| {
        let times = scope.spawn(|| echo_times(&mut beside, SECOND / 50, || !is_over.load(Ordering::Relaxed)));
        let sibling = scope.spawn(|| {
            let mut count = 0;
            while !is_over.load(Ordering::Relaxed) {
                let reply = gateway.ask(&slow.post(call("2", "2", "echo", &json!({ "text": "x" }))));
                assert_eq!(reply.json()["result"]["content"][0]["text"], "x", "{}", reply.text());
                count += 1;
                sleep(SECOND / 20);
            }
            count
        });
        let mut held = 0;
        took(SECOND, || gateway.metric("sse_streams_active", "post") > 0).expect("a stream");
        let cut = took(60 * SECOND, || {
            held = held.max(gateway.metric("events_stored_bytes", "").saturating_sub(before));
            streams(&gateway) == 0 || began.elapsed() > 55 * SECOND
        });
        let cut = cut.map(|_| began.elapsed()).filter(|cut| *cut < 55 * SECOND);
        is_over.store(true, Ordering::Relaxed);
        let siblings: u32 = sibling.join().expect("no panic");
        assert!(siblings > 0, "its session is served");
        (held, cut, times.join().expect("no panic").expect("answers"))
    });
    let mut times = times;
    let p99 = percentile(&mut times, 99);
    // What had come to the client before it stopped says where it goes on.
    let answer = resumed(&slow, stalled);
    let is_ok = held <= 3 << 19 && cut.is_some() && cut <= Some(45 * SECOND) && answer.is_ok() && p99 < 250.0;
    let held = held as f64 / f64::from(1 << 20);
    let answer = answer.map_or_else(|why| format!("{why:?}"), |gap| format!("resumed to its answer, {gap}"));
    measured(
        is_ok,
        format!("{held:.2} MiB held; cut after {}; {answer}; the other's p99 {p99:.1} ms", ms_or(cut, "more than 55 s")),
    )
}

/// Streams of POSTs being sent whose reader may be stalled: what is left when the short calls are between two.
fn streams(gateway: &Gateway) -> u64 {
    (0..5).map(|_| gateway.metric("sse_streams_active", "post")).min().unwrap_or(0)
}

/// Reads what is left of a stream that was cut, and goes on behind it to the answer; says whether a gap was told.
fn resumed(client: &Client, stalled: crate::support::http::Connection) -> Result<&'static str, Trouble> {
    let (_, events) = stalled.arriving()?;
    let mut last = String::new();
    for event in events {
        if !event.id.is_empty() {
            last = event.id;
        }
    }
    let mut gap = "no gap told";
    for _ in 0..100 {
        let Some(events) = client.events(&client.get().with("last-event-id", &last))? else { continue };
        for event in events {
            if !event.id.is_empty() {
                last.clone_from(&event.id);
            }
            if event.data.is_empty() {
                continue;
            }
            let message = event.json();
            if message["id"] == "slow" {
                return Ok(gap);
            }
            if message["params"]["logger"].is_string() || message["params"]["data"].is_object() {
                gap = "the gap told";
            }
        }
    }
    Err(Trouble::Wrong("no answer".to_owned()))
}
