//! Experiments that wait for the gateway's own timers: silent, slow and vanished clients. `children`, `edge` and `resume` ask
//! for their outcomes.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::support::early::Experiments;
use crate::support::gateway::{Gateway, Start, path_in, stub};
use crate::support::http::{Connection, Reply, Request, Socket};
use crate::support::proc::{eventually, eventually_true};
use crate::support::session::{REVISION, Session, call, initialize, text_of};

const SECOND: Duration = Duration::from_secs(1);

/// Each is a test elsewhere, which says what it proves.
pub(super) const ALL: Experiments = &[
    ("idleness", idleness),
    ("silence", silence),
    ("slow_heads", slow_heads),
    ("slow_body", slow_body),
    ("http2_silence", http2_silence),
    ("keep_alive", keep_alive),
    ("idle_between_requests", idle_between_requests),
    ("slow_reading", slow_reading),
    ("vanished", vanished),
];

/// The signal of a parent's death comes when the thread that forked ends: tokio ends idle threads after 10 s.
fn idleness() {
    let gateway = Gateway::start(&[]);
    let session = gateway.open();
    let child = gateway.child();
    let clock = Instant::now();
    eventually_true(15 * SECOND, "some time passes", || clock.elapsed() > 12 * SECOND);
    assert_eq!(gateway.child(), child);
    session.echoes("it works");
}

/// Opens connections that send these bytes and no more; says after what time each was closed and what came before.
fn closed(gateway: &Gateway, count: usize, bytes: &[u8]) -> Vec<(Duration, Vec<u8>)> {
    let open = || {
        let mut connection = gateway.connect();
        connection.send(bytes).expect("the gateway reads");
        (Instant::now(), connection)
    };
    let waiting: Vec<(Instant, Connection)> = (0..count).map(|_| open()).collect();
    let rest = |(began, waiting): (Instant, Connection)| {
        let rest = waiting.rest().expect("it is closed");
        (began.elapsed(), rest)
    };
    waiting.into_iter().map(rest).collect()
}

/// A timer of the gateway went off at this time: never before it, and after it as soon as a machine with other work to do allows.
fn went_off_after(timer: Duration, took: Duration, what: &str) {
    assert!((timer - SECOND..timer + 8 * SECOND).contains(&took), "{what}: {took:?}");
}

fn within_ten_seconds(gateway: &Gateway, count: usize, bytes: &[u8]) {
    for (took, _) in closed(gateway, count, bytes) {
        went_off_after(10 * SECOND, took, &bytes.escape_ascii().to_string());
    }
}

