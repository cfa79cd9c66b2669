//! Random scripts against the model of `scripts`, each with the child's end at its own.

use proptest::prelude::*;

use super::scripts::{SLOTS, Step, URIS, World};
use super::*;

/// A step of so many sessions at once.
fn step(sessions: usize) -> impl Strategy<Value = Step> {
    let slot = || 0..sessions;
    let uri = || 0..URIS.len();
    let level = || prop::sample::select(vec![Level::Debug, Level::Info, Level::Error, Level::Emergency]);
    let time = prop::sample::select(vec![1, 999, 1_000, 29_000, 30_000, 150_000, 299_999, 300_000, 600_000]);
    prop_oneof![
        8 => (slot(), 0..3_usize, prop::option::of(level()), any::<u8>(), prop::bool::weighted(0.9))
            .prop_map(|(slot, declares, level, mask, hears)| Step::Sit(slot, declares, level, mask & mask >> 4, hears)),
        2 => (slot(), any::<bool>()).prop_map(|(slot, calls_first)| Step::Leave(slot, calls_first)),
        10 => (slot(), any::<u8>(), any::<Option<u8>>(), prop::bool::weighted(0.8))
            .prop_map(|(slot, id, token, events)| Step::Send(slot, id, token, events)),
        4 => (slot(), uri(), prop::bool::weighted(0.8)).prop_map(|(slot, uri, takes)| Step::Subscribe(slot, uri, takes)),
        3 => (slot(), uri(), any::<bool>()).prop_map(|(slot, uri, crosses)| Step::Unsubscribe(slot, uri, crosses)),
        3 => (slot(), level()).prop_map(|(slot, level)| Step::SetLevel(slot, level)),
        14 => (any::<usize>(), any::<bool>()).prop_map(|(pick, is_result)| Step::Answer(pick, is_result)),
        2 => any::<usize>().prop_map(Step::AnswerOwn),
        4 => any::<usize>().prop_map(Step::Progress),
        4 => level().prop_map(Step::Log),
        2 => Just(Step::Note),
        1 => Just(Step::Change),
        4 => uri().prop_map(Step::Update),
        6 => (0..6_u8, prop::sample::select(vec![0, 0, 0, 1, 2, 3, 4]), prop::bool::weighted(0.9))
            .prop_map(|(id, kind, has_room)| Step::Ask(id, kind, has_room)),
        2 => (0..6_u8).prop_map(Step::Withdraw),
        3 => (0..6_u8).prop_map(Step::Reply),
        3 => any::<usize>().prop_map(Step::Cancel),
        1 => Just(Step::LoseLine),
        4 => time.prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn nothing_reaches_another_session_and_every_call_is_answered_once(
        steps in (1..=SLOTS).prop_flat_map(|sessions| prop::collection::vec(step(sessions), 0..120)),
    ) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.play(step));
        world.die();
    }
}
