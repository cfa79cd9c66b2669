//! How many instructions the gateway executes for one call, in user space, counted by callgrind (a tool of valgrind). A count
//! hardly depends on the machine or on what else runs there, so a small growth shows, and `.ci/run` can hold it.
//!
//! `cargo bench --bench instructions [-- --check | --save] [CASE ...]`: prints a table beside the stored baseline. `--check`
//! fails where a case has grown by more than 5 %; `--save` writes a new baseline. Needs `valgrind` on the path.
//!
//! Each case runs on two gateways of its own: few calls by one client, one after another, on the first, and many on the second.
//! What the second executes beyond the first, a call, is the result: start, session and end are in both. The few are few because
//! what differs by chance from start to start (a nonce, the seed of a hash) is in every call. The child is this program again;
//! callgrind does not follow it.
//!
//! It is no time: callgrind shows the gateway a processor of its own making, which has AVX2 where the real one has, but nothing
//! newer, and no SHA instructions; nothing of the kernel is counted, and waiting costs nothing. And the gateway is built as for
//! tests, with features of its libraries that only those need: that is some 1 % of a call.

#![allow(clippy::print_stdout)] // it is what a benchmark is for

mod baseline;
mod callgrind;
mod cases;
#[path = "../rivals/child.rs"]
#[allow(dead_code)] // some of it is the rivals' alone
mod child;
mod client;
mod discover;
#[path = "../rivals/json.rs"]
mod json;
#[path = "../../tests/proof/kit/table.rs"]
mod table;

use std::process::ExitCode;

use baseline::Baseline;
use cases::{CASES, Case, TOKEN};

/// What growth is let pass, in percent. Without any change two runs differ by one at most, and on a busy machine by two.
const TOLERANCE: f64 = 5.0;
/// The calls on the first gateway.
const FEW: u32 = 100;
/// Of so many rounds the middle one counts.
const ROUNDS: usize = 3;

/// A bad argument, or a tool that is missing.
const UNUSABLE: u8 = 2;

#[derive(Clone, Copy, PartialEq)]
enum Wish {
    Print,
    Check,
    Save,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "child") {
        if words.get(1).is_some_and(|word| word == "modern") {
            discover::answer();
        }
        child::serve();
        return ExitCode::SUCCESS;
    }
    let run = || {
        let (wish, cases) = wanted(&words)?;
        let tools = callgrind::tools()?;
        bench(wish, &cases, &tools)
    };
    run().unwrap_or_else(|why: String| {
        eprintln!("{why}");
        ExitCode::from(UNUSABLE)
    })
}

/// What is asked for, and of which cases: of all unless some are named.
fn wanted(words: &[String]) -> Result<(Wish, Vec<&'static Case>), String> {
    let (mut wish, mut cases) = (Wish::Print, Vec::new());
    for word in words {
        match word.as_str() {
            "--bench" => {} // cargo says so
            "--check" => wish = Wish::Check,
            "--save" => wish = Wish::Save,
            name => cases.push(CASES.iter().find(|case| case.name == name).ok_or_else(|| {
                let names = CASES.map(|case| case.name).join(", ");
                format!("{name} is neither --check nor --save nor a case; the cases are {names}")
            })?),
        }
    }
    if wish == Wish::Save && !cases.is_empty() {
        return Err("--save writes the whole baseline: name no case with it".into());
    }
    if cases.is_empty() {
        cases.extend(&CASES);
    }
    Ok((wish, cases))
}

fn bench(wish: Wish, cases: &[&Case], tools: &str) -> Result<ExitCode, String> {
    // What is written anew need not be readable.
    let baseline = Baseline::read().or_else(|why| if wish == Wish::Save { Ok(Baseline::default()) } else { Err(why) })?;
    if wish == Wish::Check {
        baseline.must_fit(tools)?;
    }
    callgrind::stay_on_one_cpu();
    let counts: Vec<(&str, u64)> = cases.iter().map(|case| (case.name, a_call(case))).collect();
    let rows = counts.iter().map(|(name, count)| row(name, *count, baseline.of(name)));
    table::print(&["case", "instructions a call", "baseline", "change"], &rows.collect::<Vec<_>>(), false);
    println!("\nmade here with {tools}\nbaseline: {}", baseline.made_with());
    match wish {
        Wish::Print => Ok(ExitCode::SUCCESS),
        Wish::Save => {
            baseline::save(tools, &counts)?;
            println!("\nthis is the baseline now");
            Ok(ExitCode::SUCCESS)
        }
        Wish::Check => Ok(check(&counts, &baseline)),
    }
}

fn row(name: &str, count: u64, baseline: Option<u64>) -> Vec<String> {
    let (old, change) = match baseline {
        Some(old) => (old.to_string(), format!("{:+.1} %", growth(count, old))),
        None => ("none".into(), String::new()),
    };
    vec![name.into(), count.to_string(), old, change]
}

/// In percent.
fn growth(count: u64, old: u64) -> f64 {
    (count as f64 / old as f64 - 1.0) * 100.0
}

/// Says what differs from the baseline; fails if a case has grown, or is not in it.
fn check(counts: &[(&str, u64)], baseline: &Baseline) -> ExitCode {
    let mut is_good = true;
    println!();
    for (name, count) in counts {
        match baseline.of(name).map(|old| (old, growth(*count, old))) {
            None => {
                is_good = false;
                println!("{name} is not in the baseline");
            }
            Some((old, growth)) if growth > TOLERANCE => {
                is_good = false;
                println!("{name} costs {count} instructions a call, {growth:.1} % more than the {old} of the baseline");
            }
            Some((_, growth)) if growth < -TOLERANCE => println!("{name} costs {:.1} % less than the baseline says", -growth),
            Some(_) => {}
        }
    }
    let of = |wanted: &str| counts.iter().find(|(name, _)| *name == wanted).map(|(_, count)| *count);
    let (name, without, most) = TOKEN;
    if let Some((with, without)) = of(name).zip(of(without)) {
        let more = growth(with, without);
        println!("a token costs {more:.1} % of a call, {most} % at most");
        is_good &= more <= most;
    }
    if is_good {
        println!("nothing has grown by more than {TOLERANCE} %");
        return ExitCode::SUCCESS;
    }
    println!("where that is meant, `cargo bench --bench instructions -- --save` writes a new baseline");
    ExitCode::FAILURE
}

/// The instructions of one call: the middle one of some rounds.
fn a_call(case: &Case) -> u64 {
    let mut rounds = [0; ROUNDS];
    for round in &mut rounds {
        let (few, many) = (callgrind::count(case, FEW), callgrind::count(case, FEW + case.calls));
        *round = many.saturating_sub(few) / u64::from(case.calls);
    }
    rounds.sort_unstable();
    rounds[ROUNDS / 2]
}
