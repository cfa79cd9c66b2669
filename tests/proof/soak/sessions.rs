//! One session of an older client, from `initialize` to its end.

use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::record::Ledger;
use super::world::{Fault, Site, World};
use crate::kit::client::{Client, Outcome, Trouble, connect, result_in, text_in};
use crate::kit::stats::Chance;
use crate::support::http::{Request, Socket};
use crate::support::session::call;

const REVISIONS: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];

/// A session at work.
pub(super) struct Work<'a> {
    pub(super) world: &'a World,
    pub(super) client: Client,
    pub(super) chance: Chance,
    /// What is unique to it, and what it asked for.
    pub(super) ledger: Ledger,
    /// Where it is in its standing stream.
    place: String,
}

/// A session whose child is its own.
pub(super) fn on_own_child(world: &World, ticket: u64) {
    let site = &world.own;
    let mut work = match Work::open(world, site, ticket) {
        Ok(work) => work,
        Err(trouble) => return world.judge(site, trouble, false),
    };
    let pid = match work.say("pid", &json!({})).map(|pid| pid.parse()) {
        Ok(Ok(pid)) => pid,
        trouble => return world.is_wrong(format!("no pid: {trouble:?}")),
    };
    let living = world.joined(pid);
    let mut outcome = work.steps(true);
    let fault = world.next_fault().filter(|_| outcome.is_ok());
    if let Some(fault) = fault {
        outcome = work.breaks(site, fault);
    }
    if outcome.is_ok() && fault != Some(Fault::Hang) {
        outcome = work.all_arrived();
    }
    world.left(&living);
    if let Err(trouble) = outcome {
        let is_excused = living.was_killed.load(Ordering::Acquire);
        world.count("notifications accepted for children that were killed", if is_excused { work.ledger.told } else { 0 });
        return world.judge(site, trouble, is_excused);
    }
    let is_killed = living.was_killed.load(Ordering::Acquire);
    work.ends(site, fault, is_killed);
}

/// A session that shares its child with all others.
pub(super) fn on_shared_child(world: &World, ticket: u64) {
    let site = &world.shared;
    let began = Instant::now();
    let mut work = match Work::open(world, site, ticket) {
        Ok(work) => work,
        Err(trouble) => return world.judge(site, trouble, world.is_excused(site, began)),
    };
    let mut outcome = work.steps(false);
    let fault = world.next_fault().filter(|_| outcome.is_ok());
    if let Some(fault) = fault.filter(|fault| !matches!(fault, Fault::Hang | Fault::Stall)) {
        outcome = work.breaks(site, fault);
    }
    // The count is the killed child's.
    if outcome.is_ok() && !world.is_excused(site, began) {
        outcome = work.all_arrived();
    }
    if let Err(trouble) = outcome {
        let is_excused = world.is_excused(site, began);
        world.count("notifications accepted for children that were killed", if is_excused { work.ledger.told } else { 0 });
        world.judge(site, trouble, is_excused);
    }
    work.ends(site, fault, false);
}

