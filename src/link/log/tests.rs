use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use super::*;
use crate::link::stream::Connection;

mod model;
mod properties;

/// Counts how often it was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn log(cap: usize, total: usize) -> (Log, Arc<Budget>) {
    let budget = Arc::new(Budget::new(total));
    (Log::new(7, cap, Arc::clone(&budget), Arc::new(Metrics::new()), Instant::now()), budget)
}

fn opened(log: &mut Log) -> Cursor {
    let cursor = log.open(b"\"id\"", None, Instant::now());
    log.commit(cursor.stream);
    cursor
}

fn append(log: &mut Log, stream: StreamId, kind: EventKind, text: &str) -> Kept {
    log.append(stream, kind, Bytes::copy_from_slice(text.as_bytes()), &mut Effects::default())
}

fn note(log: &mut Log, stream: StreamId, text: &str) -> Kept {
    append(log, stream, EventKind::Notification, text)
}

fn next(log: &mut Log, cursor: &mut Cursor) -> Next {
    log.next(cursor, Waker::noop(), Instant::now())
}

fn event(seq: u64, text: &str) -> Next {
    Next::Event(seq, Bytes::copy_from_slice(text.as_bytes()))
}

fn resumed(log: &mut Log, stream: StreamId, seq: u64) -> Result<Cursor, NoCursor> {
    log.attach(stream, From::After(seq), None, Instant::now(), &mut Effects::default())
}

#[test]
fn a_resume_after_the_end_gives_the_rest_and_ends() {
    let (mut log, _) = log(1 << 20, 1 << 20);
    let mut cursor = opened(&mut log);
    note(&mut log, cursor.stream, "one");
    assert_eq!(next(&mut log, &mut cursor), event(1, "one"));
    log.detach(&cursor, Instant::now());
    append(&mut log, cursor.stream, EventKind::Answer, "answer");
    let mut again = resumed(&mut log, cursor.stream, 1).expect("it is kept");
    assert_eq!(next(&mut log, &mut again), event(2, "answer"));
    assert!(log.is_at_end(&again));
    assert_eq!(next(&mut log, &mut again), Next::End);
    let mut once_more = resumed(&mut log, cursor.stream, 0).expect("delivered events stay");
    assert_eq!(next(&mut log, &mut once_more), event(1, "one"));
}

#[test]
fn nothing_follows_an_answer() {
    let (mut log, _) = log(1 << 20, 1 << 20);
    let cursor = opened(&mut log);
    assert_eq!(append(&mut log, cursor.stream, EventKind::Answer, "answer"), Kept::Yes);
    assert_eq!(note(&mut log, cursor.stream, "late"), Kept::No);
}

#[test]
fn the_newest_reader_wins_and_the_older_ends() {
    let (mut log, _) = log(1 << 20, 1 << 20);
    let mut older = opened(&mut log);
    let mut newer = resumed(&mut log, older.stream, 0).expect("a cursor");
    note(&mut log, older.stream, "one");
    assert_eq!(next(&mut log, &mut older), Next::End);
    assert_eq!(next(&mut log, &mut newer), event(1, "one"));
    log.detach(&older, Instant::now());
    assert!(log.has_reader(newer.stream), "the late end of the older one does not end the newer");
}

#[test]
fn a_second_reader_of_the_get_stream_is_refused_and_a_resume_is_not() {
    let (mut log, _) = log(1 << 20, 1 << 20);
    let attach = |log: &mut Log, from| log.attach(StreamId::GET, from, None, Instant::now(), &mut Effects::default());
    let first = attach(&mut log, From::Unread).expect("nobody reads it");
    assert_eq!(attach(&mut log, From::Unread), Err(NoCursor::Taken));
    assert!(attach(&mut log, From::After(0)).is_ok());
    log.detach(&first, Instant::now());
    assert_eq!(attach(&mut log, From::Unread), Err(NoCursor::Taken), "the resumed reader is still there");
}

#[test]
fn a_place_that_never_was_is_unknown() {
    let (mut log, _) = log(1 << 20, 1 << 20);
    let cursor = opened(&mut log);
    assert_eq!(resumed(&mut log, cursor.stream, 1), Err(NoCursor::Unknown));
    assert_eq!(resumed(&mut log, StreamId(99), 0), Err(NoCursor::Unknown));
}

#[test]
fn a_quick_answer_leaves_nothing_behind() {
    let (mut log, budget) = log(1 << 20, 1 << 20);
    let cursor = log.open(b"1", None, Instant::now());
    append(&mut log, cursor.stream, EventKind::Answer, "answer");
    assert_eq!(log.first(&cursor, Waker::noop()), First::Answer(Bytes::from_static(b"answer")));
    assert_eq!(budget.used(), 0);
}

