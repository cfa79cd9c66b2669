//! The order of things: for each scenario every contestant is started, and then has its turn in every round.

use std::time::Duration;

use tokio::runtime::Runtime;

use crate::board::{Board, Cell, cell, median};
use crate::contestants::{Contestant, Kind, Purpose};
use crate::load::{self, Load, Round};
use crate::memory;
use crate::options::Options;
use crate::peer::{Absent, Peer};
use crate::pipe::{self, Trips};
use crate::report::thousands;
use crate::scale::{self, Crowd};
use crate::scenarios::Scenario;

/// Of the length of a round.
const WARM_UP: u32 = 4;

pub(crate) fn all(options: &Options, runtime: &Runtime) -> Board {
    let mut board = Board::default();
    let contestants = options.contestants();
    for scenario in options.scenarios() {
        calls(&mut board, &scenario, &contestants, options, runtime);
    }
    if options.wants("memory") {
        for one in &contestants {
            eprintln!("memory: {}", one.slug);
            let start = || Peer::start(one, Purpose::Crowd(options.crowd)).map_err(words);
            let peers = start().and_then(|crowded| Ok((crowded, start()?)));
            let memory = peers.and_then(|(one, other)| runtime.block_on(memory::measure(&one, &other, options.crowd)));
            board.memory.insert(one.slug, memory);
        }
    }
    if options.wants("start") {
        starts(&mut board, &contestants, options.rounds);
    }
    if options.wants("scale") {
        crowds(&mut board, &contestants, options, runtime);
    }
    board
}

/// One that takes part in a scenario, and how its rounds went.
struct Turn {
    contestant: &'static Contestant,
    peer: Result<Peer, Absent>,
    rounds: Vec<Round>,
}

impl Turn {
    /// Programs that are compiled while they run are first given time for it, beside what every round begins with.
    fn warm_up(&self, load: Load, length: Duration, runtime: &Runtime) {
        if let (Kind::Other, Ok(peer)) = (self.contestant.kind, &self.peer) {
            let _ = runtime.block_on(load::round(peer, load, length * WARM_UP));
        }
    }

    fn take(&mut self, load: Load, length: Duration, runtime: &Runtime) {
        // Who hung once is not waited for again.
        if self.rounds.iter().any(|round| matches!(round, Round::Hangs)) {
            return;
        }
        if let Ok(peer) = &self.peer {
            self.rounds.push(runtime.block_on(load::round(peer, load, length)));
        }
    }

    fn cell(&self) -> Cell<load::Figures> {
        match self.peer {
            Ok(_) => cell(&self.rounds),
            Err(why) => Err(words(why)),
        }
    }
}

fn words(why: Absent) -> String {
    match why {
        Absent::NotInstalled => "not installed".to_owned(),
        Absent::DoesNotStart => "does not start".to_owned(),
        Absent::NeedsDescriptors(count) => format!("needs {} descriptors", thousands(count as f64)),
    }
}

fn calls(board: &mut Board, scenario: &Scenario, contestants: &[&'static Contestant], options: &Options, runtime: &Runtime) {
    let fit = contestants.iter().filter(|one| scenario.is_for(one));
    let start = |contestant: &&'static Contestant| Turn {
        contestant,
        peer: Peer::start(contestant, scenario.purpose()),
        rounds: Vec::new(),
    };
    let mut turns: Vec<Turn> = fit.map(start).collect();
    turns.iter().for_each(|turn| turn.warm_up(scenario.load(), options.seconds, runtime));
    let mut trips = Vec::new();
    for round in 1..=options.rounds {
        eprintln!("{}: round {round} of {}", scenario.slug, options.rounds);
        for turn in &mut turns {
            turn.take(scenario.load(), options.seconds, runtime);
        }
        if scenario.slug == "calls1" {
            trips.extend(pipe::round(options.seconds));
        }
    }
    for turn in &turns {
        board.note(scenario.slug, turn.contestant.slug, turn.cell());
    }
    if !trips.is_empty() {
        let of = |value: fn(&Trips) -> f64| median(trips.iter().map(value));
        board.pipe = Some(Trips { p50: of(|trips| trips.p50), rate: of(|trips| trips.rate), rate16: of(|trips| trips.rate16) });
    }
}

fn starts(board: &mut Board, contestants: &[&'static Contestant], rounds: usize) {
    let mut times: Vec<Vec<Result<f64, Absent>>> = vec![Vec::new(); contestants.len()];
    for round in 1..=rounds {
        eprintln!("start: round {round} of {rounds}");
        for (contestant, times) in contestants.iter().zip(&mut times) {
            times.push(Peer::start(contestant, Purpose::Start).map(|peer| peer.took.as_secs_f64() * 1e3));
        }
    }
    for (contestant, times) in contestants.iter().zip(times) {
        let times: Result<Vec<f64>, Absent> = times.into_iter().collect();
        board.start.insert(contestant.slug, times.map(|times| median(times.into_iter())).map_err(words));
    }
}

/// All numbers of sessions are in every round, since they are compared with each other. Who waits for a turn has no session.
fn crowds(board: &mut Board, contestants: &[&'static Contestant], options: &Options, runtime: &Runtime) {
    scale::raise_descriptors();
    let crowds = Crowd::all(contestants);
    let turn = |crowd: &Crowd| Turn { contestant: crowd.contestant, peer: crowd.start(), rounds: Vec::new() };
    let mut turns: Vec<Turn> = crowds.iter().map(turn).collect();
    for round in 1..=options.rounds {
        eprintln!("scale: round {round} of {}", options.rounds);
        for (crowd, turn) in crowds.iter().zip(&mut turns) {
            turn.take(crowd.load(), options.seconds, runtime);
        }
    }
    for (crowd, turn) in crowds.iter().zip(&turns) {
        board.scale.insert((crowd.sessions, turn.contestant.slug), turn.cell());
    }
}
