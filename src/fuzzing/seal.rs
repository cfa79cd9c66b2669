//! Sealed texts, and the tickets in them.

use std::sync::LazyLock;

use super::input::Input;
use crate::bridge::ticket::{Kind, Ticket};
use crate::seal::Seal;

/// What was sealed opens as it was, in its own context only; changed, cut or lengthened it does not open, nor does any other
/// text. A ticket comes back as it was, and other plain texts are none.
pub fn seal(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (bits, choice) = (input.byte(), input.number());
    let (context, plain, text) = (input.piece(), input.piece(), input.rest());
    let sealed = OURS.close(context, plain);
    assert_eq!(OURS.open(context, &sealed).as_deref(), Some(plain), "what was sealed opens");
    assert_eq!(OTHER.open(context, &sealed), None, "another key opens nothing");
    assert_ne!(OURS.close(context, plain), sealed, "no two texts share a nonce");
    let at = choice as usize % sealed.len();
    assert_eq!(OURS.open(&[context, &[bits]].concat(), &sealed), None, "another context opens nothing");
    for changed in changed(&sealed, at, bits) {
        assert_eq!(OURS.open(context, &changed), None, "{changed} was not sealed");
    }
    let arbitrary = String::from_utf8_lossy(text);
    for text in [&*arbitrary, &format!("g1.{arbitrary}")] {
        assert_eq!(UNUSED.open(context, text), None, "nothing was sealed with that key");
        assert!(Ticket::open(&UNUSED, context, text).is_none(), "nothing was sealed with that key");
    }
    let longer = format!("{sealed}{arbitrary}");
    assert_eq!(OURS.open(context, &longer).is_some(), longer == sealed, "{longer} was not sealed");
    ticket(context, plain, text);
}

/// Texts that differ from a sealed one in little.
fn changed(sealed: &str, at: usize, bits: u8) -> Vec<String> {
    let (before, rest) = sealed.split_at(at);
    let (old, after) = rest.split_at(1);
    let new = char::from(b' ' + bits % 95);
    let mut changed = vec![before.to_owned(), after.to_owned(), format!("{before}{after}"), format!("{before}{new}{rest}")];
    if old != new.to_string() {
        changed.push(format!("{before}{new}{after}"));
    }
    changed
}

fn ticket(context: &[u8], plain: &[u8], rest: &[u8]) {
    let sealed = OURS.close(context, plain);
    let opened = Ticket::open(&OURS, context, &sealed);
    const FIXED: usize = 1 + 8 + 8 + 8 + 4 + 32 + 32;
    let is_ticket = plain.len() >= FIXED && matches!(plain[0], 1..=3);
    assert_eq!(opened.is_some(), is_ticket);
    let Some(ticket) = opened else { return };
    assert_eq!(Ticket::open(&OURS, context, &ticket.seal(&OURS, context)).as_ref(), Some(&ticket));
    let sealed = ticket.seal(&OURS, context);
    assert_eq!(OURS.open(context, &sealed).as_deref(), Some(plain), "every byte of it is kept");
    let longer = Ticket { kind: Kind::Pass, rest: rest.to_vec(), ..ticket };
    assert_eq!(Ticket::open(&OURS, context, &longer.seal(&OURS, context)), Some(longer));
}

static OURS: LazyLock<Seal> = LazyLock::new(|| Seal::random(None).expect("random bytes"));
static OTHER: LazyLock<Seal> = LazyLock::new(|| Seal::random(None).expect("random bytes"));
/// Seals nothing: a fuzzer finds the texts that `OURS` has sealed in the memory of its process.
static UNUSED: LazyLock<Seal> = LazyLock::new(|| Seal::random(None).expect("random bytes"));
