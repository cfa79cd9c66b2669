//! What the gateways' processes use while they are under load, and what is left of it.

use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::world::{SITES, Site, World};
use crate::kit::process::{Usage, mib};
use crate::kit::stats::{median, slope};

const SECOND: Duration = Duration::from_secs(1);
/// From this length on, memory is judged by its slope.
const LONG: Duration = Duration::from_secs(20 * 60);
/// The slope that a run must stay below, MiB an hour.
const STEEPEST: f64 = 4.0;

/// Seconds since the start, and what each gateway used then.
pub(super) type Samples = Vec<(f64, [Usage; SITES])>;

/// Looks once a second until it is over.
pub(super) fn watch(world: &World) -> Samples {
    let mut samples = Samples::new();
    let mut told = Instant::now();
    while !world.is_over.load(Ordering::Acquire) {
        sleep(SECOND);
        let look = world.sites().map(|site| Usage::of(site.gateway.pid()));
        samples.push((world.began.elapsed().as_secs_f64(), look));
        if told.elapsed() > 30 * SECOND {
            told = Instant::now();
            let resident: Vec<String> = look.iter().map(|usage| format!("{:.1}", mib(usage.resident))).collect();
            let counted = |what| world.counted(what);
            eprintln!(
                "{:.0} s: {} sessions, {} calls, {} MiB, {} wrong",
                world.began.elapsed().as_secs_f64(),
                counted("sessions opened"),
                counted("calls"),
                resident.join(" · "),
                world.wrongs()
            );
        }
    }
    samples
}

/// Waits until nothing is left of what was abandoned; says what is.
pub(super) fn settled(site: &Site) -> Result<(), String> {
    let gateway = &site.gateway;
    let began = Instant::now();
    let gauges = ["sessions_active", "children_running", "sse_streams_active", "events_stored_bytes", "stdin_queue_bytes"];
    loop {
        let mut left: Vec<String> = gauges
            .iter()
            .map(|name| (name, gateway.metric(name, "")))
            .filter(|left| left.1 > 0)
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        let children = gateway.children();
        left.extend(children.iter().map(|child| format!("process {} ({})", child.pid, child.state)));
        // The one that asks.
        let connections = gateway.metric("connections_active", "");
        left.extend((connections > 1).then(|| format!("connections_active {connections}")));
        if left.is_empty() {
            return Ok(());
        }
        // Idle, 4 s for a child that does not end by itself, 10 s for an idle connection, 10 s for threads; and air.
        if began.elapsed() > site.idle + 40 * SECOND {
            return Err(format!("{}: left over: {}", site.name, left.join(", ")));
        }
        sleep(SECOND / 4);
    }
}

/// Lowest use of each within some seconds: what comes and goes is not a leak.
pub(super) fn least(world: &World, seconds: u32) -> [Usage; SITES] {
    let mut least = world.sites().map(|site| Usage::of(site.gateway.pid()));
    for _ in 0..seconds * 2 {
        sleep(SECOND / 2);
        for (least, site) in least.iter_mut().zip(world.sites()) {
            let look = Usage::of(site.gateway.pid());
            least.resident = least.resident.min(look.resident);
            least.descriptors = least.descriptors.min(look.descriptors);
            least.threads = least.threads.min(look.threads);
        }
    }
    least
}

/// Memory of one gateway over the run.
pub(super) struct Memory {
    pub(super) warm: f64,
    pub(super) end: f64,
    /// MiB an hour over the last two thirds, and half its 95 % interval.
    pub(super) slope: (f64, f64),
    pub(super) verdict: Result<&'static str, String>,
}

pub(super) fn memory(samples: &Samples, at: usize, length: Duration) -> Memory {
    let points: Vec<(f64, f64)> = samples.iter().map(|(when, look)| (*when, mib(look[at].resident))).collect();
    let late = &points[points.len() / 3..];
    let middle = |points: &[(f64, f64)]| median(&points.iter().map(|point| point.1).collect::<Vec<f64>>());
    let (warm, end) = (middle(&late[..late.len().min(10)]), middle(&late[late.len().saturating_sub(10)..]));
    let (steep, half) = slope(late);
    let slope = (steep * 3600.0, half * 3600.0);
    let verdict = match (length >= LONG, slope.0 + slope.1 < STEEPEST, end <= warm * 1.2 + 8.0) {
        (true, true, _) => Ok("slope < 4 MiB/h"),
        (false, _, true) => Ok("end ≤ warm × 1.2 + 8 MiB"),
        (true, ..) => Err(format!("memory grows by {:.1} ± {:.1} MiB an hour", slope.0, slope.1)),
        (false, ..) => Err(format!("memory grew from {warm:.1} to {end:.1} MiB")),
    };
    Memory { warm, end, slope, verdict }
}
