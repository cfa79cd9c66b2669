//! What was measured, by scenario and contestant: medians of the rounds, or words where there is no figure.

use std::collections::BTreeMap;

use crate::load::{Figures, Round};
use crate::memory::Memory;
use crate::pipe::Trips;

/// The median, or why there is none.
pub(crate) type Cell<T> = Result<T, String>;

#[derive(Default)]
pub(crate) struct Board {
    /// By scenario and contestant.
    calls: BTreeMap<(&'static str, &'static str), Cell<Figures>>,
    pub(crate) pipe: Option<Trips>,
    pub(crate) memory: BTreeMap<&'static str, Cell<Memory>>,
    /// Milliseconds until it listened.
    pub(crate) start: BTreeMap<&'static str, Cell<f64>>,
    /// By the number of sessions and contestant.
    pub(crate) scale: BTreeMap<(usize, &'static str), Cell<Figures>>,
}

impl Board {
    pub(crate) fn note(&mut self, scenario: &'static str, contestant: &'static str, cell: Cell<Figures>) {
        self.calls.insert((scenario, contestant), cell);
    }

    pub(crate) fn calls(&self, scenario: &'static str, contestant: &'static str) -> Option<&Cell<Figures>> {
        self.calls.get(&(scenario, contestant))
    }

    pub(crate) fn figures(&self, scenario: &'static str, contestant: &'static str) -> Option<Figures> {
        self.calls(scenario, contestant)?.as_ref().ok().copied()
    }

    pub(crate) fn memory_of(&self, contestant: &str) -> Option<Memory> {
        self.memory.get(contestant)?.as_ref().ok().copied()
    }
}

/// The medians of rounds, or what became of the worst of them.
pub(crate) fn cell(rounds: &[Round]) -> Cell<Figures> {
    let mut measured = Vec::new();
    for round in rounds {
        match round {
            Round::Measured(figures) => measured.push(*figures),
            Round::Hangs => return Err("hangs".to_owned()),
            Round::Fails { faults, calls, one } if faults == calls => return Err(one.to_string()),
            Round::Fails { faults, calls, one } => return Err(format!("{one} ({faults} of {calls} calls)")),
        }
    }
    let of = |value: fn(&Figures) -> f64| median(measured.iter().map(value));
    Ok(Figures {
        rate: of(|figures| figures.rate),
        cpu: of(|figures| figures.cpu),
        p50: of(|figures| figures.p50),
        p99: of(|figures| figures.p99),
    })
}

/// The median; not a number if there are none.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
