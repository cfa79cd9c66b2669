//! BRIDGE 3.6: a call that the child refused with −32042 until its user has been somewhere.

use super::super::resend::Step;
use super::*;

const ACCEPT: &str = r#"{"action":"accept"}"#;

/// The child's refusal: the user is to go to these places.
fn elsewhere(number: u64, ids: &[&str]) -> String {
    let place = |id: &&str| format!(r#"{{"mode":"url","elicitationId":"{id}","url":"https://{id}","message":"go"}}"#);
    let places: Vec<String> = ids.iter().map(place).collect();
    format!(
        r#"{{"jsonrpc":"2.0","id":{number},"error":{{"code":-32042,"message":"m","data":{{"elicitations":[{}]}}}}}}"#,
        places.join(",")
    )
}

fn url_asked(id: &str) -> String {
    format!(r#"{{"method":"elicitation/create","params":{{"mode":"url","url":"https://{id}","message":"go"}}}}"#)
}

fn completed(id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{{"elicitationId":"{id}"}}}}"#)
}

fn resume(bench: &mut Bench, said: &Said) -> Result<Step, NotResumed> {
    let text = said.text();
    let asked = asked(&text);
    let ticket = bench.ticket(said.state.as_deref().expect("a state"));
    assert_eq!((ticket.kind, ticket.digest), (TicketKind::Resend, asked.digest()));
    bench.router.resume_resend(ticket.lease, ticket.round, &asked)
}

/// A call that was refused, and the state that its client got.
fn refused_call(bench: &mut Bench, said: &Said, ids: &[&str]) -> String {
    let number = bench.running(said, 1);
    let routed = bench.hear(&elsewhere(number, ids));
    bench.state_in(&routed)
}

#[test]
fn the_user_is_sent_there_and_the_lease_is_free() {
    let mut bench = Bench::new();
    let number = bench.running(&call("\"a\""), 1);
    let routed = bench.hear(&elsewhere(number, &["x", "y"]));
    let (x, y) = (url_asked("x"), url_asked("y"));
    let asked = bench.input_required("\"a\"", &[("elicitation-1", &x), ("elicitation-2", &y)], &routed);
    same(&routed, &[answer(1, &asked), release(), freed()]);
    let ticket = bench.ticket(&bench.state_in(&routed));
    assert_eq!((ticket.kind, ticket.lease, ticket.round), (TicketKind::Resend, LEASE, 1));
    drop(routed);
    assert_eq!((bench.free_places(), bench.router.is_held()), (PLACES, true), "its questions are kept");
    assert!(bench.take(LEASE + 1, &call("2")));
}

