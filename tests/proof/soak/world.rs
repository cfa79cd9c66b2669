//! The gateways under load, and what everybody knows: what was done, what was broken on purpose, and what went wrong.

use std::collections::{BTreeMap, VecDeque};
use std::net::TcpStream;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::evict::Left;
use super::record::{Ledger, Record};
use super::respawn;
use crate::kit::client::Trouble;
use crate::kit::process::proof_child;
use crate::support::gateway::{Gateway, Start};

/// How long a gateway may take to notice that a child was killed, or that a client is gone.
pub(super) const NOTICE: Duration = Duration::from_secs(1);
/// An abandoned session ends after this; where there is room for few, after the second, if it was not ended for another before.
const IDLE: Duration = Duration::from_secs(5);
const IDLE_AT_THE_CAP: Duration = Duration::from_secs(20);

/// With so many a thread has enough to do; then another begins, up to one a core.
const CONNECTIONS_OF_A_THREAD: usize = 32;

pub(super) const SITES: usize = 5;

/// What a session is asked to do to itself, its child or its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Its child writes lines that are no messages.
    Garbage,
    /// Its child reads and writes nothing for a while.
    Stall,
    /// Its child never reads again.
    Hang,
    /// Its client is gone in the middle of a stream, and does not come back.
    Cut,
    /// Its client's end of a GET stream is closed, or not read, while the session is abandoned.
    HalfOpen,
}

/// A gateway, and when a process was last killed in it of which nobody knows who uses it.
pub(super) struct Site {
    pub(super) name: &'static str,
    pub(super) gateway: Gateway,
    pub(super) idle: Duration,
    killed: AtomicU64,
    /// Where its children write down what they are told.
    record: Option<Record>,
}

/// A session that has a child of its own.
pub(super) struct Living {
    pub(super) pid: i32,
    pub(super) was_killed: AtomicBool,
}

pub(super) struct World {
    pub(super) began: Instant,
    /// Each session has a child of its own; modern clients are bridged.
    pub(super) own: Site,
    /// All sessions share one child.
    pub(super) shared: Site,
    /// Modern clients, and a modern server.
    pub(super) modern: Site,
    /// Each session has a child of its own, which others follow.
    pub(super) respawn: Site,
    /// There is room for few sessions; those that are left make room.
    pub(super) evict: Site,
    pub(super) room: usize,
    pub(super) left: Mutex<VecDeque<Left>>,
    pub(super) living: Mutex<Vec<Arc<Living>>>,
    pub(super) faults: Mutex<VecDeque<Fault>>,
    pub(super) is_over: AtomicBool,
    tally: Mutex<BTreeMap<&'static str, u64>>,
    wrong: Mutex<Vec<String>>,
}

impl Site {
    fn start(name: &'static str, options: &[&str], words: &[&str]) -> Site {
        Site::run(name, IDLE, 4000, None, options, words)
    }

    /// One whose children write down what they are told.
    fn recorded(name: &'static str, idle: Duration, room: usize, options: &[&str]) -> Site {
        Site::run(name, idle, room, Some(Record::new()), options, &[])
    }

    fn run(name: &'static str, idle: Duration, room: usize, record: Option<Record>, options: &[&str], words: &[&str]) -> Site {
        let (timeout, room) = (format!("{}s", idle.as_secs()), room.to_string());
        let common = [
            "--idle-timeout",
            &timeout,
            "--request-timeout",
            "15s",
            "--max-sessions",
            &room,
            "--max-children",
            "4000",
            // Also where there are few processors.
            "--threads",
            "2",
            "--log",
            "warn,mcp_http_gateway::gateway=info",
        ];
        let dir = record.as_ref().map(|record| format!("PROOF_DIR={}", record.path()));
        let env = dir.as_deref().map(|dir| ["--env", dir]).into_iter().flatten().collect::<Vec<_>>();
        let child = proof_child();
        let words = [&["--", child.as_str()], words].concat();
        let gateway = Start::new(&[&common, options, &env].concat()).child(&words).run();
        Site { name, gateway, idle, killed: AtomicU64::new(0), record }
    }

    /// As many connections at a time as make a gateway begin the last of its threads: those stay.
    pub(super) fn begin_every_thread(&self) {
        let most = CONNECTIONS_OF_A_THREAD * thread::available_parallelism().map_or(1, NonZero::get);
        let connections: Vec<TcpStream> =
            (0..=most).map(|_| TcpStream::connect(self.gateway.address()).expect("it listens")).collect();
        // The one that asks, too.
        while self.gateway.metric("connections_active", "") <= connections.len() as u64 {
            thread::sleep(NOTICE / 100);
        }
    }

