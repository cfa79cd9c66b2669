//! What a call costs: CPU of the gateway's own process per `tools/call`, beside the limit, a bare hyper server that parses the
//! same JSON and has no child. Both are measured in one run, in turns, with the same load; only the ratio means something.
//!
//! `cargo bench --bench cpu_per_call [-- SESSIONS [CALLS]]`; the gateway, the stub child and the limit run as processes.

#![allow(clippy::print_stdout)] // it is what a benchmark is for

#[path = "rivals/limit.rs"]
mod limit;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const ROUNDS: usize = 5;
/// What a modern request says beside its arguments.
const ENVELOPE: &str = r#","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"bench","version":"0"},"io.modelcontextprotocol/clientCapabilities":{}}"#;
const ACCEPT: &str = "accept: application/json, text/event-stream\r\ncontent-type: application/json\r\n";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if words.first().is_some_and(|word| word == "limit") {
        return limit::serve(0);
    }
    let number = |at: usize, default: usize| words.get(at).and_then(|word| word.parse().ok()).unwrap_or(default);
    let (sessions, calls) = (number(0, 16), number(1, 40_000));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let limit = Server::limit(Command::new(std::env::current_exe().expect("a path")).arg("limit"));
    let gateways = [
        ("gateway auto", "auto", "legacy", Wire::Legacy),
        ("gateway sse", "sse", "legacy", Wire::Legacy),
        ("modern, passed", "auto", "modern", Wire::Modern),
        ("modern, bridged", "auto", "legacy", Wire::Modern),
    ]
    .map(|(name, mode, era, wire)| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-http-gateway"));
        command.args(["--listen", "127.0.0.1:0", "--log", "warn", "--response", mode, "--child-era", era, "--ready-file"]);
        (name, Server::gateway(&mut command, name, era, wire))
    });
    let mut results: Vec<(String, Vec<Round>)> = vec![("limit".into(), Vec::new())];
    results.extend(gateways.iter().map(|(name, _)| ((*name).to_owned(), Vec::new())));
    for _ in 0..ROUNDS {
        let servers = std::iter::once(&limit).chain(gateways.iter().map(|(_, server)| server));
        for (server, (_, rounds)) in servers.zip(&mut results) {
            rounds.push(runtime.block_on(round(server, sessions, calls)));
        }
    }
    println!("{sessions} sessions, {calls} calls a round, medians of {ROUNDS} rounds in turns");
    println!("{:<16} {:>10} {:>12} {:>10} {:>10}", "", "calls/s", "CPU µs/call", "p50 µs", "p99 µs");
    let base = median(results[0].1.iter().map(|round| round.cpu));
    for (name, rounds) in &results {
        let of = |value: fn(&Round) -> f64| median(rounds.iter().map(value));
        let cpu = of(|round| round.cpu);
        println!(
            "{name:<16} {:>10.0} {:>8.2} ×{:<4.2} {:>8.0} {:>10.0}",
            of(|round| round.rate),
            cpu,
            cpu / base,
            of(|round| round.p50),
            of(|round| round.p99)
        );
    }
}

/// One measurement.
struct Round {
    rate: f64,
    cpu: f64,
    p50: f64,
    p99: f64,
}

/// How a client speaks.
#[derive(Clone, Copy, PartialEq)]
enum Wire {
    /// To the limit: calls alone.
    Bare,
    /// In a session.
    Legacy,
    /// With an envelope, and no session.
    Modern,
}

struct Server {
    process: Child,
    address: SocketAddr,
    wire: Wire,
}

