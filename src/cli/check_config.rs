//! `check-config FILE`: all that is wrong with a file, before anything runs by it.

use std::ffi::OsString;
use std::path::Path;

use super::{Outcome, warned};
use crate::config;

/// Reads a file by itself: neither options nor the environment count. `demo` is the program that `demo = true` runs.
#[must_use]
pub fn check_config(file: &Path, demo: &[OsString]) -> Outcome {
    match config::check(file, demo) {
        Ok(checked) => {
            let plural = if checked.servers == 1 { "" } else { "s" };
            let stdout = format!("{}: ok, {} server{plural}\n", file.display(), checked.servers);
            Outcome { stdout, stderr: warned(&checked.warnings), code: 0 }
        }
        Err(fault) => fault.into(),
    }
}
