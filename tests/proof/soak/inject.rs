//! Faults, at 1 % of the sessions a second.

use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::world::{Fault, Site, World};
use crate::kit::client::{Client, Outcome, Trouble, ask, connect, result_of, text_in};
use crate::kit::stats::Chance;
use crate::support::{modern, proc};

const SECOND: Duration = Duration::from_secs(1);
/// How often a process that many use is killed.
const SELDOM: Duration = Duration::from_secs(20);

pub(super) fn run(world: &World, seed: u64) {
    let mut chance = Chance::new(seed);
    let mut last = Instant::now();
    let mut turn = 0_usize;
    while !world.is_over.load(Ordering::Acquire) {
        sleep(SECOND);
        let open: u64 = world.sites().iter().map(|site| site.gateway.metric("sessions_active", "")).sum();
        let few = world.evict.gateway.metric("sessions_active", "");
        if few > world.room as u64 {
            world.is_wrong(format!("{few} sessions are open where there is room for {}", world.room));
        }
        let mut due = open.div_ceil(100).max(1);
        while due > 0 {
            due -= 1;
            match chance.below(6) {
                0 => world.faults.lock().expect("no panic").push_back(Fault::Garbage),
                1 => world.faults.lock().expect("no panic").push_back(Fault::Stall),
                2 => world.faults.lock().expect("no panic").push_back(Fault::Hang),
                3 => world.faults.lock().expect("no panic").push_back(Fault::Cut),
                4 => world.faults.lock().expect("no panic").push_back(Fault::HalfOpen),
                _ => kill_one(world, &mut chance),
            }
        }
        if last.elapsed() >= SELDOM {
            last = Instant::now();
            turn += 1;
            let many = match turn % 3 {
                0 => (&world.own, modern_pid(&world.own)),
                1 => (&world.shared, shared_pid(&world.shared)),
                _ => (&world.modern, modern_pid(&world.modern)),
            };
            let any = (&world.respawn, any_pid(&world.respawn, &mut chance));
            for (site, pid) in [many, any] {
                let Ok(pid) = pid else { continue };
                world.kills(site);
                proc::kill(pid, Signal::KILL);
                world.count("fault: kill -9 of a child that many use, or anybody", 1);
                eprintln!("{:.1} s: killed {pid}, of {}", world.began.elapsed().as_secs_f64(), site.name);
            }
        }
    }
}

/// Kills the child of a session in the middle of its work.
fn kill_one(world: &World, chance: &mut Chance) {
    let living = world.living.lock().expect("no panic");
    let Some(victim) = living.get(chance.below(living.len() as u64) as usize) else { return };
    victim.was_killed.store(true, Ordering::Release);
    // It is ours as long as the lock is held: its session has not ended.
    proc::kill(victim.pid, Signal::KILL);
    world.count("fault: kill -9 of a session's child", 1);
}

/// Perhaps one that has not been told everything yet, or that is being stopped.
fn any_pid(site: &Site, chance: &mut Chance) -> Outcome<i32> {
    let children = site.gateway.children();
    let child = children.get(chance.below(children.len() as u64) as usize);
    child.map(|child| child.pid).ok_or_else(|| Trouble::Wrong("there is no child".to_owned()))
}

fn shared_pid(site: &Site) -> Outcome<i32> {
    let mut client = Client::open(site.gateway.address(), "2025-11-25")?;
    let pid = client.call(&json!(1), "pid", &json!({}))?;
    client.delete()?;
    Ok(pid.parse().unwrap_or(i32::MAX))
}

fn modern_pid(site: &Site) -> Outcome<i32> {
    let mut connection = connect(site.gateway.address())?;
    let reply = ask(&mut connection, &modern::call(1, "pid", &json!({}), &json!({}), &json!({})))?;
    Ok(text_in(&result_of(&reply, &json!(1))?)?.parse().unwrap_or(i32::MAX))
}
