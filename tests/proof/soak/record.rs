//! What the children of a gateway have written down, which outlives them: everything that was accepted arrived, and nothing ran twice.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;

use tempfile::TempDir;

use super::world::World;

/// A directory with a file a session.
pub(super) struct Record {
    dir: TempDir,
    /// Of these more may be written, or was missing when it was looked for; judged at the end.
    open: Mutex<Vec<(Ledger, bool)>>,
}

/// What a session asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    pub(super) key: String,
    /// How many texts it has had.
    pub(super) turn: u64,
    /// Notifications that were accepted.
    pub(super) told: u64,
    /// Calls that write down that they ran, and whether each was answered with its result.
    pub(super) asked: Vec<(String, bool)>,
}

impl Record {
    pub(super) fn new() -> Record {
        Record { dir: TempDir::new().expect("a directory"), open: Mutex::default() }
    }

    pub(super) fn path(&self) -> &str {
        self.dir.path().to_str().expect("UTF-8")
    }

    /// A session is over. `is_sure` says that its child was not killed from outside.
    pub(super) fn close(&self, world: &World, ledger: &Ledger, is_sure: bool) {
        let lines = self.lines(&ledger.key);
        let is_complete = lines.get("told").copied().unwrap_or(0) == ledger.told
            && ledger.asked.iter().all(|(text, is_answered)| !is_answered || lines.contains_key(&format!("run {text}")));
        if !is_complete {
            return self.open.lock().expect("no panic").push((ledger.clone(), is_sure));
        }
        self.judge(world, ledger, &lines, is_sure);
    }

    /// Everything has ended: nobody writes any more.
    pub(super) fn close_all(&self, world: &World) {
        for (ledger, is_sure) in std::mem::take(&mut *self.open.lock().expect("no panic")) {
            self.judge(world, &ledger, &self.lines(&ledger.key), is_sure);
        }
        for file in fs::read_dir(self.dir.path()).expect("a directory").flatten() {
            let text = fs::read_to_string(file.path()).unwrap_or_default();
            world.is_wrong(format!("written after the end of {}: {text:?}", file.file_name().to_string_lossy()));
        }
    }

    /// How often each line was written.
    fn lines(&self, key: &str) -> BTreeMap<String, u64> {
        let mut lines = BTreeMap::new();
        for line in fs::read_to_string(self.dir.path().join(key)).unwrap_or_default().lines() {
            *lines.entry(line.to_owned()).or_default() += 1;
        }
        lines
    }

    fn judge(&self, world: &World, ledger: &Ledger, lines: &BTreeMap<String, u64>, is_sure: bool) {
        let key = &ledger.key;
        let told = lines.get("told").copied().unwrap_or(0);
        world.count("notifications checked", ledger.told);
        if told > ledger.told {
            world.is_wrong(format!("{key}: {told} notifications arrived of {}", ledger.told));
        }
        let missing = ledger.told.saturating_sub(told);
        world
            .count(if is_sure { "notifications that did not arrive" } else { "notifications lost with a killed child" }, missing);
        let mut ran = 0;
        for (text, is_answered) in &ledger.asked {
            let times = lines.get(&format!("run {text}")).copied().unwrap_or(0);
            ran += u64::from(times > 0);
            if times > 1 || *is_answered && times == 0 {
                world.is_wrong(format!("{key}: {text} ran {times} times, answered: {is_answered}"));
            }
        }
        let ran_in_all = lines.keys().filter(|line| line.starts_with("run ")).count() as u64;
        if ran_in_all > ran {
            world.is_wrong(format!("{key}: ran what was not asked for: {lines:?}"));
        }
        world.count("calls that ran once, as is written down", ran);
        // What is written from here on is found at the end.
        let _ = fs::remove_file(self.dir.path().join(key));
    }
}
