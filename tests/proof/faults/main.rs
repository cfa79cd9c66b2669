//! What the gateway does when something breaks, is flooded or is attacked: each row is done, measured, and held against its pass
//! line. Run by `tests/faults [SLUG…] [--quick | --full] [--markdown] [--allow-missing] [--list]`.

#![allow(clippy::print_stdout)] // it is what the program is for

mod check;
mod children;
mod clocks;
mod crowds;
mod escapes;
mod floods;
mod frames;
mod http2;
mod idle;
#[path = "../kit/mod.rs"]
#[allow(dead_code)] // each of the two programs uses its part
mod kit;
mod limits;
mod messages;
mod pressure;
mod smuggling;
mod spawning;
#[path = "../../support/mod.rs"]
#[allow(dead_code)]
mod support;

use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use check::{Check, Mode, Row, Shown};
use kit::table;

/// All of them, in the order of the table.
fn checks() -> Vec<Check> {
    [
        children::CHECKS,
        escapes::CHECKS,
        clocks::CHECKS,
        spawning::CHECKS,
        limits::CHECKS,
        pressure::CHECKS,
        floods::CHECKS,
        crowds::CHECKS,
        idle::CHECKS,
        smuggling::CHECKS,
        http2::CHECKS,
        messages::CHECKS,
    ]
    .concat()
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| words.iter().any(|word| word == name);
    let mode = match (has("--quick"), has("--full")) {
        (true, _) => Mode::Quick,
        (_, true) => Mode::Full,
        _ => Mode::Usual,
    };
    let named: Vec<&String> = words.iter().filter(|word| !word.starts_with("--")).collect();
    let all = checks();
    if let Some(unknown) = named.iter().find(|name| !all.iter().any(|check| check.slug == ***name)) {
        eprintln!("there is no {unknown}; --list names all");
        return ExitCode::from(64);
    }
    if has("--list") {
        all.iter().for_each(|check| println!("{:<24} {}", check.slug, check.what));
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<Check> =
        all.into_iter().filter(|check| named.is_empty() || named.iter().any(|name| *name == check.slug)).collect();
    check::quiet_panics();
    let began = Instant::now();
    let rows = run(&wanted, mode, has("--markdown"));
    let failed = rows.iter().filter(|row| row.shown == Shown::Fail).count();
    let missing = rows.iter().filter(|row| row.shown == Shown::Missing).count();
    if has("--markdown") {
        let lines: Vec<Vec<String>> = rows.iter().map(Row::cells).collect();
        table::print(&["", "what is done", "pass line", "measured", ""], &lines, true);
    }
    println!("\n{} rows in {:.0} s: {failed} failed, {missing} could not run here", rows.len(), began.elapsed().as_secs_f64());
    let is_fine = failed == 0 && (missing == 0 || has("--allow-missing"));
    if is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Those that mostly wait run side by side, the others one after the other meanwhile; the rows are in the order of the checks.
fn run(checks: &[Check], mode: Mode, is_markdown: bool) -> Vec<Row> {
    let rows: Mutex<Vec<(usize, Row)>> = Mutex::default();
    let one = |at: usize| {
        let row = checks[at].run(mode);
        if is_markdown {
            eprintln!("{}", row.line());
        } else {
            println!("{}", row.line());
        }
        rows.lock().expect("no panic").push((at, row));
    };
    thread::scope(|scope| {
        for at in (0..checks.len()).filter(|at| checks[*at].waits) {
            scope.spawn(move || one(at));
        }
        (0..checks.len()).filter(|at| !checks[*at].waits).for_each(one);
    });
    let mut rows = rows.into_inner().expect("no panic");
    rows.sort_by_key(|(at, _)| *at);
    rows.into_iter().map(|(_, row)| row).collect()
}
