//! Scripts of one client, the tasks that work for it, and its connections, against a small model: what is to stand on
//! which stream, and who is to be told which answer.

use std::collections::BTreeMap;

use super::*;

/// The last two are the same.
pub(super) const IDS: [&str; 4] = ["1", "\"1\"", "\"a\"", r#""\u0061""#];

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A call on a stream of its own: its id, what that carries, and whether its client may come back.
    Own(usize, bool, bool),
    Standing(usize),
    /// So many calls together.
    Batch(usize, bool, bool),
    Work(usize),
    Say(usize),
    Progress(usize, Option<i8>),
    Tell,
    Answer(usize),
    TakeBack(usize),
    Ask(usize),
    Reply(usize),
    WithdrawOne(usize),
    Withdraw(usize),
    Cancel(usize),
    /// A connection goes: that of a stream, or of the GET stream.
    Leave(usize),
    OpenGet,
    LeaveGet,
    Wait,
    End,
}

pub(super) struct Open {
    id: usize,
    way: Way,
    stream: u64,
    carries: Carries,
    progress: Option<i8>,
    task: Option<JoinHandle<()>>,
}

/// A stream with what its reader has not seen.
#[derive(Default)]
struct Stream {
    unread: Vec<String>,
    cursor: Option<Cursor>,
    may_come_back: bool,
    is_over: bool,
    /// Its client has gone for good.
    is_deaf: bool,
}

pub(super) struct Asked {
    call: u64,
    stream: u64,
    at: usize,
}

pub(super) struct World {
    bench: Bench,
    pub(super) open: BTreeMap<u64, Open>,
    calls: u64,
    streams: BTreeMap<u64, Stream>,
    /// Questions that are open.
    pub(super) asked: BTreeMap<u64, Asked>,
    questions: u64,
    answers: Answers,
    answered: Receiver<(usize, Bytes)>,
    /// Makes each message another one.
    said: usize,
    active: Instant,
    has_ended: bool,
}

impl World {
    pub(super) fn new() -> World {
        let (answers, answered) = mpsc::channel(1);
        let bench = Bench::new();
        let active = bench.now;
        let get = Stream { may_come_back: true, ..Stream::default() };
        let (open, asked) = (BTreeMap::new(), BTreeMap::new());
        let streams = BTreeMap::from([(0, get)]);
        World { bench, open, calls: 0, streams, asked, questions: 0, answers, answered, said: 0, active, has_ended: false }
    }

    fn text(&mut self) -> String {
        self.said += 1;
        format!("message {}", self.said)
    }

    /// A call in flight, or one that is over.
    fn pick(&self, pick: usize) -> u64 {
        let known: Vec<u64> = self.open.keys().copied().chain([1, self.calls + 1]).collect();
        known[pick % known.len()]
    }

    fn stream(&mut self, stream: u64) -> &mut Stream {
        self.streams.get_mut(&stream).expect("it was opened")
    }

    fn put(&mut self, stream: u64, text: String) {
        let stream = self.stream(stream);
        if !stream.is_deaf && !stream.is_over {
            stream.unread.push(text);
        }
    }

    /// Whether so many calls may be made.
    fn admits(&mut self, count: usize) -> bool {
        let expected = match (self.has_ended, self.open.len() + count > MAX_CALLS) {
            (true, _) => Err(NotPosted::Ended),
            (_, true) => Err(NotPosted::TooManyCalls),
            _ => Ok(()),
        };
        self.active = self.bench.now;
        assert_eq!(self.bench.seat.admit(count, self.bench.now), expected);
        expected.is_ok()
    }

    fn opened(&mut self, cursor: Cursor, may_come_back: bool) -> u64 {
        let stream = cursor.stream.0;
        if may_come_back {
            self.bench.seat.log.commit(cursor.stream);
        }
        self.streams.insert(stream, Stream { cursor: Some(cursor), may_come_back, ..Stream::default() });
        stream
    }

    fn begun(&mut self, call: u64, id: usize, way: Way, stream: u64, carries: Carries) {
        self.calls += 1;
        assert_eq!(call, self.calls);
        self.open.insert(call, Open { id, way, stream, carries, progress: None, task: None });
    }

