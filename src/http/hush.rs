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
    let held = Held::begin();
    let polled = Pin::new(&mut *body).poll_frame(cx);
    let waits = held.end();
    let is_last = matches!(polled, Poll::Ready(Some(Ok(_)))) && body.is_end_stream();
    if waits && !is_last {
        cx.waker().wake_by_ref();
    }
    polled
}

/// Wakes are held back until this is dropped, also by a panic: the thread goes on with others' connections.
struct Held;

impl Held {
    fn begin() -> Held {
        WAKES.set(Wakes::Wait);
        Held
    }

    /// Whether one waits.
    fn end(self) -> bool {
        WAKES.get() == Wakes::Waits
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        WAKES.set(Wakes::Pass);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use bytes::Bytes;

    use super::*;

    /// Has so many pieces, and wakes whoever takes one, as hyper's bodies do.
    struct Pieces(usize);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            cx.waker().wake_by_ref();
            self.0 = self.0.checked_sub(1).expect("there is no more");
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
        }

        fn is_end_stream(&self) -> bool {
            self.0 == 0
        }
    }

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(usize::from(!holds()), Ordering::Relaxed);
        }
    }

    #[test]
    fn the_wake_for_the_last_piece_is_held_back_and_no_other() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut cx = Context::from_waker(&waker);
        let mut body = Pieces(3);
        for woken in [1, 2, 2] {
            assert!(poll_frame(&mut body, &mut cx).is_ready());
            assert_eq!(count.0.load(Ordering::Relaxed), woken);
        }
        assert!(catch_unwind(AssertUnwindSafe(|| poll_frame(&mut body, &mut cx).is_ready())).is_err());
        waker.wake();
        assert_eq!(count.0.load(Ordering::Relaxed), 3, "nothing is held back behind a panic");
    }
}
