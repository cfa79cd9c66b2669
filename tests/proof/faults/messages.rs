//! Bodies that are bombs, or mean something else to somebody else.

use serde_json::{Value, json};

use crate::check::{Check, Mode, Outcome, SECOND, measured, took};
use crate::kit::client::Client;
use crate::kit::process::in_front;
use crate::support::gateway::Gateway;
use crate::support::proc::Process;
use crate::support::session::{REVISION, call};

pub(crate) const CHECKS: &[Check] = &[
    Check {
        slug: "json-bombs",
        what: "nesting of 129 to 100,000, 4 MiB of `[`, a million keys, a number and a string of escapes of 4 MiB",
        pass: "nesting beyond 128: 400 -32600 or -32700 and nothing for the server; the others 400 or passed; < 50 ms CPU each",
        waits: false,
        run: json_bombs,
    },
    Check {
        slug: "key-folding",
        what: "`Method`, `paramſ`, `\\u006dethod`, two `method`, two `id`, two `params`",
        pass: "an unknown key is no method; two of one are 400; nothing for the server",
        waits: false,
        run: key_folding,
    },
    Check {
        slug: "bodies",
        what: "UTF-16 and UTF-32, a byte order mark, gzip, NaN, invalid UTF-8, control characters, an empty body",
        pass: "400 or 415, nothing for the server",
        waits: false,
        run: bodies,
    },
];

struct Bench {
    gateway: Gateway,
    client: Client,
}

impl Bench {
    fn new() -> Bench {
        let gateway = in_front(&["--max-body", "8MiB"]).run();
        let mut client = Client::open(gateway.address(), REVISION).expect("a session");
        client.call(&json!(1), "echo", &json!({ "text": "x" })).expect("it works");
        Bench { gateway, client }
    }

    fn arrived(&self) -> u64 {
        self.gateway.metric("messages_total", "direction=\"to_child\"")
    }

    fn cpu(&self) -> f64 {
        Process::read(self.gateway.pid()).map_or(0.0, |process| process.cpu().as_secs_f64() * 1e3)
    }

    /// Posts a body: the status, the error's code, whether the server got something, CPU in milliseconds.
    fn post(&self, body: Vec<u8>, encoding: Option<&str>) -> (u16, i64, bool, f64) {
        let request = self.client.post(body);
        let request = encoding.map_or(request.clone(), |encoding| request.with("content-encoding", encoding));
        let (before, cpu) = (self.arrived(), self.cpu());
        let reply = self.gateway.ask(&request);
        let spent = self.cpu() - cpu;
        let answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let arrived = self.arrived() != before;
        if arrived {
            // The server has read it before the next one comes.
            let echo = self.client.post(call("1", "1", "echo", &json!({ "text": "x" })));
            took(5 * SECOND, || self.gateway.ask(&echo).status() == 200);
        }
        (reply.status(), answer["error"]["code"].as_i64().unwrap_or(0), arrived, spent)
    }
}

fn json_bombs(_: Mode) -> Outcome {
    let bench = Bench::new();
    let message =
        |params: &str| format!("{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\",\"params\":{params}}}").into_bytes();
    let nested = |depth: usize| message(&format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth)));
    let keys: String = (0..1_000_000).map(|at| format!("\"k{at}\":0,")).collect::<String>();
    // Deep ones are refused; the others may pass, since they are messages. What a server makes of them is its own affair.
    let cases: Vec<(&str, Vec<u8>, bool)> = vec![
        ("129 deep", nested(127), true),
        ("1,000 deep", nested(1_000), true),
        ("100,000 deep", nested(100_000), true),
        ("100,000 objects deep", message(&format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000))), true),
        ("4 MiB of [", vec![b'['; 4 << 20], true),
        ("4 MiB of [ in params", message(&"[".repeat(4 << 20)), true),
        ("120 deep", nested(120), false),
        ("half a million keys", message(&format!("{{{}\"z\":0}}", &keys[..keys[..6_500_000].rfind("\"k").unwrap_or(0)])), false),
        ("a number of 4 MiB", message(&format!("{{\"a\":{}}}", "1".repeat(4 << 20))), false),
        ("4 MiB of escapes", message(&format!("{{\"a\":\"{}\"}}", "\\u0041".repeat(700_000))), false),
    ];
    let mut wrong = Vec::new();
    let mut slowest: (f64, &str) = (0.0, "");
    for (name, body, is_refused) in &cases {
        // A clock tick is 10 ms: the least of three is what it takes.
        let tries: Vec<(u16, i64, bool, f64)> = (0..3).map(|_| bench.post(body.clone(), None)).collect();
        let cpu = tries.iter().map(|(.., cpu)| *cpu).fold(f64::INFINITY, f64::min);
        slowest = if cpu > slowest.0 { (cpu, name) } else { slowest };
        for (status, code, arrived, _) in tries {
            let is_right = match is_refused {
                true => status == 400 && matches!(code, -32600 | -32700) && !arrived,
                false => matches!(status, 202 | 400),
            };
            if !is_right || cpu >= 50.0 {
                wrong.push(format!("{name}: {status} {code}, {cpu:.0} ms{}", if arrived { ", arrived" } else { "" }));
            }
        }
    }
    let lives = took(SECOND, || bench.gateway.open().call("echo", &json!({ "text": "x" }))["result"].is_object());
    wrong.dedup();
    let first = wrong.first().map(|first| format!("; {first}")).unwrap_or_default();
    measured(
        wrong.is_empty() && lives.is_some(),
        format!("{} bodies; at most {:.0} ms CPU ({}){first}", cases.len(), slowest.0, slowest.1),
    )
}

