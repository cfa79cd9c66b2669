//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::contestants::{self, Contestant, USUAL};
use crate::scenarios::{self, Scenario};

/// The gateway beside other bridges and beside what none can be faster than, in one run.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo bench --bench rivals --")]
pub(crate) struct Options {
    /// Who takes part: limit, gateway, gateway-sse, gateway-shared, rmcp, crate, supergateway, npm, pypi
    #[arg(long, value_delimiter = ',', value_parser = contestant, default_values = USUAL)]
    only: Vec<&'static str>,
    /// What is measured: calls1, calls16, flight16, echo64k, progress50, big1, big16, memory, start, scale
    #[arg(long, value_delimiter = ',', value_parser = scenario)]
    scenario: Vec<&'static str>,
    /// Rounds, each of which has every contestant in turn
    #[arg(long, default_value = "5")]
    pub(crate) rounds: usize,
    /// Seconds of load for one contestant in one round
    #[arg(long, default_value = "1", value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// Sessions for what memory they hold
    #[arg(long, default_value = "1000")]
    pub(crate) crowd: usize,
    /// Print tables as markdown
    #[arg(long)]
    pub(crate) markdown: bool,
    /// Draw CPU and calls a second
    #[arg(long, num_args = 0..=1, value_name = "FILE", default_missing_value = "docs/benchmark.svg")]
    pub(crate) plot: Option<PathBuf>,
    /// What cargo says
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is measured beside the scenarios.
const FURTHER: [&str; 3] = ["memory", "start", "scale"];

impl Options {
    pub(crate) fn contestants(&self) -> Vec<&'static Contestant> {
        contestants::ALL.iter().filter(|one| self.only.contains(&one.slug)).collect()
    }

    pub(crate) fn scenarios(&self) -> Vec<Scenario> {
        scenarios::ALL.into_iter().filter(|one| self.wants(one.slug)).collect()
    }

    pub(crate) fn wants(&self, slug: &str) -> bool {
        self.scenario.is_empty() || self.scenario.contains(&slug)
    }
}

fn contestant(text: &str) -> Result<&'static str, String> {
    let mut slugs = contestants::ALL.iter().map(|one| one.slug);
    slugs.find(|slug| *slug == text).ok_or_else(|| "no such contestant".to_owned())
}

fn scenario(text: &str) -> Result<&'static str, String> {
    let mut slugs = scenarios::ALL.iter().map(|one| one.slug).chain(FURTHER);
    slugs.find(|slug| *slug == text).ok_or_else(|| "no such scenario".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "no number".to_owned())?;
    if seconds >= 0.05 {
        Duration::try_from_secs_f64(seconds).map_err(|why| why.to_string())
    } else {
        Err("too short".to_owned())
    }
}
