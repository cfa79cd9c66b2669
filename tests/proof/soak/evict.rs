//! Sessions where there is room for few: who is new takes the place of one that nobody uses, and of no other.

use std::collections::VecDeque;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use super::record::Ledger;
use super::sessions::Work;
use super::world::{NOTICE, Site, World};
use crate::kit::client::{Client, Outcome, Trouble};
use crate::kit::stats::Chance;

/// A session that was used within this time is never ended for another.
const IN_USE: Duration = Duration::from_secs(5);

/// A session that was left open.
pub(super) struct Left {
    id: String,
    revision: &'static str,
    ledger: Ledger,
    /// Before this it was used for the last time.
    used: Instant,
}

pub(super) fn of_a_session(world: &World, ticket: u64) {
    let site = &world.evict;
    let mut chance = Chance::new(ticket);
    if let Some(left) = one_of(world, &mut chance) {
        comes_back(world, site, left, chance);
    }
    world.count("openings where there is room for few", 1);
    let mut work = match Work::open(world, site, ticket) {
        Ok(work) => work,
        Err(Trouble::Refused(503, text)) if text.contains("--max-sessions") => {
            return world.count("refused: all sessions were in use", 1);
        }
        Err(trouble) => return world.judge(site, trouble, false),
    };
    let mut used = Instant::now();
    let mut outcome = Ok(());
    for _ in 0..1 + work.chance.below(3) {
        outcome = outcome.and_then(|()| work.is_used(&mut used));
    }
    if let Err(trouble) = outcome {
        return over(world, site, &work.ledger, trouble, used);
    }
    if work.chance.hits(500) {
        let ledger = work.ledger.clone();
        return match work.client.delete() {
            Ok(()) => {
                world.count("sessions deleted", 1);
                site.close(world, &ledger, true);
            }
            Err(trouble) => over(world, site, &ledger, trouble, used),
        };
    }
    leave(world, work, used);
}

/// One that was left; where there are many, the one that was left first, which has ended.
fn one_of(world: &World, chance: &mut Chance) -> Option<Left> {
    let mut left = world.left.lock().expect("no panic");
    if left.len() > world.room * 2 {
        return left.pop_front();
    }
    let at = chance.below(left.len() as u64 * 4) as usize;
    left.remove(at)
}

fn comes_back(world: &World, site: &Site, left: Left, chance: Chance) {
    let Left { id, revision, ledger, mut used } = left;
    let before = used.elapsed();
    let mut work = match Client::resumed(site.gateway.address(), &id, revision) {
        Ok(client) => Work::of(world, client, ledger, chance),
        Err(trouble) => return world.judge(site, trouble, false),
    };
    match work.is_used(&mut used) {
        Ok(()) => {
            world.count(if before < IN_USE { "came back soon" } else { "came back late, to a session that goes on" }, 1);
            leave(world, work, used);
        }
        Err(trouble) => over(world, site, &work.ledger, trouble, used),
    }
}

fn leave(world: &World, work: Work<'_>, used: Instant) {
    let Client { id, revision, .. } = work.client;
    world.left.lock().expect("no panic").push_back(Left { id, revision, ledger: work.ledger, used });
}

/// It has ended; that may be only where it was not used.
fn over(world: &World, site: &Site, ledger: &Ledger, trouble: Trouble, used: Instant) {
    match trouble {
        Trouble::Refused(404, _) if used.elapsed() >= IN_USE => world.count("came back late, to a session that had ended", 1),
        // A call that came while it was being ended.
        Trouble::Failed(error) if error["data"]["reason"] == "evicted" && used.elapsed() >= IN_USE => {
            world.count("calls to a session that was being ended", 1);
        }
        trouble => world.judge(site, trouble, false),
    }
    site.close(world, ledger, true);
}

pub(super) fn close_all(world: &World) {
    for left in std::mem::take::<VecDeque<Left>>(&mut *world.left.lock().expect("no panic")) {
        world.evict.close(world, &left.ledger, true);
    }
}

impl Work<'_> {
    /// Says something; `used` is the time at which the last thing was said that was answered.
    fn is_used(&mut self, used: &mut Instant) -> Outcome<()> {
        let now = Instant::now();
        let (step, long) = (self.chance.below(30), 5000 + self.chance.below(2000));
        let outcome = match step {
            0 => self.listens_for_long(),
            1 => self.once(long),
            2..=9 => self.told_once(),
            10..=19 => self.once(0),
            _ => self.echo(),
        };
        match outcome {
            Ok(()) => *used = now,
            // It had no right to end.
            Err(Trouble::Failed(error)) if now.elapsed() > IN_USE / 2 => {
                return Err(Trouble::Wrong(format!("while a call was in flight: {error}")));
            }
            Err(_) => {}
        }
        outcome
    }

    fn told_once(&mut self) -> Outcome<()> {
        self.client.tell(&json!({ "jsonrpc": "2.0", "method": "notifications/count", "params": { "key": self.ledger.key } }))?;
        self.ledger.told += 1;
        self.world.count("notifications accepted", 1);
        Ok(())
    }

    /// While somebody listens, it is in use.
    fn listens_for_long(&mut self) -> Outcome<()> {
        let began = Instant::now();
        let events = loop {
            match self.client.events(&self.client.get()) {
                // The stream before has just been closed.
                Err(Trouble::Refused(409, _)) if began.elapsed() < NOTICE => sleep(NOTICE / 100),
                events => break events?,
            }
        };
        self.world.count("streams of sessions that say nothing", 1);
        sleep(IN_USE + Duration::from_millis(self.chance.below(2000)));
        let outcome = self.echo();
        drop(events);
        // It had no right to end.
        outcome.map_err(|trouble| Trouble::Wrong(format!("it was listened to: {trouble:?}")))
    }
}
