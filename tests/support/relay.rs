//! A gateway in this process, on a clock that stands still, in front of children that the test plays.
//!
//! A child is the real process `stub_child relay SOCKET`: what the gateway writes to its stdin arrives at our end of the
//! socket, and what we write there goes to its stdout. The clock moves only when told; sockets and pipes take real time, so
//! whoever waits for them looks again and again, with a deadline on the real clock.

use std::future::pending;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use clap::Parser as _;
use mcp_http_gateway::{Cli, Config, Gateway};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, spawn, spawn_blocking, yield_now};
use tokio::time::advance;

/// How long something that must come may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the gateway may take to read what a child wrote; some rules are about when it does not.
const READING: Duration = Duration::from_millis(500);
/// How long something that must not come is waited for.
const DOUBT: Duration = Duration::from_millis(30);

/// The test's side of a gateway: its address, and its children.
pub(crate) struct Relay {
    pub(crate) address: String,
    pub(crate) admin: Option<String>,
    listener: UnixListener,
    children: Vec<Child>,
    stop: Option<oneshot::Sender<()>>,
    running: AbortHandle,
}

/// The test's end of one child, in the order in which children came.
pub(crate) struct Child {
    /// `None` once the child has closed its pipes.
    stream: Option<UnixStream>,
    unread: Vec<u8>,
    /// The gateway has closed the child's stdin.
    pub(crate) is_at_end: bool,
    pid: Pid,
    /// Where the process tells how much it has passed on.
    told: PathBuf,
    written: u64,
}

/// Runs a gateway with these flags for as long as `test` takes.
pub(crate) fn with_gateway<T>(flags: &[String], test: impl AsyncFnOnce(Relay) -> T) -> T {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    let (_release, held) = mpsc::channel::<()>(); // dropped before the runtime, which waits for the task below
    runtime.block_on(async {
        // While a blocking task is in hand, tokio does not move a paused clock by itself.
        let _held = spawn_blocking(move || held.recv());
        let dir = TempDir::new().expect("a directory");
        let socket = dir.path().join("child.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let mut own: Vec<std::ffi::OsString> = ["mcp-http-gateway", "--listen", "127.0.0.1:0"].map(Into::into).into();
        if !flags.iter().any(|flag| flag.starts_with("--child-era")) {
            own.extend(["--child-era".into(), "legacy".into()]); // or a child would be there that no step names
        }
        let child = ["--".into(), stub_child().into(), "relay".into(), socket.into_os_string()];
        let words = own.into_iter().chain(flags.iter().map(Into::into)).chain(child);
        let cli = Cli::try_parse_from(words).expect("flags of the gateway");
        let config = Config::load(&cli.given, &[]).expect("a configuration");
        let gateway = Gateway::bind(config).await.expect("a gateway");
        let (stop, asked) = oneshot::channel::<()>();
        let (now, ended) = oneshot::channel::<()>();
        let (address, admin) = (gateway.address(), gateway.admin_address());
        let stop_asked = async {
            if asked.await.is_err() {
                pending::<()>().await;
            }
        };
        let running = spawn(gateway.run(stop_asked, ended));
        let ended = running.abort_handle();
        let outcome = test(Relay { address, admin, listener, children: Vec::new(), stop: Some(stop), running: ended }).await;
        drop(now);
        drop(running.await);
        outcome
    })
}

/// Moves the clock, when nothing is left to do before, and lets everything happen that this brings.
pub(crate) async fn advance_clock(by: Duration) {
    settle().await;
    advance(by).await;
    settle().await;
}

/// Lets the gateway do what it can do without waiting for the clock or a process.
pub(crate) async fn settle() {
    for _ in 0..3 {
        turn().await;
    }
}

/// Looks until there is something, or for too long.
pub(crate) async fn until<T>(look: impl FnMut() -> Option<T>) -> Option<T> {
    look_for(PATIENCE, look).await
}

/// Looks for what is not to come, for a short while.
pub(crate) async fn in_doubt<T>(look: impl FnMut() -> Option<T>) -> Option<T> {
    look_for(DOUBT, look).await
}

async fn look_for<T>(patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if began.elapsed() >= patience {
            return None;
        }
        turn().await;
    }
}

/// Every task of the gateway has its turn, and then other processes.
async fn turn() {
    for _ in 0..20 {
        yield_now().await;
    }
    std::thread::sleep(Duration::from_micros(300));
}

