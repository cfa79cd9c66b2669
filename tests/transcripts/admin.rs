//! What a transcript says of the admin listener, where `flags:` has one.

use std::time::{Duration, Instant};

use super::exchange::Exchange;
use super::play::Play;
use crate::support::relay::{settle, until};

/// How long a metric may take to say what it is to say.
const PATIENCE: Duration = Duration::from_secs(2);

impl Play {
    /// The gateway is ready, or says why not.
    pub(super) async fn ready(&mut self, why_not: Option<&str>) -> Result<(), String> {
        let (status, text) = self.admin("/readyz").await?;
        match why_not {
            None if status == 200 => Ok(()),
            Some(why_not) if status == 503 => self.captures.expect(why_not, text.trim_end().as_bytes()),
            _ => Err(format!("  got:      {status} {text}")),
        }
    }

    /// That line stands among the metrics; one that says 0 may be missing.
    pub(super) async fn metric(&mut self, line: &str) -> Result<(), String> {
        let (name, value) = line.rsplit_once(' ').ok_or("write metric NAME VALUE")?;
        settle().await;
        let began = Instant::now();
        loop {
            let (_, text) = self.admin("/metrics").await?;
            let found = text.lines().find_map(|line| line.strip_prefix("mcp_gateway_")?.strip_prefix(name)?.strip_prefix(' '));
            if found.unwrap_or("0") == value {
                return Ok(());
            }
            // Other processes and threads take their time.
            if began.elapsed() > PATIENCE {
                return Err(format!("  expected: {line}\n  got:      {found:?}"));
            }
            settle().await;
        }
    }

    async fn admin(&mut self, path: &str) -> Result<(u16, String), String> {
        let address = self.relay.admin.clone().ok_or("there is no admin listener: flags: --admin-listen 127.0.0.1:0")?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        let mut exchange = Exchange::send(&address, request.as_bytes()).await?;
        let complete = until(|| {
            exchange.pull();
            (exchange.is_complete() || exchange.is_cut()).then_some(())
        });
        complete.await.ok_or("the admin listener does not answer")?;
        let status = exchange.head.as_ref().ok_or("no answer")?.status;
        Ok((status, String::from_utf8_lossy(&exchange.body).into_owned()))
    }
}
