//! Clients of every era, faults of every kind, for as long as is asked: no answer is wrong, nothing accepted is lost, and nothing
//! is left. Run by `tests/soak`; only the options `--minutes`, `--rate`, `--seed` and `--markdown`.

#![allow(clippy::print_stdout)] // it is what the program is for

mod calls;
mod evict;
mod inject;
#[path = "../kit/mod.rs"]
#[allow(dead_code)] // each of the two programs uses its part
mod kit;
mod record;
mod report;
mod respawn;
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
    let world = World::new(options.rate);
    // A little of everything, so that what a gateway needs once is there when it is looked at for the first time.
    thread::scope(|scope| {
        for first in (0..60).step_by(10) {
            let (world, seed) = (&world, options.seed << 40);
            scope.spawn(move || (first..first + 10).for_each(|ticket| client(world, seed | ticket)));
        }
    });
    world.sites().iter().for_each(|site| site.begin_every_thread());
    // What is left over now is so at the end, too.
    let _ = world.sites().map(watch::settled);
    let before = watch::least(&world, 2);
    let (samples, took) = load(&world, &options);
    report::report(&world, &options, &before, &samples, took)
}

/// One client, of whatever kind its number says.
fn client(world: &World, ticket: u64) {
    match ticket % 20 {
        0..=7 => sessions::on_own_child(world, ticket),
        8..=10 => sessions::on_shared_child(world, ticket),
        11..=13 => respawn::of_a_session(world, ticket),
        14 | 15 => evict::of_a_session(world, ticket),
        16 | 17 => calls::of_a_modern_client(world, &world.own, ticket),
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
