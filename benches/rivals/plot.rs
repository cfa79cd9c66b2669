//! The plot of the README: bars of CPU of a call and of calls a second, 16 sessions. Legible on light and on dark ground.

use std::fmt::Write as _;

use crate::board::Board;
use crate::contestants::{Contestant, Kind};
use crate::load::Figures;
use crate::report::thousands;

const SCENARIO: &str = "calls16";
const WIDTH: usize = 760;
/// Of a bar, with the room below it.
const STEP: usize = 26;
const BAR: usize = 16;
/// Where bars begin, and how long the longest is.
const LEFT: usize = 220;
const LONGEST: f64 = 430.0;
/// Over the bars of a panel.
const TITLE: usize = 40;

/// Grey that stands out from white and from black alike.
const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#7a828e}.title{font-weight:600}.limit{fill:#8b949e}.ours{fill:#2f81f7}.rival{fill:#d29922}";

pub(crate) fn draw(board: &Board, contestants: &[&'static Contestant]) -> String {
    let panel = |value: fn(&Figures) -> f64| -> Vec<(&'static Contestant, f64)> {
        contestants.iter().filter_map(|one| Some((*one, value(&board.figures(SCENARIO, one.slug)?)))).collect()
    };
    let (cpu, rate) = (panel(|figures| figures.cpu), panel(|figures| figures.rate));
    let height = 2 * (TITLE + cpu.len() * STEP) + STEP;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n<style>{STYLE}</style>\n"
    );
    bars(&mut svg, 0, "CPU of a call in µs, that of the server left out (less is better)", &cpu);
    bars(&mut svg, TITLE + cpu.len() * STEP + STEP / 2, "calls a second (more is better)", &rate);
    svg.push_str("</svg>\n");
    svg
}

fn bars(svg: &mut String, top: usize, title: &str, values: &[(&'static Contestant, f64)]) {
    let most = values.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    // Writing to a string cannot fail.
    let _ = writeln!(svg, "<text class=\"title\" x=\"8\" y=\"{}\">16 sessions: {title}</text>", top + TITLE - 16);
    for (at, (one, value)) in values.iter().enumerate() {
        let (y, length) = (top + TITLE + at * STEP, (value / most * LONGEST).max(1.0));
        let class = match one.kind {
            Kind::Limit => "limit",
            Kind::Gateway(_) => "ours",
            Kind::Rust | Kind::Other => "rival",
        };
        let shown = if *value < 100.0 { format!("{value:.1}") } else { thousands(*value) };
        let (text, end) = (y + BAR - 3, LEFT as f64 + length + 8.0);
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{}</text>", LEFT - 8, one.name);
        let _ = writeln!(svg, "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR}\" rx=\"2\"/>");
        let _ = writeln!(svg, "<text x=\"{end:.1}\" y=\"{text}\">{shown}</text>");
    }
}
