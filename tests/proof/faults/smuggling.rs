//! Requests with two meanings, byte by byte (RFC 9112), and requests for other hosts.

use serde_json::json;

use crate::check::{Check, Mode, Outcome, SECOND, measured};
use crate::kit::client::Client;
use crate::kit::process::in_front;
use crate::support::gateway::Gateway;
use crate::support::session::REVISION;

pub(crate) const CHECKS: &[Check] = &[
    Check {
        slug: "smuggling",
        what: "requests whose length or end can be read in two ways, a second request hidden in each",
        pass: "400 (413, 414, 431, 501, 505) and closed, or what RFC 9112 allows; no hidden request reaches a server",
        waits: false,
        run: smuggling,
    },
    Check {
        slug: "authority",
        what: "no, two, foreign and malformed Host fields and targets; localhost in every spelling",
        pass: "400 or 421 for the wrong ones, 200 for the right ones; the target's authority counts",
        waits: false,
        run: authority,
    },
];

/// What must come of a vector.
#[derive(Clone, Copy, PartialEq)]
enum Must {
    /// It is refused and the connection closed.
    Refuse,
    /// RFC 9112 lets a recipient take it; the hidden request lies in its body, so it must not run.
    NotRun,
}
use Must::{NotRun, Refuse};

/// Fields and what follows them; `{S}` is the hidden request, `{L}` its length, `{X}` that in hex. A name before `|` is its row's.
const VECTORS: &[(Must, &str)] = &[
    // Lengths.
    (Refuse, "Content-Length: 6\r\nContent-Length: 5\r\n\r\n00000{S}"),
    (Refuse, "Content-Length: 0\r\nContent-Length: {L}\r\n\r\n{S}"),
    (Refuse, "Content-Length: 3, 4\r\n\r\n000{S}"),
    (Refuse, "Content-Length: 0, {L}\r\n\r\n{S}"),
    (Refuse, "Content-Length: +3\r\n\r\n000{S}"),
    (Refuse, "Content-Length: -1\r\n\r\n{S}"),
    (Refuse, "Content-Length: -0\r\n\r\n{S}"),
    (Refuse, "Content-Length: 0x3\r\n\r\n000{S}"),
    (Refuse, "Content-Length: 3.0\r\n\r\n000{S}"),
    (Refuse, "Content-Length: 3e0\r\n\r\n000{S}"),
    (Refuse, "Content-Length: 3 3\r\n\r\n000{S}"),
    (Refuse, "Content-Length: 3;a\r\n\r\n000{S}"),
    (Refuse, "Content-Length: \"3\"\r\n\r\n000{S}"),
    (Refuse, "Content-Length: three\r\n\r\n000{S}"),
    (Refuse, "Content-Length: \r\n\r\n{S}"),
    (Refuse, "Content-Length: 99999999999999999999\r\n\r\n{S}"),
    (Refuse, "Content-Length: 18446744073709551616\r\n\r\n{S}"),
    (Refuse, "Content-Length: \u{664}\r\n\r\n0000{S}"),
    (Refuse, "Content-Length\u{b}: 3\r\n\r\n000{S}"),
    (Refuse, "Content-Length : 3\r\n\r\n000{S}"),
    (Refuse, "Content-Length\t: 3\r\n\r\n000{S}"),
    (Refuse, " Content-Length: 3\r\n\r\n000{S}"),
    (Refuse, "Content-Length:\r\n 3\r\n\r\n000{S}"),
    (Refuse, "Content-Length: 0\r\n folded: 1\r\n\r\n{S}"),
    (Refuse, "Content-Length: 3\0\r\n\r\n000{S}"),
    (Refuse, "Content-Length: 3\rX: y\r\n\r\n000{S}"),
    (NotRun, "Content-Length: {L}\r\nContent-Length: {L}\r\n\r\n{S}"),
    (NotRun, "Content-Length: {L}, {L}\r\n\r\n{S}"),
    (NotRun, "Content-Length: 00000{L}\r\n\r\n{S}"),
    (NotRun, "Content-Length:{L}   \r\n\r\n{S}"),
    (NotRun, "Content-Length: {L}\n\r\n{S}"),
    (NotRun, "Content_Length: 0\r\nContent-Length: {L}\r\n\r\n{S}"),
    (NotRun, "X-Content-Length: 0\r\nContent-Length: {L}\r\n\r\n{S}"),
    // Transfer codings.
    (Refuse, "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{S}"),
    (Refuse, "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{S}"),
    (Refuse, "Transfer-Encoding: identity\r\n\r\n0\r\n\r\n{S}"),
    (Refuse, "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n{S}"),
    (Refuse, "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n{S}"),
    (Refuse, "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n{S}"),
    (Refuse, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}"),
    (Refuse, "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{S}"),
    (Refuse, "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{S}"),
    (Refuse, "Transfer-Encoding:\u{b}chunked\r\n\r\n0\r\n\r\n{S}"),
    (Refuse, "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n{S}"),
    (Refuse, "Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n{S}"),
    (Refuse, "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n{S}"),
    (Refuse, "Transfer-Encoding: chunk\r\n\r\n0\r\n\r\n{S}"),
    (Refuse, "Transfer-Encoding: \r\n\r\n0\r\n\r\n{S}"),
    (Refuse, "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{S}"),
    (Refuse, "Content-Length: {L}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}"),
    (Refuse, "Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{S}"),
    // Chunks.
    (Refuse, "Transfer-Encoding: chunked\r\n\r\n-1\r\n{S}"),
    (Refuse, "Transfer-Encoding: chunked\r\n\r\n0x3\r\n000\r\n0\r\n\r\n{S}"),
    (Refuse, "Transfer-Encoding: chunked\r\n\r\n+3\r\n000\r\n0\r\n\r\n{S}"),
    (Refuse, "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{S}"),
    (Refuse, "Transfer-Encoding: chunked\r\n\r\n10000000000000003\r\n000\r\n0\r\n\r\n{S}"),
    (Refuse, "Transfer-Encoding: chunked\r\n\r\n3\r\n00000\r\n0\r\n\r\n{S}"),
    (Refuse, "Transfer-Encoding: chunked\r\n\r\n3\n000\n0\n\n{S}"),
    (Refuse, "Transfer-Encoding: chunked\r\n\r\n\r\n0\r\n\r\n{S}"),
    (NotRun, "Transfer-Encoding: chunked\r\n\r\n{X};a=\"b\"\r\n{S}\r\n0\r\n\r\n"),
    (NotRun, "Transfer-Encoding: chunked\r\n\r\n000{X}\r\n{S}\r\n0\r\n\r\n"),
    (NotRun, "Transfer-Encoding: Chunked\r\n\r\n{X}\r\n{S}\r\n0\r\nContent-Length: 0\r\n\r\n"),
    // Heads.
    (Refuse, "X: a\0b\r\nContent-Length: 0\r\n\r\n{S}"),
    (Refuse, "X: a\rb\r\nContent-Length: 0\r\n\r\n{S}"),
    (Refuse, "X\r\nContent-Length: 0\r\n\r\n{S}"),
    (Refuse, ": x\r\nContent-Length: 0\r\n\r\n{S}"),
    (Refuse, "X Y: z\r\nContent-Length: 0\r\n\r\n{S}"),
    (Refuse, "X(Y): z\r\nContent-Length: 0\r\n\r\n{S}"),
];