#[test]
fn an_answer_for_a_connection_that_is_gone_is_not_kept() {
    let (mut log, budget) = log(1 << 20, 1 << 20);
    let cursor = log.open(b"1", None, Instant::now());
    log.detach(&cursor, Instant::now());
    assert!(!log.is_reachable(cursor.stream));
    append(&mut log, cursor.stream, EventKind::Answer, "answer");
    assert_eq!(budget.used(), 0);
}

#[test]
fn delivered_events_go_first_and_unread_answers_last() {
    let (mut log, _) = log(3000, 1 << 20);
    let mut read = opened(&mut log);
    note(&mut log, read.stream, &"r".repeat(600));
    assert!(matches!(next(&mut log, &mut read), Next::Event(1, _)));
    let unread = opened(&mut log);
    log.detach(&unread, Instant::now());
    append(&mut log, unread.stream, EventKind::Answer, &"a".repeat(600));
    let behind = opened(&mut log);
    note(&mut log, behind.stream, &"n".repeat(900));
    // No room for it: the delivered event goes, then the notification; the answer stays.
    assert_eq!(note(&mut log, read.stream, &"x".repeat(1000)), Kept::Yes);
    let mut answer = resumed(&mut log, unread.stream, 0).expect("it is kept");
    assert!(matches!(next(&mut log, &mut answer), Next::Event(1, _)));
    let mut gap = resumed(&mut log, behind.stream, 0).expect("the stream is kept");
    assert!(
        matches!(next(&mut log, &mut gap), Next::Gap(1, text) if text.starts_with(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\""))
    );
}

#[test]
fn a_question_between_notifications_that_were_given_up_is_still_asked() {
    let (mut log, _) = log(2500, 1 << 20);
    let full = opened(&mut log);
    log.detach(&full, Instant::now());
    note(&mut log, full.stream, &"n".repeat(300));
    append(&mut log, full.stream, EventKind::Question, "question");
    note(&mut log, full.stream, &"n".repeat(300));
    let other = opened(&mut log);
    assert_eq!(append(&mut log, other.stream, EventKind::Question, &"x".repeat(1000)), Kept::Yes);
    let mut again = resumed(&mut log, full.stream, 0).expect("the stream is kept");
    assert!(matches!(next(&mut log, &mut again), Next::Gap(1, _)));
    assert_eq!(next(&mut log, &mut again), event(2, "question"));
    assert!(matches!(next(&mut log, &mut again), Next::Gap(3, _)));
    assert_eq!(next(&mut log, &mut again), Next::Wait);
}

#[test]
fn notifications_go_also_where_a_stream_with_an_answer_is_further_behind() {
    let (mut log, _) = log(2800, 1 << 20);
    let (answered, noted, last) = (opened(&mut log), opened(&mut log), opened(&mut log));
    append(&mut log, answered.stream, EventKind::Answer, &"a".repeat(900));
    note(&mut log, noted.stream, &"n".repeat(300));
    assert_eq!(append(&mut log, last.stream, EventKind::Question, &"q".repeat(500)), Kept::Yes);
}

#[test]
fn a_resume_of_what_was_given_up_is_an_error_for_that_request() {
    let (mut log, _) = log(1 << 20, 1 << 20);
    let mut cursor = opened(&mut log);
    append(&mut log, cursor.stream, EventKind::Answer, "answer");
    assert_eq!(next(&mut log, &mut cursor), event(1, "answer"));
    log.tick(Instant::now() + KEEP_DELIVERED, &mut Effects::default());
    assert_eq!(resumed(&mut log, cursor.stream, 0), Err(NoCursor::Gone((*b"\"id\"").into())));
}

#[test]
fn one_message_larger_than_the_cap_passes_alone_and_an_answer_behind_others() {
    let (mut log, _) = log(2000, 1 << 20);
    let (mut cursor, large) = (opened(&mut log), "x".repeat(5000));
    assert_eq!(note(&mut log, cursor.stream, &large), Kept::Yes);
    assert_eq!(append(&mut log, cursor.stream, EventKind::Answer, &large), Kept::Yes);
    assert_eq!([next(&mut log, &mut cursor), next(&mut log, &mut cursor)], [event(1, &large), event(2, &large)]);
}

