//! A modern client's request: to a child of either era, and its answer as one JSON body or at the end of an event stream. A
//! stream that the client closes is a request that it cancels (2026-07-28, Streamable HTTP, Cancellation).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response as HttpResponse, StatusCode};
use memchr::memmem;
use serde_json::json;
use tracing::{Instrument as _, debug_span};

use super::Http;
use super::body::{Body, Events};
use super::check::Posted;
use super::post::not_opened_refusal;
use super::refusal::{self, Refusal, Refused};
use super::reply;
use super::wire::{Wire, within};
use crate::bridge::capabilities::Declared;
use crate::bridge::subscriptions::{BadFilter, Filter};
use crate::bridge::{Asked, Trace, code_of};
use crate::config::Response;
use crate::link::NotPosted;
use crate::link::cursor::First;
use crate::link::stream::Cut;
use crate::metrics::StreamKind;
use crate::pool::{NotTaken, Resumed, Taken};
use crate::principal::Principal;
use crate::protocol::jsonrpc::{self, INTERNAL_ERROR, METHOD_NOT_FOUND, MISSING_CAPABILITY};
use crate::protocol::meta::{Ask, Level};
use crate::protocol::scan::Span;

/// How long the first event is waited for before an event stream is begun: until then an error can still have a status.
const HOLD: Duration = Duration::from_secs(15);

/// A modern request that passed every check.
pub(crate) struct Modern {
    pub(crate) posted: Posted,
    pub(crate) ask: Ask,
    pub(crate) level: Option<Level>,
    pub(crate) fields: HeaderMap,
}

/// Where a modern request goes.
enum Went {
    /// To a child.
    Taken(Taken),
    /// Nowhere: this is the answer.
    Answer(Vec<u8>),
}

/// Answers a modern request.
pub(crate) async fn ask(
    http: &Http,
    principal: &Principal,
    modern: &Modern,
    wire: &Arc<Wire>,
) -> Result<HttpResponse<Body>, Refused> {
    let text = &modern.posted.text;
    let id = modern.posted.envelope.id.unwrap_or_default();
    let about = |refusal: Refusal| refusal.about(Some(id.of(text)));
    if http.shutdown.is_draining() {
        return Err(about(Refusal::Draining));
    }
    let era = http.server.era().await.map_err(|why| about(not_opened_refusal(why)))?;
    let asked =
        Asked { level: modern.level, trace: trace(&modern.fields), ..Asked::read(text, &modern.posted.envelope, modern.ask) };
    let span = debug_span!("call", method = %modern.posted.envelope.method_name(text));
    let cut = wire.cut();
    let answered = async {
        // A call that waits in a legacy child goes on there, whatever has become known of the server since.
        let went = if era.is_modern && http.server.pool.is_parked(principal, &asked) {
            to_parked(http, principal, &asked, cut).await
        } else if era.is_modern {
            to_modern(http, principal, &asked, &modern.fields, cut).await
        } else {
            to_legacy(http, principal, &asked, &modern.fields, cut).await
        };
        match went? {
            Went::Taken(taken) => Ok(answered(http, &asked, taken, wire).await),
            Went::Answer(answer) => Ok(whole(http, &asked, answer.into(), true)),
        }
    };
    answered.instrument(span).await.map_err(about)
}

async fn to_modern(
    http: &Http,
    principal: &Principal,
    asked: &Asked<'_>,
    fields: &HeaderMap,
    cut: Option<Cut>,
) -> Result<Went, Refusal> {
    let pool = &http.server.pool;
    if let Some(answer) = check_tool(http, principal, asked, true, fields).await? {
        return Ok(answer);
    }
    let taken = pool.ask_modern(principal, asked, cut).await;
    taken.map(Went::Taken).or_else(|why| not_taken(http, asked, why))
}

async fn to_legacy(
    http: &Http,
    principal: &Principal,
    asked: &Asked<'_>,
    fields: &HeaderMap,
    cut: Option<Cut>,
) -> Result<Went, Refusal> {
    let pool = &http.server.pool;
    let capabilities = capabilities(asked);
    let went = match asked.ask {
        Ask::Discover => {
            let facts = pool.legacy_facts().await;
            facts.map(|facts| Went::Answer(jsonrpc::result(asked.id.1, &facts.discover_result()))).map_err(NotTaken::from)
        }
        Ask::Tasks => return Err(Refusal::NoSuchMethod),
        Ask::Listen => {
            let filter = Filter::read(asked.request.params, Declared::of(capabilities)).map_err(|why| match why {
                BadFilter::Shape(text) => Refusal::InvalidParams(text.to_owned()),
                BadFilter::NoTasks => Refusal::TasksNotDeclared,
            })?;
            pool.listen(principal, asked, capabilities, filter, cut).await.map(Went::Taken)
        }
        _ => {
            if let Some(answer) = check_tool(http, principal, asked, false, fields).await? {
                return Ok(answer);
            }
            if asked.retried_state().is_some() {
                return to_parked(http, principal, asked, cut).await;
            }
            pool.ask_legacy(principal, asked, capabilities, cut).await.map(Went::Taken)
        }
    };
    went.or_else(|why| not_taken(http, asked, why))
}