    /// A session is over: what it asked for is compared with what was written down.
    pub(super) fn close(&self, world: &World, ledger: &Ledger, is_sure: bool) {
        self.record.iter().for_each(|record| record.close(world, ledger, is_sure));
    }

    /// All is over.
    pub(super) fn close_all(&self, world: &World) {
        self.record.iter().for_each(|record| record.close_all(world));
    }

    /// Whether such a process was killed at that time or later.
    fn was_killed_since(&self, began: Instant, when: Instant) -> bool {
        let killed = self.killed.load(Ordering::Acquire);
        killed > 0 && Duration::from_millis(killed) + NOTICE >= when.saturating_duration_since(began)
    }
}

impl World {
    /// For so many clients a second.
    pub(super) fn new(rate: f64) -> World {
        // A tenth of them come where there is room for few, half of these leave their session open: more than stay for 5 s, less
        // than would for 20.
        let room = (rate / 2.0).max(10.0) as usize;
        let respawn = ["--on-child-exit", "respawn", "--hibernate-after", respawn::SLEEP.0];
        World {
            began: Instant::now(),
            own: Site::start("own children", &[], &[]),
            shared: Site::start("--children shared", &["--children", "shared"], &[]),
            modern: Site::start("modern server", &["--child-era", "modern"], &["modern"]),
            respawn: Site::recorded("respawn, hibernation", IDLE, 4000, &respawn),
            evict: Site::recorded("evict-idle", IDLE_AT_THE_CAP, room, &["--at-session-cap", "evict-idle"]),
            room,
            left: Mutex::default(),
            living: Mutex::default(),
            faults: Mutex::default(),
            is_over: AtomicBool::new(false),
            tally: Mutex::default(),
            wrong: Mutex::default(),
        }
    }

    pub(super) fn sites(&self) -> [&Site; SITES] {
        [&self.own, &self.shared, &self.modern, &self.respawn, &self.evict]
    }

    /// To be said before a process is killed of which nobody knows who uses it.
    pub(super) fn kills(&self, site: &Site) {
        site.killed.store(self.began.elapsed().as_millis() as u64, Ordering::Release);
    }

    /// Whether what went on since then may have been ended by a kill.
    pub(super) fn is_excused(&self, site: &Site, since: Instant) -> bool {
        site.was_killed_since(self.began, since)
    }

    pub(super) fn count(&self, what: &'static str, more: u64) {
        *self.tally.lock().expect("no panic").entry(what).or_default() += more;
    }

    pub(super) fn counted(&self, what: &str) -> u64 {
        self.tally.lock().expect("no panic").get(what).copied().unwrap_or(0)
    }

    pub(super) fn tally(&self) -> BTreeMap<&'static str, u64> {
        self.tally.lock().expect("no panic").clone()
    }

    pub(super) fn is_wrong(&self, what: String) {
        eprintln!("wrong, at {:.1} s: {what}", self.began.elapsed().as_secs_f64());
        self.wrong.lock().expect("no panic").push(what);
    }

    pub(super) fn wrongs(&self) -> usize {
        self.wrong.lock().expect("no panic").len()
    }

    /// What came in place of an answer, where its child may have been killed.
    pub(super) fn judge(&self, site: &Site, trouble: Trouble, is_excused: bool) {
        match trouble {
            Trouble::Failed(_) | Trouble::Refused(404, _) if is_excused => self.count("calls ended by a kill", 1),
            Trouble::Refused(429 | 503, _) if is_excused => self.count("refused after a kill", 1),
            Trouble::Refused(429 | 503, text) => {
                if self.counted("refused (429, 503)") < 5 {
                    eprintln!("refused by {}: {text}", site.name);
                }
                self.count("refused (429, 503)", 1);
            }
            trouble => self.is_wrong(format!("{}: {trouble:?}", site.name)),
        }
    }

    pub(super) fn next_fault(&self) -> Option<Fault> {
        self.faults.lock().expect("no panic").pop_front()
    }

    pub(super) fn joined(&self, pid: i32) -> Arc<Living> {
        let living = Arc::new(Living { pid, was_killed: AtomicBool::new(false) });
        self.living.lock().expect("no panic").push(Arc::clone(&living));
        living
    }

    /// From here on its child is not killed.
    pub(super) fn left(&self, living: &Arc<Living>) {
        self.living.lock().expect("no panic").retain(|other| !Arc::ptr_eq(other, living));
    }
}
