//! The gateways under load, and what everybody knows: what was done, what was broken on purpose, and what went wrong.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::kit::client::Trouble;
use crate::kit::process::proof_child;
use crate::support::gateway::{Gateway, Start};

/// How long a gateway may take to notice that a child was killed.
const NOTICE: Duration = Duration::from_secs(1);
/// An abandoned session ends after this.
pub(super) const IDLE: Duration = Duration::from_secs(5);

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

/// A gateway, and when a process that many use was last killed in it.
pub(super) struct Site {
    pub(super) name: &'static str,
    pub(super) gateway: Gateway,
    killed: AtomicU64,
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
    pub(super) living: Mutex<Vec<Arc<Living>>>,
    pub(super) faults: Mutex<VecDeque<Fault>>,
    pub(super) is_over: AtomicBool,
    tally: Mutex<BTreeMap<&'static str, u64>>,
    wrong: Mutex<Vec<String>>,
}

impl Site {
    fn start(name: &'static str, options: &[&str], words: &[&str]) -> Site {
        let idle = format!("{}s", IDLE.as_secs());
        let common = [
            "--idle-timeout",
            &idle,
            "--request-timeout",
            "15s",
            "--max-sessions",
            "4000",
            "--max-children",
            "4000",
            "--log",
            "warn,mcp_http_gateway::gateway=info",
        ];
        let child = proof_child();
        let words = [&["--", child.as_str()], words].concat();
        let gateway = Start::new(&[&common, options].concat()).child(&words).run();
        Site { name, gateway, killed: AtomicU64::new(0) }
    }

    /// Whether a process that many use was killed at that time or later.
    fn was_killed_since(&self, began: Instant, when: Instant) -> bool {
        let killed = self.killed.load(Ordering::Acquire);
        killed > 0 && Duration::from_millis(killed) + NOTICE >= when.saturating_duration_since(began)
    }
}

impl World {
    pub(super) fn new() -> World {
        World {
            began: Instant::now(),
            own: Site::start("own children", &[], &[]),
            shared: Site::start("--children shared", &["--children", "shared"], &[]),
            modern: Site::start("modern server", &["--child-era", "modern"], &["modern"]),
            living: Mutex::default(),
            faults: Mutex::default(),
            is_over: AtomicBool::new(false),
            tally: Mutex::default(),
            wrong: Mutex::default(),
        }
    }

    pub(super) fn sites(&self) -> [&Site; 3] {
        [&self.own, &self.shared, &self.modern]
    }

    /// To be said before a process that many use is killed.
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
