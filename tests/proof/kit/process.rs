//! What one process uses, as the kernel counts it.

use std::fs;

use crate::support::gateway::Start;
use crate::support::proc;

/// A look at a process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) resident: usize,
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
}

impl Usage {
    pub(crate) fn of(pid: i32) -> Usage {
        Usage {
            resident: proc::resident(pid),
            descriptors: proc::descriptors(pid),
            threads: fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count),
        }
    }
}

/// The server of the proofs.
pub(crate) fn proof_child() -> String {
    example("proof_child")
}

/// An example of the package, built beside this program.
pub(crate) fn example(name: &str) -> String {
    let own = std::env::current_exe().expect("a path");
    let target = own.parent().and_then(|deps| deps.parent()).expect("a target directory");
    let program = target.join("examples").join(name);
    assert!(program.exists(), "{} is not built", program.display());
    program.to_str().expect("UTF-8").to_owned()
}

pub(crate) fn mib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// A gateway in front of the server of the proofs, which is one of the legacy era.
pub(crate) fn in_front(options: &[&str]) -> Start {
    Start::new(options).child(&["--", &proof_child()])
}
