//! What a row of the table is, and how its figure is taken.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// How much is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Quick,
    Usual,
    Full,
}

impl Mode {
    /// The smaller figure for a quick run.
    pub(crate) fn pick<T>(self, quick: T, usual: T) -> T {
        if self == Mode::Quick { quick } else { usual }
    }
}

/// A figure, and whether it is within its pass line.
pub(crate) struct Measured {
    pub(crate) figure: String,
    pub(crate) is_ok: bool,
}

/// What the machine lacks.
pub(crate) struct Missing(pub(crate) &'static str);

pub(crate) type Outcome = Result<Measured, Missing>;

pub(crate) fn measured(is_ok: bool, figure: String) -> Outcome {
    Ok(Measured { figure, is_ok })
}

#[derive(Clone, Copy)]
pub(crate) struct Check {
    pub(crate) slug: &'static str,
    pub(crate) what: &'static str,
    pub(crate) pass: &'static str,
    /// It mostly waits: others may run beside it.
    pub(crate) waits: bool,
    pub(crate) run: fn(Mode) -> Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Ok,
    Fail,
    Missing,
}

pub(crate) struct Row {
    check: Check,
    figure: String,
    pub(crate) shown: Shown,
}

thread_local! {
    /// What the last panic of this thread said.
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A panic is a row that failed: it is told there, not on stderr.
pub(crate) fn quiet_panics() {
    set_hook(Box::new(|panic| {
        let text = panic.payload_as_str().unwrap_or("a panic").lines().next().unwrap_or_default().to_owned();
        let place =
            panic.location().map(|place| format!("{}:{}", place.file().rsplit('/').next().unwrap_or_default(), place.line()));
        SAID.with_borrow_mut(|said| *said = format!("{text} ({})", place.unwrap_or_default()));
    }));
}

impl Check {
    pub(crate) fn run(self, mode: Mode) -> Row {
        let (figure, shown) = match catch_unwind(AssertUnwindSafe(|| (self.run)(mode))) {
            Ok(Ok(measured)) => (measured.figure, if measured.is_ok { Shown::Ok } else { Shown::Fail }),
            Ok(Err(Missing(what))) => (format!("not run: this machine has no {what}"), Shown::Missing),
            Err(_) => (SAID.take().chars().take(300).collect(), Shown::Fail),
        };
        Row { check: self, figure, shown }
    }
}

impl Row {
    pub(crate) fn cells(&self) -> Vec<String> {
        let shown = match self.shown {
            Shown::Ok => "ok",
            Shown::Fail => "**FAIL**",
            Shown::Missing => "not run",
        };
        [self.check.slug, self.check.what, self.check.pass, &self.figure, shown]
            .iter()
            .map(|cell| cell.replace('|', "\\|"))
            .collect()
    }

    pub(crate) fn line(&self) -> String {
        let shown = match self.shown {
            Shown::Ok => "ok  ",
            Shown::Fail => "FAIL",
            Shown::Missing => "----",
        };
        let Check { slug, what, pass, .. } = self.check;
        format!("{shown} {slug}: {what} | {pass} | {}", self.figure)
    }
}

/// How long it took to become true, or nothing if it did not within this time.
pub(crate) fn took(limit: Duration, mut is_true: impl FnMut() -> bool) -> Option<Duration> {
    let began = Instant::now();
    loop {
        if is_true() {
            return Some(began.elapsed());
        }
        if began.elapsed() > limit {
            return None;
        }
        sleep(Duration::from_millis(5));
    }
}

pub(crate) fn ms(took: Duration) -> String {
    if took >= 10 * SECOND { format!("{:.1} s", took.as_secs_f64()) } else { format!("{:.0} ms", took.as_secs_f64() * 1e3) }
}

/// A time, or that it did not come.
pub(crate) fn ms_or(took: Option<Duration>, else_what: &str) -> String {
    took.map_or_else(|| else_what.to_owned(), ms)
}

/// Whether only root may do the rest.
pub(crate) fn root() -> Result<(), Missing> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err(Missing("root")) }
}

pub(crate) fn program(name: &'static str) -> Result<(), Missing> {
    let found = Command::new("sh").args(["-c", &format!("command -v {name}")]).stdout(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) { Ok(()) } else { Err(Missing(name)) }
}

/// A cgroup of our own, removed with everything in it.
pub(crate) struct Cgroup(pub(crate) PathBuf);

impl Cgroup {
    /// Below this directory, if it is one of a cgroup hierarchy that we may write to.
    pub(crate) fn new(below: &str, name: &str) -> Option<Cgroup> {
        let path = PathBuf::from(below).join(format!("gateway-proof-{name}-{}", std::process::id()));
        PathBuf::from(below).join("cgroup.procs").exists().then_some(())?;
        std::fs::create_dir(&path).ok()?;
        Some(Cgroup(path))
    }

    pub(crate) fn write(&self, file: &str, text: &str) -> bool {
        std::fs::write(self.0.join(file), text).is_ok()
    }

    pub(crate) fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.0.join(file)).unwrap_or_default()
    }

    /// Words that start a program in it.
    pub(crate) fn words(&self) -> Vec<String> {
        let script = "echo $$ > \"$0/cgroup.procs\" && exec \"$@\"";
        ["sh", "-c", script, &self.0.to_string_lossy()].map(str::to_owned).to_vec()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for _ in 0..200 {
            let children = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
            children.filter(|entry| entry.path().is_dir()).for_each(|entry| drop(std::fs::remove_dir(entry.path())));
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
    }
}
