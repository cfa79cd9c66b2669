//! The gateway beside other bridges (`benches/rivals/install` installs them), and beside what no bridge can be faster than: a
//! bare hyper server that has no child, the child's pipe by itself, and a bare copy from that pipe to a socket. All are measured
//! in one run and in turns, in front of the same child and under the same load; only the ratios mean something.
//!
//! `cargo bench --bench rivals [-- --only gateway,limit --scenario calls16 --rounds 3]`; `-- --help` tells the rest. Every part
//! runs as a process of its own: the child and the limits are this program again.

#![allow(clippy::print_stdout)] // it is what a benchmark is for

mod board;
mod child;
mod contestants;
mod copy;
mod cost;
mod json;
mod limit;
mod load;
mod memory;
mod options;
mod peer;
mod pipe;
mod plot;
mod report;
mod run;
mod scale;
mod scenarios;
mod session;
#[path = "../../tests/proof/kit/table.rs"]
mod table;
mod targets;
mod wire;

use clap::Parser as _;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let port = || words.get(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    match words.first().map(String::as_str) {
        Some("child") => child::serve(),
        Some("limit") => limit::serve(port()),
        Some("copy") => copy::serve(port()),
        _ => bench(&options::Options::parse()),
    }
}

fn bench(options: &options::Options) {
    // One thread: the load leaves as much of the machine as it can to those that are measured.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let board = run::all(options, &runtime);
    let contestants = options.contestants();
    report::print(&board, &contestants, &options.scenarios(), options.markdown);
    targets::print(&board, options.markdown);
    if let Some(path) = &options.plot {
        match std::fs::write(path, plot::draw(&board, &contestants)) {
            Ok(()) => println!("\ndrawn: {}", path.display()),
            Err(why) => eprintln!("cannot write {}: {why}", path.display()),
        }
    }
}
