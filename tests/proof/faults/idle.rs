//! Ten thousand streams on which nothing comes but a comment now and then, beside the least that they could cost.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::process::{Resource, getrlimit};

use crate::check::{Check, Missing, Mode, Outcome, SECOND, measured};
use crate::kit::client::Client;
use crate::kit::process::{example, in_front, mib};
use crate::kit::stats::percentile;
use crate::support::proc::{self, Process};
use crate::support::session::REVISION;

pub(crate) const CHECKS: &[Check] = &[Check {
    slug: "idle-streams",
    what: "10,000 idle GET streams, each of a session of its own, on one shared child; a bare hyper server with as many, before it",
    pass: "RSS ≤ 400 MiB and ≤ 1.5 × the bare server's; < 10 % of a core; p99 of the comments' jitter < 1 s",
    waits: false,
    run: idle_streams,
}];

/// How often a comment comes.
const COMMENT: Duration = Duration::from_secs(15);

/// A process that ends with this value.
struct Bare(Child);

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// Does something for each number with some threads.
fn many<T: Send>(count: usize, one: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let all = Mutex::new(Vec::with_capacity(count));
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count {
                        return;
                    }
                    let value = one(at);
                    all.lock().expect("no panic").push(value);
                }
            });
        }
    });
    all.into_inner().expect("no panic")
}

/// A stream whose head has come.
fn stream(address: &str, request: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(address).expect("it listens");
    socket.set_read_timeout(Some(60 * SECOND)).expect("a timeout");
    socket.write_all(request).expect("it reads");
    let mut head = [0; 12];
    socket.read_exact(&mut head).expect("a response");
    assert_eq!(&head, b"HTTP/1.1 200");
    socket.set_nonblocking(true).expect("a socket");
    socket
}

fn bare(count: usize) -> f64 {
    let mut process =
        Command::new(example("proof_bare")).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut address = String::new();
    BufReader::new(process.stdout.take().expect("piped")).read_line(&mut address).expect("its address");
    let process = Bare(process);
    let address = address.trim().to_owned();
    let request = b"GET /mcp HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n";
    let streams = many(count, |_| stream(&address, request));
    sleep(2 * SECOND);
    let resident = mib(proc::resident(i32::try_from(process.0.id()).expect("a pid")));
    drop(streams);
    resident
}

fn idle_streams(mode: Mode) -> Outcome {
    let count = mode.pick(2_000, 10_000);
    if getrlimit(Resource::Nofile).current.is_some_and(|limit| limit < count as u64 + 1000) {
        return Err(Missing("limit of 11,000 open files (ulimit -n)"));
    }
    let least = bare(count);
    let most = (count + 500).to_string();
    let options = [
        "--children",
        "shared",
        "--max-sessions",
        &most,
        "--max-connections",
        &most,
        "--log",
        "warn,mcp_http_gateway::gateway=info",
    ];
    let gateway = in_front(&options).run();
    let streams = many(count, |_| {
        let client = Client::open(gateway.address(), REVISION).expect("a session");
        stream(gateway.address(), &client.get().bytes())
    });
    let cpu = || Process::read(gateway.pid()).map(|process| process.cpu()).unwrap_or_default();
    sleep(2 * SECOND);
    let (began, before) = (Instant::now(), cpu());
    let (mut jitter, comments) = listen(&streams, mode.pick(2, 3) * COMMENT + SECOND);
    let share = (cpu() - before).as_secs_f64() / began.elapsed().as_secs_f64() * 100.0;
    let resident = mib(proc::resident(gateway.pid()));
    let open = gateway.metric("sse_streams_active", "get");
    let sessions = gateway.metric("sessions_active", "");
    let children = gateway.children().len();
    let late = percentile(&mut jitter, 99);
    let ratio = resident / least;
    let is_ok = resident <= 400.0 && ratio <= 1.5 && share < 10.0 && late < 1.0 && comments >= count && children == 1;
    let is_ok = is_ok && open == count as u64 && sessions == count as u64;
    let figure = format!(
        "{open} streams, {children} child: RSS {resident:.1} MiB, bare {least:.1} MiB, ×{ratio:.2}; {share:.1} % of a core; p99 of the jitter {:.0} ms over {} intervals",
        late * 1e3,
        jitter.len()
    );
    measured(is_ok, figure)
}

/// Reads what comes for so long: how far from 15 s apart comments of one stream are, in seconds, and how many came.
fn listen(streams: &[TcpStream], length: Duration) -> (Vec<f64>, usize) {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll");
    for (at, stream) in streams.iter().enumerate() {
        epoll::add(&poll, stream.as_fd(), epoll::EventData::new_u64(at as u64), epoll::EventFlags::IN).expect("watched");
    }
    let began = Instant::now();
    let (mut last, mut jitter, mut comments) = (HashMap::new(), Vec::new(), 0);
    let mut buffer = [0; 4096];
    while began.elapsed() < length {
        let mut events = Vec::with_capacity(1024);
        let wait = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        let _ = epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), Some(&wait));
        for event in &events {
            let at = event.data.u64() as usize;
            let Ok(count) = (&streams[at]).read(&mut buffer) else { continue };
            // What is left of heads, and the first event, came before.
            if !buffer[..count].windows(3).any(|bytes| bytes == b"\n: " || bytes == b"\r\n:" || bytes == b"\n:\n") {
                continue;
            }
            comments += 1;
            let now = began.elapsed().as_secs_f64();
            if let Some(before) = last.insert(at, now) {
                let apart: f64 = now - before;
                jitter.push((apart - COMMENT.as_secs_f64()).abs());
            }
        }
    }
    (jitter, comments)
}
