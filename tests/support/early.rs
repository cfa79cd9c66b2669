//! Experiments that wait for the gateway's own timers. All of them start when the first is asked for and run side by side:
//! `cargo test` runs as many tests at a time as there are cores, and waiting needs none.

use std::collections::HashMap;
use std::panic::resume_unwind;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};

/// Name and body of each.
pub(crate) type Experiments = &'static [(&'static str, fn())];

static RUNNING: OnceLock<Mutex<HashMap<&'static str, JoinHandle<()>>>> = OnceLock::new();

/// Waits for the outcome of one of them.
pub(crate) fn outcome(all: Experiments, name: &str) {
    let start = |(name, body): &(&'static str, fn())| {
        let started = thread::Builder::new().name((*name).to_owned()).spawn(*body);
        (*name, started.expect("a thread"))
    };
    let running = RUNNING.get_or_init(|| Mutex::new(all.iter().map(start).collect()));
    let own = running.lock().unwrap_or_else(PoisonError::into_inner).remove(name).expect("one of the experiments");
    if let Err(panic) = own.join() {
        // What it said itself was said to whichever test began them all.
        let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        eprintln!("{name}: {}", said.unwrap_or("it panicked"));
        resume_unwind(panic);
    }
}
