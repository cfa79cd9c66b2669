//! The tables: one a scenario, one of memory and start, and one of what matters most.

use crate::board::Board;
use crate::child::BIG;
use crate::contestants::Contestant;
use crate::load::Figures;
use crate::memory::Memory;
use crate::scale::{self, BASIS, SIZES};
use crate::scenarios::Scenario;
use crate::table;

/// Whose figures the others are divided by.
pub(crate) const LIMIT: &str = "limit";
/// What was not measured.
const NOTHING: &str = "–";
const MIB: f64 = 1_048_576.0;
const SCALE: &str = "CPU of a call as sessions grow: all are open, each on its connection, and called in turn; 16 calls in flight, or one a session";

pub(crate) fn print(board: &Board, contestants: &[&'static Contestant], scenarios: &[Scenario], is_markdown: bool) {
    for scenario in scenarios {
        title(scenario.title, is_markdown);
        calls(board, contestants, scenario, is_markdown);
    }
    if let Some(trips) = &board.pipe {
        title("the child's pipe alone", is_markdown);
        let (p50, rate, rate16) = (trips.p50, trips.rate, trips.rate16);
        println!("p50 of a round trip {p50:.1} µs; {} a second, {} with 16 in flight", thousands(rate), thousands(rate16));
    }
    if !board.memory.is_empty() {
        title("memory of what waits", is_markdown);
        memory(board, contestants, is_markdown);
    }
    if !board.scale.is_empty() {
        title(SCALE, is_markdown);
        scale(board, is_markdown);
    }
    title("all in one", is_markdown);
    overview(board, contestants, is_markdown);
    println!(
        "\nThe gateway, rmcp and supergateway have a child a session, the others one for all; the limit has none, and of 4 MiB results it"
    );
    println!("is a bare copy from a child's pipe to the socket. CPU is that of the whole process tree without the children.");
}

fn title(text: &str, is_markdown: bool) {
    if is_markdown { println!("\n**{text}**\n") } else { println!("\n{text}") }
}

fn calls(board: &Board, contestants: &[&'static Contestant], scenario: &Scenario, is_markdown: bool) {
    let limit = board.figures(scenario.slug, LIMIT);
    let head = ["", if scenario.is_big() { "MB/s" } else { "calls/s" }, "× limit", "CPU µs/call", "× limit", "p50 µs", "p99 µs"];
    let row = |one: &&'static Contestant| {
        let is_copy = scenario.is_big() && one.slug == LIMIT;
        let mut row = vec![if is_copy { "a bare copy, pipe to socket" } else { one.name }.to_owned()];
        match board.calls(scenario.slug, one.slug)? {
            Err(why) => row.push(why.clone()),
            Ok(figures) => {
                let rate = if scenario.is_big() { megabytes(figures.rate) } else { figures.rate };
                let by_rate = limit.map(|limit| figures.rate / limit.rate);
                let by_cpu = limit.map(|limit| figures.cpu / limit.cpu);
                row.extend([thousands(rate), times(by_rate), format!("{:.1}", figures.cpu), times(by_cpu)]);
                row.extend([format!("{:.0}", figures.p50), format!("{:.0}", figures.p99)]);
            }
        }
        row.resize(head.len(), NOTHING.to_owned());
        Some(row)
    };
    let rows: Vec<Vec<String>> = contestants.iter().filter_map(row).collect();
    table::print(&head, &rows, is_markdown);
}

fn memory(board: &Board, contestants: &[&'static Contestant], is_markdown: bool) {
    let limit = board.memory_of(LIMIT);
    let head =
        ["", "process MiB", "KiB a connection", "a session", "its stream", "all three", "× limit", "left MiB", "of a crowd"];
    let row = |one: &&'static Contestant| {
        let mut row = vec![one.name.to_owned()];
        match board.memory.get(one.slug)? {
            Err(why) => row.push(why.clone()),
            Ok(memory) => {
                let kib = |bytes: f64| format!("{:.1}", bytes / 1024.0);
                row.push(format!("{:.1}", memory.base / MIB));
                row.extend([memory.connection, memory.session, memory.stream, memory.all()].map(kib));
                row.push(times(limit.map(|limit| memory.all() / limit.all())));
                row.extend([memory.left, memory.left_of_crowd].map(|bytes| format!("{:.1}", bytes / MIB)));
            }
        }
        row.resize(head.len(), NOTHING.to_owned());
        Some(row)
    };
    let rows: Vec<Vec<String>> = contestants.iter().filter_map(row).collect();
    table::print(&head, &rows, is_markdown);
}

fn scale(board: &Board, is_markdown: bool) {
    let columns = [scale::BARE, scale::OWN, scale::SHARED];
    let mut head = vec!["sessions".to_owned()];
    for column in &columns {
        head.push(format!("{}, µs/call", column.name));
        head.extend((column.slug != LIMIT).then(|| "× limit".to_owned()));
        head.push(format!("× {BASIS} sessions"));
    }
    let row = |sessions: usize| {
        let limit = scale::BARE.cpu(board, sessions);
        let mut row = vec![thousands(sessions as f64)];
        for column in &columns {
            let cpu = column.cpu(board, sessions);
            row.push(match column.cell(board, sessions) {
                Some(Ok(figures)) => format!("{:.1}", figures.cpu),
                Some(Err(why)) => why.clone(),
                None => NOTHING.to_owned(),
            });
            let by = |other: Option<f64>| times(cpu.zip(other).map(|(cpu, other)| cpu / other));
            row.extend((column.slug != LIMIT).then(|| by(limit)));
            row.push(by(column.cpu(board, BASIS)));
        }
        row
    };
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    table::print(&head, &SIZES.map(row), is_markdown);
}

fn overview(board: &Board, contestants: &[&'static Contestant], is_markdown: bool) {
    let head = [
        "",
        "calls/s, 16 sessions",
        "CPU a call",
        "16 in flight on one",
        "one session",
        "its p50",
        "64 KiB",
        "50 progress",
        "4 MiB results",
        "KiB a session",
        "and its stream",
        "start ms",
    ];
    let row = |one: &&'static Contestant| {
        let memory = |of: fn(&Memory) -> f64| match board.memory.get(one.slug) {
            Some(Ok(memory)) => format!("{:.1}", of(memory) / 1024.0),
            Some(Err(why)) => why.clone(),
            None => NOTHING.to_owned(),
        };
        let rate = words(board, "calls16", one, |figures| thousands(figures.rate));
        let mut row = vec![one.name.to_owned(), rate];
        row.extend(["calls16", "flight16", "calls1"].map(|scenario| cpu(board, scenario, one)));
        row.push(words(board, "calls1", one, |figures| format!("{:.0} µs", figures.p50)));
        row.extend(["echo64k", "progress50"].map(|scenario| cpu(board, scenario, one)));
        row.push(words(board, "big16", one, |figures| format!("{} MB/s", thousands(megabytes(figures.rate)))));
        row.extend([memory(|memory| memory.session), memory(|memory| memory.stream)]);
        row.push(match board.start.get(one.slug) {
            Some(Ok(start)) => format!("{start:.1}"),
            Some(Err(why)) => why.clone(),
            None => NOTHING.to_owned(),
        });
        row
    };
    let rows: Vec<Vec<String>> = contestants.iter().map(row).collect();
    table::print(&head, &rows, is_markdown);
}

/// A figure as it is shown, or why there is none.
fn words(board: &Board, scenario: &'static str, one: &Contestant, shown: fn(&Figures) -> String) -> String {
    match board.calls(scenario, one.slug) {
        Some(Ok(figures)) => shown(figures),
        Some(Err(why)) => why.clone(),
        None => NOTHING.to_owned(),
    }
}

/// CPU of a call, and by how much that is the limit's.
fn cpu(board: &Board, scenario: &'static str, one: &Contestant) -> String {
    let shown = words(board, scenario, one, |figures| format!("{:.1} µs", figures.cpu));
    match (board.figures(scenario, one.slug), board.figures(scenario, LIMIT)) {
        (Some(figures), Some(limit)) => format!("{shown}, {}", times(Some(figures.cpu / limit.cpu))),
        _ => shown,
    }
}

/// Of results of 4 MiB, so many a second.
pub(crate) fn megabytes(rate: f64) -> f64 {
    rate * BIG as f64 / 1e6
}

fn times(ratio: Option<f64>) -> String {
    ratio.map_or(NOTHING.to_owned(), |ratio| if ratio < 0.1 { format!("×{ratio:.3}") } else { format!("×{ratio:.2}") })
}

/// A whole number with commas.
pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
