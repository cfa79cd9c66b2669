//! Every order in which a child's messages, a reader and its resume can meet, tried by a model checker: the real log and the
//! real reader behind a lock that the checker schedules. A wake-up that is lost is a deadlock, which the checker reports.

use loom::future::block_on;
use loom::sync::{Mutex, MutexGuard};
use loom::thread;

use super::*;
use crate::link::reader::{Reader as Hold, Source};

struct Model(Mutex<Log>);

impl Model {
    fn new() -> (Arc<Model>, Cursor) {
        let (mut log, _) = log(1 << 20, 1 << 20);
        let cursor = opened(&mut log);
        (Arc::new(Model(Mutex::new(log))), cursor)
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.lock().expect("nobody panics")
    }

    /// As a link does it: decided under the lock, woken after it.
    fn with<T>(&self, act: impl FnOnce(&mut Log, &mut Effects) -> T) -> T {
        let mut effects = Effects::default();
        let value = act(&mut self.lock(), &mut effects);
        effects.run();
        value
    }

    fn append(&self, stream: StreamId, kind: EventKind, text: &'static [u8]) {
        let kept = self.with(|log, effects| log.append(stream, kind, Bytes::from_static(text), effects));
        assert_eq!(kept, Kept::Yes);
    }

    fn resume(self: &Arc<Model>, stream: StreamId, seq: u64) -> Hold {
        let cursor = self.with(|log, effects| log.attach(stream, From::After(seq), None, Instant::now(), effects));
        Hold::resumable(Arc::<Model>::clone(self), cursor.expect("it is kept"))
    }
}

impl Source for Model {
    fn with_log(&self, act: &mut dyn FnMut(&mut Log)) {
        act(&mut self.lock());
    }

    fn left(self: Arc<Self>, cursor: &Cursor) {
        self.lock().detach(cursor, Instant::now());
    }
}

/// Reads up to so many events, or to the end.
fn read(mut hold: Hold, most: usize) -> (Vec<Bytes>, u64) {
    let mut got = Vec::new();
    while got.len() < most
        && let Some(event) = block_on(hold.event())
    {
        got.push(event);
    }
    let seq = hold.event_id().seq;
    (got, seq)
}

/// A child writes two notifications and an answer.
fn child(model: &Arc<Model>, stream: StreamId) -> thread::JoinHandle<()> {
    let model = Arc::clone(model);
    thread::spawn(move || {
        model.append(stream, EventKind::Notification, b"1");
        model.append(stream, EventKind::Notification, b"2");
        model.append(stream, EventKind::Answer, b"3");
    })
}

const ALL: [&[u8]; 3] = [b"1", b"2", b"3"];

#[test]
fn a_live_reader_gets_everything_once_in_every_order() {
    loom::model(|| {
        let (model, cursor) = Model::new();
        let writer = child(&model, cursor.stream);
        let (got, _) = read(Hold::resumable(Arc::<Model>::clone(&model), cursor), usize::MAX);
        assert_eq!(got, ALL);
        writer.join().expect("it ends");
    });
}

#[test]
fn a_reader_that_is_cut_and_resumes_gets_everything_once_in_every_order() {
    for cut in 0..=ALL.len() {
        loom::model(move || {
            let (model, cursor) = Model::new();
            let stream = cursor.stream;
            let writer = child(&model, stream);
            let (mut got, seq) = read(Hold::resumable(Arc::<Model>::clone(&model), cursor), cut);
            got.extend(read(model.resume(stream, seq), usize::MAX).0);
            assert_eq!(got, ALL, "cut after {cut}");
            writer.join().expect("it ends");
        });
    }
}

#[test]
fn of_a_reader_and_its_resume_in_another_thread_the_resume_gets_the_rest_and_the_reader_ends() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let (model, cursor) = Model::new();
        let stream = cursor.stream;
        let writer = child(&model, stream);
        let older = Hold::resumable(Arc::<Model>::clone(&model), cursor);
        // Takes the place of a reader that may be waiting, or in the middle of the stream, or at its end.
        let newer = {
            let model = Arc::clone(&model);
            thread::spawn(move || read(model.resume(stream, 0), usize::MAX).0)
        };
        let (got, _) = read(older, usize::MAX);
        assert!(got.iter().zip(ALL).all(|(got, sent)| got == sent), "{got:?}");
        assert_eq!(newer.join().expect("it ends"), ALL);
        writer.join().expect("it ends");
    });
}