/// Request lines in place of the usual one.
const LINES: &[&str] = &[
    "POST  /mcp HTTP/1.1",
    "POST /mcp  HTTP/1.1",
    "POST\t/mcp HTTP/1.1",
    "POST /mcp HTTP/1.1 x",
    "POST /mcp HTTP/1.2.3",
    "POST /mcp HTTP/2.0",
    "POST /mcp HTTP/9.9",
    "POST /mcp http/1.1",
    "POST /mcp",
    "PO ST /mcp HTTP/1.1",
    "POST /m cp HTTP/1.1",
    "POST /mcp\0 HTTP/1.1",
];

/// Sends bytes; the statuses that came, and whether the gateway closed.
fn sent(gateway: &Gateway, bytes: &[u8]) -> (Vec<u16>, bool) {
    let mut connection = gateway.connect();
    connection.wait_at_most(SECOND / 2);
    // Who has seen enough may hang up meanwhile.
    let _ = connection.send(bytes);
    let mut statuses = Vec::new();
    loop {
        match connection.reply() {
            Ok(reply) => statuses.push(reply.status()),
            Err(error) => {
                let is_open = matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
                return (statuses, !is_open);
            }
        }
    }
}

fn smuggling(_: Mode) -> Outcome {
    let gateway = in_front(&[]).run();
    let mut client = Client::open(gateway.address(), REVISION).expect("a session");
    let hidden = json!({ "jsonrpc": "2.0", "method": "notifications/count", "params": { "key": "hidden" } });
    let hidden = String::from_utf8(client.post(hidden.to_string()).bytes()).expect("text");
    let usual = format!("host: localhost\r\naccept: */*\r\ncontent-type: application/json\r\nmcp-session-id: {}\r\n", client.id);
    let lengths = [hidden.len().to_string(), format!("{:x}", hidden.len())];
    let own = |text: &str| text.replace("{S}", &hidden).replace("{L}", &lengths[0]).replace("{X}", &lengths[1]);
    let mut vectors: Vec<(Must, String)> =
        VECTORS.iter().map(|(must, rest)| (*must, format!("POST /mcp HTTP/1.1\r\n{usual}{}", own(rest)))).collect();
    vectors.extend(LINES.iter().map(|line| (Refuse, format!("{line}\r\n{usual}content-length: 0\r\n\r\n{hidden}"))));
    let mut wrong = Vec::new();
    let (mut refused, mut taken) = (0, 0);
    let arrived = || gateway.metric("messages_total", "direction=\"to_child\"");
    for (must, bytes) in &vectors {
        let before = arrived();
        let (statuses, is_closed) = sent(&gateway, bytes.as_bytes());
        let is_refused = is_closed && (statuses.is_empty() || matches!(statuses[..], [400 | 413 | 414 | 431 | 501 | 505]));
        let ran = arrived() != before;
        refused += usize::from(is_refused);
        taken += usize::from(!is_refused && *must == NotRun);
        if ran || (*must == Refuse && !is_refused) {
            let (line, fields) = bytes.split_once("\r\n").unwrap_or_default();
            let special = fields.strip_prefix(&usual).unwrap_or_default().split(&hidden).next().unwrap_or_default();
            let ran = if ran { ", and ran the hidden request" } else { "" };
            wrong.push(format!("{line:?} {special:?}: {statuses:?}, {}{ran}", if is_closed { "closed" } else { "open" }));
        }
    }
    let ran = client.call(&json!(1), "counted", &json!({ "key": "hidden" })).unwrap_or_else(|_| "?".to_owned());
    wrong.iter().for_each(|wrong| eprintln!("smuggling: {wrong}"));
    let is_ok = wrong.is_empty() && ran == "0";
    let first = wrong.first().map(|first| format!("; {} wrong, the first {first}", wrong.len())).unwrap_or_default();
    measured(
        is_ok,
        format!(
            "{} vectors: {refused} refused and closed, {taken} taken as one request; {ran} hidden requests ran{first}",
            vectors.len()
        ),
    )
}