impl<'a> Work<'a> {
    pub(super) fn open(world: &'a World, site: &Site, ticket: u64) -> Outcome<Work<'a>> {
        let mut chance = Chance::new(ticket);
        let revision = REVISIONS[chance.below(3) as usize];
        let client = Client::open(site.gateway.address(), revision)?;
        world.count("sessions opened", 1);
        let ledger = Ledger { key: format!("{}-{ticket}", site.name), ..Ledger::default() };
        Ok(Work::of(world, client, ledger, chance))
    }

    pub(super) fn of(world: &'a World, client: Client, ledger: Ledger, chance: Chance) -> Work<'a> {
        Work { world, client, chance, ledger, place: String::new() }
    }

    /// A text that no other call has.
    fn payload(&mut self) -> String {
        self.ledger.turn += 1;
        let pad = if self.chance.hits(20) { 100_000 } else { self.chance.below(2000) };
        format!("{} {} {}", self.ledger.key, self.ledger.turn, "x".repeat(pad as usize))
    }

    pub(super) fn say(&mut self, tool: &str, arguments: &Value) -> Outcome<String> {
        self.world.count("calls", 1);
        let id = if self.chance.hits(500) { json!(1) } else { json!(format!("c{}", self.ledger.turn)) };
        self.client.call(&id, tool, arguments)
    }

    fn steps(&mut self, is_own: bool) -> Outcome<()> {
        for _ in 0..2 + self.chance.below(4) {
            match self.chance.below(if is_own { 6 } else { 5 }) {
                0 | 1 => self.echo()?,
                2 => self.tell()?,
                3 => self.progress()?,
                4 => self.equal_ids()?,
                _ => self.listen()?,
            }
        }
        Ok(())
    }

    pub(super) fn echo(&mut self) -> Outcome<()> {
        let text = self.payload();
        let said = self.say("echo", &json!({ "text": text }))?;
        same(&text, &said)
    }

    /// A call that writes down that it ran, and is answered after so long.
    pub(super) fn errand(&mut self, ms: u64) -> (String, Value) {
        self.ledger.turn += 1;
        let text = format!("{} {}", self.ledger.key, self.ledger.turn);
        let arguments = json!({ "key": self.ledger.key, "text": text, "ms": ms });
        (text, arguments)
    }

    pub(super) fn once(&mut self, ms: u64) -> Outcome<()> {
        let (text, arguments) = self.errand(ms);
        let outcome = self.say("once", &arguments).and_then(|said| same(&text, &said));
        self.ledger.asked.push((text, outcome.is_ok()));
        outcome
    }

    /// Notifications, each of which must arrive if it was accepted.
    pub(super) fn tell(&mut self) -> Outcome<()> {
        for _ in 0..1 + self.chance.below(10) {
            let params = json!({ "key": self.ledger.key });
            self.client.tell(&json!({ "jsonrpc": "2.0", "method": "notifications/count", "params": params }))?;
            self.ledger.told += 1;
            self.world.count("notifications accepted", 1);
        }
        Ok(())
    }

    fn all_arrived(&mut self) -> Outcome<()> {
        let key = self.ledger.key.clone();
        let count = self.say("counted", &json!({ "key": key }))?.parse::<u64>().unwrap_or(u64::MAX);
        self.world.count("notifications checked", self.ledger.told);
        if count > self.ledger.told {
            return Err(Trouble::Wrong(format!("{count} notifications arrived of {}", self.ledger.told)));
        }
        self.world.count("notifications that did not arrive", self.ledger.told - count);
        Ok(())
    }

    /// A call with progress, cut now and then and resumed: everything in its order, nothing twice, and the answer.
    pub(super) fn progress(&mut self) -> Outcome<()> {
        let text = self.payload();
        let count = 1 + self.chance.below(20);
        let us = self.chance.below(2000);
        let arguments = json!({ "count": count, "us": us, "text": text });
        let body = call("\"p\"", "\"t\"", "progress", &arguments);
        self.world.count("calls", 1);
        let mut request = self.client.post(body);
        let (mut seen, mut last) = (0, String::new());
        loop {
            let Some(events) = self.client.events(&request)? else {
                return Err(Trouble::Wrong(format!("the stream of {} ended after {seen} of {count}", self.ledger.key)));
            };
            let cut = if self.chance.hits(300) { 1 + self.chance.below(count) as usize } else { usize::MAX };
            for event in events.take(cut) {
                if !event.id.is_empty() {
                    last.clone_from(&event.id);
                }
                if event.data.is_empty() {
                    continue;
                }
                let message = event.json();
                if let Some(missed) = missed(&message) {
                    self.world.count("events given up because they were not read, and told", missed);
                    seen += missed;
                    continue;
                }
                if message["method"] != "notifications/progress" {
                    let result = result_in(&message, &json!("p"))?;
                    same(&text, &text_in(&result)?)?;
                    return if seen == count { Ok(()) } else { Err(Trouble::Wrong(format!("{seen} of {count}: {message}"))) };
                }
                seen += 1;
                let (at, said) = (&message["params"]["progress"], &message["params"]["message"]);
                if *at != seen || *said != text {
                    return Err(Trouble::Wrong(format!("progress {at} in place of {seen} of {}", self.ledger.key)));
                }
            }
            if last.is_empty() {
                return Err(Trouble::Wrong("a stream without a place to come back to".to_owned()));
            }
            self.world.count("resumes", 1);
            request = self.client.get().with("last-event-id", &last);
        }
    }

    /// Calls in flight at once, all with one id: each gets its own answer.
    pub(super) fn equal_ids(&mut self) -> Outcome<()> {
        let mut calls = Vec::new();
        for _ in 0..3 {
            let text = self.payload();
            self.world.count("calls", 1);
            calls.push((self.client.send(&call("7", "7", "progress", &json!({ "text": text })))?, text));
        }
        for (mut connection, text) in calls {
            let reply = connection.reply()?;
            let result = crate::kit::client::result_of(&reply, &json!(7))?;
            same(&text, &text_in(&result)?)?;
        }
        Ok(())
    }

    /// The standing stream, cut after each event and resumed.
    pub(super) fn listen(&mut self) -> Outcome<()> {
        let count = 1 + self.chance.below(3);
        let mut events = self.client.events(&self.standing())?;
        for n in 1..=count {
            let note = json!({ "uri": self.ledger.key, "n": n });
            let line = json!({ "jsonrpc": "2.0", "method": "notifications/resources/updated", "params": note });
            self.say("say", &json!({ "text": format!("{line}\n") }))?;
            let event = events.as_mut().and_then(|events| events.message());
            let event = event.ok_or_else(|| Trouble::Wrong("the standing stream ended".to_owned()));
            // Where its child is killed, the stream ends.
            let Ok(event) = event else { return self.echo().and(event.map(drop)) };
            let message = event.json();
            if message["params"] != note {
                return Err(Trouble::Wrong(format!("{note} was said, and came as {message}")));
            }
            self.world.count("resumes", 1);
            self.place = event.id;
            drop(events);
            events = self.client.events(&self.standing())?;
        }
        Ok(())
    }

    /// Asks for the standing stream, from where it was left.
    fn standing(&self) -> Request {
        match self.place.as_str() {
            "" => self.client.get(),
            place => self.client.get().with("last-event-id", place),
        }
    }

    pub(super) fn breaks(&mut self, site: &Site, fault: Fault) -> Outcome<()> {
        match fault {
            Fault::Garbage => {
                self.world.count("fault: a child writes garbage", 1);
                same("garbage", &self.say("garbage", &json!({}))?)?;
                self.echo()
            }
            Fault::Stall => {
                self.world.count("fault: a child stalls", 1);
                let ms = 500 + self.chance.below(2500);
                same("stalled", &self.say("stall", &json!({ "ms": ms }))?)?;
                self.echo()
            }
            Fault::Hang => {
                self.world.count("fault: a child hangs", 1);
                drop(self.client.send(&call("8", "8", "hang", &json!({})))?);
                sleep(Duration::from_millis(20));
                drop(self.client.send(&call("9", "9", "echo", &json!({ "text": "never read" })))?);
                Ok(())
            }
            Fault::Cut => {
                self.world.count("fault: a client is gone in the middle of a stream", 1);
                let body = call("8", "8", "progress", &json!({ "text": "cut", "count": 50, "us": 500, "pad": 2000 }));
                let mut events = self.client.events(&self.client.post(body))?;
                drop(events.as_mut().and_then(|events| events.message()));
                drop(events);
                self.echo()
            }
            // Done when the session is abandoned.
            Fault::HalfOpen => {
                let _ = site;
                Ok(())
            }
        }
    }

    pub(super) fn ends(self, site: &Site, fault: Option<Fault>, is_killed: bool) {
        let mut chance = self.chance;
        if fault == Some(Fault::HalfOpen) {
            self.world.count("fault: a GET stream is half open", 1);
            let open = || -> Outcome<Socket> {
                let mut connection = connect(site.gateway.address())?;
                connection.send(&self.client.get().bytes())?;
                Ok(connection.socket())
            };
            if let Ok(socket) = open() {
                if let (Socket::Tcp(stream), true) = (&socket, chance.hits(500)) {
                    let _ = stream.shutdown(Shutdown::Write);
                }
                sleep(Duration::from_millis(chance.below(3000)));
            }
        }
        if fault.is_some_and(|fault| fault == Fault::HalfOpen) || chance.hits(500) {
            return self.world.count("sessions abandoned", 1);
        }
        match self.client.delete() {
            Ok(()) => self.world.count("sessions deleted", 1),
            Err(trouble) => self.world.judge(site, trouble, is_killed),
        }
    }
}

pub(super) fn same(asked: &str, said: &str) -> Outcome<()> {
    if asked == said {
        return Ok(());
    }
    let start = |text: &str| text.chars().take(80).collect::<String>();
    Err(Trouble::Wrong(format!("asked {:?}, said {:?}", start(asked), start(said))))
}

/// How many events the gateway says it gave up before they were read: more waited than --log-bytes allows.
fn missed(message: &serde_json::Value) -> Option<u64> {
    let is_gap = message["method"] == "notifications/message" && message["params"]["logger"] == "mcp-http-gateway";
    let text = message["params"]["data"].as_str().filter(|_| is_gap)?;
    text.split(' ').next()?.parse().ok()
}
