//! What is waited for on a connection, for so long and no longer. On HTTP/1.1 all its waits share one timer, or need none.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep_until, timeout};

use super::{NEVER, Speaks, TICK, Wire};

/// Waits for something, but not longer than `patience`. On HTTP/1.1 a connection's waits share one timer.
pub(in crate::http) fn within<T>(
    wire: &Wire,
    patience: Duration,
    future: impl Future<Output = T>,
) -> impl Future<Output = Option<T>> {
    wait(wire, patience, Wire::has_rung, future)
}

/// The same, as exact as the ticker; on HTTP/1.1 without any timer.
pub(in crate::http) fn within_about<T>(
    wire: &Wire,
    patience: Duration,
    future: impl Future<Output = T>,
) -> impl Future<Output = Option<T>> {
    wait(wire, patience, Wire::has_passed, future)
}

async fn wait<T>(
    wire: &Wire,
    patience: Duration,
    is_over: impl Fn(&Wire, Duration, &mut Option<u64>) -> bool,
    future: impl Future<Output = T>,
) -> Option<T> {
    let mut future = pin!(future);
    if wire.speaks() != Speaks::Http1 {
        return Box::pin(timeout(patience, future)).await.ok();
    }
    let mut deadline = None;
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending if is_over(wire, patience, &mut deadline) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

impl Wire {
    /// Whether an alarm says that the time is up for who waits from now on, or has its deadline from before; else one is asked for.
    fn has_rung(&self, patience: Duration, deadline: &mut Option<u64>) -> bool {
        let deadline = *deadline.get_or_insert_with(|| micros(self.ticker.began.elapsed() + patience));
        let is_over = self.rang.load(Ordering::Relaxed) >= deadline;
        if !is_over {
            self.alarm_at.fetch_min(deadline, Ordering::Relaxed);
        }
        is_over
    }

    /// The same by the ticker, which may be as old as a tick when the wait begins.
    fn has_passed(&self, patience: Duration, deadline: &mut Option<u64>) -> bool {
        let deadline = *deadline.get_or_insert_with(|| millis(self.now() + patience + TICK));
        let is_over = self.ticker.now() >= deadline;
        if !is_over {
            self.wake_at.fetch_min(deadline, Ordering::Relaxed);
        }
        is_over
    }
}

/// One timer for the waits of a connection: it rings once for many requests, not for each.
#[derive(Default)]
pub(in crate::http) struct Alarm(Option<(u64, Pin<Box<Sleep>>)>);

impl Alarm {
    /// Before the connection is served: who waits finds that it rang, or asks for it again.
    pub(in crate::http) fn look(&mut self, wire: &Wire) {
        if let Some((at, _)) = self.0.take_if(|(_, sleep)| sleep.is_elapsed()) {
            wire.rang.store(at, Ordering::Relaxed);
            wire.alarm_at.store(NEVER, Ordering::Relaxed);
        }
    }

    /// After it: somebody may wait.
    pub(in crate::http) fn set(&mut self, wire: &Wire, cx: &mut Context<'_>) {
        let at = wire.alarm_at.load(Ordering::Relaxed);
        if at == NEVER || self.0.as_ref().is_some_and(|(set, _)| *set <= at) {
            return;
        }
        let mut sleep = Box::pin(sleep_until(wire.ticker.began + Duration::from_micros(at)));
        if sleep.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        self.0 = Some((at, sleep));
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(NEVER - 1)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(NEVER - 1)
}