#[test]
fn a_message_that_can_never_fit_costs_others_nothing() {
    for (cap, total) in [(2000, 1 << 20), (1 << 20, 2500)] {
        let (mut log, _) = log(cap, total);
        let mut noted = opened(&mut log);
        note(&mut log, noted.stream, "kept");
        let answered = opened(&mut log);
        log.detach(&answered, Instant::now());
        append(&mut log, answered.stream, EventKind::Answer, "kept too");
        let large = opened(&mut log);
        append(&mut log, large.stream, EventKind::Answer, &"x".repeat(5000));
        assert_eq!(next(&mut log, &mut noted), event(1, "kept"), "{cap} {total}");
        let mut again = resumed(&mut log, answered.stream, 0).expect("it is kept");
        assert_eq!(next(&mut log, &mut again), event(1, "kept too"), "{cap} {total}");
    }
}

#[test]
fn an_answer_that_fits_nowhere_becomes_an_error_that_names_the_limit() {
    let (mut log, _) = log(2000, 1 << 20);
    let mut cursor = opened(&mut log);
    append(&mut log, cursor.stream, EventKind::Question, &"q".repeat(1000));
    append(&mut log, cursor.stream, EventKind::Answer, &"a".repeat(1500));
    assert!(matches!(next(&mut log, &mut cursor), Next::Event(1, _)));
    assert!(
        matches!(next(&mut log, &mut cursor), Next::Event(2, text) if text.starts_with(b"{\"jsonrpc\":\"2.0\",\"id\":\"id\",\"error\":{\"code\":-32603"))
    );
}

struct Gone;

impl Connection for Gone {
    fn cut(&self) {}
}

#[test]
fn a_reader_that_takes_nothing_is_cut_and_may_resume() {
    let (mut log, _) = log(1 << 20, 1 << 20);
    let cursor = log.open(b"1", Some(Arc::new(Gone)), Instant::now());
    log.commit(cursor.stream);
    note(&mut log, cursor.stream, &"x".repeat(CUT_BYTES));
    let mut effects = Effects::default();
    log.tick(Instant::now() + CUT_AFTER / 2, &mut effects);
    assert!(log.has_reader(cursor.stream));
    log.tick(Instant::now() + CUT_AFTER, &mut effects);
    assert!(!log.has_reader(cursor.stream));
    let mut again = resumed(&mut log, cursor.stream, 0).expect("a cursor");
    assert!(matches!(next(&mut log, &mut again), Next::Event(1, _)));
}

#[test]
fn delivered_events_go_before_unread_notifications() {
    let (mut log, _) = log(2800, 1 << 20);
    let (mut read, mut unread, last) = (opened(&mut log), opened(&mut log), opened(&mut log));
    note(&mut log, read.stream, &"r".repeat(900));
    assert!(matches!(next(&mut log, &mut read), Next::Event(1, _)));
    note(&mut log, unread.stream, "unread");
    assert_eq!(note(&mut log, last.stream, &"x".repeat(900)), Kept::Yes);
    assert_eq!(next(&mut log, &mut unread), event(1, "unread"));
}

#[test]
fn an_answer_is_not_given_up_while_its_reader_is_there() {
    let (mut log, _) = log(2000, 1 << 20);
    let (mut answered, last) = (opened(&mut log), opened(&mut log));
    append(&mut log, answered.stream, EventKind::Answer, "answer");
    assert_eq!(append(&mut log, last.stream, EventKind::Question, &"q".repeat(1250)), Kept::No);
    assert_eq!(next(&mut log, &mut answered), event(1, "answer"));
}

#[test]
fn what_was_delivered_is_kept_within_the_cap_and_one_larger_answer() {
    let (mut log, budget) = log(2000, 100_000);
    for _ in 0..5 {
        let mut cursor = opened(&mut log);
        append(&mut log, cursor.stream, EventKind::Answer, &"a".repeat(10_000));
        assert!(budget.used() < 12_000, "{}", budget.used());
        assert!(matches!(next(&mut log, &mut cursor), Next::Event(1, text) if text.len() == 10_000));
        assert!(resumed(&mut log, cursor.stream, 0).is_ok(), "the last one can be read again");
        assert!(budget.used() < 12_000, "{}", budget.used());
    }
}

#[test]
fn a_large_delivered_answer_goes_at_once_where_others_need_the_room() {
    let (mut log, budget) = log(2000, 20_000);
    budget.add(5_000);
    let mut cursor = opened(&mut log);
    append(&mut log, cursor.stream, EventKind::Answer, &"a".repeat(10_000));
    assert!(matches!(next(&mut log, &mut cursor), Next::Event(1, text) if text.len() == 10_000));
    assert_eq!(next(&mut log, &mut cursor), Next::End);
    assert_eq!(budget.used(), 5_000);
}

