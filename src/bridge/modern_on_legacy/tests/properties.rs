//! Random scripts against the model of `scripts`, and an end to each in which everything must come to rest.

use proptest::prelude::*;

use super::scripts::{Holder, Step, World};
use super::*;

fn step() -> impl Strategy<Value = Step> {
    let pick = || any::<usize>();
    let level = || prop::sample::select(vec![None, Some("info"), Some("error")]);
    let time = prop::sample::select(vec![5, 20, 30, 30, 30, 160, 1_000, 2_000, 31_000, 299_000, 301_000, 601_000]);
    prop_oneof![
        3 => any::<(bool, bool)>().prop_map(|(asks, token)| Step::Share(asks, token)),
        6 => (any::<bool>(), level()).prop_map(|(token, level)| Step::Take(token, level)),
        9 => Just(Step::Send),
        1 => Just(Step::Untake),
        9 => (0..4_usize).prop_map(Step::Ask),
        2 => Just(Step::Wait(Duration::from_millis(20))),
        1 => pick().prop_map(Step::AskWithOpenId),
        2 => pick().prop_map(Step::Withdraw),
        5 => (pick(), 0..3_u8).prop_map(|(pick, how)| Step::Answer(pick, how)),
        3 => pick().prop_map(Step::Progress),
        3 => prop::sample::select(vec!["debug", "info", "error"]).prop_map(Step::Log),
        1 => Just(Step::Change),
        2 => pick().prop_map(Step::Leave),
        6 => (pick(), any::<u16>(), any::<bool>(), level(), prop::bool::weighted(0.1))
            .prop_map(|(pick, mask, token, level, less)| Step::Retry(pick, mask, token, level, less)),
        2 => (pick(), Just(u16::MAX), level()).prop_map(|(pick, mask, level)| Step::Retry(pick, mask, true, level, false)),
        2 => (pick(), Just(0b1001), level()).prop_map(|(pick, mask, level)| Step::Retry(pick, mask, true, level, false)),
        2 => (pick(), 0..6_u8).prop_map(|(pick, how)| Step::BadRetry(pick, how)),
        10 => time.prop_map(|time| Step::Wait(Duration::from_millis(time))),
        1 => Just(Step::GiveUp),
        1 => Just(Step::LoseLine),
    ]
}

/// The child answers what it still has, clients come back until nothing is open, and what nobody adopts expires.
fn come_to_rest(world: &mut World) {
    let mut turns = 0;
    while world.holder != Holder::Nobody || !world.again.is_empty() || !world.elsewhere.is_empty() || turns == 0 {
        if matches!(world.holder, Holder::Draining { is_retired: true, .. }) {
            break; // its child ends
        }
        turns += 1;
        assert!(turns < 200, "it does not come to rest: {:?}", world.holder);
        world.play(&Step::Send);
        while world.ledger.child.values().any(|call| !call.is_answered) {
            world.play(&Step::Answer(0, 0));
        }
        world.play(&Step::Retry(0, 0b0101_0101_0101_0101, false, None, false));
        world.play(&Step::Retry(0, u16::MAX, false, None, false));
        world.play(&Step::Wait(Duration::from_millis(25)));
        if !world.again.is_empty() {
            world.play(&Step::Take(false, None));
        }
    }
    world.play(&Step::Wait(Duration::from_secs(31)));
}

fn assert_at_rest(world: &World) {
    for (mark, client) in world.ledger.clients.iter().enumerate() {
        let was_sent = world.ledger.streams.values().any(|http| http.mark == mark);
        assert!(!was_sent || world.ledger.has_final(mark) || client.has_left, "{mark} has no answer: {:?}", client.said);
    }
    for (id, question) in &world.ledger.questions {
        assert!(!question.is_open, "{id} has no answer");
    }
    assert!(world.ledger.streams.values().all(|http| !http.is_open));
    assert_eq!(world.ledger.bench.free_places(), PLACES);
    assert_eq!((world.ledger.bench.router.calls_in_flight(), world.ledger.bench.router.is_held()), (0, false));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn nothing_is_lost_invented_or_done_twice(
        capabilities in prop::sample::select(vec![ALL, ALL, r#"{"elicitation":{}}"#, "{}"]),
        steps in prop::collection::vec(step(), 0..120),
        dies: bool,
    ) {
        let mut world = World::new(capabilities);
        steps.iter().for_each(|step| world.play(step));
        if !dies {
            come_to_rest(&mut world);
        }
        if dies || matches!(world.holder, Holder::Draining { is_retired: true, .. }) {
            world.die();
        }
        let spent = std::mem::take(&mut world.spent);
        spent.iter().for_each(|said| world.ledger.assert_refused(said));
        assert_at_rest(&world);
    }
}