fn silence() {
    let gateway = Gateway::start(&[]);
    let session = gateway.open();
    thread::scope(|scope| {
        let _served = [&b""[..], b"P", b"PR", b"PRI * HT", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"]
            .map(|bytes| scope.spawn(|| within_ten_seconds(&gateway, 100, bytes)));
        // Others are served meanwhile: how quickly depends on what else runs here, so half of them are asked to be quick.
        let began = Instant::now();
        let mut times = Vec::new();
        while began.elapsed() < 2 * SECOND {
            let asked = Instant::now();
            session.echoes("x");
            times.push(asked.elapsed());
        }
        times.sort();
        eprintln!("beside 500 silent connections: p99 {:?} of {}", times[times.len() * 99 / 100], times.len());
        assert!(times[times.len() / 2] < SECOND / 4, "{:?}", times[times.len() / 2]);
    });
    assert_eq!(gateway.children().len(), 1);
}

fn slow_heads() {
    let gateway = Gateway::start(&[]);
    thread::scope(|scope| {
        scope.spawn(|| within_ten_seconds(&gateway, 100, b"POST /mcp HTTP/1.1\r\nhost: localhost\r\nx: "));
        // Nor does a drop now and then buy more time.
        let mut dripping = gateway.connect();
        let began = Instant::now();
        let mut line = b"GET /mcp HTTP/1.1\r\n".to_vec();
        dripping.wait_at_most(SECOND / 4);
        let closed = eventually(15 * SECOND, "it is closed", || {
            let gone = dripping.send(&line).is_err() || dripping.reply().is_err_and(|error| !is_timeout(error.kind()));
            line = b"x: y\r\n".to_vec();
            gone.then(|| began.elapsed())
        });
        went_off_after(10 * SECOND, closed, "a dripping head");
    });
    assert_eq!(gateway.spawns(), 0);
}

fn is_timeout(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn slow_body() {
    let gateway = Gateway::start(&[]);
    let request = initialize(REVISION).with("content-length", "4194304");
    let mut connection = gateway.connect();
    let began = Instant::now();
    connection.send(&request.bytes()).expect("the gateway reads");
    let mut socket = connection.socket();
    let reply = thread::scope(|scope| {
        scope.spawn(move || {
            while socket.write_all(b" ").is_ok() && began.elapsed() < 40 * SECOND {
                thread::sleep(SECOND / 2); // the rhythm of a slow client, not a wait for anything
            }
        });
        connection.reply().expect("a response")
    });
    assert_eq!(reply.status(), 408, "{}", reply.text());
    went_off_after(30 * SECOND, began.elapsed(), "a dripping body");
    connection.rest().expect("it is closed");
    assert_eq!(gateway.spawns(), 0);
}

fn http2_silence() {
    let gateway = Gateway::start(&[]);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = b"\0\0\0\x04\0\0\0\0\0";
    thread::scope(|scope| {
        for bytes in [preface.to_vec(), [&preface[..], settings].concat()] {
            let gateway = &gateway;
            scope.spawn(move || {
                for (took, rest) in closed(gateway, 20, &bytes) {
                    went_off_after(8 * SECOND, took, "silent HTTP/2");
                    assert!(bytes.len() == preface.len() || rest.windows(5).any(|frame| frame[3..5] == [7, 0]), "a GOAWAY");
                }
            });
        }
    });
}

fn keep_alive() {
    let gateway = Gateway::start(&[]);
    let session = gateway.open();
    let mut connection = gateway.connect();
    connection.send(&session.own(Request::get()).bytes()).expect("the gateway reads");
    let mut socket = connection.socket();
    let began = Instant::now();
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while !seen.windows(14).any(|text| text == b": keep-alive\n\n") {
        let count = socket.read(&mut buffer).expect("bytes within a minute");
        assert!(count > 0, "the stream goes on");
        seen.extend_from_slice(&buffer[..count]);
    }
    went_off_after(15 * SECOND, began.elapsed(), "a keep-alive comment");
}

fn idle_between_requests() {
    let gateway = Gateway::start(&[]);
    let session = gateway.open();
    let mut connection = gateway.connect();
    connection.exchange(&session.post(call("1", "1", "echo", &json!({ "text": "x" }))));
    let began = Instant::now();
    connection.rest().expect("it is closed");
    went_off_after(10 * SECOND, began.elapsed(), "an idle connection");
    session.echoes("the session is still there");
}

/// Answers that are longer on their way than a connection may be idle, read steadily: what waits in the connection's own buffer
/// (a Unix socket holds little), and what waits in the kernel alone while the connection's idle time is up.
fn slow_reading() {
    let dir = TempDir::new().expect("a directory");
    let unix = |name| format!("unix:{}", path_in(&dir, name).1);
    thread::scope(|scope| {
        let all = [("json", unix("json"), 4 << 20), ("auto", unix("auto"), 4 << 20), ("json", "127.0.0.1:0".to_owned(), 2 << 20)];
        let _all = all.map(|(response, listen, size)| scope.spawn(move || reads_slowly(response, &listen, size)));
    });
}

fn reads_slowly(response: &str, listen: &str, size: usize) {
    let gateway = Gateway::start(&["--response", response, "--listen", listen]);
    let session = gateway.open();
    let mut connection = Connection::over(in_small_pieces(gateway.address()));
    connection.send(&session.post(call("1", "1", "big", &json!({ "bytes": size }))).bytes()).expect("the gateway reads");
    let (head, mut body) = connection.body().expect("a response");
    let (began, mut came, mut part) = (Instant::now(), Vec::new(), [0; 8 << 10]);
    let end = loop {
        match body.read(&mut part) {
            Ok(0) => break Ok(()),
            Ok(count) => came.extend_from_slice(&part[..count]),
            Err(error) => break Err(error),
        }
        let due = 12 * SECOND.mul_f64(came.len() as f64 / size as f64);
        thread::sleep(due.saturating_sub(began.elapsed())); // the rhythm of a slow client, not a wait for anything
    };
    let (took, cut) = (began.elapsed(), gateway.metric("timeouts_total", "\"head\""));
    eprintln!(
        "{} bytes over {listen} ({response}) in {took:?}; connections that were idle for too long by then: {cut}",
        came.len()
    );
    assert!(end.is_ok(), "{response} over {listen}: {end:?} after {took:?} and {} of {size} bytes", came.len());
    assert_eq!(text_of(&Reply { head, body: came }.json()).len(), size);
}

/// A connection whose own end takes little at a time.
fn in_small_pieces(address: &str) -> Socket {
    let Ok(address) = address.parse::<SocketAddr>() else { return Socket::connect(address).expect("the gateway listens") };
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(16 << 10).expect("a small buffer");
    socket.connect(&address.into()).expect("the gateway listens");
    Socket::Tcp(socket.into())
}

/// A namespace with a client in it, and a link to it.
struct Elsewhere {
    name: String,
    link: String,
}

impl Elsewhere {
    /// `None` where we may not make one.
    fn new(here: &str, there: &str) -> Option<Elsewhere> {
        let name = format!("mcp{}", std::process::id() % 100_000);
        let elsewhere = Elsewhere { link: format!("{name}h"), name };
        let Elsewhere { name, link } = &elsewhere;
        let steps = [
            format!("netns add {name}"),
            format!("link add {link} type veth peer name c0 netns {name}"),
            format!("addr add {here}/30 dev {link}"),
            format!("link set {link} up"),
            format!("-n {name} addr add {there}/30 dev c0"),
            format!("-n {name} link set c0 up"),
        ];
        steps.iter().all(|step| ip(step)).then_some(elsewhere)
    }

    fn cut(&self) {
        assert!(ip(&format!("-n {} link set c0 down", self.name)));
    }

    /// A connection from there.
    fn connect(&self, address: &str) -> Client {
        let words = ["netns", "exec", &self.name, &stub(), "connect", address];
        let client = Command::new("ip").args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        Client(client.expect("a client"))
    }
}

/// A process whose stdin and stdout are a connection.
struct Client(std::process::Child);

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
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

fn vanished() {
    let taken = Command::new("ip").args(["-o", "-4", "address"]).output().map(|output| output.stdout).unwrap_or_default();
    let taken = String::from_utf8_lossy(&taken).into_owned();
    // What a run that was killed has left behind is nobody's concern.
    let mut subnets = (0..250).map(|next| (std::process::id() + next) % 250);
    let subnet = subnets.find(|subnet| !taken.contains(&format!(" 10.213.{subnet}.1/"))).expect("a subnet that is free");
    let (here, there) = (format!("10.213.{subnet}.1"), format!("10.213.{subnet}.2"));
    let Some(elsewhere) = Elsewhere::new(&here, &there) else {
        return eprintln!("only root may make a network namespace");
    };
    let listen = format!("{here}:0");
    let gateway = Start::new(&["--listen", &listen, "--insecure-no-auth", "--allowed-host", "*", "--idle-timeout", "2s"]).run();
    let (watched, left_alone) = (gateway.open(), gateway.open());
    let clients: Vec<Client> = [&watched, &left_alone].map(|session| listen_from(&elsewhere, &gateway, session)).into();
    assert_eq!(gateway.children().len(), 2);
    elsewhere.cut();
    let began = Instant::now();
    assert_eq!(watched.listen().0.status, 409, "nobody knows yet");
    let freed = eventually(60 * SECOND, "its stream is free", || {
        let (head, events) = watched.listen();
        drop(events);
        (head.status == 200).then(|| began.elapsed())
    });
    eprintln!("the stream of a vanished client was free after {freed:?}");
    went_off_after(45 * SECOND, freed, "the end of a client that vanished");
    let ended = eventually_true(6 * SECOND, "the sessions end when they are idle", || gateway.children().is_empty());
    eprintln!("and both sessions had ended {ended:?} later");
    drop((clients, elsewhere));
}

fn listen_from(elsewhere: &Elsewhere, gateway: &Gateway, session: &Session<'_>) -> Client {
    let mut client = elsewhere.connect(gateway.address());
    let stdin = client.0.stdin.as_mut().expect("it is piped");
    stdin.write_all(&session.own(Request::get()).bytes()).expect("the client reads");
    let mut head = [0; 12];
    client.0.stdout.as_mut().expect("it is piped").read_exact(&mut head).expect("a response");
    assert_eq!(&head, b"HTTP/1.1 200");
    client
}
