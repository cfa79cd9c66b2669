//! The gateway under callgrind, which counts what it executes.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::cases::Case;
use crate::client;

/// For the start and for the end: callgrind makes everything some fifty times slower.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a count depends on beside the gateway: architecture, compiler, C library (its allocator is counted too) and valgrind.
pub(crate) fn tools() -> Result<String, String> {
    let valgrind = said("valgrind", "--version").ok_or("valgrind is missing (Debian: apt-get install valgrind libc6-dbg)")?;
    let rustc = said("rustc", "--version").unwrap_or_else(|| "an unknown rustc".into());
    let rustc = rustc.split(" (").next().unwrap_or_default();
    let libc = said("getconf", "GNU_LIBC_VERSION").unwrap_or_else(|| "an unknown libc".into());
    Ok(format!("{}, {rustc}, {libc}, {}", std::env::consts::ARCH, valgrind.replace('-', " ")))
}

/// What a program says of itself.
fn said(program: &str, question: &str) -> Option<String> {
    let output = Command::new(program).arg(question).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Client, gateway and child take turns, so one processor is enough; with more of them it is up to chance who is ready first.
pub(crate) fn stay_on_one_cpu() {
    let all = sched_getaffinity(None).expect("Linux");
    let mut one = CpuSet::new();
    one.set((0..CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu)).expect("it runs on one"));
    sched_setaffinity(None, &one).expect("one of those that are allowed");
}

/// How many instructions a gateway executes that serves so many calls.
pub(crate) fn count(case: &Case, calls: u32) -> u64 {
    let folder = tempfile::tempdir().expect("a folder");
    let counted = folder.path().join("counted");
    let tokens = folder.path().join("tokens");
    let token = case.has_token.then(|| new_token(&tokens));
    let mut gateway = Gateway::start(case, folder.path(), &counted, token.is_some().then_some(&*tokens));
    client::run(case, calls, gateway.address(), token.as_deref());
    gateway.stop();
    let text = fs::read_to_string(counted).expect("callgrind writes it at the end");
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: ")));
    total.and_then(|total| total.trim().parse().ok()).expect("a total")
}

/// A token of a new file.
fn new_token(file: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-http-gateway"));
    let made = command.args(["token", "new", "bench", "--file"]).arg(file).output().expect("the gateway runs");
    assert!(made.status.success(), "no token: {}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8_lossy(&made.stdout).trim().to_owned()
}

struct Gateway<'a> {
    process: Child,
    folder: &'a Path,
}

impl Gateway<'_> {
    fn start<'a>(case: &Case, folder: &'a Path, counted: &Path, tokens: Option<&Path>) -> Gateway<'a> {
        let mut out = std::ffi::OsString::from("--callgrind-out-file=");
        out.push(counted);
        let said = File::create(folder.join("said")).expect("a file");
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--quiet", "--child-silent-after-fork=yes"]).arg(out);
        command.arg(env!("CARGO_BIN_EXE_mcp-http-gateway"));
        command.args(["--listen", "127.0.0.1:0", "--log", "warn", "--response", case.response, "--child-era", case.era]);
        command.arg("--ready-file").arg(folder.join("ready"));
        if let Some(tokens) = tokens {
            command.arg("--bearer-tokens").arg(tokens);
        }
        command.arg("--").arg(std::env::current_exe().expect("a path")).args(["child", case.era]);
        let process = command.stdin(Stdio::null()).stderr(said).spawn().expect("valgrind was there before");
        Gateway { process, folder }
    }

    /// Waits until it is served.
    fn address(&mut self) -> SocketAddr {
        let began = Instant::now();
        loop {
            let text = fs::read_to_string(self.folder.join("ready")).unwrap_or_default();
            if let Some(address) = text.strip_suffix('\n') {
                return address.parse().expect("an address");
            }
            let has_ended = self.process.try_wait().is_ok_and(|status| status.is_some());
            assert!(!has_ended && began.elapsed() < PATIENCE, "the gateway does not start: {}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it as a service manager would, so that all it began comes to its end.
    fn stop(&mut self) {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, Signal::TERM).expect("it runs");
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.process.try_wait().expect("a child of ours") {
                break status;
            }
            assert!(began.elapsed() < PATIENCE, "the gateway does not end: {}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(status.success(), "the gateway ended with {status}: {}", self.said());
    }

    /// By the gateway or by valgrind.
    fn said(&self) -> String {
        fs::read_to_string(self.folder.join("said")).unwrap_or_default()
    }
}

impl Drop for Gateway<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
