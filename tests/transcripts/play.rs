//! Plays the steps of a transcript.

use std::collections::HashMap;
use std::time::Duration;

use super::Step;
use super::exchange::{Exchange, Head};
use super::modern::{SERVER, asked};
use super::pattern::Captures;
use crate::support::relay::{Relay, advance_clock, in_doubt, settle, until};

/// A transcript that is being played.
pub(super) struct Play {
    pub(super) relay: Relay,
    pub(super) captures: Captures,
    pub(super) exchanges: HashMap<String, Exchange>,
    /// What a client of a session writes into `mcp-protocol-version`.
    pub(super) revision: Option<String>,
    /// What clients declare.
    pub(super) declared: String,
    /// What the last `open` said, and was answered.
    pub(super) greeting: (String, String),
}

impl Play {
    pub(super) fn new(relay: Relay) -> Self {
        let mut captures = Captures::default();
        captures.set("SERVER", SERVER.as_bytes());
        Play {
            relay,
            captures,
            exchanges: HashMap::new(),
            revision: None,
            declared: "{}".to_owned(),
            greeting: Default::default(),
        }
    }

    pub(super) async fn step(&mut self, step: &Step) -> Result<(), String> {
        let (verb, rest) = step.text.split_once(' ').unwrap_or((&step.text, ""));
        match verb {
            "open" => self.open(rest).await,
            "meet" => self.meet(rest).await,
            ">" => self.send(rest, &step.below).await,
            "<" => self.expect(rest, &step.below).await,
            "cut" => {
                self.exchange(rest)?.cut().await?;
                settle().await;
                Ok(())
            }
            "same" => self.same(rest),
            "declare" => {
                rest.clone_into(&mut self.declared);
                Ok(())
            }
            "probe" => self.relay.probe().await,
            "ready" => self.ready(None).await,
            "unready" => self.ready(Some(rest)).await,
            "metric" => self.metric(rest).await,
            "stop" => {
                self.relay.stop();
                settle().await;
                Ok(())
            }
            "stopped" => until(|| self.relay.has_stopped().then_some(())).await.ok_or_else(|| "it has not".to_owned()),
            "clock" => {
                advance_clock(duration(rest).ok_or("write +15s, +100ms, +5m or +1h")?).await;
                Ok(())
            }
            _ => {
                let tail = verb.strip_prefix("child").ok_or("no such step")?;
                let number = tail.trim_end_matches(['<', '>']);
                let at = if number.is_empty() { Some(1) } else { number.parse::<usize>().ok() };
                let at = at.and_then(|number| number.checked_sub(1)).ok_or("no such step")?;
                match &tail[number.len()..] {
                    "" => self.child(at, rest).await,
                    direction => self.line(at, direction, rest).await,
                }
            }
        }
    }

