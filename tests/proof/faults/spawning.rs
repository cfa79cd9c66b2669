//! Programs that cannot be started, and one that starts too many.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::check::{Cgroup, Check, Missing, Mode, Outcome, SECOND, measured, ms, program, root, took};
use crate::kit::client::{Client, echo_times};
use crate::kit::process::{in_front, proof_child};
use crate::kit::stats::percentile;
use crate::support::gateway::{self, Gateway, Start};
use crate::support::proc;
use crate::support::session::{REVISION, call, initialize};

pub(crate) const CHECKS: &[Check] = &[
    Check {
        slug: "no-program",
        what: "the program is removed, or may no longer be executed, or its environment grows too large (E2BIG), behind a gateway that serves",
        pass: "503 with a JSON-RPC error within 100 ms, each time",
        waits: false,
        run: no_program,
    },
    Check {
        slug: "no-processes",
        what: "the gateway's user may have no more processes (RLIMIT_NPROC, EAGAIN); then it may again",
        pass: "503 with a JSON-RPC error within 100 ms; 200 afterwards",
        waits: false,
        run: no_processes,
    },
    Check {
        slug: "start-check",
        what: "a gateway is started with a program that does not exist, with one that may not be executed, with a wrong option",
        pass: "exit status 69, 69 and 64",
        waits: false,
        run: start_check,
    },
    Check {
        slug: "fork-bomb",
        what: "a server starts processes without end, below a limit of 50 (pids cgroup); others have sessions; DELETE",
        pass: "the gateway lives; a session beside it is answered all the time, p99 < 1 s; all of it gone within 5 s",
        waits: false,
        run: fork_bomb,
    },
];

/// An opening that must be refused: how long that took, if it was refused as it should.
fn refusal(gateway: &Gateway) -> Result<Duration, String> {
    let mut connection = gateway.connect();
    let began = Instant::now();
    connection.send(&initialize(REVISION).bytes()).map_err(|error| error.to_string())?;
    let reply = connection.reply().map_err(|error| error.to_string())?;
    let took = began.elapsed();
    let answer = reply.json();
    match (reply.status(), answer["error"]["code"].is_i64(), answer["jsonrpc"] == "2.0") {
        (503, true, true) => Ok(took),
        _ => Err(format!("{}: {}", reply.status(), reply.text())),
    }
}

fn within_100_ms(refusals: &[(&str, Result<Duration, String>)]) -> (bool, String) {
    let is_ok = refusals.iter().all(|(_, took)| took.as_ref().is_ok_and(|took| *took <= Duration::from_millis(100)));
    let one = |(name, took): &(&str, Result<Duration, String>)| match took {
        Ok(took) => format!("{name} {:.1} ms", took.as_secs_f64() * 1e3),
        Err(why) => format!("{name}: {why}"),
    };
    (is_ok, refusals.iter().map(one).collect::<Vec<String>>().join(", "))
}

/// A copy of the server, in a place of its own.
fn copied(dir: &TempDir) -> String {
    let path = dir.path().join("server");
    std::fs::copy(proof_child(), &path).expect("a copy");
    path.to_str().expect("UTF-8").to_owned()
}

fn no_program(_: Mode) -> Outcome {
    let mut refusals = Vec::new();
    let dir = TempDir::new().expect("a directory");
    let path = copied(&dir);
    let gateway = Start::new(&[]).child(&["--", &path]).run();
    std::fs::remove_file(&path).expect("removed");
    refusals.push(("ENOENT", refusal(&gateway)));
    refusals.push(("again", refusal(&gateway)));
    let path = copied(&dir);
    let gateway = Start::new(&[]).child(&["--", &path]).run();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("no longer to be executed");
    refusals.push(("EACCES", refusal(&gateway)));
    // One variable may have 128 KiB, so nothing with this can be executed.
    let large = dir.path().join("env");
    std::fs::write(&large, format!("LARGE={}\n", "x".repeat(300 << 10))).expect("written");
    let gateway = in_front(&["--env-file", large.to_str().expect("UTF-8")]).run();
    refusals.push(("E2BIG", refusal(&gateway)));
    let (is_ok, figure) = within_100_ms(&refusals);
    measured(is_ok, figure)
}

/// Words that start a program as another user, for whom limits hold; what root's directories hold can be written all the same.
const AS_NOBODY: [&str; 6] =
    ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=+dac_override", "--ambient-caps=+dac_override"];

/// Sets how many processes its user may have.
fn limited(gateway: &Gateway, processes: &str) -> bool {
    let words = ["prlimit", "--pid", &gateway.pid().to_string(), &format!("--nproc={processes}")];
    Command::new("setpriv").args(&AS_NOBODY[1..4]).args(words).status().is_ok_and(|status| status.success())
}

