//! Server-Sent Events as a client reads them.

use std::io::{self, BufRead as _, BufReader, Read};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use serde_json::Value;

/// One event of a stream; one that only sets `retry` or an id counts too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) data: Vec<u8>,
    pub(crate) retry: Option<u64>,
}

impl Event {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.data).expect("JSON")
    }
}

/// The events of a body, read as WHATWG HTML says: CR, LF and CRLF each end a line.
pub(crate) struct Events<R> {
    lines: BufReader<R>,
    /// What ended the stream: `None` as long as it goes on, then whether it ended as its framing says.
    pub(crate) ended: Option<io::Result<()>>,
}

impl<R: Read> Events<R> {
    pub(crate) fn new(body: R) -> Self {
        Events { lines: BufReader::new(body), ended: None }
    }

    /// The next event that carries a message.
    pub(crate) fn message(&mut self) -> Option<Event> {
        self.find(|event| !event.data.is_empty())
    }

    /// What comes, read as it comes. A stream that is alive may say nothing for ever: who waits for a message has to give up at
    /// some time.
    pub(crate) fn heard(self) -> Receiver<Value>
    where
        R: Send + 'static,
    {
        let (send, heard) = channel();
        thread::spawn(move || {
            let mut messages = self.filter(|event| !event.data.is_empty()).map(|event| event.json());
            messages.try_for_each(|message| send.send(message))
        });
        heard
    }

    fn block(&mut self) -> io::Result<Option<Event>> {
        let mut event = Event::default();
        let mut is_blank = true;
        loop {
            let mut text = Vec::new();
            if self.lines.read_until(b'\n', &mut text)? == 0 {
                return Ok(None);
            }
            let text = text.strip_suffix(b"\n").unwrap_or(&text);
            for line in text.strip_suffix(b"\r").unwrap_or(text).split(|byte| *byte == b'\r') {
                if line.is_empty() && !is_blank {
                    return Ok(Some(event));
                }
                let at = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
                let value = line.get(at + 1..).unwrap_or_default();
                let value = value.strip_prefix(b" ").unwrap_or(value);
                let text = || String::from_utf8_lossy(value).into_owned();
                is_blank &= line.is_empty() || at == 0;
                match &line[..at] {
                    b"id" => event.id = text(),
                    b"event" => event.name = text(),
                    b"retry" => event.retry = text().parse().ok(),
                    b"data" if event.data.is_empty() => event.data = value.to_vec(),
                    b"data" => event.data.extend([b"\n", value].concat()),
                    _ => {}
                }
            }
        }
    }
}

impl<R: Read> Iterator for Events<R> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        if self.ended.is_some() {
            return None;
        }
        match self.block() {
            Ok(Some(event)) => return Some(event),
            Ok(None) => self.ended = Some(Ok(())),
            Err(error) => self.ended = Some(Err(error)),
        }
        None
    }
}
