//! Floods of HTTP/2 frames.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, POST, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, block, frame,
    kept,
};
use super::pressure::most_resident;
use crate::check::{Check, Mode, Outcome, SECOND, measured, ms, took};
use crate::kit::client::Client;
use crate::kit::process::{in_front, mib};
use crate::support::gateway::Gateway;
use crate::support::proc::{self, Process};
use crate::support::session::{REVISION, initialize};

pub(crate) const CHECKS: &[Check] = &[
    Check {
        slug: "rapid-reset",
        what: "20,000 streams that are opened with an initialize and reset by the client at once",
        pass: "GOAWAY or closed after at most 1,100 resets; 0 children; idle within 1 s",
        waits: false,
        run: rapid_reset,
    },
    Check {
        slug: "made-reset",
        what: "20,000 streams that the gateway has to reset, because of WINDOW_UPDATE frames of 0, or beyond 2^31",
        pass: "GOAWAY or closed after at most 1,100 resets each; 0 children; idle within 1 s",
        waits: false,
        run: made_reset,
    },
    Check {
        slug: "frame-floods",
        what: "100,000 frames each: CONTINUATION without end, fields for the HPACK table, 4,000 references to a field of 4,000 bytes, PING, SETTINGS, empty DATA",
        pass: "GOAWAY, closed, or each answered and nothing kept: RSS +2 MiB at most; another session is answered",
        waits: false,
        run: frame_floods,
    },
];

/// What a flood of streams came to.
struct Flood {
    sent: usize,
    resets: usize,
    goaway: Option<u32>,
    ended: bool,
    busy: Duration,
}

/// Whether requests that are written by hand are understood: so many at a time are all answered.
fn are_answered(gateway: &Gateway, count: u32) -> bool {
    let mut raw = Raw::open(gateway.address());
    for round in 0..5 {
        let one = |at: u32| frame(HEADERS, END_HEADERS | END_STREAM, (round * count + at) * 2 + 1, &block(POST));
        if !raw.send(&(0..count).flat_map(one).collect::<Vec<u8>>()) {
            return false;
        }
        let wanted = ((round + 1) * count) as usize;
        let all = took(SECOND, || {
            raw.read();
            raw.frames[usize::from(HEADERS)] == wanted
        });
        if all.is_none() || raw.has_ended() {
            return false;
        }
    }
    true
}

/// CPU in a second, a second after a flood.
fn still_busy(gateway: &Gateway) -> Duration {
    let cpu = || Process::read(gateway.pid()).map(|process| process.cpu()).unwrap_or_default();
    sleep(SECOND);
    let before = cpu();
    sleep(SECOND / 2);
    cpu() - before
}

fn resets(gateway: &Gateway, one: impl Fn(u32) -> Vec<u8>) -> Flood {
    let mut raw = Raw::open(gateway.address());
    let mut sent = 0;
    for at in 0..20_000_u32 {
        if !raw.send(&one(at * 2 + 1)) || raw.has_ended() {
            break;
        }
        sent += 1;
        if at % 100 == 99 {
            sleep(Duration::from_millis(1)); // what it says to that may be on its way
            raw.read();
        }
    }
    let began = Instant::now();
    while !raw.has_ended() && began.elapsed() < SECOND {
        sleep(Duration::from_millis(5));
        raw.read();
    }
    let resets = raw.frames[usize::from(RST_STREAM)];
    Flood { sent, resets, goaway: raw.goaway, ended: raw.has_ended(), busy: still_busy(gateway) }
}

fn verdict(gateway: &Gateway, floods: &[(&str, Flood)]) -> Outcome {
    let spawns = gateway.spawns();
    // The count of those that were sent is that of the client: some were on their way when it was told.
    let one = |flood: &Flood| flood.ended && flood.sent <= 1_100 && flood.busy < SECOND / 20;
    let is_ok = spawns == 0 && floods.iter().all(|(_, flood)| one(flood));
    let text = |(name, flood): &(&str, Flood)| {
        let ended = match (flood.goaway, flood.ended) {
            (Some(code), _) => format!("GOAWAY {code}"),
            (None, true) => "closed".to_owned(),
            (None, false) => "not ended".to_owned(),
        };
        format!(
            "{name}: {ended} after {} streams, {} resets by the gateway, CPU {} in 0.5 s after",
            flood.sent,
            flood.resets,
            ms(flood.busy)
        )
    };
    measured(is_ok, format!("{}; {spawns} children", floods.iter().map(text).collect::<Vec<String>>().join(" · ")))
}

