//! Sessions whose children are followed by others: killed ones, and such as sleep while nobody asks them anything.

use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::sessions::{Work, same};
use super::world::{Fault, Site, World};
use crate::kit::client::{Outcome, Trouble, result_in, result_of, text_in};
use crate::support::proc;
use crate::support::session::call;

/// What a session sleeps after, as it is said and as it is.
pub(super) const SLEEP: (&str, Duration) = ("1s", Duration::from_secs(1));

pub(super) fn of_a_session(world: &World, ticket: u64) {
    let (site, began) = (&world.respawn, Instant::now());
    let mut work = match Work::open(world, site, ticket) {
        Ok(work) => work,
        Err(trouble) => return world.judge(site, trouble, world.is_excused(site, began)),
    };
    let mut outcome = work.lives_on(site);
    let fault = world.next_fault().filter(|_| outcome.is_ok());
    if let Some(fault) = fault.filter(|fault| *fault != Fault::Hang) {
        outcome = outcome.and_then(|()| work.survives(site, |work| work.breaks(site, fault)));
    }
    // A child reads in order: once this is answered, all that was accepted before is written down.
    let outcome = outcome.and_then(|()| work.survives(site, |work| work.once(0)));
    let is_sure = outcome.is_ok() && !world.is_excused(site, began);
    if let Err(trouble) = outcome {
        world.judge(site, trouble, false);
    }
    let ledger = work.ledger.clone();
    work.ends(site, fault, world.is_excused(site, began));
    site.close(world, &ledger, is_sure);
}

impl Work<'_> {
    fn lives_on(&mut self, site: &Site) -> Outcome<()> {
        for _ in 0..2 + self.chance.below(4) {
            let step = self.chance.below(9);
            self.survives(site, |work| match step {
                0 => work.echo(),
                1 => work.once(0),
                2 => work.tell(),
                3 => work.progress(),
                4 => work.equal_ids(),
                5 => work.listen(),
                6 | 7 => work.naps(),
                _ => work.loses_its_child(),
            })?;
        }
        Ok(())
    }

    /// A step, during which a process may be killed from outside: then its calls may get an error, and the session goes on.
    fn survives(&mut self, site: &Site, step: impl FnOnce(&mut Self) -> Outcome<()>) -> Outcome<()> {
        let began = Instant::now();
        match step(self) {
            Err(trouble @ (Trouble::Failed(_) | Trouble::Refused(503, _))) if self.world.is_excused(site, began) => {
                self.world.judge(site, trouble, true);
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Says nothing until its child has been stopped, or is about to be.
    fn naps(&mut self) -> Outcome<()> {
        self.world.count("naps", 1);
        sleep(SLEEP.1.mul_f64(0.8) + Duration::from_millis(self.chance.below(1500)));
        if self.chance.hits(500) { self.tell() } else { self.once(0) }
    }

    /// Its child is killed: the call in flight gets an error that says so and is not sent again, and the next call another child.
    fn loses_its_child(&mut self) -> Outcome<()> {
        let pid = self.pid()?;
        let is_told = match self.chance.below(3) {
            0 => self.in_an_errand(pid)?,
            1 => self.in_a_stream(pid)?,
            // Perhaps while it is being stopped. Who has been reaped is nobody else so soon.
            _ => {
                sleep(SLEEP.1.mul_f64(0.8) + Duration::from_millis(self.chance.below(700)));
                self.kill(pid);
                false
            }
        };
        // Where nobody has said so, the gateway may not know it yet.
        let next = match self.pid() {
            Err(Trouble::Failed(error)) if !is_told => {
                self.told_so(&error)?;
                self.pid()?
            }
            next => next?,
        };
        if next == pid {
            return Err(Trouble::Wrong(format!("{pid} was killed, and answers")));
        }
        self.world.count("sessions that went on after a kill", 1);
        Ok(())
    }

    fn in_an_errand(&mut self, pid: i32) -> Outcome<bool> {
        let ms = 100 + self.chance.below(300);
        let (text, arguments) = self.errand(ms);
        self.world.count("calls", 1);
        let mut connection = self.client.send(&call("6", "6", "once", &arguments))?;
        sleep(Duration::from_millis(self.chance.below(300)));
        self.kill(pid);
        let reply = connection.reply()?;
        let answer = result_of(&reply, &json!(6)).and_then(|result| same(&text, &text_in(&result)?));
        self.ledger.asked.push((text, answer.is_ok()));
        self.answered_or_told_so(answer)
    }

    fn in_a_stream(&mut self, pid: i32) -> Outcome<bool> {
        self.world.count("calls", 1);
        let body = call("6", "6", "progress", &json!({ "text": "killed", "count": 200, "us": 1000 }));
        let ended = || Trouble::Wrong("the stream of a killed child ended without an answer".to_owned());
        let mut events = self.client.events(&self.client.post(body))?.ok_or_else(ended)?;
        let mut seen = 0;
        loop {
            let message = events.message().ok_or_else(ended)?.json();
            if message["method"] == "notifications/progress" {
                seen += 1;
                if message["params"]["progress"] != seen {
                    return Err(Trouble::Wrong(format!("in place of progress {seen}: {message}")));
                }
                if seen == 3 {
                    self.kill(pid);
                }
                continue;
            }
            let answer = result_in(&message, &json!(6)).and_then(|result| same("killed", &text_in(&result)?));
            return self.answered_or_told_so(answer);
        }
    }

    /// Whether a call was told that its child is no more.
    fn answered_or_told_so(&self, answer: Outcome<()>) -> Outcome<bool> {
        match answer {
            Err(Trouble::Failed(error)) => self.told_so(&error).map(|()| true),
            answer => answer.map(|()| false),
        }
    }

    fn told_so(&self, error: &Value) -> Outcome<()> {
        let reason = error["data"]["reason"].as_str().unwrap_or_default();
        if error["code"] != -32603 || !matches!(reason, "child_exited" | "child_closed_stdout" | "child_closed_stdin") {
            return Err(Trouble::Wrong(format!("of a killed child is said: {error}")));
        }
        self.world.count("calls of killed children, and told so", 1);
        Ok(())
    }

    fn kill(&self, pid: i32) {
        proc::kill(pid, Signal::KILL);
        self.world.count("fault: kill -9 of a child that another follows", 1);
    }

    fn pid(&mut self) -> Outcome<i32> {
        let pid = self.say("pid", &json!({}))?;
        pid.parse().map_err(|_| Trouble::Wrong(format!("no pid: {pid}")))
    }
}
