//! The gateway's binary, running: started on free ports, watched through its log, its metrics and /proc, and ended with
//! everything that it started.

use std::fs::Permissions;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::http::{Connection, Reply, Request};
use super::proc::{self, eventually, eventually_true};
use super::session::Session;

/// How long a start or an end may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// The name of the variable by which a gateway's processes are found.
const MARK: &str = "TEST_MARK";

static STARTED: AtomicUsize = AtomicUsize::new(0);

/// How a gateway is started.
pub(crate) struct Start {
    around: Vec<String>,
    options: Vec<String>,
    child: Vec<String>,
    env: Vec<(String, String)>,
    listens_by_file: bool,
}

/// A gateway that serves.
pub(crate) struct Gateway {
    process: Child,
    /// The gateway's own, where `process` is a wrapper around it.
    pid: i32,
    address: String,
    admin: String,
    mark: String,
    log: Arc<Mutex<Vec<String>>>,
    _dir: TempDir,
}

/// The scripted child.
pub(crate) fn stub() -> String {
    let tests = std::env::current_exe().expect("the test's own path");
    let target = tests.parent().and_then(|deps| deps.parent()).expect("target/debug");
    target.join("examples/stub_child").to_str().expect("UTF-8").to_owned()
}

/// The program under test: the one that cargo built, or the one that `GATEWAY_BINARY` names.
pub(crate) fn program() -> Command {
    let named = std::env::var("GATEWAY_BINARY");
    let mut program = Command::new(named.as_deref().unwrap_or(env!("CARGO_BIN_EXE_mcp-http-gateway")));
    // What the tester's own shell has set must not matter.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MCP_GATEWAY_")) {
        program.env_remove(name);
    }
    program
}

impl Start {
    /// In front of the scripted child.
    pub(crate) fn new(options: &[&str]) -> Start {
        Start {
            around: Vec::new(),
            options: own(options),
            child: vec!["--".into(), stub()],
            env: Vec::new(),
            listens_by_file: false,
        }
    }

    /// In front of this command line instead; `STUB` in it is the scripted child.
    pub(crate) fn cmd(self, line: &str) -> Start {
        Start { child: vec!["--cmd".into(), line.replace("STUB", &stub())], ..self }
    }

    /// In front of whatever these words say.
    pub(crate) fn child(self, words: &[&str]) -> Start {
        Start { child: own(words), ..self }
    }

    /// Where it listens stands in its configuration file.
    pub(crate) fn listens_by_file(self) -> Start {
        Start { listens_by_file: true, ..self }
    }

