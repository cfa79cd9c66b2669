//! Random scripts of five streams, with and without room.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Append(usize, EventKind, usize),
    Read(usize, usize),
    Cut(usize),
    Tick(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![
        6 => Just(EventKind::Notification),
        1 => Just(EventKind::Question),
        1 => Just(EventKind::Answer),
    ];
    prop_oneof![
        4 => (0..5_usize, kind, 0..400_usize).prop_map(|(stream, kind, size)| Step::Append(stream, kind, size)),
        4 => (0..5_usize, 1..6_usize).prop_map(|(stream, count)| Step::Read(stream, count)),
        1 => (0..5_usize).prop_map(Step::Cut),
        1 => (1..40_u64).prop_map(Step::Tick),
    ]
}

/// What a client of one stream knows.
struct Client {
    cursor: Cursor,
    stream: StreamId,
    last: u64,
    got: Vec<String>,
    gaps: usize,
}

/// Plays the steps with five streams; every stream's reader comes back where it stopped. Gives what was sent and what
/// was got.
fn play(steps: &[Step], cap: usize) -> (HashMap<StreamId, Vec<String>>, Vec<Client>, Arc<Budget>) {
    let (mut log, budget) = log(cap, cap * 2);
    let mut now = Instant::now();
    let mut clients: Vec<Client> = (0..5)
        .map(|_| opened(&mut log))
        .map(|cursor| Client { stream: cursor.stream, cursor, last: 0, got: Vec::new(), gaps: 0 })
        .collect();
    let mut sent: HashMap<StreamId, Vec<String>> = HashMap::new();
    let mut over: Vec<StreamId> = Vec::new();
    let read = |log: &mut Log, client: &mut Client, count: usize, now: Instant| {
        for _ in 0..count {
            match log.next(&mut client.cursor, Waker::noop(), now) {
                Next::Event(seq, bytes) => {
                    client.last = seq;
                    client.got.push(String::from_utf8_lossy(&bytes).into_owned());
                }
                Next::Gap(seq, _) => {
                    client.last = seq;
                    client.gaps += 1;
                }
                Next::Wait | Next::End | Next::Release => return,
            }
        }
    };
    let back = |log: &mut Log, client: &mut Client, now: Instant| match log.attach(
        client.stream,
        From::After(client.last),
        None,
        now,
        &mut Effects::default(),
    ) {
        Ok(cursor) => client.cursor = cursor,
        Err(NoCursor::Gone(_)) => client.gaps += 1,
        Err(fault) => panic!("{fault:?} for {:?} after {}", client.stream, client.last),
    };
    for (number, step) in steps.iter().enumerate() {
        match *step {
            Step::Append(at, kind, size) => {
                let stream = clients[at].stream;
                let text = format!("{stream:?} {number} {}", "x".repeat(size));
                if !over.contains(&stream) {
                    append(&mut log, stream, kind, &text);
                    sent.entry(stream).or_default().push(text);
                }
                if kind == EventKind::Answer {
                    over.push(stream);
                }
            }
            Step::Read(at, count) => {
                if !log.has_reader(clients[at].stream) {
                    back(&mut log, &mut clients[at], now);
                }
                read(&mut log, &mut clients[at], count, now);
            }
            Step::Cut(at) => log.detach(&clients[at].cursor, now),
            Step::Tick(seconds) => {
                now += Duration::from_secs(seconds);
                log.tick(now, &mut Effects::default());
            }
        }
    }
    for client in &mut clients {
        back(&mut log, client, now);
        read(&mut log, client, usize::MAX, now);
    }
    drop(log);
    (sent, clients, budget)
}

proptest! {
    #[test]
    fn with_room_every_stream_gives_exactly_what_was_sent_on_it(steps in prop::collection::vec(step(), 0..200)) {
        let (sent, clients, budget) = play(&steps, 1 << 20);
        for client in clients {
            prop_assert_eq!(sent.get(&client.stream).cloned().unwrap_or_default(), client.got);
        }
        prop_assert_eq!(budget.used(), 0);
    }

    #[test]
    fn without_room_nothing_repeats_or_crosses_and_every_loss_is_told(steps in prop::collection::vec(step(), 0..300)) {
        let (sent, clients, budget) = play(&steps, 2500);
        for client in clients {
            let sent = sent.get(&client.stream).cloned().unwrap_or_default();
            let replaced = |text: &String| text.starts_with("{\"jsonrpc\"");
            let got: Vec<&String> = client.got.iter().filter(|text| !replaced(text)).collect();
            let mut rest = sent.iter();
            for text in &got {
                prop_assert!(rest.any(|sent| sent == *text), "out of order, repeated, or another stream's: {}", text);
            }
            let complete = got.len() == sent.len();
            prop_assert!(complete || client.gaps > 0 || client.got.len() > got.len(), "a silent loss");
        }
        prop_assert_eq!(budget.used(), 0);
    }
}
