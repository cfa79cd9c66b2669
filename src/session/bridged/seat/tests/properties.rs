//! Random scripts against the model of `scripts`, each with the session's end at its own.

use proptest::prelude::*;

use super::scripts::{IDS, Step, World};

fn step() -> impl Strategy<Value = Step> {
    let pick = || any::<usize>();
    let often = || prop::bool::weighted(0.8);
    prop_oneof![
        6 => (0..IDS.len(), often(), any::<bool>()).prop_map(|(id, events, back)| Step::Own(id, events, back)),
        2 => (0..IDS.len()).prop_map(Step::Standing),
        3 => (1..=3_usize, often(), any::<bool>()).prop_map(|(count, events, back)| Step::Batch(count, events, back)),
        3 => pick().prop_map(Step::Work),
        5 => pick().prop_map(Step::Say),
        5 => (pick(), prop::option::of(-2..6_i8)).prop_map(|(pick, progress)| Step::Progress(pick, progress)),
        1 => Just(Step::Tell),
        8 => pick().prop_map(Step::Answer),
        1 => pick().prop_map(Step::TakeBack),
        6 => pick().prop_map(Step::Ask),
        4 => pick().prop_map(Step::Reply),
        2 => pick().prop_map(Step::WithdrawOne),
        1 => pick().prop_map(Step::Withdraw),
        4 => (0..IDS.len()).prop_map(Step::Cancel),
        2 => pick().prop_map(Step::Leave),
        2 => Just(Step::OpenGet),
        2 => Just(Step::LeaveGet),
        1 => Just(Step::Wait),
        1 => prop::bool::weighted(0.1).prop_map(|ends| if ends { Step::End } else { Step::Wait }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_call_is_answered_once_and_every_message_is_on_its_stream(steps in prop::collection::vec(step(), 0..120)) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.play(step));
        world.come_back();
        world.play(&Step::End);
        assert!(world.open.is_empty() && world.asked.is_empty());
    }
}
