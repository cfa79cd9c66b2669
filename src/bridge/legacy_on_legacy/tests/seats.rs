//! Who uses the child, and what the child is told of it.

use super::*;

const LEVELS: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

fn level(word: &str) -> Level {
    Level::parse(format!("\"{word}\"").as_bytes()).expect("a level")
}

#[test]
fn a_seat_is_held_until_its_session_leaves() {
    let mut bench = Bench::new();
    assert!(!bench.router.is_held());
    let (one, two) = (bench.seated(1), bench.seated(2));
    assert!(bench.router.has_seat(1) && bench.router.has_seat(2) && !bench.router.has_seat(3));
    same(&bench.leave(one), &[end(one)]);
    assert!(!bench.router.has_seat(1) && bench.router.has_seat(2) && bench.router.is_held());
    same(&bench.leave(two), &[end(two)]);
    assert!(!bench.router.is_held());
}

#[test]
fn the_child_is_told_the_most_verbose_level_and_only_when_it_changes() {
    let mut bench = Bench::new();
    let seats: Vec<u64> = (1..=3).map(|number| bench.seated(number)).collect();
    same(&bench.set_level(1, level("error")), &[own_level(1, "error")]);
    same(&bench.set_level(2, level("critical")), &[]);
    same(&bench.set_level(3, level("debug")), &[own_level(2, "debug")]);
    same(&bench.set_level(1, level("debug")), &[]);
    same(&bench.set_level(3, level("emergency")), &[]);
    same(&bench.leave(seats[0]), &[end(seats[0]), own_level(3, "critical")]);
    same(&bench.leave(seats[1]), &[end(seats[1]), own_level(4, "emergency")]);
    same(&bench.leave(seats[2]), &[end(seats[2])]);
    bench.seated(4);
    same(&bench.set_level(4, level("emergency")), &[]);
    same(&bench.set_level(9, level("debug")), &[]);
}

#[test]
fn a_session_hears_logs_at_or_above_its_own_level() {
    for (at, least) in LEVELS.into_iter().enumerate() {
        let mut bench = Bench::new();
        bench.seated(1);
        bench.seated(2);
        drop(bench.set_level(1, level(least)));
        drop(bench.set_level(2, level("debug")));
        let (stream, _) = bench.call(1);
        for (place, word) in LEVELS.into_iter().enumerate() {
            let text = log_line(word);
            let expected = if place >= at { note(stream, &text) } else { Routed::Dropped("log_below_level") };
            same(&bench.hear(&text), &[expected]);
        }
        let odd = log_line("loud");
        same(&bench.hear(&odd), &[note(stream, &odd)]);
        let other = r#"{"jsonrpc":"2.0","method":"notifications/x","params":{"level":"debug"}}"#;
        same(&bench.hear(other), &[note(stream, other)]);
    }
}

#[test]
fn who_chose_no_level_hears_all_that_the_child_tells() {
    let mut bench = Bench::new();
    bench.seated(1);
    let (stream, _) = bench.call(1);
    same(&bench.hear(&log_line("debug")), &[note(stream, &log_line("debug"))]);
}

#[test]
fn what_a_session_wanted_elsewhere_is_asked_for_again() {
    let mut bench = Bench::new();
    let uris = vec!["a".to_owned(), "b".to_owned()];
    let sitter = Sitter { level: Some(level("notice")), uris: uris.clone(), ..session(1) };
    let (one, routed) = bench.sit(&sitter);
    same(&routed, &[own_level(1, "notice"), own_about(2, "subscribe", "a"), own_about(3, "subscribe", "b")]);
    let (two, routed) = bench.sit(&Sitter { level: Some(level("error")), uris, ..session(2) });
    same(&routed, &[]);
    same_set(&bench.hear(&updated("a")), &[note(one, &updated("a")), note(two, &updated("a"))]);
    for number in 1..=3 {
        same(&bench.hear(&result(&number.to_string())), &[]);
        same(&bench.hear(&result(&number.to_string())), &[Routed::Dropped("answer_without_call")]);
    }
    assert_eq!(bench.router.calls_in_flight(), 0, "what the gateway told is no call");
    same(&bench.leave(one), &[end(one), own_level(4, "error")]);
    let told = [end(two), own_about(5, "unsubscribe", "a"), own_about(6, "unsubscribe", "b")];
    same(&bench.leave(two), &told);
}