/// A name, a body, how it is encoded, and the statuses that may come of it.
type Case<'a> = (&'a str, Vec<u8>, Option<&'a str>, &'a [u16]);

fn judged(cases: &[Case<'_>]) -> Outcome {
    let bench = Bench::new();
    let mut wrong = Vec::new();
    for (name, body, encoding, statuses) in cases {
        let (status, code, arrived, _) = bench.post(body.clone(), *encoding);
        if arrived || !statuses.contains(&status) {
            wrong.push(format!("{name}: {status} {code}{}", if arrived { ", arrived" } else { "" }));
        }
    }
    measured(
        wrong.is_empty(),
        format!(
            "{} of {} as they should{}",
            cases.len() - wrong.len(),
            cases.len(),
            wrong.iter().map(|wrong| format!("; {wrong}")).collect::<String>()
        ),
    )
}

fn key_folding(_: Mode) -> Outcome {
    let body = |text: &str| text.as_bytes().to_vec();
    judged(&[
        ("Method", body(r#"{"jsonrpc":"2.0","id":1,"Method":"ping"}"#), None, &[400]),
        ("METHOD", body(r#"{"jsonrpc":"2.0","id":1,"METHOD":"ping"}"#), None, &[400]),
        ("JSONRPC", body(r#"{"JSONRPC":"2.0","id":1,"method":"ping"}"#), None, &[400]),
        ("method twice", body(r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}"#), None, &[400]),
        (
            "method twice, once escaped",
            body(r#"{"jsonrpc":"2.0","id":1,"method":"ping","\u006dethod":"tools/call"}"#),
            None,
            &[400],
        ),
        ("id twice", body(r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#), None, &[400]),
        ("params twice", body(r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{},"params":{}}"#), None, &[400]),
        ("jsonrpc twice", body(r#"{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"ping"}"#), None, &[400]),
        ("result beside method", body(r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#), None, &[400]),
        ("method\\0", body(r#"{"jsonrpc":"2.0","id":1,"method\u0000":"ping"}"#), None, &[400]),
    ])
}

fn bodies(_: Mode) -> Outcome {
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let wide = |width: usize, is_big: bool| -> Vec<u8> {
        let unit = |byte: u8| {
            let mut unit = vec![0; width];
            unit[if is_big { width - 1 } else { 0 }] = byte;
            unit
        };
        ping.bytes().flat_map(unit).collect()
    };
    let with = |value: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"a":{value}}}}}"#).into_bytes();
    // gzip (RFC 1952) of nothing: what is inside does not matter, it is not looked at.
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0".to_vec();
    judged(&[
        ("UTF-16LE", wide(2, false), None, &[400, 415]),
        ("UTF-16BE", wide(2, true), None, &[400, 415]),
        ("UTF-32LE", wide(4, false), None, &[400, 415]),
        ("UTF-32BE", wide(4, true), None, &[400, 415]),
        ("UTF-16 with its mark", [&b"\xff\xfe"[..], &wide(2, false)].concat(), None, &[400, 415]),
        ("a byte order mark", [&b"\xef\xbb\xbf"[..], ping.as_bytes()].concat(), None, &[400]),
        ("gzip", gzip, Some("gzip"), &[415]),
        ("br that is none", ping.into(), Some("br"), &[415]),
        ("NaN", with("NaN"), None, &[400]),
        ("Infinity", with("-Infinity"), None, &[400]),
        ("a control character", with("\"\u{1}\""), None, &[400]),
        ("invalid UTF-8", [&with("\"")[..with("\"").len() - 2], b"\xff\"}}"].concat(), None, &[400]),
        ("a lone continuation byte", [&with("\"")[..with("\"").len() - 2], b"\x80\"}}"].concat(), None, &[400]),
        ("a comment", with("1/*x*/"), None, &[400]),
        ("a trailing comma", with("[1,]"), None, &[400]),
        ("two values", format!("{ping}{ping}").into(), None, &[400]),
        ("nothing", Vec::new(), None, &[400]),
        ("white space", b"  \n ".to_vec(), None, &[400]),
    ])
}