    /// Started by these words.
    pub(crate) fn around(self, words: &[&str]) -> Start {
        Start { around: own(words), ..self }
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Start {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    #[track_caller]
    pub(crate) fn run(self) -> Gateway {
        let dir = TempDir::new().expect("a directory");
        let ready = dir.path().join("ready");
        if !self.around.is_empty() {
            // Whoever that makes of it writes there.
            std::fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).expect("its owner may");
        }
        let mark = format!("{}-{}", std::process::id(), STARTED.fetch_add(1, Ordering::Relaxed));
        let plain = program();
        let mut words = self.around.clone();
        words.push(plain.get_program().to_str().expect("UTF-8").to_owned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env_clear().envs(std::env::vars().filter(|(name, _)| !name.starts_with("MCP_GATEWAY_")));
        command.envs(self.env).args(["--admin-listen", "127.0.0.1:0", "--env", &format!("{MARK}={mark}"), "--ready-file"]);
        command.arg(&ready);
        if self.around.is_empty() {
            command.arg("--exit-with-parent"); // a test run that is killed leaves nothing behind
        }
        if !self.listens_by_file && !self.options.iter().any(|option| option == "--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        if !self.options.iter().any(|option| option == "--child-era") {
            command.args(["--child-era", "legacy"]); // or processes would be there that no test started
        }
        command.args(&self.options).args(&self.child);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut process = command.spawn().expect("the program starts");
        let log = follow(&mut process);
        let address = eventually(PATIENCE, "the ready file is written", || {
            let ended = process.try_wait().expect("a status");
            assert!(ended.is_none(), "the gateway ended: {ended:?}\n{}", log.lock().expect("the log").join("\n"));
            std::fs::read_to_string(&ready).ok().filter(|text| text.ends_with('\n'))
        });
        let admin = eventually(PATIENCE, "the log says where it serves", || {
            log.lock().expect("the log").iter().find_map(|line| admin_address(line))
        });
        let pid = eventually(PATIENCE, "the program runs", || {
            let own = i32::try_from(process.id()).ok()?;
            if self.around.is_empty() || !proc::children(own).iter().any(|child| child.name.starts_with("mcp-http")) {
                return (proc::Process::read(own)?.name.starts_with("mcp-http")).then_some(own);
            }
            proc::children(own).first().map(|child| child.pid)
        });
        Gateway { process, pid, address: address.trim_end().to_owned(), admin, mark, log, _dir: dir }
    }
}

impl Gateway {
    /// In front of the scripted child.
    #[track_caller]
    pub(crate) fn start(options: &[&str]) -> Gateway {
        Start::new(options).run()
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(&self.address)
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub(crate) fn ask(&self, request: &Request) -> Reply {
        self.connect().exchange(request)
    }

    pub(crate) fn open(&self) -> Session<'_> {
        Session::open(self)
    }

    pub(crate) fn admin(&self, path: &str) -> Reply {
        Connection::open(&self.admin).exchange(&Request::new("GET", path).with("connection", "close"))
    }

    pub(crate) fn admin_address(&self) -> &str {
        &self.admin
    }

    /// The sum of a metric's lines that hold this text.
    pub(crate) fn metric(&self, name: &str, label: &str) -> u64 {
        let text = self.admin("/metrics").text();
        let lines = text.lines().filter_map(|line| line.strip_prefix("mcp_gateway_")?.strip_prefix(name));
        let lines = lines.filter(|line| line.starts_with(['{', ' ']) && line.contains(label));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// Children that were ever started, or tried to.
    pub(crate) fn spawns(&self) -> u64 {
        self.metric("child_spawns_total", "") + self.metric("children_running", "")
    }

    /// Its own children, zombies included.
    pub(crate) fn children(&self) -> Vec<proc::Process> {
        proc::children(self.pid)
    }

    /// Everything alive that it started, directly or not.
    pub(crate) fn descendants(&self) -> Vec<proc::Process> {
        proc::marked(&format!("{MARK}={}", self.mark))
    }

    /// The one child it has.
    #[track_caller]
    pub(crate) fn child(&self) -> i32 {
        let children = self.children();
        assert_eq!(children.len(), 1, "{children:?}");
        children[0].pid
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().expect("the log").clone()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        proc::kill(self.pid, signal);
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.try_wait().expect("a status").is_some()
    }

    /// The exit code, or 1000 and the signal.
    #[track_caller]
    pub(crate) fn exit_code(&mut self, limit: Duration) -> i32 {
        let status = eventually(limit, "the gateway ends", || self.process.try_wait().expect("a status"));
        status.code().unwrap_or_else(|| 1000 + status.signal().unwrap_or(0))
    }

    /// What it wrote to stdout; it must have ended.
    pub(crate) fn stdout(&mut self) -> String {
        let mut text = String::new();
        let stdout = self.process.stdout.as_mut().expect("it is piped");
        stdout.read_to_string(&mut text).expect("text");
        text
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|status| status.is_none()) {
            proc::kill(self.pid, Signal::KILL);
        }
        let _ = self.process.wait();
        if thread::panicking() {
            eprintln!("--- the gateway's log\n{}\n---", self.log().join("\n"));
            self.descendants().iter().for_each(|left| proc::kill(left.pid, Signal::KILL));
            return;
        }
        eventually_true(PATIENCE, "the gateway's children end with it", || self.descendants().is_empty());
    }
}

/// Reads the log as it is written, so that the gateway never waits for it.
fn follow(process: &mut Child) -> Arc<Mutex<Vec<String>>> {
    let log = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&log);
    let stderr = BufReader::new(process.stderr.take().expect("it is piped"));
    thread::spawn(move || {
        for line in stderr.split(b'\n').map_while(Result::ok) {
            kept.lock().expect("the log").push(String::from_utf8_lossy(&line).into_owned());
        }
    });
    log
}

/// `admin="127.0.0.1:PORT"` or `"admin":"127.0.0.1:PORT"`.
fn admin_address(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("admin")?;
    let rest = &rest[rest.find("127.0.0.1:")?..];
    Some(rest.chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect())
}

fn own(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A path for a socket or a file that a test's gateway uses.
pub(crate) fn path_in(dir: &TempDir, name: &str) -> (PathBuf, String) {
    let path = dir.path().join(name);
    let text = path.to_str().expect("UTF-8").to_owned();
    (path, text)
}
