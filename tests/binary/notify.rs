//! What the service manager is told over its socket (sd_notify(3)), and when.

use std::fs;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;

use crate::support::gateway::{Gateway, Start, path_in, stub};
use crate::support::proc::eventually_true;

const SECOND: Duration = Duration::from_secs(1);

/// A service manager that only listens.
struct Manager {
    socket: UnixDatagram,
    name: String,
    dir: TempDir,
}

impl Manager {
    fn new() -> Manager {
        let dir = TempDir::new().expect("a folder");
        let (path, name) = path_in(&dir, "notify");
        let socket = UnixDatagram::bind(path).expect("a socket");
        socket.set_read_timeout(Some(20 * SECOND)).expect("a timeout");
        Manager { socket, name, dir }
    }

    fn manages(&self, start: Start) -> Gateway {
        start.env("NOTIFY_SOCKET", &self.name).run()
    }

    fn received(&self) -> io::Result<String> {
        let mut text = [0; 4096];
        let length = self.socket.recv(&mut text)?;
        Ok(String::from_utf8_lossy(&text[..length]).into_owned())
    }

    #[track_caller]
    fn next(&self) -> String {
        self.received().expect("a word of the gateway's")
    }

    /// All that has come and that nobody has read.
    fn waiting(&self) -> Vec<String> {
        self.socket.set_nonblocking(true).expect("a flag");
        let waiting = std::iter::from_fn(|| self.received().ok()).collect();
        self.socket.set_nonblocking(false).expect("a flag");
        waiting
    }
}

/// A configuration of servers with these names.
fn config(names: &[&str]) -> String {
    let servers: String = names.iter().map(|name| format!("[servers.{name}]\ncmd = [\"{}\"]\n", stub())).collect();
    format!("listen = \"127.0.0.1:0\"\n{servers}")
}

#[test]
fn it_is_ready_once_its_server_has_been_asked_what_it_speaks() {
    let manager = Manager::new();
    let (answers, name) = path_in(&manager.dir, "answers");
    let script = format!("until test -e {name}; do sleep 0.05; done; exec {}", stub());
    let gateway = manager.manages(Start::new(&["--child-era", "auto"]).child(&["--", "sh", "-c", &script]));
    eventually_true(5 * SECOND, "the server is being asked", || gateway.children().len() == 2);
    assert!(gateway.admin("/readyz").text().contains("is being asked"));
    assert_eq!(manager.waiting(), [""; 0]);
    fs::write(answers, "").expect("written");
    assert_eq!([manager.next(), manager.next()], ["READY=1", "STATUS=serving 1 server"]);
    assert_eq!(gateway.admin("/readyz").status(), 200);
}

/// A reload is told from its beginning.
#[track_caller]
fn assert_reloads(manager: &Manager, gateway: &Gateway) {
    let micros = || {
        let now = clock_gettime(ClockId::Monotonic);
        now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
    };
    let before = micros();
    gateway.signal(Signal::HUP);
    let told = manager.next();
    let since = told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|since| since.parse::<i64>().ok());
    assert!(since.is_some_and(|since| (before..=micros()).contains(&since)), "{told} after {before}");
    assert_eq!(manager.next(), "READY=1");
}

#[test]
fn a_reload_is_told_with_its_outcome_and_the_end_when_it_begins() {
    let manager = Manager::new();
    let (path, name) = path_in(&manager.dir, "gateway.toml");
    fs::write(&path, config(&["one", "two"])).expect("written");
    let mut gateway = manager.manages(Start::new(&[]).child(&["--config", &name]).listens_by_file());
    assert_eq!([manager.next(), manager.next()], ["READY=1", "STATUS=serving 2 servers"]);
    fs::write(&path, config(&["one", "two", "three"])).expect("written");
    assert_reloads(&manager, &gateway);
    assert_eq!(manager.next(), "STATUS=serving 3 servers");
    fs::write(&path, format!("{}max_sesions = 3\n", config(&["one"]))).expect("written");
    assert_reloads(&manager, &gateway);
    let status = manager.next();
    assert!(status.starts_with("STATUS=the configuration was not read again: ") && status.contains("max_sesions"), "{status}");
    assert!(!status.contains('\n'), "another line would be another word: {status}");
    gateway.signal(Signal::TERM);
    assert_eq!(manager.next(), "STOPPING=1");
    assert_eq!(gateway.exit_code(10 * SECOND), 0);
    assert_eq!(manager.waiting(), [""; 0]);
}

#[test]
fn a_manager_that_watches_hears_that_the_gateway_is_at_work_and_no_other_does() {
    let start = || Start::new(&[]).env("WATCHDOG_USEC", "200000");
    let of_itself = ["sh", "-c", "export WATCHDOG_PID=$$; exec \"$@\"", "sh"];
    let quiet = [Start::new(&[]), start().env("WATCHDOG_PID", "1")].map(|start| {
        let manager = Manager::new();
        (manager.manages(start), manager)
    });
    for start in [start(), start().around(&of_itself)] {
        let manager = Manager::new();
        let _gateway = manager.manages(start);
        let words: Vec<String> = (0..10).map(|_| manager.next()).collect();
        assert!(words.iter().filter(|word| *word == "WATCHDOG=1").count() >= 8, "{words:?}");
    }
    for (mut gateway, manager) in quiet {
        gateway.signal(Signal::TERM);
        assert_eq!(gateway.exit_code(10 * SECOND), 0);
        assert_eq!(manager.waiting(), ["READY=1", "STATUS=serving 1 server", "STOPPING=1"]);
    }
}
