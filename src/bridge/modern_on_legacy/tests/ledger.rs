//! What went over both wires, read back from what the router wants done, and what must hold of it whatever the script was: no
//! line without a reason, nothing on a stream that it does not belong to, nothing twice. What a step must give is `scripts`'.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::*;

/// A call as its client sees it: what it wants once, over all its requests.
pub(super) struct Client {
    pub(super) said: Said,
    pub(super) is_leased: bool,
    pub(super) lease: u64,
    /// How often it was written to the child, and how often it may be.
    writes: u32,
    pub(super) may_write: u32,
    pub(super) number: Option<u64>,
    /// The state that it holds, with the questions by their keys.
    pub(super) state: Option<String>,
    pub(super) shown: BTreeMap<String, u64>,
    pub(super) round: u32,
    finals: u32,
    pub(super) has_left: bool,
}

/// A request of a client: a stream.
pub(super) struct Http {
    pub(super) mark: usize,
    id: String,
    pub(super) token: Option<String>,
    pub(super) level: Option<Level>,
    pub(super) is_open: bool,
}

/// A call as the child sees it.
pub(super) struct InChild {
    pub(super) mark: usize,
    pub(super) is_answered: bool,
    pub(super) is_cancelled: bool,
    pub(super) has_token: bool,
    pub(super) began: Instant,
    pub(super) alive: Instant,
}

/// A question of the child.
pub(super) struct Open {
    pub(super) kind: usize,
    pub(super) is_open: bool,
    pub(super) at: Instant,
}

/// What the child is told of its question.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reply {
    Value(String),
    Refused(i64),
}

/// What a client is answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Got {
    /// The child's own answer; its number among the lines that the child wrote.
    Result(u64),
    /// The gateway's error.
    Error(i64),
    /// These questions.
    Asked(Vec<u64>),
    /// So many places to go to.
    Elsewhere(usize),
}

/// All that a step gave.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) sent: Vec<usize>,
    pub(super) cancelled: Vec<usize>,
    pub(super) replies: Vec<(u64, Reply)>,
    pub(super) answers: Vec<(u64, Got)>,
    pub(super) notes: Vec<(u64, u64)>,
    pub(super) ended: Vec<u64>,
    pub(super) buried: Vec<(u64, u32)>,
    pub(super) changes: usize,
    pub(super) is_retired: bool,
}

pub(super) struct Ledger {
    pub(super) bench: Bench,
    pub(super) capabilities: &'static str,
    pub(super) clients: Vec<Client>,
    pub(super) streams: BTreeMap<u64, Http>,
    pub(super) child: BTreeMap<u64, InChild>,
    pub(super) questions: BTreeMap<u64, Open>,
    /// The child has given the id of an open question to another one.
    pub(super) twin: Option<u64>,
    pub(super) alarm: Option<Instant>,
    /// How often it was told that the lease is free.
    pub(super) frees: usize,
}

pub(super) const KINDS: [&str; 4] = ["elicitation", "elicitation", "sampling", "roots"];

impl Ledger {
    pub(super) fn new(capabilities: &'static str) -> Ledger {
        Ledger {
            bench: Bench::declaring(capabilities),
            capabilities,
            clients: Vec::new(),
            streams: BTreeMap::new(),
            child: BTreeMap::new(),
            questions: BTreeMap::new(),
            twin: None,
            alarm: None,
            frees: 0,
        }
    }

