//! What becomes of calls, questions and streams, one rule a test.

use super::*;

#[test]
fn a_stream_of_its_own_ends_with_the_answer() {
    let mut bench = Bench::new();
    let (call, mut cursor) = bench.own("1", Carries::Events);
    assert_eq!(bench.say(call, "a"), Said::Yes);
    assert_eq!(bench.read(&mut cursor), (texts(&["a"]), false));
    assert!(bench.answer(call, "answer"));
    assert!(!bench.answer(call, "again"));
    assert_eq!(bench.say(call, "late"), Said::No("notification_without_call"));
    assert_eq!(bench.progress(call, None, "late"), Said::No("progress_without_call"));
    assert_eq!(bench.read(&mut cursor), (texts(&["answer"]), true));
    assert_eq!(bench.seat.calls_in_flight(), 0);
}

#[test]
fn the_only_stream_never_ends_with_an_answer() {
    let mut bench = Bench::new();
    let mut get = bench.open_get();
    for _ in 0..2 {
        let call = bench.standing("1");
        assert_eq!(bench.progress(call, Some(1.0), "p"), Said::Yes);
        assert!(bench.answer(call, "answer"));
    }
    assert_eq!(bench.read(&mut get), (texts(&["p", "answer", "p", "answer"]), false));
    let call = bench.standing("1");
    assert_eq!(bench.cancel("1"), Ok(()));
    bench.standing("2");
    bench.end();
    assert!(!bench.answer(call, "late"));
    assert_eq!(bench.read(&mut get), (vec![cancelled("1"), ended("2")], true));
}

#[test]
fn a_batch_ends_with_the_last_of_its_answers_whatever_it_is() {
    for last in ["answer", "cancel", "end"] {
        let mut bench = Bench::new();
        let (calls, mut cursor) = bench.batch(&["1", "2", "3"], Carries::Events);
        bench.own("9", Carries::Events);
        assert!(bench.answer(calls[1], "second"));
        assert_eq!(bench.say(calls[0], "a"), Said::Yes);
        assert_eq!(bench.cancel("1"), Ok(()));
        assert_eq!(bench.read(&mut cursor), (vec!["second".to_owned(), "a".to_owned(), cancelled("1")], false));
        let expected = match last {
            "answer" => {
                assert!(bench.answer(calls[2], "third"));
                "third".to_owned()
            }
            "cancel" => {
                assert_eq!(bench.cancel("3"), Ok(()));
                cancelled("3")
            }
            _ => {
                bench.end();
                ended("3")
            }
        };
        assert_eq!(bench.read(&mut cursor), (vec![expected], true), "{last}");
    }
}

#[test]
fn batches_end_apart() {
    let mut bench = Bench::new();
    let (one, mut first) = bench.batch(&["1", "2"], Carries::Events);
    let (two, mut second) = bench.batch(&["1", "2"], Carries::Events);
    bench.answer(one[0], "a");
    bench.answer(one[1], "b");
    bench.answer(two[0], "c");
    assert_eq!(bench.read(&mut first), (texts(&["a", "b"]), true));
    assert_eq!(bench.read(&mut second), (texts(&["c"]), false));
    bench.answer(two[1], "d");
    assert_eq!(bench.read(&mut second), (texts(&["d"]), true));
}

#[test]
fn what_cannot_go_with_its_call_goes_to_the_get_stream() {
    let mut bench = Bench::new();
    let (plain, mut own) = bench.own("1", Carries::AnswerOnly);
    let (gone, left) = bench.own("2", Carries::Events);
    bench.seat.log.detach(&left, bench.now);
    assert_eq!(bench.say(plain, "a"), Said::Yes);
    assert_eq!(bench.say(gone, "b"), Said::Yes);
    bench.seat.tell("c".into(), &mut Effects::default());
    assert_eq!(bench.progress(plain, Some(1.0), "p"), Said::No("progress_in_json_mode"));
    let mut get = bench.open_get();
    assert_eq!(bench.read(&mut get), (texts(&["a", "b", "c"]), false));
    assert_eq!(bench.read(&mut own), (Vec::new(), false));
    assert_eq!((bench.seat.carries_of(plain), bench.seat.carries_of(gone)), (Carries::AnswerOnly, Carries::Events));
    assert_eq!(bench.seat.carries_of(99), Carries::AnswerOnly);
}

