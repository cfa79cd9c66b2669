//! BRIDGE 4.1: subscriptions. The acknowledgement comes first; the end is told once.

use super::*;

const ACKNOWLEDGED: &str = "subscriptions/acknowledged";
const CHANGED: &str = "tools/list_changed";

fn changed(number: u64) -> (String, Routed) {
    let line = frame(CHANGED, &number.to_string());
    let notice = Routed::Notice(Notice::Changed(line.clone().into_bytes()));
    (line, notice)
}

/// What the client gets when its subscription ends well.
fn graceful(id: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#
    )
}

fn cancel(number: u64) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{number}}}}}"#)
}

#[test]
fn every_frame_carries_the_clients_own_id() {
    let mut bench = Bench::new();
    let numbers = [bench.send(&listen("\"a\""), 1), bench.send(&listen("7"), 2)];
    for (number, stream, id) in [(numbers[0], 1, "\"a\""), (numbers[1], 2, "7")] {
        same(&bench.hear(&frame(ACKNOWLEDGED, &number.to_string())), &[note(stream, &frame(ACKNOWLEDGED, id))]);
        let (line, notice) = changed(number);
        same(&bench.hear(&line), &[note(stream, &frame(CHANGED, id)), notice]);
    }
    for id in ["9", "\"1\"", "\"a\""] {
        same(&bench.hear(&frame(CHANGED, id)), &[Routed::Dropped("frame_without_listen")]);
    }
}

#[test]
fn what_comes_before_the_acknowledgement_waits_for_it() {
    let mut bench = Bench::new();
    let number = bench.send(&listen("\"a\""), 1);
    let update = frame("resources/updated", &number.to_string());
    let (line, notice) = changed(number);
    same(&bench.hear(&line), &[notice]);
    same(&bench.hear(&update), &[Routed::Notice(Notice::Changed(update.clone().into_bytes()))]);
    same(
        &bench.hear(&frame(ACKNOWLEDGED, &number.to_string())),
        &[
            note(1, &frame(ACKNOWLEDGED, "\"a\"")),
            note(1, &frame(CHANGED, "\"a\"")),
            note(1, &frame("resources/updated", "\"a\"")),
        ],
    );
    let (line, notice) = changed(number);
    same(&bench.hear(&line), &[note(1, &frame(CHANGED, "\"a\"")), notice]);
}

#[test]
fn at_most_64_frames_wait() {
    let mut bench = Bench::new();
    let number = bench.send(&listen("1"), 1);
    let line = frame("x", &number.to_string());
    for _ in 0..64 {
        same(&bench.hear(&line), &[]);
    }
    same(&bench.hear(&line), &[Routed::Dropped("listen_not_acknowledged")]);
    assert_eq!(bench.hear(&frame(ACKNOWLEDGED, &number.to_string())).len(), 65);
}

#[test]
fn one_that_is_not_acknowledged_in_5_s_fails() {
    let mut bench = Bench::new();
    let number = bench.send(&listen("\"a\""), 1);
    drop(bench.hear(&frame("x", &number.to_string())));
    same(&bench.after(Duration::from_millis(4999)), &[]);
    same(
        &bench.after(MILLISECOND),
        &[
            Routed::Expired("acknowledge"),
            answer(1, &error("\"a\"", -32603, "the server did not acknowledge within 5 s", "")),
            cancelled(number, "timed out"),
        ],
    );
    same(&bench.hear(&frame(ACKNOWLEDGED, &number.to_string())), &[Routed::Dropped("frame_without_listen")]);
}

#[test]
fn one_that_is_acknowledged_is_never_late() {
    let mut bench = Bench::new();
    let number = bench.send(&listen("1"), 1);
    drop(bench.hear(&frame(ACKNOWLEDGED, &number.to_string())));
    same(&bench.after(PATIENCE.hard * 10), &[]);
    assert_eq!(bench.router.calls_in_flight(), 1);
}

#[test]
fn the_end_is_told_once_however_the_child_tells_it() {
    let result = |id: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","_meta":{{"k":[1 ],"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#
        )
    };
    for (first, then, client) in [("result", "cancelled", result("\"a\"")), ("cancelled", "result", graceful("\"a\""))] {
        let mut bench = Bench::new();
        let number = bench.send(&listen("\"a\""), 1);
        drop(bench.hear(&frame(ACKNOWLEDGED, &number.to_string())));
        let line = |how| if how == "result" { result(&number.to_string()) } else { cancel(number) };
        same(&bench.hear(&line(first)), &[answer(1, &client)]);
        let nobodys = if then == "result" { "answer_without_call" } else { "cancel_without_call" };
        same(&bench.hear(&line(then)), &[Routed::Dropped(nobodys)]);
        same(&bench.hear(&frame(CHANGED, &number.to_string())), &[Routed::Dropped("frame_without_listen")]);
        assert_eq!(bench.router.calls_in_flight(), 0);
    }
}

#[test]
fn one_that_the_child_refuses_gets_its_error() {
    let mut bench = Bench::new();
    let number = bench.send(&listen("\"a\""), 1);
    let refusal = |id: &str| error(id, -32602, "no", "");
    same(&bench.hear(&refusal(&number.to_string())), &[answer(1, &refusal("\"a\""))]);
}

#[test]
fn one_that_ends_before_it_began_is_counted() {
    let mut bench = Bench::new();
    let number = bench.send(&listen("\"a\""), 1);
    same(&bench.hear(&result(&number.to_string())), &[Routed::Dropped("listen_not_acknowledged"), answer(1, &result("\"a\""))]);
}

#[test]
fn the_gateways_stop_ends_subscriptions_well_and_leaves_calls() {
    let mut bench = Bench::new();
    bench.send(&call("1"), 1);
    let number = bench.send(&listen("\"a\""), 2);
    same(&bench.stop(), &[answer(2, &graceful("\"a\"")), cancelled(number, "the gateway stops")]);
    same(&bench.stop(), &[]);
    same(&bench.hear(&cancel(number)), &[Routed::Dropped("cancel_without_call")]);
    same(&bench.hear(&result("1")), &[answer(1, &result("1"))]);
}