    /// A call that nobody has sent yet.
    pub(super) fn client(&mut self, is_leased: bool, said: Said) -> usize {
        let mark = self.clients.len();
        let said = said.declaring(self.capabilities).with_arguments(&format!(r#"{{"mark":{mark}}}"#));
        let lease = 1000 + mark as u64;
        let (state, number, shown) = (None, None, BTreeMap::new());
        let client = Client {
            said,
            is_leased,
            lease,
            writes: 0,
            may_write: 1,
            number,
            state,
            shown,
            round: 0,
            finals: 0,
            has_left: false,
        };
        self.clients.push(client);
        mark
    }

    /// A stream for a request of that call.
    pub(super) fn open(&mut self, mark: usize, said: &Said) -> u64 {
        let stream = 1 + self.streams.len() as u64;
        let level = said.level.and_then(|level| Level::parse(format!("\"{level}\"").as_bytes()));
        let http = Http { mark, id: said.id.clone(), token: said.token.clone(), level, is_open: true };
        self.streams.insert(stream, http);
        stream
    }

    /// The open stream of a call.
    pub(super) fn stream_of(&self, mark: usize) -> Option<u64> {
        self.streams.iter().find(|(_, http)| http.mark == mark && http.is_open).map(|(stream, _)| *stream)
    }

    pub(super) fn observe(&mut self, routed: Vec<Routed>) -> Seen {
        let mut seen = Seen::default();
        let mut parked = 0;
        self.alarm = None;
        for routed in routed {
            match routed {
                Routed::ToChild(line) => self.written(&line, &mut seen),
                Routed::Passed(..) | Routed::Told(_) | Routed::Given(..) | Routed::Stored(_) => panic!("nothing here is large"),
                Routed::Event(stream, kind, text) => self.event(stream.0, kind, &text, &mut seen),
                Routed::End(stream) => {
                    seen.ended.push(stream.0);
                    assert!(std::mem::replace(&mut self.streams.get_mut(&stream.0).expect("a stream").is_open, false));
                }
                Routed::Alarm(at) => self.alarm = Some(self.alarm.map_or(at, |earlier| earlier.min(at))),
                Routed::Notice(Notice::Parked) => parked += 1,
                Routed::Notice(Notice::Retire) => assert!(!std::mem::replace(&mut seen.is_retired, true)),
                Routed::Notice(Notice::Buried(lease, round)) => seen.buried.push((lease, round)),
                Routed::Notice(Notice::Changed(_)) => seen.changes += 1,
                Routed::Notice(Notice::Suspect) => panic!("nobody suspects a legacy child"),
                Routed::Notice(Notice::Freed) => self.frees += 1,
                Routed::Dropped(_) | Routed::Expired(_) => {}
                Routed::Release(place) => drop(place),
            }
        }
        let asked = seen.answers.iter().filter(|(_, got)| matches!(got, Got::Asked(_))).count();
        assert_eq!(parked, asked, "whoever bounds parked calls hears of each");
        seen.sorted()
    }

    fn written(&mut self, line: &[u8], seen: &mut Seen) {
        let text = std::str::from_utf8(line).expect("UTF-8").strip_suffix('\n').expect("a whole line");
        assert!(!text.contains(['\n', '\r']), "one line: {text}");
        let json: Json = serde_json::from_str(text).expect("JSON");
        match json["method"].as_str() {
            Some("notifications/cancelled") => {
                let number = json["params"]["requestId"].as_u64().expect("a private number");
                let call = self.child.get_mut(&number).expect("the child has that call");
                assert!(!call.is_answered, "{number} has ended");
                assert!(!std::mem::replace(&mut call.is_cancelled, true), "{number} is cancelled once");
                seen.cancelled.push(call.mark);
            }
            Some(_) => self.sent(text, &json, seen),
            None => {
                let id = json["id"].as_u64().expect("a question's id");
                let reply = match json["error"]["code"].as_i64() {
                    Some(code) => Reply::Refused(code),
                    None => {
                        let value = text.split_once(r#","result":"#).and_then(|(_, rest)| rest.strip_suffix('}'));
                        Reply::Value(value.expect("a result").to_owned())
                    }
                };
                if self.twin != Some(id) {
                    let question = self.questions.get_mut(&id).expect("the child asked that");
                    assert!(std::mem::replace(&mut question.is_open, false), "question {id} is answered once: {text}");
                }
                seen.replies.push((id, reply));
            }
        }
    }

    fn sent(&mut self, text: &str, json: &Json, seen: &mut Seen) {
        let number = json["id"].as_u64().expect("a private number");
        let mark = json["params"]["arguments"]["mark"].as_u64().expect("a call of a client") as usize;
        assert!(self.child.last_key_value().is_none_or(|(last, _)| *last < number), "a number of its own");
        let others = self.child.values().filter(|call| !call.is_answered && self.clients[call.mark].is_leased).count();
        let client = &mut self.clients[mark];
        assert!(!client.is_leased || others == 0, "a call that may be asked is alone: {text}");
        client.writes += 1;
        assert!(client.writes <= client.may_write, "a call is sent once: {text}");
        client.number = Some(number);
        let token = &json["params"]["_meta"]["progressToken"];
        assert!(token.as_u64() == Some(number) || token.is_null(), "{text}");
        for gone in ["io.modelcontextprotocol", "inputResponses", "requestState"] {
            assert!(!text.contains(gone), "{text}");
        }
        let now = self.bench.now;
        self.child.insert(
            number,
            InChild { mark, is_answered: false, is_cancelled: false, has_token: !token.is_null(), began: now, alive: now },
        );
        seen.sent.push(mark);
    }

    fn event(&mut self, stream: u64, kind: EventKind, text: &[u8], seen: &mut Seen) {
        let text = std::str::from_utf8(text).expect("UTF-8");
        let json: Json = serde_json::from_str(text).expect("JSON");
        let http = self.streams.get_mut(&stream).expect("an opened stream");
        assert!(http.is_open, "nothing comes after the end of {stream}: {text}");
        if kind == EventKind::Notification {
            let params = &json["params"];
            let note: Json = match json["method"].as_str() {
                Some("notifications/progress") => {
                    let token = http.token.as_ref().expect("only who gave a token hears of progress");
                    assert_eq!(&params["progressToken"].to_string(), token);
                    serde_json::from_str(params["message"].as_str().expect("ours")).expect("JSON")
                }
                _ => {
                    let level = Level::parse(params["level"].to_string().as_bytes()).expect("a level");
                    assert!(http.level.is_some_and(|wanted| wanted <= level), "{text}");
                    serde_json::from_str(params["data"].as_str().expect("ours")).expect("JSON")
                }
            };
            assert_eq!(note["mark"].as_u64(), Some(http.mark as u64), "another call's: {text}");
            return seen.notes.push((stream, note["serial"].as_u64().expect("a serial number")));
        }
        assert_eq!(kind, EventKind::Answer, "a modern client is asked in answers only");
        assert_eq!(json["id"].to_string(), http.id, "under the client's own id");
        http.is_open = false;
        let (mark, result) = (http.mark, &json["result"]);
        let got = if result["resultType"] == "input_required" {
            self.asked(mark, result)
        } else {
            let client = &mut self.clients[mark];
            client.finals += 1;
            assert!(client.finals == 1 && !client.has_left, "one answer a call: {text}");
            match (result["serial"].as_u64(), json["error"]["data"]["serial"].as_u64(), json["error"]["code"].as_i64()) {
                (Some(serial), _, _) | (_, Some(serial), _) => {
                    assert_eq!(self.child[&client.number.expect("it was sent")].mark, mark);
                    Got::Result(serial)
                }
                (_, _, Some(code)) => Got::Error(code),
                _ => panic!("neither a result nor an error: {text}"),
            }
        };
        seen.answers.push((stream, got));
    }

    /// An `InputRequiredResult`: its keys, its questions, its state.
    fn asked(&mut self, mark: usize, result: &Json) -> Got {
        let state = result["requestState"].as_str().expect("a state").to_owned();
        let ticket = self.bench.ticket(&state);
        let requests = result["inputRequests"].as_object().expect("questions");
        let client = &mut self.clients[mark];
        assert_eq!((ticket.slot, ticket.replica), (SLOT, self.bench.seal.replica()));
        client.state = Some(state);
        client.round = ticket.round;
        if ticket.kind == TicketKind::Resend {
            client.shown = requests.keys().map(|key| (key.clone(), 0)).collect();
            return Got::Elsewhere(requests.len());
        }
        assert_eq!(ticket.lease, client.lease);
        let before = std::mem::take(&mut client.shown);
        let mut requests: Vec<_> = requests.iter().collect();
        requests.sort_by_key(|(key, _)| key.rsplit('-').next().and_then(|count| count.parse::<u32>().ok()));
        for (key, question) in requests {
            let marked = question["params"]["message"].as_str().or(question["params"]["systemPrompt"].as_str());
            // A question for roots says nothing of itself: equal ones are told apart by the order in which they came.
            let roots = || {
                let unknown = |id: &u64| !before.values().chain(client.shown.values()).any(|known| known == id);
                let open = self.questions.iter().filter(|(_, open)| open.is_open && open.kind == 3);
                before.get(key).copied().or_else(|| open.map(|(id, _)| *id).find(|id| unknown(id)))
            };
            let id = marked.map_or_else(roots, |marked| marked.parse().ok()).expect("a question of the child");
            assert!(self.questions[&id].is_open, "{id} is still open");
            assert_eq!(key.split('-').next(), Some(KINDS[self.questions[&id].kind]));
            assert!(before.get(key).is_none_or(|known| *known == id), "a key stands for one question");
            assert!(before.iter().all(|(other, known)| *known != id || other == key), "a question keeps its key");
            client.shown.insert(key.clone(), id);
        }
        let mut asked: Vec<u64> = client.shown.values().copied().collect();
        asked.sort_unstable();
        Got::Asked(asked)
    }

    pub(super) fn has_final(&self, mark: usize) -> bool {
        self.clients[mark].finals == 1
    }
}

impl Seen {
    pub(super) fn sorted(mut self) -> Seen {
        self.sent.sort_unstable();
        self.cancelled.sort_unstable();
        self.replies.sort_unstable();
        self.answers.sort_unstable();
        self.buried.sort_unstable();
        self
    }
}