#[test]
fn what_was_delivered_is_given_up_soon_where_all_logs_together_are_large() {
    let (mut log, budget) = log(1 << 20, 10_000);
    let mut cursor = opened(&mut log);
    note(&mut log, cursor.stream, &"x".repeat(1000));
    assert!(matches!(next(&mut log, &mut cursor), Next::Event(1, _)));
    let before = budget.used();
    log.tick(Instant::now(), &mut Effects::default());
    assert_eq!(budget.used(), before);
    budget.add(7_000);
    log.tick(Instant::now(), &mut Effects::default());
    assert!(budget.used() < before + 7_000 - 1000);
}

#[test]
fn all_logs_together_keep_to_the_total() {
    let (mut one, budget) = log(1 << 20, 4000);
    let mut other = Log::new(8, 1 << 20, Arc::clone(&budget), Arc::new(Metrics::new()), Instant::now());
    for log in [&mut one, &mut other] {
        let stream = opened(log).stream;
        for _ in 0..20 {
            note(log, stream, &"n".repeat(500));
            assert!(budget.used() <= 4000, "{}", budget.used());
        }
    }
}

#[test]
fn of_two_streams_the_one_furthest_behind_gives_up_its_notifications() {
    let (mut log, _) = log(2800, 1 << 20);
    let (mut near, far, last) = (opened(&mut log), opened(&mut log), opened(&mut log));
    note(&mut log, near.stream, "near");
    note(&mut log, far.stream, &"f".repeat(900));
    assert_eq!(append(&mut log, last.stream, EventKind::Question, &"q".repeat(900)), Kept::Yes);
    assert_eq!(next(&mut log, &mut near), event(1, "near"));
    let mut far = resumed(&mut log, far.stream, 0).expect("the stream is kept");
    assert!(matches!(next(&mut log, &mut far), Next::Gap(1, _)));
}

#[test]
fn at_most_256_streams_that_are_gone_are_told_from_ones_that_never_were() {
    let (mut log, _) = log(1 << 20, 1 << 20);
    let mut gone = Vec::new();
    for _ in 0..=TOMBSTONES {
        let mut cursor = opened(&mut log);
        append(&mut log, cursor.stream, EventKind::Answer, "answer");
        assert_eq!(next(&mut log, &mut cursor), event(1, "answer"));
        gone.push(cursor.stream);
    }
    log.tick(Instant::now() + KEEP_DELIVERED, &mut Effects::default());
    assert_eq!(resumed(&mut log, gone[0], 0), Err(NoCursor::Expired));
    assert!(gone[1..].iter().all(|stream| matches!(resumed(&mut log, *stream, 0), Err(NoCursor::Gone(_)))));
}

#[test]
fn readers_that_stall_are_not_waited_for() {
    let (mut log, _) = log(1 << 20, 1 << 20);
    let cursor = opened(&mut log);
    note(&mut log, cursor.stream, &"x".repeat(600 << 10));
    assert!(log.is_under_pressure());
    log.mark_stalled(Duration::from_millis(250), Instant::now() + Duration::from_millis(250));
    assert!(!log.is_under_pressure());
}

#[test]
fn a_waiting_reader_is_woken_once_something_is_there() {
    let (mut log, _) = log(1 << 20, 1 << 20);
    let mut cursor = opened(&mut log);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    assert_eq!(log.next(&mut cursor, &waker, Instant::now()), Next::Wait);
    let mut effects = Effects::default();
    log.append(cursor.stream, EventKind::Notification, Bytes::from_static(b"x"), &mut effects);
    assert_eq!(woken.0.load(Ordering::Relaxed), 0, "not under the lock");
    effects.run();
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
}

/// A child that writes and a client that reads, loses its connection and comes back, at once.
#[test]
fn a_million_events_cross_any_race_of_replay_and_live_once_and_in_order() {
    const EVENTS: u64 = 1_000_000;
    let (log, _) = log(1 << 20, 1 << 20);
    let log = std::sync::Mutex::new(log);
    let lock = || log.lock().expect("no panic");
    let stream = opened(&mut lock()).stream;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..EVENTS {
                // Not faster than the reader: this test is about order, others are about space.
                while lock().unread > 64 << 10 {
                    std::thread::yield_now();
                }
                note(&mut lock(), stream, &number.to_string());
            }
        });
        let (mut expected, mut last, mut turn) = (0, 0, 0_u64);
        while expected < EVENTS {
            let mut cursor = resumed(&mut lock(), stream, last).expect("it is kept");
            turn += 1;
            for _ in 0..turn % 37 {
                match next(&mut lock(), &mut cursor) {
                    Next::Event(seq, bytes) => {
                        assert_eq!(bytes, expected.to_string().as_bytes());
                        (expected, last) = (expected + 1, seq);
                    }
                    Next::Wait => break,
                    other => panic!("{other:?} at {expected}"),
                }
            }
            if turn % 3 == 0 {
                lock().detach(&cursor, Instant::now());
            }
        }
    });
}