fn authority(_: Mode) -> Outcome {
    let gateway = in_front(&[]).run();
    let client = Client::open(gateway.address(), REVISION).expect("a session");
    let port = gateway.address().rsplit(':').next().unwrap_or_default().to_owned();
    let rest = format!(
        "accept: application/json, text/event-stream\r\ncontent-type: application/json\r\nmcp-session-id: {}\r\ncontent-length: 40\r\nconnection: close\r\n\r\n{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}}",
        client.id
    );
    // The target, the Host fields, and what must come.
    let cases: &[(&str, &[&str], &[u16])] = &[
        ("/mcp", &[], &[400, 421]),
        ("/mcp", &["localhost", "localhost"], &[400]),
        ("/mcp", &["localhost", "evil.example"], &[400]),
        ("/mcp", &[""], &[400, 421]),
        ("/mcp", &["evil.example"], &[421]),
        ("/mcp", &["localhost.evil.example"], &[421]),
        ("/mcp", &["127.0.0.1.nip.io"], &[421]),
        ("/mcp", &["user@localhost"], &[400, 421]),
        ("/mcp", &["localhost@evil.example"], &[400, 421]),
        ("/mcp", &["localhost, evil.example"], &[400, 421]),
        ("/mcp", &["localhost/evil"], &[400, 421]),
        ("/mcp", &["localhost:99999"], &[400, 421]),
        ("/mcp", &["localhost:-1"], &[400, 421]),
        ("/mcp", &["localhost:x"], &[400, 421]),
        ("/mcp", &["[::1"], &[400, 421]),
        ("/mcp", &["l\u{f6}calhost"], &[400, 421]),
        ("/mcp", &["xn--lcalhost-n4a"], &[421]),
        ("http://evil.example/mcp", &["localhost"], &[400, 421]),
        ("http://localhost@evil.example/mcp", &["localhost"], &[400, 421]),
        ("http://localhost/mcp", &["evil.example"], &[400, 421]),
        ("//evil.example/mcp", &["localhost"], &[400, 404, 421]),
        ("/mcp", &["localhost"], &[200]),
        ("/mcp", &["LOCALHOST"], &[200]),
        ("/mcp", &["localhost."], &[200]),
        ("/mcp", &["LocalHost.:{P}"], &[200]),
        ("/mcp", &["127.0.0.1:{P}"], &[200]),
        ("/mcp", &["[::1]:{P}"], &[200]),
        ("/mcp", &["[::1]"], &[200]),
        ("http://localhost/mcp", &["localhost"], &[200]),
    ];
    let mut wrong = Vec::new();
    for (target, hosts, statuses) in cases {
        let hosts: String = hosts.iter().map(|host| format!("host: {}\r\n", host.replace("{P}", &port))).collect();
        let (came, _) = sent(&gateway, format!("POST {target} HTTP/1.1\r\n{hosts}{rest}").as_bytes());
        if came.len() != 1 || !statuses.contains(&came[0]) {
            wrong.push(format!("{target} {hosts:?}: {came:?}"));
        }
    }
    wrong.iter().for_each(|wrong| eprintln!("authority: {wrong}"));
    let first = wrong.first().map(|first| format!("; the first {first}")).unwrap_or_default();
    measured(wrong.is_empty(), format!("{} of {} as they should{first}", cases.len() - wrong.len(), cases.len()))
}
