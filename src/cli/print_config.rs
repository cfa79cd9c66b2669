//! `print-config [OPTIONS]`: what is in force, as a file that `--config` reads again. Values of the children's environment are
//! not in it.

use std::ffi::OsString;

use super::{Outcome, warned};
use crate::config::{Given, print};

/// Prints what these options, the environment and the files make. `demo` is the program that `--demo` runs.
#[must_use]
pub fn print_config(given: &Given, demo: &[OsString]) -> Outcome {
    match print::print(given, demo) {
        Ok((stdout, warnings)) => Outcome { stdout, stderr: warned(&warnings), code: 0 },
        Err(fault) => fault.into(),
    }
}
