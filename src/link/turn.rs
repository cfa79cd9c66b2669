//! Writing at the end of a turn: once every task that is ready now has said what it has to say. So a child is woken once for all
//! that it is told in a turn, and takes the processor from nobody who has work left.

use std::cell::RefCell;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::runtime::{Handle, Id};
use tokio::sync::Notify;

/// Who has something to write.
pub(super) trait Due: Send + Sync {
    fn write_due(self: Arc<Self>);
}

/// Those of one thread, in the order in which they came.
#[derive(Default)]
struct Turn {
    due: Mutex<Vec<Arc<dyn Due>>>,
    ends: Notify,
}

thread_local! {
    /// This thread's, and the runtime whose task it is.
    static TURN: RefCell<Option<(Id, Weak<Turn>)>> = const { RefCell::new(None) };
}

/// At the end of this turn `due` writes; where there are no turns, now.
pub(super) fn at_its_end(due: Arc<dyn Due>) {
    let Ok(runtime) = Handle::try_current() else { return due.write_due() };
    let turn = TURN.with_borrow_mut(|turn| {
        let known = turn.as_ref().filter(|(of, _)| *of == runtime.id()).and_then(|(_, turn)| turn.upgrade());
        known.unwrap_or_else(|| {
            let new = Arc::new(Turn::default());
            *turn = Some((runtime.id(), Arc::downgrade(&new)));
            // Detached on purpose: one for each thread, it ends with the runtime.
            drop(runtime.spawn(Arc::clone(&new).run()));
            new
        })
    });
    let is_first = {
        let mut all = turn.lock();
        all.push(due);
        all.len() == 1
    };
    if is_first {
        turn.ends.notify_one();
    }
}

impl Turn {
    /// Woken by the first who is due, this comes behind all who were ready then.
    async fn run(self: Arc<Self>) {
        let mut now = Vec::new();
        loop {
            self.ends.notified().await;
            mem::swap(&mut now, &mut *self.lock());
            now.drain(..).for_each(Due::write_due);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<dyn Due>>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::task::yield_now;

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Due for Counter {
        fn write_due(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
    }

    #[test]
    fn what_is_due_waits_for_all_who_are_ready_and_not_longer() {
        let counter = Arc::new(Counter::default());
        let count = || counter.0.load(Ordering::Relaxed);
        runtime().block_on(async {
            // A thread's first turn, whose task is only begun by it.
            at_its_end(Arc::clone(&counter) as _);
            while count() == 0 {
                yield_now().await;
            }
            let other = tokio::spawn({
                let counter = Arc::clone(&counter);
                async move {
                    at_its_end(Arc::clone(&counter) as _);
                    counter.0.load(Ordering::Relaxed)
                }
            });
            at_its_end(Arc::clone(&counter) as _);
            assert_eq!(count(), 1);
            assert_eq!(other.await.expect("no panic"), 1, "it was ready before");
            yield_now().await;
            assert_eq!(count(), 3);
        });
    }

    #[test]
    fn a_thread_has_turns_in_each_of_its_runtimes_and_none_without() {
        let counter = Arc::new(Counter::default());
        let abandoned = runtime();
        for (at, runtime) in [(1, &abandoned), (2, &runtime()), (3, &abandoned)] {
            runtime.block_on(async {
                at_its_end(Arc::clone(&counter) as _);
                while counter.0.load(Ordering::Relaxed) < at {
                    yield_now().await;
                }
            });
        }
        at_its_end(Arc::clone(&counter) as _);
        assert_eq!(counter.0.load(Ordering::Relaxed), 4);
    }
}
