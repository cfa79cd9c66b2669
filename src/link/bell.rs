//! What happens rarely, beside what happens with every line: of the two that a task waits for, the first is polled only when it
//! was woken itself.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use super::Link;
use super::route::Route;

/// Rings when it is time for what a link's keeper rarely does. One may listen.
#[derive(Default)]
pub(super) struct Bell {
    has_rung: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Bell {
    fn ring(&self) {
        self.has_rung.store(true, Ordering::Release);
        if let Some(task) = &*self.task.lock().unwrap_or_else(PoisonError::into_inner) {
            task.wake_by_ref();
        }
    }

    fn is_heard_by(&self, task: &Waker) {
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.clone());
    }

    fn take(&self) -> bool {
        self.has_rung.load(Ordering::Relaxed) && self.has_rung.swap(false, Ordering::Acquire)
    }
}

impl<R: Route> Wake for Link<R> {
    fn wake(self: Arc<Self>) {
        self.bell.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.bell.ring();
    }
}

/// Waits for something that wakes by the link's bell.
pub(super) async fn rarely<R: Route, T>(link: &Arc<Link<R>>, mut rare: impl Future<Output = T> + Unpin) -> T {
    let bell = Waker::from(Arc::clone(link));
    let mut task: Option<Waker> = None;
    poll_fn(|cx| {
        let is_first = task.is_none();
        if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            link.bell.is_heard_by(cx.waker());
            task = Some(cx.waker().clone());
        }
        // After it is heard: what rang before is not missed.
        let is_time = link.bell.take() || is_first;
        if is_time { Pin::new(&mut rare).poll(&mut Context::from_waker(&bell)) } else { Poll::Pending }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::AtomicUsize;
    use std::task::ready;

    use tokio::sync::Notify;

    use super::*;
    use crate::link::tests::link;

    /// Counts how often it wakes somebody.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn what_is_rare_is_polled_when_it_was_woken_and_by_whichever_task_waits_for_it() {
        let ((link, _theirs), news, polls) = (link(), Notify::new(), AtomicUsize::new(0));
        let (one, other) = (Arc::new(Task::default()), Arc::new(Task::default()));
        let mut told = pin!(news.notified());
        let rare = poll_fn(|cx| {
            polls.fetch_add(1, Ordering::Relaxed);
            ready!(told.as_mut().poll(cx));
            Poll::Ready("told")
        });
        let mut waiting = pin!(rarely(&link, rare));
        let mut poll = |task: &Arc<Task>| waiting.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(task))));
        let polled = || polls.load(Ordering::Relaxed);
        for _ in 0..3 {
            assert!(poll(&one).is_pending());
            assert_eq!(polled(), 1, "nothing woke it");
        }
        // A ring without a reason, heard once.
        Waker::from(Arc::clone(&link)).wake();
        assert_eq!(one.0.load(Ordering::Relaxed), 1);
        assert!(poll(&one).is_pending() && poll(&one).is_pending());
        assert_eq!(polled(), 2);
        // Another task waits for it: that one is woken, by what the first has made it wait for.
        assert!(poll(&other).is_pending());
        assert_eq!(polled(), 2);
        news.notify_one();
        assert_eq!((one.0.load(Ordering::Relaxed), other.0.load(Ordering::Relaxed)), (1, 1));
        assert_eq!(poll(&other), Poll::Ready("told"));
    }
}
