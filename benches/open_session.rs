//! How long a legacy client waits for its session: `initialize`, answered by a spare child and by a new one, in one run.
//!
//! `cargo bench --bench open_session [-- COMMAND LINE]`; without a command, the stub child. One session every two seconds.

#![allow(clippy::print_stdout)] // it is what a benchmark is for

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

const SESSIONS: usize = 20;
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"0"}}}"#;

struct Gateway {
    process: Child,
    address: String,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn main() {
    let command: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let stub = std::path::Path::new(env!("CARGO_BIN_EXE_mcp-http-gateway")).with_file_name("examples").join("stub_child");
    let command = if command.is_empty() { stub.display().to_string() } else { command.join(" ") };
    let gateways = ["0", "4"].map(|spares| (spares, start(spares, &command)));
    sleep(Duration::from_secs(5)); // the spares are up
    println!("{SESSIONS} sessions, one every 2 s: {command}");
    for (spares, gateway) in &gateways {
        let mut times: Vec<Duration> = (0..SESSIONS).map(|_| open(&gateway.address)).collect();
        times.sort_unstable();
        let ms = |at: usize| times[at].as_secs_f64() * 1e3;
        println!("--prewarm {spares}: p50 {:.1} ms, slowest {:.1} ms", ms(SESSIONS / 2), ms(SESSIONS - 1));
    }
}

fn start(spares: &str, command: &str) -> Gateway {
    let ready = std::env::temp_dir().join(format!("mcp-bench-open-{}-{spares}", std::process::id()));
    let process = Command::new(env!("CARGO_BIN_EXE_mcp-http-gateway"))
        .args(["--listen", "127.0.0.1:0", "--log", "warn", "--child-era", "legacy", "--prewarm", spares, "--cmd", command])
        .arg("--ready-file")
        .arg(&ready)
        .spawn()
        .expect("the gateway starts");
    let began = Instant::now();
    while !std::fs::read_to_string(&ready).is_ok_and(|text| text.ends_with('\n')) {
        assert!(began.elapsed() < Duration::from_secs(10), "the gateway is not ready");
        sleep(Duration::from_millis(5));
    }
    let address = std::fs::read_to_string(&ready).expect("it was there").trim().to_owned();
    let _ = std::fs::remove_file(ready);
    Gateway { process, address }
}

/// Opens a session and ends it; gives how long the answer to `initialize` took.
fn open(address: &str) -> Duration {
    sleep(Duration::from_secs(2));
    let began = Instant::now();
    let accept = "accept: application/json, text/event-stream\r\ncontent-type: application/json\r\n";
    let head = exchange(address, &format!("POST /mcp HTTP/1.1\r\n{accept}content-length: {}\r\n", INITIALIZE.len()), INITIALIZE);
    let took = began.elapsed();
    let id = head.lines().find_map(|line| line.strip_prefix("mcp-session-id: ")).expect("a session id");
    exchange(address, &format!("DELETE /mcp HTTP/1.1\r\nmcp-session-id: {id}\r\n"), "");
    took
}

fn exchange(address: &str, head: &str, body: &str) -> String {
    let mut socket = TcpStream::connect(address).expect("it listens");
    socket.write_all(format!("{head}host: localhost\r\nconnection: close\r\n\r\n{body}").as_bytes()).expect("it reads");
    let mut text = String::new();
    socket.read_to_string(&mut text).expect("it answers");
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    text
}