#[test]
fn updates_reach_who_subscribed_and_lists_everybody() {
    let mut bench = Bench::new();
    let seats = [bench.seated(1), bench.seated(2), bench.seated(3)];
    let nobody = [Routed::Dropped("change_for_nobody")];
    same(&bench.hear(&updated("file:///a")), &nobody);
    for number in [1, 2] {
        let (_, call) = bench.send(number, &about("1", "subscribe", "file:///a"));
        drop(bench.hear(&result(&call.to_string())));
    }
    for uri in ["file:///a", "file:///a/b"] {
        let expected = [note(seats[0], &updated(uri)), note(seats[1], &updated(uri))];
        same_set(&bench.hear(&updated(uri)), &expected);
    }
    same(&bench.hear(&updated("file:///ab")), &nobody);
    same(&bench.hear(r#"{"jsonrpc":"2.0","method":"notifications/resources/updated"}"#), &nobody);
    for what in ["tools", "prompts", "resources"] {
        let expected: Vec<Routed> = seats.iter().map(|seat| note(*seat, &changed(what))).collect();
        same_set(&bench.hear(&changed(what)), &expected);
    }
    assert!(bench.router.is_wanted_by_others(1, "file:///a"));
    assert!(!bench.router.want_no_more(1, "file:///a", None));
    same(&bench.hear(&updated("file:///a")), &[note(seats[1], &updated("file:///a"))]);
    assert!(!bench.router.is_wanted_by_others(2, "file:///a") && bench.router.is_wanted_by_others(1, "file:///a"));
    same(&bench.leave(seats[1]), &[end(seats[1]), own_about(3, "unsubscribe", "file:///a")]);
    same_set(&bench.hear(&changed("tools")), &[note(seats[0], &changed("tools")), note(seats[2], &changed("tools"))]);
}

#[test]
fn a_subscription_that_the_child_refuses_is_none() {
    let mut bench = Bench::new();
    let seat = bench.seated(1);
    let (stream, number) = bench.send(1, &about("\"s\"", "subscribe", "u"));
    same(&bench.hear(&updated("u")), &[note(seat, &updated("u"))]);
    let routed = bench.hear(&error(&number.to_string(), -5, "no", ""));
    // The child has said that it never was one; to tell it once more does no harm.
    same(&routed[routed.len() - 1..], &[answer(stream, &error("\"s\"", -5, "no", ""))]);
    same(&bench.hear(&updated("u")), &[Routed::Dropped("change_for_nobody")]);
    same(&bench.leave(seat), &[end(seat)]);
}

#[test]
fn a_second_subscription_that_is_refused_takes_nothing_back() {
    let mut bench = Bench::new();
    let seat = bench.seated(1);
    let (_, first) = bench.send(1, &about("1", "subscribe", "u"));
    drop(bench.hear(&result(&first.to_string())));
    let (stream, second) = bench.send(1, &about("2", "subscribe", "u"));
    same(&bench.hear(&error(&second.to_string(), -5, "no", "")), &[answer(stream, &error("2", -5, "no", ""))]);
    same(&bench.hear(&updated("u")), &[note(seat, &updated("u"))]);
}

#[test]
fn a_subscription_that_is_given_up_is_taken_back() {
    let mut bench = Bench::new();
    bench.seated(1);
    let other = bench.seated(2);
    let (stream, number) = bench.send(1, &about("1", "subscribe", "u"));
    same(&bench.leave(stream), &[end(stream), cancelled(number, GIVEN_UP), own_about(2, "unsubscribe", "u")]);
    let (stream, number) = bench.send(1, &about("1", "subscribe", "u"));
    let (_, others) = bench.send(2, &about("1", "subscribe", "u"));
    same(&bench.leave(stream), &[end(stream), cancelled(number, GIVEN_UP)]);
    drop(bench.hear(&result(&others.to_string())));
    same(&bench.hear(&updated("u")), &[note(other, &updated("u"))]);
}

#[test]
fn a_subscription_without_a_uri_only_passes() {
    let mut bench = Bench::new();
    bench.seated(1);
    for what in ["subscribe", "unsubscribe"] {
        for params in ["{}", r#"{"uri":1}"#] {
            let text = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"resources/{what}","params":{params}}}"#);
            let (stream, line) = bench.line(&session(1), &text("\"x\""), Carries::Events);
            let number = number_of(&line).to_string();
            assert_eq!(line, text(&number));
            same(&bench.hear(&error(&number, -32602, "no", "")), &[answer(stream, &error("\"x\"", -32602, "no", ""))]);
        }
    }
}

