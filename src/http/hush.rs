//! Whoever takes a piece of an HTTP/1.1 body wakes the task that reads it, which is the one that takes it: hyper asks to be
//! polled again for what comes next. Behind the last piece nothing comes, and that poll would find nothing to do.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame};

thread_local! {
    static WAKES: Cell<Wakes> = const { Cell::new(Wakes::Pass) };
}

/// What becomes of a connection's wakes on this thread.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wakes {
    Pass,
    Wait,
    /// At least one does.
    Waits,
}

/// Whether a wake is held back; who is polled answers for it.
pub(super) fn holds() -> bool {
    let holds = WAKES.get() != Wakes::Pass;
    if holds {
        WAKES.set(Wakes::Waits);
    }
    holds
}

/// What a body gives when it is polled.
type Taken<B> = Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>;

/// The next piece. Its wake is passed on only if there may be another one.
pub(super) fn poll_frame<B: Body + Unpin>(body: &mut B, cx: &mut Context<'_>) -> Poll<Taken<B>> {
    WAKES.set(Wakes::Wait);
    let polled = Pin::new(&mut *body).poll_frame(cx);
    let waits = WAKES.replace(Wakes::Pass) == Wakes::Waits;
    let is_last = matches!(polled, Poll::Ready(Some(Ok(_)))) && body.is_end_stream();
    if waits && !is_last {
        cx.waker().wake_by_ref();
    }
    polled
}
