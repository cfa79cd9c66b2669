//! What came of it, as one table, and what makes it a failure.

use std::process::ExitCode;
use std::time::Duration;

use super::kit::process::{Usage, mib};
use super::kit::table;
use super::world::{SITES, World};
use super::{Options, evict, watch};

/// Of a thousand sessions so many may be refused where there is room for few: those that come while all others are in use.
const REFUSED_AT_THE_CAP: u64 = 50;

/// Rows of two cells, and reasons to fail.
#[derive(Default)]
struct Report {
    rows: Vec<Vec<String>>,
    failures: Vec<String>,
}

impl Report {
    fn row(&mut self, what: impl Into<String>, value: &impl ToString) {
        self.rows.push(vec![what.into(), value.to_string()]);
    }

    fn must(&mut self, holds: bool, else_why: impl FnOnce() -> String) {
        if !holds {
            self.failures.push(else_why());
        }
    }
}

pub(super) fn report(
    world: &World,
    options: &Options,
    before: &[Usage; SITES],
    samples: &watch::Samples,
    took: Duration,
) -> ExitCode {
    let mut report = Report::default();
    let left: Vec<String> = world.sites().iter().filter_map(|site| watch::settled(site).err()).collect();
    let after = watch::least(world, 12);
    evict::close_all(world);
    world.sites().iter().for_each(|site| site.close_all(world));
    report.row("length", &format!("{:.1} min", took.as_secs_f64() / 60.0));
    world.tally().into_iter().for_each(|(what, count)| report.row(what, &count));
    let rate = world.counted("sessions opened") as f64 / took.as_secs_f64();
    report.row("sessions opened a second", &format!("{rate:.0}"));
    answers(&mut report, world);
    successions(&mut report, world);
    for at in 0..SITES {
        usage(&mut report, world, options, samples, (at, before[at], after[at]));
    }
    report.row("left over: sessions, children, zombies, streams, bytes", &if left.is_empty() { "0" } else { "FAIL" });
    report.failures.extend(left);
    table::print(&["soak", ""], &report.rows, options.is_markdown);
    report.failures.iter().for_each(|why| println!("FAIL: {why}"));
    if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn answers(report: &mut Report, world: &World) {
    let wrongs = world.wrongs();
    report.row("wrong answers", &wrongs);
    report.must(wrongs == 0, || format!("{wrongs} wrong answers"));
    let lost: u64 = world.sites().iter().map(|site| site.gateway.metric("messages_lost_total", "")).sum();
    report.row("mcp_gateway_messages_lost_total", &lost);
    report.must(world.counted("notifications that did not arrive") <= lost, || {
        "notifications were accepted and lost, and not counted".to_owned()
    });
    let refused = world.counted("refused (429, 503)");
    report.must(refused * 1000 <= world.counted("calls"), || format!("{refused} requests were refused"));
    let (refused, openings) =
        (world.counted("refused: all sessions were in use"), world.counted("openings where there is room for few"));
    report.must(refused * 1000 <= openings * REFUSED_AT_THE_CAP, || {
        format!("{refused} of {openings} sessions were refused although many were not used")
    });
}

/// What only shows that the load was what it should be.
fn successions(report: &mut Report, world: &World) {
    let (respawn, evict) = (&world.respawn.gateway, &world.evict.gateway);
    let asleep = respawn.metric("child_respawns_total", "\"asleep\"");
    let all = [
        (format!("{}: children that followed one that was stopped", world.respawn.name), asleep),
        (
            format!("{}: children that followed one that had ended", world.respawn.name),
            respawn.metric("child_respawns_total", "") - asleep,
        ),
        (
            format!("{}: sessions ended for another, of which {} had room", world.evict.name, world.room),
            evict.metric("sessions_closed_total", "\"evicted\""),
        ),
    ];
    for (what, count) in all {
        report.must(count > 0, || format!("{what}: none"));
        report.row(what, &count);
    }
}

fn usage(
    report: &mut Report,
    world: &World,
    options: &Options,
    samples: &watch::Samples,
    (at, before, after): (usize, Usage, Usage),
) {
    let name = world.sites()[at].name;
    let memory = watch::memory(samples, at, options.length);
    report.row(
        format!("{name}: resident memory"),
        &format!(
            "{:.1} MiB warm, {:.1} at the end, {:.1} idle; {:+.2} ± {:.2} MiB/h ({})",
            memory.warm,
            memory.end,
            mib(after.resident),
            memory.slope.0,
            memory.slope.1,
            memory.verdict.as_deref().unwrap_or_else(String::as_str)
        ),
    );
    report.failures.extend(memory.verdict.err().map(|why| format!("{name}: {why}")));
    let most = |of: fn(&Usage) -> usize| samples.iter().map(|(_, look)| of(&look[at])).max().unwrap_or(0);
    for (what, first, most, last) in [
        ("descriptors", before.descriptors, most(|usage| usage.descriptors), after.descriptors),
        ("threads", before.threads, most(|usage| usage.threads), after.threads),
    ] {
        report.row(format!("{name}: {what}"), &format!("{first} at first, at most {most}, {last} at the end"));
        report.must(last <= first, || format!("{name}: {what}: {first} at first, {last} at the end"));
    }
}
