//! The load: callers on keep-alive connections, each with one call in flight, for a fixed time; and what it cost.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cost::Cpu;
use crate::peer::Peer;
use crate::session::{Call, Fault, Place, Session, Template};
use crate::wire::Wire;

/// How much longer than its time a load may take, until it is taken to hang.
const PATIENCE: Duration = Duration::from_secs(8);
/// And for each session, which takes its time to open and to close.
const PATIENCE_EACH: Duration = Duration::from_millis(20);
/// Ids have seven digits; those of a caller begin where the last one's end.
const FIRST_ID: u32 = 1_000_000;
const IDS: u32 = 500_000;

/// What is asked, and how much of it at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) call: Call,
    pub(crate) sessions: usize,
    pub(crate) callers: Callers,
}

/// Who calls. Each caller has one call in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Callers {
    /// So many in each session, each on a connection of its own, beside the one that the session was opened on.
    Each(usize),
    /// So many in all, or one a session if those are fewer. Each goes round its share of the sessions, and calls on the
    /// connections that they were opened on.
    InAll(usize),
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

/// A connection, and what is called on it.
struct Line {
    wire: Wire,
    template: Template,
    /// That was opened on it.
    session: Option<Session>,
}

/// Some lines, the calls on them in turn, and how those went.
struct Caller {
    lines: Vec<Line>,
    /// The line of the next call.
    next: usize,
    id: u32,
    times: Vec<u64>,
    faults: usize,
    fault: Option<Fault>,
}

impl Caller {
    /// One of several, with its first line.
    fn new(at: usize, line: Line) -> Caller {
        let id = FIRST_ID + IDS * at as u32;
        Caller { lines: vec![line], next: 0, id, times: Vec::new(), faults: 0, fault: None }
    }

    async fn run(mut self, length: Duration) -> Caller {
        self.times.clear();
        let mut now = Instant::now();
        let end = now + length;
        while now < end {
            let line = &mut self.lines[self.next];
            let outcome = line.template.make(&mut line.wire, self.id).await;
            let then = std::mem::replace(&mut now, Instant::now());
            self.next = (self.next + 1) % self.lines.len();
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
    let patience = length * 2 + PATIENCE + PATIENCE_EACH * load.sessions as u32;
    match timeout(patience, measured(peer, load, length)).await {
        Err(_) => Round::Hangs,
        Ok(Err(fault)) => Round::Fails { faults: 1, calls: 1, one: fault },
        Ok(Ok(round)) => round,
    }
}

async fn measured(peer: &Peer, load: Load, length: Duration) -> Result<Round, Fault> {
    let (idle, callers) = open(peer.place, load).await?;
    let callers = run(callers, length / 4).await;
    let before = Cpu::of(peer.pid());
    let began = Instant::now();
    let callers = run(callers, length).await;
    let elapsed = began.elapsed().as_secs_f64();
    let cpu = Cpu::of(peer.pid()).since(&before);
    let round = summed(&callers, elapsed, cpu);
    let lines = callers.into_iter().flat_map(|caller| caller.lines).chain(idle);
    let doors: Vec<(Wire, Session)> = lines.filter_map(|line| Some((line.wire, line.session?))).collect();
    for (mut wire, session) in doors {
        // What was measured stands, however long this takes.
        let _ = timeout(Duration::from_secs(1), session.close(&mut wire)).await;
    }
    Ok(round)
}

/// The connections that nobody calls on, and the callers.
async fn open(place: Place, load: Load) -> Result<(Vec<Line>, Vec<Caller>), Fault> {
    let (mut idle, mut callers) = (Vec::new(), Vec::<Caller>::new());
    for at in 0..load.sessions {
        let mut wire = Wire::open(place.port).await?;
        let session = Session::open(&mut wire, place).await?;
        let line = |wire| Line { wire, template: session.template(load.call), session: None };
        let first = Line { session: Some(session.clone()), ..line(wire) };
        match load.callers {
            Callers::Each(count) => {
                for _ in 0..count {
                    callers.push(Caller::new(callers.len(), line(Wire::open(place.port).await?)));
                }
                idle.push(first);
            }
            Callers::InAll(count) => match callers.get_mut(at % count) {
                Some(caller) => caller.lines.push(first),
                None => callers.push(Caller::new(at, first)),
            },
        }
    }
    Ok((idle, callers))
}

async fn run(callers: Vec<Caller>, length: Duration) -> Vec<Caller> {
    let mut tasks: JoinSet<Caller> = callers.into_iter().map(|caller| caller.run(length)).collect();
    let mut done = Vec::new();
    while let Some(caller) = tasks.join_next().await {
        done.push(caller.expect("no panic"));
    }
    done
}

fn summed(callers: &[Caller], elapsed: f64, cpu: f64) -> Round {
    let mut times: Vec<u64> = callers.iter().flat_map(|caller| caller.times.iter().copied()).collect();
    if let Some(one) = callers.iter().find_map(|caller| caller.fault.clone()) {
        let faults = callers.iter().map(|caller| caller.faults).sum();
        return Round::Fails { faults, calls: times.len().max(faults), one };
    }
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize] as f64 / 1e3;
    let calls = times.len() as f64;
    Round::Measured(Figures { rate: calls / elapsed, cpu: cpu * 1e6 / calls, p50: at(0.5), p99: at(0.99) })
}
