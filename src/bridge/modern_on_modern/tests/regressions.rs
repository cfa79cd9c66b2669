//! What went wrong once (BRIDGE 4.1, 6.5).

use super::*;

/// A frame is a subscription's; a call is none.
#[test]
fn a_frame_with_the_number_of_a_call_is_nobodys() {
    let mut bench = Bench::new();
    let number = bench.send(&call("\"a\""), 1);
    let routed = bench.hear(&frame("x", &number.to_string()));
    same(&routed, &[Routed::Dropped("frame_without_listen")]);
}

/// BRIDGE 6.5: every log is the one call's that asked for them. One that was cancelled may still log, what it wrote may be on
/// its way; whoever asks for logs next would read it.
#[test]
fn logs_of_a_call_whose_client_has_gone_are_not_the_next_ones() {
    let mut bench = Bench::new();
    let said = Said { level: Some("info"), ..call("1") };
    bench.send(&said, 1);
    drop(bench.leave(1));
    bench.send(&said, 2);
    let routed = bench.hear(LOG);
    assert!(matches!(routed[..], [Routed::Dropped(_)]), "{:?}", shown(&routed));
}

#[test]
fn logs_of_a_call_that_was_late_are_not_the_next_ones() {
    let mut bench = Bench::new();
    let said = Said { level: Some("info"), ..call("1") };
    bench.send(&said, 1);
    drop(bench.after(PATIENCE.request));
    bench.send(&said, 2);
    let routed = bench.hear(LOG);
    assert!(matches!(routed[..], [Routed::Dropped(_)]), "{:?}", shown(&routed));
}