#[test]
fn an_unsubscription_that_crosses_anothers_subscription_leaves_the_child_subscribed() {
    let mut bench = Bench::new();
    bench.seated(1);
    let other = bench.seated(2);
    bench.send(1, &about("1", "subscribe", "u"));
    assert!(!bench.router.is_wanted_by_others(1, "u"));
    bench.send(2, &about("1", "subscribe", "u"));
    let stream = bench.open();
    let text = about("2", "unsubscribe", "u");
    let envelope = jsonrpc::read(text.as_bytes()).expect("a message");
    let lines = bench.router.request(&session(1), text.as_bytes(), &envelope, stream, Carries::Events, bench.now);
    let lines = String::from_utf8(lines.joined(text.as_bytes())).expect("UTF-8");
    let last = lines.lines().last().expect("a line");
    assert!(last.contains("resources/subscribe"), "the last that the child hears: {lines}");
    same(&bench.hear(&updated("u")), &[note(other, &updated("u"))]);
}

#[test]
fn a_failed_subscription_does_not_take_back_a_later_one() {
    let mut bench = Bench::new();
    let seat = bench.seated(1);
    bench.send(1, &about("1", "subscribe", "u"));
    bench.send(1, &about("2", "unsubscribe", "u"));
    bench.send(1, &about("3", "subscribe", "u"));
    drop(bench.hear(&error("1", -5, "no", "")));
    drop(bench.hear(&result("2")));
    drop(bench.hear(&result("3")));
    same(&bench.hear(&updated("u")), &[note(seat, &updated("u"))]);
}

#[test]
fn an_older_result_settles_no_wish_that_was_made_after_it() {
    for (answers, hears) in [([true, true], true), ([true, false], false), ([false, true], true), ([false, false], false)] {
        let mut bench = Bench::new();
        let seat = bench.seated(1);
        bench.send(1, &about("1", "subscribe", "u"));
        bench.send(1, &about("2", "unsubscribe", "u"));
        bench.send(1, &about("3", "subscribe", "u"));
        for (number, is_taken) in ["1", "3"].into_iter().zip(answers) {
            drop(bench.hear(&if is_taken { result(number) } else { error(number, -5, "no", "") }));
        }
        let expected = if hears { note(seat, &updated("u")) } else { Routed::Dropped("change_for_nobody") };
        same(&bench.hear(&updated("u")), &[expected]);
    }
}

#[test]
fn what_the_child_leaves_unanswered_is_not_remembered_for_ever() {
    let mut bench = Bench::new();
    bench.seated(1);
    for at in 0..2_000 {
        let routed = bench.set_level(1, level(if at % 2 == 0 { "debug" } else { "info" }));
        assert_eq!(routed.len(), 1);
    }
    assert!(bench.router.told.len() <= 1024);
    same(&bench.hear(&result("2000")), &[]);
}

#[test]
fn who_looks_for_another_child_leaves_nothing_here() {
    let mut bench = Bench::new();
    let sitter = Sitter { uris: vec!["u".to_owned()], ..session(1) };
    let (stream, routed) = bench.sit(&sitter);
    same(&routed, &[own_about(1, "subscribe", "u")]);
    same(&bench.routed(|router, _, _, out| router.end_seats(out)), &[end(stream)]);
    assert!(!bench.router.has_seat(1) && !bench.router.is_held() && !bench.router.is_wanted_by_others(2, "u"));
    same(&bench.hear(&updated("u")), &[Routed::Dropped("change_for_nobody")]);
    let (_, routed) = bench.sit(&sitter);
    same(&routed, &[own_about(2, "subscribe", "u")]);
}