    pub(super) async fn send(&mut self, rest: &str, below: &[String]) -> Result<(), String> {
        let (name, rest) = rest.split_once(' ').ok_or("write > NAME METHOD BODY")?;
        let (method, body) = rest.split_once(' ').unwrap_or((rest, ""));
        let asked = (method == "ASK").then(|| asked(name, body, &self.declared));
        let (method, body) = asked.as_ref().map_or((method, body), |asked| ("POST", asked.body.as_str()));
        let body = self.captures.fill(body)?;
        let mut fields: Vec<(String, Vec<u8>)> = vec![("host".to_owned(), self.relay.address.clone().into_bytes())];
        let mut usual = |name: &str, value: &str| fields.push((name.to_owned(), value.as_bytes().to_owned()));
        match method {
            "POST" => {
                usual("accept", "application/json, text/event-stream");
                usual("content-type", "application/json");
            }
            "GET" => usual("accept", "text/event-stream"),
            _ => {}
        }
        if let Some(asked) = &asked {
            asked.fields.iter().for_each(|(name, value)| usual(name, value));
        } else if let Some(session) = self.captures.get("S") {
            usual("mcp-session-id", &String::from_utf8_lossy(session));
            self.revision.iter().for_each(|revision| usual("mcp-protocol-version", revision));
        }
        if !body.is_empty() || method == "POST" {
            usual("content-length", &body.len().to_string());
        }
        let mut target = "/mcp".to_owned();
        let mut replaced: Vec<&str> = Vec::new();
        for line in below {
            if let Some(name) = line.strip_prefix('-') {
                fields.retain(|(field, _)| field != name);
                continue;
            }
            let (name, value) = line.split_once(':').ok_or("below a request stand header fields")?;
            if name == "target" {
                target = String::from_utf8_lossy(&self.captures.fill(value.trim())?).into_owned();
                continue;
            }
            if !replaced.contains(&name) {
                fields.retain(|(field, _)| field != name);
                replaced.push(name);
            }
            fields.push((name.to_owned(), self.captures.fill(value.trim_start())?));
        }
        let mut request = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
        for (name, value) in &fields {
            request.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        request.extend_from_slice(&[b"\r\n", body.as_slice()].concat());
        let exchange = Exchange::send(&self.relay.address, &request).await?;
        self.exchanges.insert(name.to_owned(), exchange);
        Ok(())
    }

    pub(super) async fn expect(&mut self, rest: &str, below: &[String]) -> Result<(), String> {
        let (name, rest) = rest.split_once(' ').ok_or("write < NAME WHAT")?;
        let (what, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let exchange = self.exchanges.get_mut(name).ok_or("no such request")?;
        match what {
            "nothing" => {
                let seen = in_doubt(|| exchange.surprise()).await;
                seen.map_or(Ok(()), |seen| Err(format!("  got: {seen}")))
            }
            "event" => {
                let (id, data) = if text.starts_with('$') { text.split_once(' ').unwrap_or((text, "")) } else { ("$_", text) };
                self.block(name, &format!("id: {id}\nevent: message\ndata: {data}")).await
            }
            "message" => self.block(name, &format!("event: message\ndata: {text}")).await,
            "prime" => {
                let id = if text.is_empty() { "$_" } else { text };
                self.block(name, &format!("id: {id}\nretry: 1000\ndata: ")).await
            }
            "retry" => self.block(name, "retry: 1000").await,
            "comment" => self.block(name, ": keep-alive").await,
            "block" => self.block(name, &below.join("\n")).await,
            "end" => self.end(name).await,
            status => {
                let status = status.parse::<u16>().map_err(|_| "no such expectation")?;
                self.response(name, status, text, below).await
            }
        }
    }

    pub(super) async fn response(&mut self, name: &str, status: u16, body: &str, below: &[String]) -> Result<(), String> {
        let exchange = self.exchanges.get_mut(name).ok_or("no such request")?;
        let whole = !matches!(body, "" | "stream") || status != 200;
        let arrived = until(|| {
            exchange.pull();
            (exchange.head.is_some() && (!whole || exchange.is_complete()) || exchange.is_cut()).then_some(())
        });
        let arrived = arrived.await;
        let Some(head) = exchange.head.clone().filter(|_| arrived.is_some()) else {
            return Err(format!("  expected: a response\n  got:      {:?}", exchange.head));
        };
        let got = String::from_utf8_lossy(&exchange.body).into_owned();
        if head.status != status {
            return Err(format!("  expected: {status}\n  got:      {} {:?}\n            {got}", head.status, head.fields));
        }
        exchange.is_expected = true;
        let kind = head.field("content-type").unwrap_or_default();
        match body {
            "" => {}
            "stream" if kind == "text/event-stream" => {}
            "stream" => return Err(format!("  expected: an event stream\n  got:      {kind}: {got}")),
            "empty" if got.is_empty() => exchange.hang_up(),
            "empty" => return Err(format!("  expected: no body\n  got:      {got}")),
            json => {
                if kind != "application/json" {
                    return Err(format!("  expected: application/json\n  got:      {kind}: {got}"));
                }
                let got = std::mem::take(&mut exchange.body);
                self.captures.expect(json, &got)?;
                if let Some(exchange) = self.exchanges.get_mut(name) {
                    exchange.body = got; // for `same`
                    exchange.hang_up();
                }
            }
        }
        self.fields(&head, below)
    }

    fn fields(&mut self, head: &Head, below: &[String]) -> Result<(), String> {
        for line in below {
            if let Some(name) = line.strip_prefix('-') {
                if let Some(value) = head.field(name) {
                    return Err(format!("  expected: no {name}\n  got:      {name}: {value}"));
                }
                continue;
            }
            let (name, value) = line.split_once(':').ok_or("below a status stand header fields")?;
            let got = head.field(name).ok_or_else(|| format!("  expected: {line}\n  got:      {:?}", head.fields))?;
            self.captures.expect(value.trim(), got.as_bytes())?;
        }
        Ok(())
    }

    pub(super) async fn block(&mut self, name: &str, text: &str) -> Result<(), String> {
        let exchange = self.exchanges.get_mut(name).ok_or("no such request")?;
        let wants_comment = text.starts_with(':');
        let block = until(|| {
            while let Some(block) = exchange.block() {
                if wants_comment || !block.starts_with(':') {
                    return Some(Some(block));
                }
            }
            (exchange.is_complete() || exchange.is_cut()).then_some(None)
        });
        match block.await {
            Some(Some(block)) => self.captures.expect(text, block.as_bytes()),
            Some(None) => Err(format!("  expected: {text}\n  got:      the end")),
            None => Err(format!("  expected: {text}\n  got:      nothing")),
        }
    }

    async fn end(&mut self, name: &str) -> Result<(), String> {
        let exchange = self.exchanges.get_mut(name).ok_or("no such request")?;
        let seen = until(|| {
            while let Some(block) = exchange.block() {
                if !block.starts_with(':') {
                    return Some(Err(format!("  expected: the end\n  got:      {block}")));
                }
            }
            if exchange.is_complete() {
                return Some(Ok(()));
            }
            exchange.is_cut().then(|| Err("  expected: the end\n  got:      a cut connection".to_owned()))
        });
        seen.await.unwrap_or_else(|| Err("  expected: the end\n  got:      nothing".to_owned()))
    }

    async fn child(&mut self, at: usize, what: &str) -> Result<(), String> {
        if what == "none" {
            let came = in_doubt(|| self.relay.uninvited()).await;
            return came.map_or(Ok(()), |number| Err(format!("  got: child {number}")));
        }
        match what.split_once(' ').unwrap_or((what, "")) {
            ("up", capabilities) => return self.up(at, capabilities).await,
            ("lists", tools) => return self.lists(at, tools).await,
            ("again", "") => return self.again(at).await,
            _ => {}
        }
        let child = self.relay.child(at).await?;
        match what {
            "exits" => child.exit(),
            "killed" => child.kill(),
            "gone" => {
                until(|| child.is_gone().then_some(())).await.ok_or("it is still there")?;
                // The end of its stderr comes later where another process is just being started, which holds it until its exec.
                in_doubt(|| None::<()>).await;
            }
            "nothing" => {
                let seen = in_doubt(|| child.line()).await;
                return seen.map_or(Ok(()), |line| Err(format!("  got: {}", String::from_utf8_lossy(&line))));
            }
            _ => return Err("no such step".to_owned()),
        }
        Ok(())
    }

    /// How many children have been named.
    pub(super) fn children(&mut self) -> usize {
        self.relay.children().len()
    }

    /// The next line at a child.
    pub(super) async fn next_line(&mut self, at: usize) -> Result<Vec<u8>, String> {
        let child = self.relay.child(at).await?;
        until(|| child.line()).await.ok_or_else(|| "  got:      nothing".to_owned())
    }

    pub(super) async fn line(&mut self, at: usize, direction: &str, text: &str) -> Result<(), String> {
        let child = self.relay.child(at).await?;
        if direction == "<" {
            let mut line = self.captures.fill(text)?;
            line.push(b'\n');
            return child.write(&line).await;
        }
        let line = until(|| match child.line() {
            Some(line) => Some(Some(line)),
            None => child.is_at_end.then_some(None),
        });
        match (line.await, text) {
            (Some(None), "end") => Ok(()),
            (Some(Some(line)), _) => self.captures.expect(text, &line),
            (Some(None), _) => Err(format!("  expected: {text}\n  got:      the end of its input")),
            (None, _) => Err(format!("  expected: {text}\n  got:      nothing")),
        }
    }

    fn same(&mut self, rest: &str) -> Result<(), String> {
        let (one, other) = rest.split_once(' ').ok_or("write same ONE OTHER")?;
        let mut bytes = |name: &str| {
            let exchange = self.exchange(name)?;
            let mut head = exchange.head.clone().ok_or("it is not answered")?;
            head.fields.retain(|(name, _)| name != "date");
            Ok::<_, String>((head, exchange.body.clone()))
        };
        let (one, other) = (bytes(one)?, bytes(other)?);
        if one == other { Ok(()) } else { Err(format!("  expected: {one:?}\n  got:      {other:?}")) }
    }

    /// What came and was not expected.
    pub(super) async fn left_over(&mut self) -> Result<(), String> {
        settle().await;
        if let Some(number) = self.relay.uninvited() {
            return Err(format!("  child {number} was started"));
        }
        for (at, child) in self.relay.children().iter_mut().enumerate() {
            if let Some(line) = child.line() {
                return Err(format!("  child {} got: {}", at + 1, String::from_utf8_lossy(&line)));
            }
        }
        for (name, exchange) in self.exchanges.iter_mut().filter(|(_, exchange)| !exchange.has_hung_up()) {
            exchange.pass_comments();
            if let Some(surprise) = exchange.surprise().filter(|_| !exchange.is_complete()) {
                return Err(format!("  {name} got: {surprise}"));
            }
        }
        Ok(())
    }

    pub(super) fn exchange(&mut self, name: &str) -> Result<&mut Exchange, String> {
        self.exchanges.get_mut(name).ok_or_else(|| format!("there is no request {name}"))
    }
}

fn duration(text: &str) -> Option<Duration> {
    let text = text.strip_prefix('+')?;
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.parse::<u64>().ok()? * millis))
}
