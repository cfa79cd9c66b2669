//! Calls of modern clients, which have no session.

use std::time::Instant;

use serde_json::json;

use super::world::{Site, World};
use crate::kit::client::{Outcome, Trouble, ask, connect, events_of, result_in, result_of, text_in};
use crate::kit::stats::Chance;
use crate::support::modern::call;

pub(super) fn of_a_modern_client(world: &World, site: &Site, ticket: u64) {
    let mut chance = Chance::new(ticket);
    let mut began = Instant::now();
    if let Err(trouble) = calls(world, site, ticket, &mut chance, &mut began) {
        world.judge(site, trouble, world.is_excused(site, began));
    }
}

fn calls(world: &World, site: &Site, ticket: u64, chance: &mut Chance, began: &mut Instant) -> Outcome<()> {
    let mut connection = connect(site.gateway.address())?;
    for id in 1..=2 + chance.below(4) {
        *began = Instant::now();
        let text = format!("{} {ticket} {id} {}", site.name, "x".repeat(chance.below(2000) as usize));
        world.count("calls", 1);
        let reply = ask(&mut connection, &call(id, "echo", &json!({ "text": text }), &json!({}), &json!({})))?;
        is_same(&text, &text_in(&result_of(&reply, &json!(id))?)?)?;
    }
    // Progress, on a stream that is now and then left, which cancels the call.
    *began = Instant::now();
    let count = 1 + chance.below(20);
    let text = format!("{} {ticket} progress", site.name);
    let arguments = json!({ "text": text, "count": count, "us": chance.below(1000) });
    world.count("calls", 1);
    connection.send(&call(99, "progress", &arguments, &json!({}), &json!({})).bytes())?;
    let Some(events) = events_of(connection)? else { return Err(Trouble::Wrong("no stream".to_owned())) };
    let leaves = if chance.hits(200) { chance.below(count) as usize } else { usize::MAX };
    let mut seen = 0;
    for event in events.filter(|event| !event.data.is_empty()).take(leaves) {
        let message = event.json();
        if message["method"] == "notifications/progress" {
            seen += 1;
            if message["params"]["progress"] != seen || message["params"]["message"] != text {
                return Err(Trouble::Wrong(format!("in place of progress {seen} of {text}: {message}")));
            }
            continue;
        }
        is_same(&text, &text_in(&result_in(&message, &json!(99))?)?)?;
        return if seen == count { Ok(()) } else { Err(Trouble::Wrong(format!("{seen} of {count}: {message}"))) };
    }
    if leaves == usize::MAX {
        return Err(Trouble::Wrong(format!("no answer after {seen} of {count}: {text}")));
    }
    world.count("modern calls left", 1);
    Ok(())
}

fn is_same(asked: &str, said: &str) -> Outcome<()> {
    if asked == said { Ok(()) } else { Err(Trouble::Wrong(format!("asked {asked:.80}, said {said:.80}"))) }
}