#[test]
fn progress_only_grows() {
    let mut bench = Bench::new();
    let (call, mut cursor) = bench.own("1", Carries::Events);
    let (other, _) = bench.own("2", Carries::Events);
    let mut told = |progress, is_told| {
        let expected = if is_told { Said::Yes } else { Said::No("progress_not_increasing") };
        assert_eq!(bench.progress(call, progress, "p"), expected, "{progress:?}");
        assert_eq!(bench.read(&mut cursor).0.len(), usize::from(is_told));
    };
    told(None, true);
    for (progress, is_told) in
        [(-1.0, true), (0.0, true), (0.5, true), (0.5, false), (0.4, false), (0.6, true), (f64::INFINITY, true), (1.0, false)]
    {
        told(Some(progress), is_told);
    }
    told(None, true);
    told(Some(1.0), false);
    assert_eq!(bench.progress(other, Some(0.0), "p"), Said::Yes);
}

#[test]
fn a_question_goes_where_its_call_can_hear_it() {
    let mut bench = Bench::new();
    let (answers, mut answered) = mpsc::channel(4);
    let (call, mut own) = bench.own("1", Carries::Events);
    let (plain, _) = bench.own("2", Carries::AnswerOnly);
    let (gone, left) = bench.own("3", Carries::Events);
    bench.seat.log.detach(&left, bench.now);
    assert_eq!(bench.ask(call, 0, &answers), Ok(1));
    for deaf in [plain, gone] {
        assert!(bench.ask(deaf, 0, &answers).is_err_and(|why| why.contains("plain JSON")));
    }
    let mut get = bench.open_get();
    assert_eq!(bench.ask(plain, 1, &answers), Ok(2));
    assert_eq!(bench.ask(gone, 2, &answers), Ok(3));
    assert_eq!(bench.read(&mut own).0, [asked(1)]);
    assert_eq!(bench.read(&mut get).0, [asked(2), asked(3)]);
    for odd in ["4", "\"1\"", "01", "null"] {
        assert!(!bench.reply(odd, "x"), "{odd}");
    }
    assert!(bench.reply("3", "three") && bench.reply("1", "one") && !bench.reply("1", "once more"));
    assert_eq!(took(&mut answered), Some((2, "three".to_owned())));
    assert_eq!(took(&mut answered), Some((0, "one".to_owned())));
    assert!(bench.answer(plain, "answer"));
    assert!(!bench.reply("2", "late"));
    assert_eq!(took(&mut answered), None);
    assert_eq!(bench.ask(plain, 0, &answers), Err("the call is over"));
}

#[test]
fn a_question_that_finds_no_room_is_none() {
    let mut bench = Bench::holding(500);
    let (answers, _answered) = mpsc::channel(1);
    let (call, mut cursor) = bench.own("1", Carries::Events);
    assert_eq!(bench.ask(call, 0, &answers), Ok(1));
    assert!(bench.ask(call, 0, &answers).is_err_and(|why| why.contains("--log-bytes")));
    assert!(!bench.reply("2", "x"));
    drop(bench.seat.log.next(&mut cursor, Waker::noop(), bench.now));
    assert!(bench.reply("1", "x"));
}

