//! A contestant that runs: started on a free port, looked at by its process, ended with all that it started.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::contestants::{Contestant, Purpose, home};
use crate::cost::descendants;
use crate::session::Place;

/// How long one may take until it listens.
const START: Duration = Duration::from_secs(30);
/// How long one may take to end by itself.
const END: Duration = Duration::from_secs(3);

pub(crate) struct Peer {
    process: Child,
    pub(crate) place: Place,
    /// How long it took until it listened.
    pub(crate) took: Duration,
}

/// Why one does not run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Absent {
    NotInstalled,
    DoesNotStart,
    /// More than a process may have.
    NeedsDescriptors(usize),
}

impl Peer {
    pub(crate) fn start(contestant: &Contestant, purpose: Purpose) -> Result<Peer, Absent> {
        let port = free_port();
        let mut command = contestant.command(purpose, port).ok_or(Absent::NotInstalled)?;
        let began = Instant::now();
        let process = spawn(&mut command, contestant.slug).ok_or(Absent::DoesNotStart)?;
        let place = Place { port, path: contestant.path, prefix: contestant.prefix };
        let mut peer = Peer { process, place, took: Duration::ZERO };
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if began.elapsed() > START || peer.process.try_wait().is_ok_and(|status| status.is_some()) {
                return Err(Absent::DoesNotStart);
            }
            sleep(Duration::from_micros(200));
        }
        peer.took = began.elapsed();
        Ok(peer)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let tree = descendants(self.pid());
        send(self.pid(), Signal::TERM);
        let began = Instant::now();
        while self.process.try_wait().is_ok_and(|status| status.is_none()) && began.elapsed() < END {
            sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill().and_then(|()| self.process.wait());
        // What it left behind has another parent now, but the same command.
        let is_left = |pid: &u32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty());
        tree.into_iter().skip(1).filter(is_left).for_each(|pid| send(pid, Signal::KILL));
    }
}

fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // It may have ended by itself.
    let _ = pid.map(|pid| kill_process(pid, signal));
}

/// What it says goes to a file, for whoever wonders why it does not start.
fn spawn(command: &mut Command, slug: &str) -> Option<Child> {
    let folder = home().join("logs");
    fs::create_dir_all(&folder).ok()?;
    let log = File::create(folder.join(slug)).ok()?;
    command.stdin(Stdio::null()).stdout(log.try_clone().ok()?).stderr(log).spawn().ok()
}

/// It is free now; nobody else here takes ports by number.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).map_or(0, |address| address.port())
}