fn rapid_reset(_: Mode) -> Outcome {
    let gateway = in_front(&[]).run();
    assert!(are_answered(&gateway, 10), "frames are understood");
    let body = initialize(REVISION).bytes();
    let at = body.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head") + 4;
    let body = &body[at..];
    // Whole requests would be served: the body stays without its end.
    let one = |stream| {
        let head = frame(HEADERS, END_HEADERS, stream, &block(POST));
        let part = frame(DATA, 0, stream, &body[..body.len() - 1]);
        [head, part, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    };
    let flood = resets(&gateway, one);
    verdict(&gateway, &[("reset by the client", flood)])
}

fn made_reset(_: Mode) -> Outcome {
    let gateway = in_front(&[]).run();
    assert!(are_answered(&gateway, 10), "frames are understood");
    let with = |stream, update: u32, times: usize| {
        let head = frame(HEADERS, END_HEADERS, stream, &block(POST));
        [head, frame(WINDOW_UPDATE, 0, stream, &update.to_be_bytes()).repeat(times)].concat()
    };
    let zero = resets(&gateway, |stream| with(stream, 0, 1));
    let beyond = resets(&gateway, |stream| with(stream, 0x7fff_ffff, 2));
    // Half closed, and then written to again.
    let closed = resets(&gateway, |stream| {
        let get = [(":method", "GET"), POST[1], ("\u{3a}path", "/nowhere"), POST[3]];
        let head = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&get));
        [head, frame(DATA, 0, stream, b"x")].concat()
    });
    verdict(&gateway, &[("update of 0", zero), ("beyond 2^31", beyond), ("data behind the end", closed)])
}

fn frame_floods(mode: Mode) -> Outcome {
    let count = mode.pick(20_000_usize, 100_000);
    let gateway = in_front(&[]).run();
    let mut session = Client::open(gateway.address(), REVISION).expect("a session");
    // What every connection and so many streams at a time need is there before.
    assert!(are_answered(&gateway, 50), "frames are understood");
    sleep(SECOND / 5);
    let filler = "y".repeat(100);
    let long = block(&[("x-filler", &filler)]);
    let open = frame(HEADERS, END_STREAM, 1, &block(POST));
    let settings: Vec<u8> = [4_u16.to_be_bytes().as_slice(), &65535_u32.to_be_bytes()].concat();
    let mut figures = Vec::new();
    let mut is_ok = true;
    type One<'a> = Box<dyn Fn(usize) -> Vec<u8> + 'a>;
    let floods: [(&str, One<'_>); 6] = [
        ("CONTINUATION", Box::new(|at| if at == 0 { open.clone() } else { frame(CONTINUATION, 0, 1, &long) })),
        (
            "HPACK",
            Box::new(|at| {
                let name = format!("x-{at}");
                let fields = [kept(&[(&name, &filler), (&format!("{name}-b"), &filler)]), block(POST)];
                let stream = at as u32 * 2 + 1;
                // Pseudo-fields come first.
                let fields = [fields[1].as_slice(), &fields[0]].concat();
                frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields)
            }),
        ),
        (
            "HPACK references",
            Box::new(|at| {
                let stream = at as u32 * 2 + 1;
                // The newest entry of the table has number 62 (RFC 7541, 2.3.3).
                let first = kept(&[("x", &"z".repeat(3_900))]);
                let fields = [block(POST), if at == 0 { first } else { vec![0x80 | 62; 4_000] }].concat();
                frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields)
            }),
        ),
        ("PING", Box::new(|at| frame(PING, 0, 0, &(at as u64).to_be_bytes()))),
        ("SETTINGS", Box::new(|_| frame(SETTINGS, 0, 0, &settings))),
        ("DATA", Box::new(|at| if at == 0 { frame(HEADERS, END_HEADERS, 1, &block(POST)) } else { frame(DATA, 0, 1, b"") })),
    ];
    for (name, one) in floods {
        let first = proc::resident(gateway.pid());
        let mut raw = Raw::open(gateway.address());
        let (sent, most) = most_resident(&gateway, || {
            let mut sent = 0;
            for at in (0..count).step_by(50) {
                let bytes: Vec<u8> = (at..at + 50).flat_map(&one).collect();
                if !raw.send(&bytes) || raw.has_ended() {
                    break;
                }
                sent += 50;
                // Requests are not sent faster than they are answered: how many may be in flight is another matter.
                let answers = |raw: &Raw| raw.frames[usize::from(HEADERS)] + raw.frames[usize::from(RST_STREAM)];
                if name.starts_with("HPACK") {
                    took(SECOND / 5, || {
                        raw.read();
                        raw.has_ended() || answers(&raw) >= sent
                    });
                }
            }
            sleep(SECOND / 5);
            raw.read();
            sent
        });
        let grown = mib(most) - mib(first);
        let answered = session.call(&json!(1), "echo", &json!({ "text": "x" })).is_ok();
        let end = match (raw.goaway, raw.is_closed) {
            (Some(code), _) => format!("GOAWAY {code} after {sent}"),
            (None, true) => format!("closed after {sent}"),
            (None, false) => format!("{sent} taken, {} frames back", raw.frames.iter().sum::<usize>()),
        };
        // CONTINUATION is to be ended; of the others each may be answered, as long as nothing is kept.
        is_ok &= grown <= 2.0 && answered && (name != "CONTINUATION" || raw.has_ended());
        figures.push(format!("{name}: {end}, RSS {grown:+.2} MiB"));
    }
    measured(is_ok, format!("{}; {} child", figures.join(" · "), gateway.children().len()))
}
