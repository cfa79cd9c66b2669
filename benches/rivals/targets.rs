//! What the gateway is to reach, each as a ratio within the run. It is shown and nothing is asserted: a benchmark is no test.

use crate::board::Board;
use crate::contestants::{self, Kind};
use crate::report::{LIMIT, megabytes, thousands};
use crate::scale::{self, BASIS, Column};
use crate::table;

/// A figure that is to be at most, or at least, another.
struct Target {
    what: String,
    wanted: Wanted,
    unit: &'static str,
    /// None if one of those that it takes was not measured.
    value: Option<f64>,
    /// Why ours has no figure, where that is its own fault.
    fault: Option<String>,
}

#[derive(Clone, Copy)]
enum Wanted {
    AtMost(f64),
    AtLeast(f64),
    /// Beside a figure that was not measured either.
    Nothing,
}

impl Target {
    fn row(&self) -> Vec<String> {
        let shown = |value: f64| {
            if value.abs() < 100.0 { format!("{value:.2}{}", self.unit) } else { format!("{value:.0}{}", self.unit) }
        };
        let (is_met, wanted) = match (self.wanted, self.value) {
            (Wanted::AtMost(most), value) => (value.map(|value| value <= most), format!("≤ {}", shown(most))),
            (Wanted::AtLeast(least), value) => (value.map(|value| value >= least), format!("≥ {}", shown(least))),
            (Wanted::Nothing, _) => (None, String::new()),
        };
        let verdict = match (is_met, &self.fault) {
            (Some(true), _) => "PASS",
            (Some(false), _) | (None, Some(_)) => "FAIL",
            (None, None) => "not measured",
        };
        let value = self.value.map(shown).or_else(|| self.fault.clone()).unwrap_or_default();
        [verdict, &self.what, &value, &wanted].map(str::to_owned).to_vec()
    }
}

const OURS: &str = "gateway";

pub(crate) fn print(board: &Board, is_markdown: bool) {
    let mut targets = of_calls(board);
    targets.extend(of_large(board));
    targets.extend(of_memory(board));
    targets.extend(of_scale(board));
    println!();
    let rows: Vec<Vec<String>> = targets.iter().map(Target::row).collect();
    table::print(&["", "target", "measured", "wanted"], &rows, is_markdown);
}

fn of_calls(board: &Board) -> Vec<Target> {
    let cpu = |scenario, who| board.figures(scenario, who).map(|figures| figures.cpu);
    let rate = |who| board.figures("calls16", who).map(|figures| figures.rate);
    let by_limit = |scenario| Some(cpu(scenario, OURS)? / cpu(scenario, LIMIT)?);
    let p50 = |who| board.figures("calls1", who).map(|figures| figures.p50);
    let floor = p50(LIMIT).zip(board.pipe).map(|(limit, pipe)| (limit + pipe.p50) * 1.15);
    let rust = contestants::ALL.iter().filter(|one| one.kind == Kind::Rust).filter_map(|one| rate(one.slug));
    let best = rust.max_by(f64::total_cmp);
    let times = "× the limit's";
    vec![
        target("CPU of a call, 16 sessions", Wanted::AtMost(1.6), times, by_limit("calls16")),
        target("CPU of a call, 16 in flight in one session", Wanted::AtMost(1.6), times, by_limit("flight16")),
        target("CPU of a call, one session", Wanted::AtMost(1.5), times, by_limit("calls1")),
        target("calls a second, 16 sessions", Wanted::AtLeast(0.5), times, ratio(rate(OURS), rate(LIMIT))),
        target(
            "p50, one session; the limit's and a trip through the pipe, and 15 %",
            floor.map_or(Wanted::Nothing, Wanted::AtMost),
            " µs",
            p50(OURS),
        ),
        target("calls a second, 16 sessions", Wanted::AtLeast(20.0), "× supergateway's", ratio(rate(OURS), rate("supergateway"))),
        target("calls a second, 16 sessions", Wanted::AtLeast(1.7), "× the best Rust rival's", ratio(rate(OURS), best)),
        target(
            "CPU of 50 progress events and a result",
            Wanted::AtMost(4.0),
            "× a plain call's",
            ratio(cpu("progress50", OURS), cpu("calls16", OURS)),
        ),
        target("CPU of 64 KiB there and back", Wanted::AtMost(1.3), times, by_limit("echo64k")),
    ]
}

/// Either 1 GB/s or 60 % of the copy will do.
fn of_large(board: &Board) -> Vec<Target> {
    let speed = |scenario, who| board.figures(scenario, who).map(|figures| megabytes(figures.rate));
    let large = |what, scenario| {
        let least = speed(scenario, LIMIT).map_or(Wanted::Nothing, |copy| Wanted::AtLeast((copy * 0.6).min(1000.0)));
        let fault = board.calls(scenario, OURS).and_then(|cell| cell.as_ref().err().cloned());
        Target { fault, ..target(what, least, " MB/s", speed(scenario, OURS)) }
    };
    vec![
        large("4 MiB results, one session; 1 GB/s or 60 % of a bare copy", "big1"),
        large("4 MiB results, 16 sessions; 1 GB/s or 60 % of a bare copy", "big16"),
    ]
}

fn of_memory(board: &Board) -> Vec<Target> {
    let (ours, limit) = (board.memory_of(OURS), board.memory_of(LIMIT));
    let start = board.start.get(OURS).and_then(|start| start.as_ref().ok().copied());
    vec![
        target("an idle session beside its connection", Wanted::AtMost(8.0), " KiB", ours.map(|ours| ours.session / 1024.0)),
        target(
            "connection, session and open stream",
            Wanted::AtMost(1.25),
            "× the limit's stream",
            ratio(ours.map(|ours| ours.all()), limit.map(|limit| limit.all())),
        ),
        target(
            "left when as many sessions have come and gone",
            Wanted::AtMost(1.0),
            " MiB",
            ours.map(|ours| ours.left / 1_048_576.0),
        ),
        target("start until it listens", Wanted::AtMost(10.0), " ms", start),
    ]
}

/// What a call costs among many sessions, beside what it costs among few: each by the limit's, which grows with its connections.
fn of_scale(board: &Board) -> Vec<Target> {
    let among_many = |column: Column| {
        let largest = column.largest();
        let most = if board.scale.is_empty() { None } else { column.most() };
        let sessions = |count: usize| thousands(count as f64);
        let what = match most {
            Some(most) if most < largest => {
                format!("{} sessions, {}: {} do not fit", sessions(most), column.name, sessions(largest))
            }
            _ => format!("{} sessions, {}", sessions(largest), column.name),
        };
        let by_limit = |sessions| ratio(column.cpu(board, sessions), scale::BARE.cpu(board, sessions));
        let value = most.and_then(|most| ratio(by_limit(most), by_limit(BASIS)));
        let fault_of = |sessions| column.cell(board, sessions).and_then(|cell| cell.as_ref().err().cloned());
        let fault = most.and_then(|most| fault_of(most).or_else(|| fault_of(BASIS)));
        Target { fault, ..target(format!("CPU of a call by the limit's, {what}"), Wanted::AtMost(1.25), "× that of 16", value) }
    };
    vec![among_many(scale::OWN), among_many(scale::SHARED)]
}

fn target(what: impl Into<String>, wanted: Wanted, unit: &'static str, value: Option<f64>) -> Target {
    Target { what: what.into(), wanted, unit, value, fault: None }
}

fn ratio(of: Option<f64>, by: Option<f64>) -> Option<f64> {
    Some(of? / by?)
}