    pub(super) fn play(&mut self, step: &Step) {
        let effects = &mut Effects::default();
        match *step {
            Step::Own(id, events, may_come_back) => {
                if self.admits(1) {
                    let carries = carries(events);
                    let (call, cursor) = self.bench.own(IDS[id], carries);
                    let stream = self.opened(cursor, may_come_back);
                    self.begun(call, id, Way::Own, stream, carries);
                }
            }
            Step::Standing(id) => {
                if self.admits(1) {
                    let call = self.bench.standing(IDS[id]);
                    self.begun(call, id, Way::Standing, 0, Carries::Events);
                }
            }
            Step::Batch(count, events, may_come_back) => {
                if self.admits(count) {
                    let (calls, cursor) = self.bench.batch(&IDS[..count], carries(events));
                    let stream = self.opened(cursor, may_come_back);
                    let way = Way::Batch(StreamId(stream));
                    calls.into_iter().zip(0..).for_each(|(call, id)| self.begun(call, id, way, stream, carries(events)));
                }
            }
            Step::Work(pick) => {
                let call = self.pick(pick);
                let task = self.bench.work(call);
                match self.open.get_mut(&call) {
                    Some(open) => open.task = Some(task),
                    None => assert!(self.bench.is_aborted(&task)),
                }
            }
            Step::Say(pick) => {
                let (call, text) = (self.pick(pick), self.text());
                let said = self.bench.say(call, &text);
                match self.way(call) {
                    None => assert_eq!(said, Said::No("notification_without_call")),
                    Some((stream, is_heard)) => {
                        assert_eq!(said, Said::Yes);
                        self.put(if is_heard { stream } else { 0 }, text);
                    }
                }
            }
            Step::Progress(pick, progress) => {
                let (call, text) = (self.pick(pick), self.text());
                let said = self.bench.progress(call, progress.map(f64::from), &text);
                let expected = match self.open.get_mut(&call) {
                    None => Said::No("progress_without_call"),
                    Some(open) if open.carries == Carries::AnswerOnly => Said::No("progress_in_json_mode"),
                    Some(open) if open.progress.zip(progress).is_some_and(|(last, new)| new <= last) => {
                        Said::No("progress_not_increasing")
                    }
                    Some(open) => {
                        open.progress = progress.or(open.progress);
                        let stream = open.stream;
                        self.put(stream, text);
                        Said::Yes
                    }
                };
                assert_eq!(said, expected);
            }
            Step::Tell => {
                let text = self.text();
                self.bench.seat.tell(text.clone().into(), effects);
                self.put(0, text);
            }
            Step::Answer(pick) => {
                let (call, text) = (self.pick(pick), self.text());
                assert_eq!(self.bench.answer(call, &text), self.open.contains_key(&call));
                self.finish(call, text);
            }
            Step::TakeBack(pick) => {
                let call = self.pick(pick);
                // Only one that is not asked anything yet.
                if self.asked.values().all(|asked| asked.call != call) {
                    let shares = self.open.get(&call).is_some_and(|open| open.way != Way::Own);
                    assert_eq!(self.bench.seat.take_back(call, effects), !shares);
                    if !shares && let Some(open) = self.open.remove(&call) {
                        self.stream(open.stream).is_over = true;
                    }
                }
            }
            Step::Ask(pick) => self.ask(pick),
            Step::Reply(pick) => {
                let id = pick as u64 % (self.questions + 2);
                let text = self.text();
                let expected = self.asked.remove(&id).map(|asked| (asked.at, text.clone()));
                self.active = self.bench.now;
                assert_eq!(self.bench.reply(&id.to_string(), &text), expected.is_some());
                assert_eq!(took(&mut self.answered), expected);
            }
            Step::WithdrawOne(pick) => {
                let id = pick as u64 % (self.questions + 2);
                self.bench.seat.withdraw_one(id, WITHDRAWN, effects);
                self.withdraw(|other, _| other == id);
            }
            Step::Withdraw(pick) => {
                let call = self.pick(pick);
                self.bench.seat.withdraw(call, WITHDRAWN, effects);
                self.withdraw(|_, asked| asked.call == call);
            }
            Step::Cancel(id) => self.cancel(id),
            Step::Leave(pick) => {
                let read: Vec<u64> = self.streams.iter().filter(|(_, one)| one.cursor.is_some()).map(|(id, _)| *id).collect();
                if let Some(stream) = read.get(pick % read.len().max(1)).copied().filter(|stream| *stream != 0) {
                    let cursor = self.stream(stream).cursor.take().expect("it is read");
                    self.bench.seat.log.detach(&cursor, self.bench.now);
                    let stream = self.stream(stream);
                    stream.is_deaf |= !stream.may_come_back;
                }
            }
            Step::OpenGet => {
                if self.stream(0).cursor.is_none() {
                    self.stream(0).cursor = Some(self.bench.open_get());
                }
            }
            Step::LeaveGet => {
                if let Some(cursor) = self.stream(0).cursor.take() {
                    self.bench.seat.log.detach(&cursor, self.bench.now);
                }
            }
            Step::Wait => self.bench.now += SECOND,
            Step::End => self.end(),
        }
        self.check();
    }