#[test]
fn questions_are_withdrawn_where_they_were_asked_and_only_if_they_are_open() {
    let mut bench = Bench::new();
    let (answers, mut answered) = mpsc::channel(4);
    let (call, mut cursor) = bench.own("1", Carries::Events);
    let (other, mut others) = bench.own("2", Carries::Events);
    for (call, id) in [(call, 1), (call, 2), (other, 3)] {
        assert_eq!(bench.ask(call, 0, &answers), Ok(id));
    }
    let effects = &mut Effects::default();
    bench.seat.withdraw_one(1, "one", effects);
    bench.seat.withdraw_one(1, "twice", effects);
    bench.seat.withdraw(call, "all", effects);
    bench.seat.withdraw(call, "all again", effects);
    assert_eq!(bench.read(&mut cursor).0, [asked(1), asked(2), withdrawn(1, "one"), withdrawn(2, "all")]);
    assert_eq!(bench.read(&mut others).0, [asked(3)]);
    assert!(!bench.reply("1", "x") && !bench.reply("2", "x") && bench.reply("3", "y"));
    assert_eq!(took(&mut answered), Some((0, "y".to_owned())));
}

#[test]
fn a_call_is_cancelled_by_its_id_and_whoever_works_on_it_stops() {
    let mut bench = Bench::new();
    let (answers, _answered) = mpsc::channel(4);
    let (call, mut cursor) = bench.own(r#""\u0061""#, Carries::Events);
    let (other, mut others) = bench.own("1", Carries::Events);
    let (task, others_task) = (bench.work(call), bench.work(other));
    assert_eq!((bench.ask(call, 0, &answers), bench.ask(other, 0, &answers)), (Ok(1), Ok(2)));
    assert_eq!(bench.cancel("\"1\""), Err("cancel_without_call"));
    assert_eq!(bench.cancel("\"a\""), Ok(()));
    assert_eq!(bench.cancel("\"a\""), Err("cancel_without_call"));
    assert_eq!(bench.read(&mut cursor), (vec![asked(1), withdrawn(1, WITHDRAWN), cancelled(r#""\u0061""#)], true));
    assert_eq!(bench.read(&mut others), (vec![asked(2)], false));
    assert!(bench.is_aborted(&task) && !bench.is_aborted(&others_task));
    assert!(!bench.answer(call, "late"));
    // One that begins to work on it now has nothing to do.
    let late = bench.work(call);
    assert!(bench.is_aborted(&late));
}

#[test]
fn an_id_that_two_calls_have_cancels_neither() {
    let mut bench = Bench::new();
    let (one, _) = bench.own("\"a\"", Carries::Events);
    bench.batch(&[r#""\u0061""#], Carries::Events);
    assert_eq!(bench.cancel("\"a\""), Err("ambiguous_cancel"));
    assert_eq!(bench.seat.calls_in_flight(), 2);
    assert!(bench.answer(one, "answer"));
    assert_eq!(bench.cancel("\"a\""), Ok(()));
}

#[test]
fn a_call_that_is_taken_back_leaves_nothing_and_one_that_shares_its_stream_is_answered_there() {
    let mut bench = Bench::new();
    let (call, mut cursor) = bench.own("1", Carries::Events);
    let standing = bench.standing("2");
    let (batch, mut together) = bench.batch(&["3", "4"], Carries::Events);
    let effects = &mut Effects::default();
    assert!(bench.seat.take_back(call, effects) && bench.seat.take_back(call, effects));
    assert!(!bench.seat.take_back(standing, effects) && !bench.seat.take_back(batch[0], effects));
    assert_eq!(bench.read(&mut cursor), (Vec::new(), true));
    assert_eq!((bench.read(&mut together), bench.seat.calls_in_flight()), ((Vec::new(), false), 3));
    assert!(!bench.answer(call, "late") && bench.answer(standing, "refused"));
    let mut get = bench.open_get();
    assert_eq!(bench.read(&mut get), (texts(&["refused"]), false));
}

#[test]
fn so_many_calls_are_taken_and_none_after_the_end() {
    let mut bench = Bench::new();
    let mut calls = Vec::new();
    for at in 0..MAX_CALLS {
        assert_eq!(bench.seat.admit(MAX_CALLS - at, bench.now), Ok(()));
        assert_eq!(bench.seat.admit(MAX_CALLS - at + 1, bench.now), Err(NotPosted::TooManyCalls));
        calls.push(bench.own("1", Carries::Events).0);
    }
    assert!(bench.answer(calls[0], "answer"));
    assert_eq!(bench.seat.admit(1, bench.now), Ok(()));
    let tasks: Vec<JoinHandle<()>> = calls[1..].iter().map(|call| bench.work(*call)).collect();
    let answered = bench.work(calls[0]);
    bench.end();
    assert!(bench.seat.has_ended && tasks.iter().chain([&answered]).all(|task| bench.is_aborted(task)));
    assert_eq!(bench.seat.admit(1, bench.now), Err(NotPosted::Ended));
    assert_eq!(bench.seat.calls_in_flight(), 0);
}

#[test]
fn a_session_is_idle_where_nothing_is_in_flight_and_nobody_listens() {
    let mut bench = Bench::new();
    let idle = |bench: &Bench, after| bench.seat.idle_for(bench.now + after);
    assert_eq!(idle(&bench, SECOND), SECOND);
    let (call, _) = bench.own("1", Carries::Events);
    assert_eq!(idle(&bench, SECOND), Duration::ZERO);
    assert!(bench.answer(call, "answer"));
    assert_eq!(idle(&bench, SECOND), SECOND);
    let get = bench.open_get();
    assert_eq!(idle(&bench, SECOND), Duration::ZERO);
    bench.seat.log.detach(&get, bench.now);
    assert_eq!(idle(&bench, SECOND), SECOND);
    type Act = fn(&mut Seat, Instant);
    let acts: [Act; 4] = [
        |seat, now| assert_eq!(seat.admit(1, now), Ok(())),
        |seat, now| assert!(!seat.answered(b"7", Bytes::new(), now)),
        |seat, now| assert!(seat.cancel(b"7", now, &mut Effects::default()).is_err()),
        Seat::use_now,
    ];
    for act in acts {
        bench.now += SECOND;
        act(&mut bench.seat, bench.now);
        assert_eq!(idle(&bench, SECOND), SECOND);
    }
}

#[test]
fn notifications_that_wait_for_a_child_keep_their_order_and_are_not_too_many() {
    let mut bench = Bench::new();
    let seat = &mut bench.seat;
    assert!(!seat.has_waiting() && seat.next_waiting().is_none());
    for at in 0..64 {
        assert_eq!(seat.wait_with(Bytes::from(vec![at])), Ok(at == 0), "the first needs somebody who sees to it");
    }
    assert_eq!(seat.wait_with(Bytes::new()), Err(NotPosted::ChildBusy));
    for at in 0..64 {
        assert_eq!(seat.next_waiting(), Some(Bytes::from(vec![at])));
        // Others wait behind the last one until that has gone.
        assert!(seat.has_waiting());
    }
    assert_eq!(seat.wait_with("late".into()), Ok(false));
    assert_eq!((seat.next_waiting(), seat.next_waiting()), (Some("late".into()), None));
    assert!(!seat.has_waiting());
    assert_eq!(seat.wait_with("again".into()), Ok(true));
    bench.end();
    assert_eq!((bench.seat.next_waiting(), bench.seat.has_waiting()), (None, false));
}

#[test]
fn a_session_subscribes_to_at_most_1024_resources() {
    let mut bench = Bench::new();
    let (call, _) = bench.own("1", Carries::Events);
    for at in 0..crate::bridge::subscriptions::MAX_URIS {
        assert!(bench.seat.begin_subscribing(&format!("file:///{at}"), call), "{at}");
    }
    assert!(!bench.seat.begin_subscribing("file:///more", call));
}

#[test]
fn a_subscription_that_does_not_come_about_takes_no_place() {
    let mut bench = Bench::new();
    for _ in 0..crate::bridge::subscriptions::MAX_URIS {
        let (call, _) = bench.own("1", Carries::Events);
        assert!(bench.seat.begin_subscribing(&format!("file:///{call}"), call));
        assert_eq!(bench.cancel("1"), Ok(()));
    }
    let (call, _) = bench.own("1", Carries::Events);
    assert!(bench.seat.begin_subscribing("file:///one", call));
}