/// A retry: to the call that was parked.
async fn to_parked(http: &Http, principal: &Principal, asked: &Asked<'_>, cut: Option<Cut>) -> Result<Went, Refusal> {
    let state = asked.retried_state().unwrap_or_default();
    match http.server.pool.retry(principal, asked, capabilities(asked), state, cut).await {
        Ok(Resumed::Taken(taken)) => Ok(Went::Taken(taken)),
        Ok(Resumed::Answer(answer)) => Ok(Went::Answer(answer)),
        Ok(Resumed::Declined) => Ok(Went::Answer(jsonrpc::error(Some(asked.id.1), INTERNAL_ERROR, "declined by the user", None))),
        Err(why) => not_taken(http, asked, why),
    }
}

/// `Mcp-Param-*`, before any child sees the call. Where there is no child, that is the answer.
async fn check_tool(
    http: &Http,
    principal: &Principal,
    asked: &Asked<'_>,
    is_modern: bool,
    fields: &HeaderMap,
) -> Result<Option<Went>, Refusal> {
    if asked.ask != Ask::CallTool {
        return Ok(None);
    }
    let checked = http.server.pool.check_tool_headers(principal, capabilities(asked), is_modern, asked, fields);
    match checked.await {
        Ok(Ok(())) => Ok(None),
        Ok(Err(mismatch)) => Err(Refusal::HeaderMismatch(mismatch)),
        Err(why) => not_taken(http, asked, why.into()).map(Some),
    }
}

fn capabilities<'a>(asked: &Asked<'a>) -> &'a [u8] {
    asked.request.capabilities.map_or(&b"{}"[..], |(_, declared)| declared)
}

fn not_taken(http: &Http, asked: &Asked<'_>, why: NotTaken) -> Result<Went, Refusal> {
    match why {
        // It was admitted, and lost: clients read this only from a 200.
        NotTaken::NotPosted(NotPosted::Ended) => Ok(lost(asked, "child_exited", "the server ended before it got the call")),
        NotTaken::ChildLost => Ok(lost(asked, "child_lost", "the server ended while the call waited for its user")),
        why => Err(refusal::not_taken(&http.server.pool, why)),
    }
}

fn lost(asked: &Asked<'_>, reason: &str, text: &str) -> Went {
    Went::Answer(jsonrpc::error(Some(asked.id.1), INTERNAL_ERROR, text, Some(json!({ "reason": reason }))))
}

async fn answered(http: &Http, asked: &Asked<'_>, taken: Taken, wire: &Arc<Wire>) -> HttpResponse<Body> {
    let Taken { reader, is_offered } = taken;
    if asked.ask == Ask::Listen {
        return stream(http, reader, StreamKind::Listen);
    }
    if http.response == Response::Json {
        let none = || jsonrpc::error(Some(asked.id.1), INTERNAL_ERROR, "the server ended before it answered", None).into();
        reader.take_answer_only();
        let answer = reader.answer().await.unwrap_or_else(none);
        return whole(http, asked, answer, is_offered);
    }
    match within(wire, HOLD, reader.first()).await {
        Some(First::Answer(answer)) => whole(http, asked, answer, is_offered),
        _ => stream(http, reader, StreamKind::Modern),
    }
}

fn stream(http: &Http, reader: crate::link::reader::Reader, kind: StreamKind) -> HttpResponse<Body> {
    let events = Events::new(reader, None, None, http.metrics.stream_opened(kind));
    reply::event_stream(Body::events(events))
}

/// An answer that nothing came before.
fn whole(http: &Http, asked: &Asked<'_>, answer: Bytes, is_offered: bool) -> HttpResponse<Body> {
    let status = status(asked, &answer, is_offered);
    if http.response == Response::Sse && status == StatusCode::OK {
        return reply::event_stream(Body::full(reply::one_event(&answer)));
    }
    reply::modern_json(status, answer)
}

/// 2026-07-28, Streamable HTTP, Protocol Version Header, and Basic, General fields: an unknown method is a 404, a capability
/// that was not declared a 400. Where a tool, prompt or resource was asked for and the server has such, the method was found.
fn status(asked: &Asked<'_>, answer: &[u8], is_offered: bool) -> StatusCode {
    if memmem::find(answer, b"\"error\"").is_none() {
        return StatusCode::OK;
    }
    let error = jsonrpc::read(answer).ok().and_then(|envelope| envelope.error);
    let code = error.map_or(0, |error: Span| code_of(error.of(answer)));
    if code == i64::from(METHOD_NOT_FOUND) && !(asked.ask.may_ask() && is_offered) {
        StatusCode::NOT_FOUND
    } else if code == i64::from(MISSING_CAPABILITY) {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::OK
    }
}

/// W3C Trace Context, 3.2: what does not look like a trace is none.
fn trace(fields: &HeaderMap) -> Option<Trace<'_>> {
    let parent = fields.get("traceparent")?.to_str().ok()?;
    let looks_right = parent.len() == 55
        && parent.bytes().enumerate().all(|(at, byte)| match at {
            2 | 35 | 52 => byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        });
    let state = fields.get("tracestate").and_then(|state| state.to_str().ok()).filter(|state| state.len() <= 512);
    looks_right.then_some(Trace { parent, state })
}
