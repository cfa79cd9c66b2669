//! The simulated child, and the ones that follow it: what they read, what they do, and what they wrote about each call.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

/// A request that it works on.
struct Work {
    /// The private number.
    id: Value,
    number: u64,
    /// Progress still to come before the answer.
    to_come: usize,
}

#[derive(Default)]
pub(super) struct Child {
    /// What the pipe holds.
    input: Vec<u8>,
    /// How many lines were written whole to this child and those before it.
    pub(super) lines: usize,
    work: Vec<Work>,
    /// What was written about each call, to whichever child.
    wrote: HashMap<u64, Vec<String>>,
    begun: HashSet<u64>,
    /// Questions that wait for an answer; and how many were asked by all children.
    open: HashSet<u64>,
    asked: u64,
    is_initialised: bool,
    has_ended: bool,
}

impl Child {
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        assert!(!self.has_ended, "nothing is written for a process that has gone");
        self.lines += bytes.iter().filter(|byte| **byte == b'\n').count();
        self.input.extend_from_slice(bytes);
    }

    /// Does one thing; gives the line that it writes, if any.
    pub(super) fn work(&mut self, choice: usize) -> Option<Vec<u8>> {
        if self.has_ended {
            return None;
        }
        match choice {
            0..=3 => self.read(),
            8 if !self.work.is_empty() && self.asked.is_multiple_of(2) == self.open.is_empty() => Some(self.ask()),
            _ if self.work.is_empty() => self.read(),
            _ => Some(self.go_on(choice)),
        }
    }

    fn read(&mut self) -> Option<Vec<u8>> {
        let end = self.input.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.input.drain(..=end).collect();
        let message: Value = serde_json::from_slice(&line).expect("a line is a message");
        let id = message["id"].clone();
        match message["method"].as_str() {
            Some("initialize") => {
                assert!(!self.is_initialised, "a child is initialised once");
                self.is_initialised = true;
                let number = message["params"]["name"].as_u64().expect("a number");
                let result = json!({ "n": number, "capabilities": { "tools": { "listChanged": true } } });
                self.wrote.insert(number, vec![result.to_string()]);
                return Some(json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string().into_bytes());
            }
            Some("tools/call") => {
                assert!(self.is_initialised, "a child is initialised first");
                let number = message["params"]["name"].as_u64().expect("a number");
                assert!(self.begun.insert(number), "call {number} is told twice");
                assert_eq!(message["params"]["_meta"]["progressToken"], id, "the token is private too");
                self.work.push(Work { id, number, to_come: (number % 5) as usize });
            }
            Some(_) => assert!(self.is_initialised, "a child is initialised first"),
            None => {
                let id = id.as_u64().expect("the id of a question");
                assert!(self.open.remove(&id), "an answer to a question that this child did not ask");
            }
        }
        None
    }

    fn ask(&mut self) -> Vec<u8> {
        self.asked += 1;
        self.open.insert(self.asked);
        json!({ "jsonrpc": "2.0", "id": self.asked, "method": "elicitation/create", "params": {} }).to_string().into_bytes()
    }

    /// Writes the next line about one of its calls.
    fn go_on(&mut self, choice: usize) -> Vec<u8> {
        let at = choice % self.work.len();
        let work = &mut self.work[at];
        let wrote = self.wrote.entry(work.number).or_default();
        if work.to_come == 0 {
            let work = self.work.swap_remove(at);
            let result = json!({ "n": work.number });
            wrote.push(result.to_string());
            return json!({ "jsonrpc": "2.0", "id": work.id, "result": result }).to_string().into_bytes();
        }
        work.to_come -= 1;
        let text = format!("{}:{}", work.number, wrote.len());
        wrote.push(text.clone());
        let params = json!({ "progressToken": work.id, "progress": wrote.len(), "message": text });
        json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params }).to_string().into_bytes()
    }

    /// It is no more; what the pipe held and what it worked on goes with it.
    pub(super) fn end(&mut self) {
        self.has_ended = true;
        self.input.clear();
        self.work.clear();
        self.open.clear();
    }

    /// Another takes its place.
    pub(super) fn follow(&mut self) {
        self.has_ended = false;
        self.is_initialised = false;
    }

    pub(super) fn is_done(&self) -> bool {
        self.work.is_empty() && self.input.is_empty()
    }

    pub(super) fn wrote(&self, number: u64) -> &[String] {
        self.wrote.get(&number).map_or(&[], Vec::as_slice)
    }
}
