//! A session, its child and its clients in one thread, with a clock and a pipe of their own: everything that can happen to them,
//! in an order that a seed decides. Clients ask with equal ids, lose connections, stall and come back; the child reads late or
//! not at all, asks, dies, and is followed by another. What must hold whatever happens stands in `World::check`.

mod child;
mod clients;
mod world;

use self::world::World;

/// So many histories, each of so many steps.
const HISTORIES: u64 = 1500;
const STEPS: usize = 300;

fn run(respawns: bool) {
    let mut seen = world::Seen::default();
    for seed in 1..=HISTORIES {
        let mut world = World::new(seed, respawns);
        for _ in 0..STEPS {
            world.step();
        }
        world.settle();
        world.check();
        seen.add(&world);
    }
    // A simulation in which nothing happens holds everything.
    assert!(seen.answered > 30_000 && seen.lost > 1000 && seen.resumes > 10_000 && seen.questions > 1000, "{seen:?}");
    assert!(seen.refused > 100 && seen.stalled > 1000, "{seen:?}");
    assert_eq!(seen.children > HISTORIES + 1000, respawns, "{seen:?}");
}

/// Each call in flight at a child's death gets one error, each other one its own answer; what was taken reached a child or is counted.
#[test]
fn a_session_that_ends_with_its_child_loses_nothing_in_any_history() {
    run(false);
}

/// The same, and no call is told to two children, and nothing that was meant for one reaches another.
#[test]
fn a_session_that_goes_on_with_other_children_loses_nothing_in_any_history() {
    run(true);
}
