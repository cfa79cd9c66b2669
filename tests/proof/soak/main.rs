//! Clients of every era, faults of every kind, for as long as is asked: no answer is wrong, nothing accepted is lost, and nothing
//! is left. Run by `tests/soak`; only the options `--minutes`, `--rate`, `--seed` and `--markdown`.

#![allow(clippy::print_stdout)] // it is what the program is for

mod calls;
mod inject;
#[path = "../kit/mod.rs"]
#[allow(dead_code)] // each of the two programs uses its part
mod kit;
mod sessions;
#[path = "../../support/mod.rs"]
#[allow(dead_code)]
mod support;
mod watch;
mod world;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use kit::process::{Usage, mib};
use kit::table;
use world::World;

/// Clients at a time.
const WORKERS: usize = 160;

struct Options {
    length: Duration,
    /// Sessions and modern clients a second.
    rate: f64,
    seed: u64,
    is_markdown: bool,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1)?.parse::<f64>().ok());
    let options = Options {
        length: Duration::from_secs_f64(value("--minutes").unwrap_or(2.0) * 60.0),
        rate: value("--rate").unwrap_or(150.0),
        seed: value("--seed").unwrap_or(1.0) as u64,
        is_markdown: words.iter().any(|word| word == "--markdown"),
    };
    let world = World::new();
    // A little of everything, so that what a gateway needs once is there when it is looked at for the first time.
    (0..30).for_each(|ticket| client(&world, options.seed << 40 | ticket));
    let before: Vec<Usage> =
        world.sites().iter().map(|site| watch::settled(site).map(|_| watch::least(site, 2))).filter_map(Result::ok).collect();
    let (samples, took) = load(&world, &options);
    report(&world, &options, &before, &samples, took)
}

/// One client, of whatever kind its number says.
fn client(world: &World, ticket: u64) {
    match ticket % 10 {
        0..=5 => sessions::on_own_child(world, ticket),
        6 | 7 => sessions::on_shared_child(world, ticket),
        8 => calls::of_a_modern_client(world, &world.own, ticket),
        _ => calls::of_a_modern_client(world, &world.modern, ticket),
    }
}

fn load(world: &World, options: &Options) -> (watch::Samples, Duration) {
    let next = AtomicU64::new(100);
    let began = Instant::now();
    thread::scope(|scope| {
        let watching = scope.spawn(|| watch::watch(world));
        scope.spawn(|| inject::run(world, options.seed));
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let ticket = next.fetch_add(1, Ordering::Relaxed);
                        let due = Duration::from_secs_f64((ticket - 100) as f64 / options.rate);
                        if due > options.length || began.elapsed() > options.length {
                            return;
                        }
                        sleep(due.saturating_sub(began.elapsed()));
                        client(world, options.seed << 40 | ticket);
                    }
                })
            })
            .collect();
        for worker in workers {
            if worker.join().is_err() {
                world.is_wrong("a client panicked".to_owned());
            }
        }
        world.is_over.store(true, Ordering::Release);
        (watching.join().expect("no panic"), began.elapsed())
    })
}

fn report(world: &World, options: &Options, before: &[Usage], samples: &watch::Samples, took: Duration) -> ExitCode {
    let mut failures = Vec::new();
    let settled: Vec<Usage> = world
        .sites()
        .iter()
        .map(|site| {
            watch::settled(site).err().into_iter().for_each(|left| failures.push(left));
            watch::least(site, 12)
        })
        .collect();
    let mut rows: Vec<Vec<String>> = vec![vec!["length".into(), format!("{:.1} min", took.as_secs_f64() / 60.0)]];
    rows.extend(world.tally().into_iter().map(|(what, count)| vec![what.to_owned(), count.to_string()]));
    let rate = world.counted("sessions opened") as f64 / took.as_secs_f64();
    rows.push(vec!["sessions opened a second".into(), format!("{rate:.0}")]);
    rows.push(vec!["wrong answers".into(), world.wrongs().to_string()]);
    if world.wrongs() > 0 {
        failures.push(format!("{} wrong answers", world.wrongs()));
    }
    let lost: u64 = world.sites().iter().map(|site| site.gateway.metric("messages_lost_total", "")).sum();
    rows.push(vec!["mcp_gateway_messages_lost_total".into(), lost.to_string()]);
    if world.counted("notifications that did not arrive") > lost {
        failures.push("notifications were accepted and lost, and not counted".to_owned());
    }
    let refused = world.counted("refused (429, 503)");
    if refused * 1000 > world.counted("calls") {
        failures.push(format!("{refused} requests were refused"));
    }
    for (at, site) in world.sites().iter().enumerate() {
        let memory = watch::memory(samples, at, options.length);
        rows.push(vec![
            format!("{}: resident memory", site.name),
            format!(
                "{:.1} MiB warm, {:.1} at the end, {:.1} idle; {:+.2} ± {:.2} MiB/h ({})",
                memory.warm,
                memory.end,
                mib(settled[at].resident),
                memory.slope.0,
                memory.slope.1,
                memory.verdict.as_deref().unwrap_or_else(String::as_str)
            ),
        ]);
        failures.extend(memory.verdict.err().map(|why| format!("{}: {why}", site.name)));
        let most = |of: fn(&Usage) -> usize| samples.iter().map(|(_, look)| of(&look[at])).max().unwrap_or(0);
        let (first, last) = (before.get(at).copied().unwrap_or_default(), settled[at]);
        for (what, first, most, last) in [
            ("descriptors", first.descriptors, most(|usage| usage.descriptors), last.descriptors),
            ("threads", first.threads, most(|usage| usage.threads), last.threads),
        ] {
            rows.push(vec![format!("{}: {what}", site.name), format!("{first} at first, at most {most}, {last} at the end")]);
            if last > first {
                failures.push(format!("{}: {what}: {first} at first, {last} at the end", site.name));
            }
        }
    }
    rows.push(vec![
        "left over: sessions, children, zombies, streams, bytes".into(),
        if failures.iter().any(|why| why.contains("left over")) { "FAIL" } else { "0" }.into(),
    ]);
    table::print(&["soak", ""], &rows, options.is_markdown);
    failures.iter().for_each(|why| println!("FAIL: {why}"));
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