impl Server {
    fn limit(command: &mut Command) -> Server {
        let mut process = command.stdout(Stdio::piped()).spawn().expect("the limit starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("its address");
        Server { process, address: line.trim().parse().expect("an address"), wire: Wire::Bare }
    }

    /// The gateway in front of the stub child.
    fn gateway(command: &mut Command, name: &str, era: &str, wire: Wire) -> Server {
        let ready = std::env::temp_dir().join(format!("mcp-bench-{}-{}", std::process::id(), name.replace(' ', "-")));
        command.arg(&ready).arg("--").arg(stub_child());
        let process = command.args((era == "modern").then_some("modern")).spawn().expect("the gateway starts");
        let began = Instant::now();
        let address = loop {
            let text = std::fs::read_to_string(&ready).unwrap_or_default();
            if let Ok(address) = text.trim().parse() {
                break address;
            }
            assert!(began.elapsed() < Duration::from_secs(10), "the gateway is not ready");
            std::thread::sleep(Duration::from_millis(5));
        };
        let _ = std::fs::remove_file(ready);
        Server { process, address, wire }
    }

    /// CPU time of this process alone, in seconds.
    fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).expect("it runs");
        let fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().skip(11);
        fields.take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn round(server: &Server, sessions: usize, calls: usize) -> Round {
    let mut clients = Vec::new();
    for _ in 0..sessions {
        clients.push(Client::open(server).await);
    }
    let began = Instant::now();
    let cpu = server.cpu();
    let each = calls / sessions;
    let tasks: Vec<_> = clients.into_iter().map(|client| tokio::spawn(client.run(each))).collect();
    let mut times = Vec::with_capacity(calls);
    for task in tasks {
        times.extend(task.await.expect("no panic"));
    }
    let (elapsed, cpu) = (began.elapsed().as_secs_f64(), server.cpu() - cpu);
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e6;
    let count = times.len() as f64;
    Round { rate: count / elapsed, cpu: cpu * 1e6 / count, p50: at(0.5), p99: at(0.99) }
}

/// One connection with a session of its own; asks, reads the answer, asks again.
struct Client {
    socket: TcpStream,
    wire: Wire,
    /// Further header fields.
    fields: String,
    buffer: Vec<u8>,
}

impl Client {
    async fn open(server: &Server) -> Client {
        let socket = TcpStream::connect(server.address).await.expect("it listens");
        socket.set_nodelay(true).expect("a TCP socket");
        let mut client = Client { socket, wire: server.wire, fields: String::new(), buffer: Vec::new() };
        if server.wire == Wire::Modern {
            client.fields = "mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: echo\r\n".to_owned();
        }
        if server.wire == Wire::Legacy {
            let initialize = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"bench","version":"0"}}}"#;
            let head = client.exchange(initialize).await;
            let id = head.lines().find_map(|line| line.strip_prefix("mcp-session-id: ")).expect("a session id");
            client.fields = format!("mcp-session-id: {id}\r\n");
            client.exchange(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
        }
        client
    }

    async fn run(mut self, calls: usize) -> Vec<Duration> {
        let mut times = Vec::with_capacity(calls);
        for at in 0..calls {
            let envelope = if self.wire == Wire::Modern { ENVELOPE } else { "" };
            let call = format!(
                r#"{{"jsonrpc":"2.0","id":{at},"method":"tools/call","params":{{"name":"echo","arguments":{{"text":"hello, world"}}{envelope}}}}}"#
            );
            let began = Instant::now();
            self.exchange(&call).await;
            times.push(began.elapsed());
        }
        if self.wire == Wire::Legacy {
            self.exchange("").await;
        }
        times
    }

    /// Sends a message (or, without one, DELETE) and reads the whole response; gives its head.
    async fn exchange(&mut self, body: &str) -> String {
        let fields = &self.fields;
        let verb = if body.is_empty() { "DELETE" } else { "POST" };
        let request =
            format!("{verb} /mcp HTTP/1.1\r\nhost: localhost\r\n{ACCEPT}{fields}content-length: {}\r\n\r\n{body}", body.len());
        self.socket.write_all(request.as_bytes()).await.expect("it reads");
        self.buffer.clear();
        loop {
            assert!(self.socket.read_buf(&mut self.buffer).await.expect("it answers") > 0, "it hung up");
            let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&self.buffer[..end]).to_ascii_lowercase();
            assert!(head.starts_with("http/1.1 20"), "{head}");
            let length: Option<usize> =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")).and_then(|text| text.parse().ok());
            let is_whole = match length {
                Some(length) => self.buffer.len() == end + 4 + length,
                None => self.buffer.ends_with(b"0\r\n\r\n"),
            };
            if is_whole {
                return head;
            }
        }
    }
}

/// Examples are built beside the benches, one folder up.
fn stub_child() -> PathBuf {
    let program = std::env::current_exe().expect("a path");
    let path = program.ancestors().nth(2).expect("target/release").join("examples/stub_child");
    assert!(path.exists(), "build it first: cargo build --release --example stub_child");
    path
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