#[test]
fn without_the_capability_the_client_is_told_what_is_missing() {
    let mut bench = Bench::new();
    let number = bench.running(&call("1").declaring(r#"{"elicitation":{"form":{}}}"#), 1);
    let missing = error(
        "1",
        -32021,
        "the server wants to ask for elicitation, which the client did not declare",
        r#"{"requiredCapabilities":{"elicitation":{"url":{}}}}"#,
    );
    same(&bench.hear(&elsewhere(number, &["x"])), &[answer(1, &missing), release(), freed()]);
    let mut bench = Bench::declaring("{}");
    let number = bench.share(&call("1").declaring("{}"), 1);
    same(&bench.hear(&elsewhere(number, &["x"])), &[answer(1, &missing), freed()]);
}

#[test]
fn a_refusal_that_names_no_place_is_an_error() {
    let mut bench = Bench::new();
    let number = bench.running(&call("1"), 1);
    let text = "the server sends its user elsewhere and does not say where";
    same(&bench.hear(&elsewhere(number, &[])), &[answer(1, &error("1", -32603, text, "")), release(), freed()]);
    assert!(!bench.router.is_held());
}

#[test]
fn once_all_is_accepted_it_is_sent_again_after_the_user_has_been_there() {
    let mut bench = Bench::new();
    let said = call("1");
    let state = refused_call(&mut bench, &said, &["x", "y"]);
    let good = said.again("2", &state, &format!(r#"{{"elicitation-1":{ACCEPT},"elicitation-2":{ACCEPT}}}"#));
    let ids = vec!["x".to_owned(), "y".to_owned()];
    assert_eq!(resume(&mut bench, &good), Ok(Step::Send(ids.clone())));
    assert_eq!(resume(&mut bench, &good), Err(NotResumed::Unknown), "a state is good once");
    assert!(!bench.router.is_held());
    same(&bench.hear(&completed("x")), &[freed()]);
    assert!(!bench.router.is_completed(&ids));
    same(&bench.hear(&completed("y")), &[freed()]);
    assert!(bench.router.is_completed(&ids));
    let bad = r#"{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":1}}"#;
    same(&bench.hear(bad), &[Routed::Dropped("notification_for_nobody")]);
    assert_eq!(bench.running(&said, 2), 2, "the only case in which a call is sent twice");
}

#[test]
fn who_declines_or_cancels_ends_it() {
    for action in ["decline", "cancel"] {
        let mut bench = Bench::new();
        let said = call("1");
        let state = refused_call(&mut bench, &said, &["x", "y"]);
        let retry = said.again("2", &state, &format!(r#"{{"elicitation-1":{ACCEPT},"elicitation-2":{{"action":"{action}"}}}}"#));
        assert_eq!(resume(&mut bench, &retry), Ok(Step::Declined));
        assert_eq!(resume(&mut bench, &retry), Err(NotResumed::Unknown));
        assert!(!bench.router.is_held());
    }
}

#[test]
fn what_was_not_answered_is_asked_again_under_its_key() {
    let mut bench = Bench::new();
    let said = call("1");
    let state = refused_call(&mut bench, &said, &["x", "y"]);
    let some = said.again("\"b\"", &state, &format!(r#"{{"elicitation-1":{ACCEPT}}}"#));
    let Ok(Step::Again(asked)) = resume(&mut bench, &some) else { panic!("it is asked again") };
    let routed = [answer(2, &String::from_utf8(asked).expect("UTF-8"))];
    let y = url_asked("y");
    same(&routed, &[answer(2, &bench.input_required("\"b\"", &[("elicitation-2", &y)], &routed))]);
    assert_eq!(resume(&mut bench, &some), Err(NotResumed::Unknown), "its round is over");
    let state = bench.state_in(&routed);
    assert_eq!(bench.ticket(&state).round, 2);
    let rest = said.again("3", &state, &format!(r#"{{"elicitation-2":{ACCEPT}}}"#));
    assert_eq!(resume(&mut bench, &rest), Ok(Step::Send(vec!["x".to_owned(), "y".to_owned()])));
}

#[test]
fn an_answer_that_cannot_be_one_leaves_the_state_good() {
    let mut bench = Bench::new();
    let said = call("1");
    let state = refused_call(&mut bench, &said, &["x"]);
    let bad = said.again("2", &state, r#"{"elicitation-1":{}}"#);
    assert!(matches!(resume(&mut bench, &bad), Err(NotResumed::BadAnswer(_))));
    let good = said.again("2", &state, &format!(r#"{{"elicitation-1":{ACCEPT}}}"#));
    assert_eq!(resume(&mut bench, &good), Ok(Step::Send(vec!["x".to_owned()])));
}

#[test]
fn a_park_and_a_resend_are_not_taken_for_each_other() {
    let mut bench = Bench::new();
    let said = call("1");
    let state = refused_call(&mut bench, &said, &["x"]);
    let retry = said.again("2", &state, "{}");
    assert_eq!(bench.check(&Principal::Anonymous, &retry), Err(NotResumed::Unknown));
    let text = retry.text();
    assert_eq!(bench.router.check_retry(LEASE, 1, &asked(&text)), Err(NotResumed::Unknown));
    let mut bench = Bench::new();
    bench.running(&said, 1);
    bench.parked(&[FORM]);
    assert_eq!(bench.router.resume_resend(LEASE, 1, &asked(&text)), Err(NotResumed::Unknown));
}

#[test]
fn its_questions_expire_and_are_buried_with_the_child() {
    let mut bench = Bench::new();
    let said = call("1");
    let state = refused_call(&mut bench, &said, &["x"]);
    same(&bench.after(PATIENCE.park - MILLISECOND), &[]);
    same(&bench.after(MILLISECOND), &[Routed::Expired("park")]);
    assert_eq!(resume(&mut bench, &said.again("2", &state, "{}")), Err(NotResumed::Unknown));
    let mut bench = Bench::new();
    refused_call(&mut bench, &said, &["x"]);
    same(&bench.die(), &[Routed::Notice(Notice::Buried(LEASE, 1))]);
    assert!(!bench.router.is_held());
}

#[test]
fn at_most_64_wait_and_the_oldest_goes_first() {
    let mut bench = Bench::new();
    let said = call("1");
    let mut states = Vec::new();
    for lease in 0..65 {
        assert!(bench.take(lease, &said));
        let number = number_of(&bench.ask(lease, &said, 1));
        let routed = bench.hear(&elsewhere(number, &["x"]));
        states.push(bench.state_in(&routed));
    }
    let good = |state: &String| said.again("2", state, &format!(r#"{{"elicitation-1":{ACCEPT}}}"#));
    assert_eq!(resume(&mut bench, &good(&states[0])), Err(NotResumed::Unknown));
    assert!(states[1..].iter().all(|state| resume(&mut bench, &good(state)).is_ok()));
}

#[test]
fn at_most_256_places_that_users_have_been_to_are_remembered() {
    let mut bench = Bench::new();
    for at in 0..257 {
        drop(bench.hear(&completed(&at.to_string())));
    }
    assert!(!bench.router.is_completed(&["0".to_owned()]));
    assert!(bench.router.is_completed(&["1".to_owned(), "256".to_owned()]));
}

#[test]
fn a_client_that_has_gone_is_sent_nowhere() {
    let mut bench = Bench::new();
    let number = bench.running(&call("1"), 1);
    drop(bench.leave(1));
    same(&bench.hear(&elsewhere(number, &["x"])), &[Routed::Dropped("answer_of_cancelled_call"), release(), freed()]);
    assert!(!bench.router.is_held());
}