    /// A call's stream, and whether its client hears what comes there before the answer.
    fn way(&self, call: u64) -> Option<(u64, bool)> {
        let open = self.open.get(&call)?;
        Some((open.stream, open.carries == Carries::Events && !self.streams[&open.stream].is_deaf))
    }

    /// A call is answered, if it was in flight.
    fn finish(&mut self, call: u64, text: String) -> Option<Open> {
        let open = self.open.remove(&call)?;
        self.asked.retain(|_, asked| asked.call != call);
        self.put(open.stream, text);
        let has_more = open.way == Way::Standing || self.open.values().any(|other| other.stream == open.stream);
        self.stream(open.stream).is_over |= !has_more;
        Some(open)
    }

    fn ask(&mut self, pick: usize) {
        let call = self.pick(pick);
        let given = self.bench.ask(call, pick, &self.answers);
        let stream = match self.way(call) {
            None => return assert_eq!(given, Err("the call is over")),
            Some((stream, true)) => stream,
            Some(_) if self.streams[&0].cursor.is_some() => 0,
            Some(_) => return assert!(given.is_err_and(|why| why.contains("plain JSON"))),
        };
        self.questions += 1;
        assert_eq!(given, Ok(self.questions));
        self.put(stream, asked(self.questions));
        self.asked.insert(self.questions, Asked { call, stream, at: pick });
    }

    fn withdraw(&mut self, which: impl Fn(u64, &Asked) -> bool) {
        let (gone, kept) = std::mem::take(&mut self.asked).into_iter().partition(|(id, asked)| which(*id, asked));
        self.asked = kept;
        let gone: BTreeMap<u64, Asked> = gone;
        gone.into_iter().for_each(|(id, asked)| self.put(asked.stream, withdrawn(id, WITHDRAWN)));
    }

    fn cancel(&mut self, id: usize) {
        let same: Vec<u64> = self.open.iter().filter(|(_, open)| open.id.min(2) == id.min(2)).map(|(call, _)| *call).collect();
        let expected = match same[..] {
            [_] => Ok(()),
            [] => Err("cancel_without_call"),
            _ => Err("ambiguous_cancel"),
        };
        self.active = self.bench.now;
        assert_eq!(self.bench.cancel(IDS[id]), expected);
        if let [call] = same[..] {
            self.withdraw(|_, asked| asked.call == call);
            let text = cancelled(IDS[self.open[&call].id]);
            let task = self.finish(call, text).and_then(|open| open.task);
            assert!(task.is_none_or(|task| self.bench.is_aborted(&task)));
        }
    }

    fn end(&mut self) {
        self.bench.end();
        let calls: Vec<(u64, usize)> = self.open.iter().map(|(call, open)| (*call, open.id)).collect();
        for (call, id) in calls {
            let task = self.finish(call, ended(IDS[id])).and_then(|open| open.task);
            assert!(task.is_none_or(|task| self.bench.is_aborted(&task)));
        }
        self.streams.values_mut().for_each(|stream| stream.is_over = true);
        self.has_ended = true;
    }

    fn check(&mut self) {
        assert_eq!(self.bench.seat.calls_in_flight(), self.open.len());
        let is_busy = !self.open.is_empty() || self.streams[&0].cursor.is_some();
        let idle = if is_busy { Duration::ZERO } else { self.bench.now - self.active };
        assert_eq!(self.bench.seat.idle_for(self.bench.now), idle);
        for stream in self.streams.values_mut() {
            let Some(cursor) = &mut stream.cursor else { continue };
            let (seen, is_over) = self.bench.read(cursor);
            assert_eq!((in_order(seen), is_over), (in_order(std::mem::take(&mut stream.unread)), stream.is_over));
        }
    }

    /// Everybody who can comes back for the rest.
    pub(super) fn come_back(&mut self) {
        let Bench { seat, now, .. } = &mut self.bench;
        for (id, stream) in self.streams.iter_mut().filter(|(_, stream)| stream.cursor.is_none() && stream.may_come_back) {
            let cursor = seat.log.attach(StreamId(*id), From::Unread, None, *now, &mut Effects::default());
            stream.cursor = Some(cursor.expect("it is kept"));
        }
        self.check();
    }
}

fn carries(events: bool) -> Carries {
    if events { Carries::Events } else { Carries::AnswerOnly }
}

/// Questions that are withdrawn together are so in any order.
fn in_order(mut messages: Vec<String>) -> Vec<String> {
    let is_withdrawn = |text: &String| text.contains("notifications/cancelled");
    messages.chunk_by_mut(|one, other| is_withdrawn(one) && is_withdrawn(other)).for_each(<[String]>::sort_unstable);
    messages
}
