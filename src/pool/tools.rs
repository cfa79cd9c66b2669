//! Which `Mcp-Param-*` fields a server's tools want, as its own `tools/list` says: a stdio child has no header fields, so the
//! gateway must check them (2026-07-28, Streamable HTTP, Server Behavior for Custom Headers). And of which tools older clients
//! were told that their results are in an object.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderMap;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use super::member::{Bridge, Key, Own, ask_own};
use super::{NoChild, Pool};
use crate::bridge::Asked;
use crate::bridge::capabilities::Capabilities;
use crate::bridge::discover;
use crate::bridge::legacy_on_modern::results::Wrapped;
use crate::link::Link;
use crate::principal::Principal;
use crate::protocol::jsonrpc;
use crate::protocol::object;
use crate::protocol::tool_headers::ToolHeaders;

/// A call that does not fit the list makes us list again, at most this often; and this often where listing fails.
const AGAIN: Duration = Duration::from_secs(1);
const FAILED: Duration = Duration::from_secs(60);
const MAX_PAGES: usize = 100;
const PAGE: Duration = Duration::from_secs(10);
/// For how many kinds of clients lists are kept.
const MAX_KEYS: usize = 64;

#[derive(Default)]
struct Listed {
    headers: Option<ToolHeaders>,
    wrapped: Wrapped,
    at: Option<Instant>,
}

/// What one kind of clients is listed.
#[derive(Default)]
struct Slot {
    listed: ArcSwap<Listed>,
    /// One lists at a time.
    listing: AsyncMutex<()>,
}

#[derive(Default)]
pub(super) struct Tools {
    /// By what the client declared: what a server lists may depend on it. Exchanged as a whole; every call looks at it.
    slots: ArcSwap<HashMap<Key, Arc<Slot>>>,
}

impl Listed {
    /// Whether it may be listed again.
    fn is_stale(&self) -> bool {
        let pause = if self.headers.is_some() { AGAIN } else { FAILED };
        self.at.is_none_or(|at| at.elapsed() >= pause)
    }
}

impl Tools {
    /// A child tells that its tools changed, or something else.
    pub(super) fn changed(&self, principal: &Principal, line: &[u8]) {
        let is_tools = jsonrpc::read(line).is_ok_and(|read| read.is_method(line, "notifications/tools/list_changed"));
        if is_tools {
            self.slots.rcu(|slots| {
                let mut slots = HashMap::clone(slots);
                slots.retain(|key, _| key.principal != *principal);
                slots
            });
        }
    }

    fn slot(&self, key: &Key) -> Arc<Slot> {
        if let Some(known) = self.slots.load().get(key) {
            return Arc::clone(known);
        }
        let new = Arc::new(Slot::default());
        let before = self.slots.rcu(|slots| {
            let mut slots = HashMap::clone(slots);
            if slots.len() >= MAX_KEYS && !slots.contains_key(key) {
                slots.clear();
            }
            slots.entry(key.clone()).or_insert_with(|| Arc::clone(&new));
            slots
        });
        // Somebody may have been faster.
        before.get(key).map_or(new, Arc::clone)
    }
}

impl Pool {
    /// Checks the fields of a `tools/call` before any child sees it. Where tools cannot be listed, the call passes.
    pub(crate) async fn check_tool_headers(
        &self,
        principal: &Principal,
        capabilities: &[u8],
        is_modern: bool,
        asked: &Asked<'_>,
        fields: &HeaderMap,
    ) -> Result<Result<(), String>, NoChild> {
        let Some(tool) = asked.request.name.and_then(object::string) else { return Ok(Ok(())) };
        let key = Key { principal: principal.clone(), capabilities: Capabilities::of(capabilities) };
        let check = |headers: &ToolHeaders| headers.check(&tool, asked.request.arguments, fields);
        // A modern server tells of a changed list only who listens: what is known may be out of date.
        let is_good =
            |listed: &Listed| listed.headers.as_ref().is_some_and(|headers| headers.knows(&tool) && check(headers).is_ok());
        let listed = self.listed(&key, is_modern, is_good).await?;
        Ok(listed.headers.as_ref().map_or(Ok(()), check))
    }

    /// Whether older clients expect a modern tool's results inside an object, by the JSON text of its name.
    pub(crate) async fn is_wrapped(&self, principal: &Principal, capabilities: &[u8], name: &[u8]) -> bool {
        let key = Key { principal: principal.clone(), capabilities: Capabilities::of(capabilities) };
        let listed = self.listed(&key, true, |listed| listed.wrapped.is_wrapped(name).is_some()).await;
        listed.is_ok_and(|listed| listed.wrapped.is_wrapped(name) == Some(true))
    }

    /// What was listed, if it is good; else it is listed again first, if that was not just done.
    async fn listed(&self, key: &Key, is_modern: bool, is_good: impl Fn(&Listed) -> bool) -> Result<Arc<Listed>, NoChild> {
        let slot = self.tools.slot(key);
        let known = slot.listed.load_full();
        if is_good(&known) {
            return Ok(known);
        }
        let _one = slot.listing.lock().await;
        let known = slot.listed.load_full();
        if is_good(&known) || !known.is_stale() {
            return Ok(known);
        }
        let listed = Arc::new(self.list_tools(key, is_modern).await?);
        slot.listed.store(Arc::clone(&listed));
        Ok(listed)
    }

    async fn list_tools(&self, key: &Key, is_modern: bool) -> Result<Listed, NoChild> {
        let tools = if is_modern {
            let home = Key { principal: key.principal.clone(), capabilities: Capabilities::none() };
            let params = |cursor: &str| discover::own_params(key.capabilities.as_bytes(), cursor);
            list(&self.modern_home(&home).await?.link, params).await
        } else {
            list(&self.legacy_home(key).await?.link, |cursor| format!("{{{cursor}}}")).await
        };
        if tools.is_none() {
            self.metrics.drop_counted("tools_not_listed");
        }
        let (headers, wrapped) = tools.unzip();
        Ok(Listed { headers, wrapped: wrapped.unwrap_or_default(), at: Some(Instant::now()) })
    }
}

/// All pages of `tools/list`. `params` are those of a request with these members.
async fn list<R: Bridge>(link: &Arc<Link<R>>, params: impl Fn(&str) -> String) -> Option<(ToolHeaders, Wrapped)> {
    let mut headers = ToolHeaders::new();
    let mut wrapped = Wrapped::default();
    let mut members = String::new();
    for _ in 0..MAX_PAGES {
        let Own::Result(result) = ask_own(link, "tools/list", &params(&members), PAGE).await else { return None };
        wrapped.learn(&result);
        match headers.add_page(&result).ok()? {
            Some(cursor) => members = format!(r#""cursor":{}"#, String::from_utf8_lossy(&cursor)),
            None => return Some((headers, wrapped)),
        }
    }
    Some((headers, wrapped))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_kept_for_64_kinds_of_clients() {
        let tools = Tools::default();
        for at in 0..1000 {
            let capabilities = Capabilities::of(format!(r#"{{"experimental":{{"{at}":{{}}}}}}"#).as_bytes());
            drop(tools.slot(&Key { principal: Principal::Anonymous, capabilities }));
            assert!(tools.slots.load().len() <= 64, "{at}");
        }
    }
}