fn stub_child() -> PathBuf {
    let test = std::env::current_exe().expect("the test's path");
    let target = test.parent().and_then(|deps| deps.parent()).expect("deps stands in the target directory");
    let program = target.join("examples/stub_child");
    assert!(program.exists(), "{} is not built: run cargo build --example stub_child", program.display());
    program
}

impl Relay {
    /// The child that came as number `at`, from 0.
    pub(crate) async fn child(&mut self, at: usize) -> Result<&mut Child, String> {
        while self.children.len() <= at {
            let Some(stream) = until(|| self.listener.accept().ok()).await else {
                return Err(format!("only {} children were started", self.children.len()));
            };
            self.children.push(Child::new(stream.0));
        }
        Ok(&mut self.children[at])
    }

    /// The next two children are those that are asked what they are: the one that is asked `server/discover` comes first.
    pub(crate) async fn probe(&mut self) -> Result<(), String> {
        let first = self.children.len();
        self.child(first + 1).await?;
        let both = &mut self.children[first..];
        let asked = until(|| both.iter_mut().all(|child| child.has_line()).then_some(())).await;
        asked.ok_or("not both of them were asked something")?;
        if both[1].unread.windows(17).any(|word| word == b"\"server/discover\"") {
            both.swap(0, 1);
        }
        Ok(())
    }

    /// Asks the gateway to stop, as a signal would.
    pub(crate) fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(()); // it may have stopped by itself
        }
    }

    /// The gateway has stopped.
    pub(crate) fn has_stopped(&self) -> bool {
        self.running.is_finished()
    }

    /// A child that nobody asked for.
    pub(crate) fn uninvited(&mut self) -> Option<usize> {
        let (stream, _) = self.listener.accept().ok()?;
        self.children.push(Child::new(stream));
        Some(self.children.len())
    }

    pub(crate) fn children(&mut self) -> &mut [Child] {
        &mut self.children
    }
}

impl Child {
    fn new(stream: UnixStream) -> Self {
        stream.set_nonblocking(true).expect("a socket that does not block");
        let pid = rustix::net::sockopt::socket_peercred(&stream).expect("the peer is a process").pid;
        let address = stream.local_addr().expect("an address");
        let socket = address.as_pathname().expect("a path").to_str().expect("UTF-8");
        let told = format!("{socket}.{}", pid.as_raw_nonzero()).into();
        Child { stream: Some(stream), unread: Vec::new(), is_at_end: false, pid, told, written: 0 }
    }

    /// The next line that arrived whole, without its end.
    pub(crate) fn line(&mut self) -> Option<Vec<u8>> {
        self.pull();
        let end = self.unread.iter().position(|byte| *byte == b'\n')?;
        let mut line: Vec<u8> = self.unread.drain(..=end).collect();
        line.pop();
        Some(line)
    }

    fn has_line(&mut self) -> bool {
        self.pull();
        self.unread.contains(&b'\n')
    }

    /// Writes to its stdout, and waits until the gateway has read it (or, where it does not read on, for a while).
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.send(bytes).await?;
        self.written += bytes.len() as u64;
        look_for(READING, || {
            let passed = std::fs::read_to_string(&self.told).ok()?.parse::<u64>().ok()?;
            let pipe = std::fs::OpenOptions::new().write(true).open(format!("/proc/{}/fd/1", self.pid.as_raw_nonzero())).ok()?;
            (passed == self.written && rustix::io::ioctl_fionread(&pipe).ok()? == 0).then_some(())
        })
        .await;
        Ok(())
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let stream = self.stream.as_mut().ok_or("this child is gone")?;
        let mut rest = bytes;
        let written = until(|| {
            match stream.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Some(Err(error.to_string())),
            }
            rest.is_empty().then_some(Ok(()))
        });
        written.await.unwrap_or_else(|| Err("the gateway does not read".to_owned()))
    }

    /// Closes its pipes and exits with status 0.
    pub(crate) fn exit(&mut self) {
        self.pull();
        self.stream = None;
    }

    pub(crate) fn kill(&mut self) {
        let _ = rustix::process::kill_process(self.pid, Signal::KILL);
        self.exit();
    }

    /// The process has ended, and its status was taken.
    pub(crate) fn is_gone(&self) -> bool {
        rustix::process::test_kill_process(self.pid).is_err()
    }

    fn pull(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        let mut buffer = [0; 65536];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => {
                    self.is_at_end = true;
                    return;
                }
                Ok(count) => self.unread.extend_from_slice(&buffer[..count]),
                Err(_) => return,
            }
        }
    }
}
