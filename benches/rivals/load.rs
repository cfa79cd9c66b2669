//! The load: sessions on keep-alive connections, each with one call in flight, for a fixed time; and what it cost.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cost::Cpu;
use crate::peer::Peer;
use crate::session::{Call, Fault, Place, Session, Template};
use crate::wire::Wire;

/// How much longer than its time a load may take, until it is taken to hang.
const PATIENCE: Duration = Duration::from_secs(8);
/// Ids have seven digits; those of a connection begin where the last one's end.
const FIRST_ID: u32 = 1_000_000;
const IDS: u32 = 500_000;

/// What is asked, and how much of it at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) call: Call,
    pub(crate) sessions: usize,
    /// In each session: connections with a call in flight.
    pub(crate) in_flight: usize,
}

/// What one round has shown.
#[derive(Clone, Debug)]
pub(crate) enum Round {
    Measured(Figures),
    /// No answer for a long time.
    Hangs,
    /// So many calls of so many came to nothing, one of them for this.
    Fails {
        faults: usize,
        calls: usize,
        one: Fault,
    },
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// Calls a second.
    pub(crate) rate: f64,
    /// CPU of a call, in microseconds.
    pub(crate) cpu: f64,
    /// Microseconds until it was answered: the median, and what 99 of 100 do not exceed.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// One connection, its calls, and how they went.
struct Line {
    wire: Wire,
    template: Template,
    id: u32,
    times: Vec<u64>,
    faults: usize,
    fault: Option<Fault>,
}

impl Line {
    async fn run(mut self, length: Duration) -> Line {
        self.times.clear();
        let mut now = Instant::now();
        let end = now + length;
        while now < end {
            let outcome = self.template.make(&mut self.wire, self.id).await;
            let then = std::mem::replace(&mut now, Instant::now());
            self.id += 1;
            self.times.push((now - then).as_nanos() as u64);
            if let Err(fault) = outcome {
                let is_over = matches!(fault, Fault::Broken);
                self.faults += 1;
                self.fault = Some(fault);
                if is_over {
                    break;
                }
            }
        }
        self
    }
}

/// Opens the sessions, makes calls for a quarter of that time, and then for that time, which counts.
pub(crate) async fn round(peer: &Peer, load: Load, length: Duration) -> Round {
    let patience = length * 2 + PATIENCE;
    match timeout(patience, measured(peer, load, length)).await {
        Err(_) => Round::Hangs,
        Ok(Err(fault)) => Round::Fails { faults: 1, calls: 1, one: fault },
        Ok(Ok(round)) => round,
    }
}

async fn measured(peer: &Peer, load: Load, length: Duration) -> Result<Round, Fault> {
    let (sessions, lines) = open(peer.place, load).await?;
    let lines = run(lines, length / 4).await;
    let before = Cpu::of(peer.pid());
    let began = Instant::now();
    let lines = run(lines, length).await;
    let elapsed = began.elapsed().as_secs_f64();
    let cpu = Cpu::of(peer.pid()).since(&before);
    let round = summed(&lines, elapsed, cpu);
    drop(lines);
    for (mut wire, session) in sessions {
        // What was measured stands, however long this takes.
        let _ = timeout(Duration::from_secs(1), session.close(&mut wire)).await;
    }
    Ok(round)
}

/// The sessions, each with the connection it was opened on, and the connections of the calls.
async fn open(place: Place, load: Load) -> Result<(Vec<(Wire, Session)>, Vec<Line>), Fault> {
    let (mut sessions, mut lines) = (Vec::new(), Vec::new());
    for _ in 0..load.sessions {
        let mut wire = Wire::open(place.port).await?;
        let session = Session::open(&mut wire, place).await?;
        for _ in 0..load.in_flight {
            let id = FIRST_ID + IDS * lines.len() as u32;
            let (wire, template) = (Wire::open(place.port).await?, session.template(load.call));
            lines.push(Line { wire, template, id, times: Vec::new(), faults: 0, fault: None });
        }
        sessions.push((wire, session));
    }
    Ok((sessions, lines))
}

async fn run(lines: Vec<Line>, length: Duration) -> Vec<Line> {
    let mut tasks: JoinSet<Line> = lines.into_iter().map(|line| line.run(length)).collect();
    let mut done = Vec::new();
    while let Some(line) = tasks.join_next().await {
        done.push(line.expect("no panic"));
    }
    done
}

fn summed(lines: &[Line], elapsed: f64, cpu: f64) -> Round {
    let mut times: Vec<u64> = lines.iter().flat_map(|line| line.times.iter().copied()).collect();
    if let Some(one) = lines.iter().find_map(|line| line.fault.clone()) {
        let faults = lines.iter().map(|line| line.faults).sum();
        return Round::Fails { faults, calls: times.len().max(faults), one };
    }
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize] as f64 / 1e3;
    let calls = times.len() as f64;
    Round::Measured(Figures { rate: calls / elapsed, cpu: cpu * 1e6 / calls, p50: at(0.5), p99: at(0.99) })
}