fn no_processes(_: Mode) -> Outcome {
    root()?;
    program("setpriv")?;
    program("prlimit")?;
    let may_run =
        Command::new("setpriv").args(&AS_NOBODY[1..]).args(["test", "-x", &proof_child()]).stderr(Stdio::null()).status();
    if !may_run.is_ok_and(|status| status.success()) {
        return Err(Missing("other user that may run this program"));
    }
    let gateway = in_front(&["--exit-with-parent"]).around(&AS_NOBODY).run();
    assert!(limited(&gateway, "1:1000"), "a limit");
    let refused = [("EAGAIN", refusal(&gateway)), ("again", refusal(&gateway))];
    assert!(limited(&gateway, "1000:1000"), "a limit");
    let again = took(5 * SECOND, || gateway.ask(&initialize(REVISION)).status() == 200);
    let (is_ok, figure) = within_100_ms(&refused);
    measured(
        is_ok && again.is_some(),
        format!("{figure}; then {}", again.map_or("never 200".to_owned(), |took| format!("200 after {}", ms(took)))),
    )
}

fn start_check(_: Mode) -> Outcome {
    let dir = TempDir::new().expect("a directory");
    let path = copied(&dir);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("not to be executed");
    let code = |words: &[&str]| {
        let mut process = gateway::program();
        process.args(["--listen", "127.0.0.1:0"]).args(words).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = process.spawn().expect("it starts");
        took(5 * SECOND, || process.try_wait().is_ok_and(|status| status.is_some()));
        let code = process.try_wait().ok().flatten().and_then(|status| status.code());
        let _ = process.kill().and_then(|()| process.wait());
        code.map_or("none".to_owned(), |code| code.to_string())
    };
    let codes = [code(&["--", "/nowhere/server"]), code(&["--", &path]), code(&["--no-such-option", "--", "true"])];
    measured(codes == ["69", "69", "64"], codes.join(", "))
}

fn fork_bomb(_: Mode) -> Outcome {
    root()?;
    const MISSING: Missing = Missing("writable cgroup of the pids controller");
    let v1 = Path::new("/sys/fs/cgroup/pids/cgroup.procs").exists();
    let below = if v1 { "/sys/fs/cgroup/pids" } else { "/sys/fs/cgroup" };
    let cgroup = Cgroup::new(below, "bomb").filter(|cgroup| cgroup.0.join("pids.max").exists()).ok_or(MISSING)?;
    cgroup.write("pids.max", "50").then_some(()).ok_or(MISSING)?;
    let words = cgroup.words();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let gateway = in_front(&["--exit-with-parent"]).around(&words).run();
    let mut beside = Client::open(gateway.address(), REVISION).expect("a session");
    let bomb = Client::open(gateway.address(), REVISION).expect("a session");
    drop(bomb.send(&call("1", "1", "bomb", &json!({}))));
    let full = took(5 * SECOND, || cgroup.read("pids.current").trim() == "50");
    let began = Instant::now();
    let times = echo_times(&mut beside, SECOND / 100, || began.elapsed() < 5 * SECOND);
    let most = cgroup.read("pids.events");
    let is_full = full.is_some() && cgroup.read("pids.current").trim().parse().is_ok_and(|count: usize| count >= 45);
    let ended = bomb.delete();
    let gone = took(15 * SECOND, || {
        gateway.children().iter().filter(|child| child.state != 'Z').count() <= 1 && gateway.descendants().len() <= 1
    });
    gateway
        .descendants()
        .iter()
        .filter(|left| left.name == "sh" || left.name == "sleep")
        .for_each(|left| proc::kill(left.pid, Signal::KILL));
    let opens = took(8 * SECOND, || gateway.ask(&initialize(REVISION)).status() == 200);
    let count = times.as_ref().map_or(0, Vec::len);
    let p99 = times.map(|mut times| percentile(&mut times, 99)).unwrap_or(f64::INFINITY);
    let is_ok = is_full && ended.is_ok() && p99 < 1000.0 && gone.is_some_and(|gone| gone <= 5 * SECOND) && opens.is_some();
    let limit = most.trim().replace("max ", "forks refused: ");
    let gone = gone.map_or("not gone".to_owned(), |gone| format!("gone after {}", ms(gone)));
    let opens = if opens.is_some() { "a new session opens" } else { "no new session opens" };
    measured(is_ok, format!("{count} answers, p99 {p99:.1} ms; {limit}; {gone}; {opens}"))
}
