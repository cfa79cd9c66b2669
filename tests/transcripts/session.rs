//! How a session begins, in one step of a transcript: on a child of its own, in front of children that it shares, or over HTTP
//! with SSE.

use super::modern::envelope;
use super::play::Play;
use crate::support::relay::until;

const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// `2025-11-25 {"tools":{}} over sse as $T`, the last three in any number.
struct Opening<'a> {
    revision: &'a str,
    /// What the child can do; where it is shared, the first one.
    capabilities: &'a str,
    is_old: bool,
    name: Option<&'a str>,
}

impl<'a> Opening<'a> {
    fn read(text: &'a str) -> Self {
        let (text, name) = text.split_once(" as $").map_or((text, None), |(text, name)| (text, Some(name)));
        let (text, is_old) = text.strip_suffix(" over sse").map_or((text, false), |text| (text, true));
        let (revision, capabilities) = text.split_once(' ').unwrap_or((text, ""));
        Opening { revision, capabilities, is_old, name }
    }

    /// Its stream, where that is the only one.
    fn stream(&self) -> &'a str {
        self.name.unwrap_or("sse")
    }

    /// Where its messages go then.
    fn uri(&self) -> &'a str {
        self.name.unwrap_or("M")
    }
}

impl Play {
    /// A session with a child of its own.
    pub(super) async fn open(&mut self, rest: &str) -> Result<(), String> {
        let opening = Opening::read(rest);
        let (child, revision) = (self.children(), opening.revision);
        let params = self.hello(&opening).await?;
        self.line(child, ">", &format!(r#"{{"jsonrpc":"2.0","id":1,"method":"initialize",{params}}}"#)).await?;
        let capabilities = if opening.capabilities.is_empty() { "{}" } else { opening.capabilities };
        let result = format!(
            r#"{{"protocolVersion":"{revision}","capabilities":{capabilities},"serverInfo":{{"name":"child","version":"0"}}}}"#
        );
        self.line(child, "<", &format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#)).await?;
        self.opened(&opening).await?;
        self.greeting = (params, result);
        self.line(child, ">", INITIALIZED).await
    }

    /// The child that follows another is told what the last `open` said, and answers as it was answered there.
    pub(super) async fn again(&mut self, at: usize) -> Result<(), String> {
        let (params, result) = self.greeting.clone();
        let line = String::from_utf8_lossy(&self.next_line(at).await?).into_owned();
        let expected = format!(r#","method":"initialize",{params}}}"#);
        let number = line.strip_prefix(r#"{"jsonrpc":"2.0","id":"#).and_then(|rest| rest.strip_suffix(&expected));
        let number =
            number.ok_or_else(|| format!("  expected: {{\"jsonrpc\":\"2.0\",\"id\":$_{expected}\n  got:      {line}"))?;
        self.line(at, "<", &format!(r#"{{"jsonrpc":"2.0","id":{number},"result":{result}}}"#)).await?;
        self.line(at, ">", INITIALIZED).await
    }

    /// A session that the gateway opens by itself.
    pub(super) async fn meet(&mut self, rest: &str) -> Result<(), String> {
        let opening = Opening::read(rest);
        self.hello(&opening).await?;
        if self.children() == 0 {
            self.up(0, opening.capabilities).await?;
        }
        self.opened(&opening).await
    }

    /// The client's `initialize`; its params.
    async fn hello(&mut self, opening: &Opening<'_>) -> Result<String, String> {
        self.revision = (opening.revision >= "2025-06-18").then(|| opening.revision.to_owned());
        let mut below = vec!["-mcp-session-id".to_owned(), "-mcp-protocol-version".to_owned()];
        if opening.is_old {
            let stream = opening.stream();
            self.send(&format!("{stream} GET"), &["target: /mcp/sse".to_owned(), below[0].clone(), below[1].clone()]).await?;
            self.expect(&format!("{stream} 200 stream"), &[]).await?;
            self.block(stream, &format!("event: endpoint\ndata: ${}", opening.uri())).await?;
            below.push(format!("target: ${}", opening.uri()));
        }
        let declared = self.declared.clone();
        self.captures.set("ENVELOPE", envelope(&declared).as_bytes());
        let params = format!(
            r#""params":{{"protocolVersion":"{}","capabilities":{declared},"clientInfo":{{"name":"client","version":"0"}}}}"#,
            opening.revision
        );
        let initialize = format!(r#"$open POST {{"jsonrpc":"2.0","id":0,"method":"initialize",{params}}}"#);
        self.send(&initialize, &below).await?;
        Ok(params)
    }

    /// `initialize` is answered, and the client says that it heard it.
    async fn opened(&mut self, opening: &Opening<'_>) -> Result<(), String> {
        let exchange = self.exchange("$open")?;
        let complete = until(|| {
            exchange.pull();
            exchange.is_complete().then_some(())
        });
        complete.await.ok_or("initialize is not answered")?;
        let below = if opening.is_old {
            self.expect("$open 202 empty", &[]).await?;
            self.block(
                opening.stream(),
                r#"event: message
data: {"jsonrpc":"2.0","id":0,"result":$_"#,
            )
            .await?;
            ["target: $".to_owned() + opening.uri(), "-mcp-session-id".to_owned()]
        } else {
            let session = exchange.head.as_ref().and_then(|head| head.field("mcp-session-id")).ok_or("no session was opened")?;
            self.captures.set(opening.name.unwrap_or("S"), session.as_bytes());
            ["target: /mcp".to_owned(), format!("mcp-session-id: {session}")]
        };
        self.send(&format!("$open POST {INITIALIZED}"), &below).await?;
        self.expect("$open 202 empty", &[]).await?;
        self.exchanges.remove("$open");
        Ok(())
    }
}
