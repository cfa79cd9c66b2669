//! HTTP/2 over prior knowledge: many calls and streams on one connection.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming};
use serde_json::{Value, json};

use crate::support::gateway::Gateway;
use crate::support::http2::{Client, block_on, connect};
use crate::support::proc::eventually_true;
use crate::support::session::{REVISION, call, text_of};

async fn ask(client: &Client, gateway: &Gateway, session: &str, body: String) -> Response<Incoming> {
    let request = Request::post(format!("http://{}/mcp", gateway.address()))
        .header("accept", "application/json, text/event-stream")
        .header("content-type", "application/json")
        .header("mcp-session-id", session)
        .header("mcp-protocol-version", REVISION)
        .body(Full::from(body))
        .expect("a request");
    client.clone().send_request(request).await.expect("a response")
}

/// The last message of a response, however it came.
async fn message(response: Response<Incoming>) -> Value {
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    let text = String::from_utf8(body.to_vec()).expect("UTF-8");
    let data = text.lines().rev().find_map(|line| line.strip_prefix("data: ")).unwrap_or(&text);
    serde_json::from_str(data).expect("JSON")
}

#[test]
fn five_hundred_calls_with_one_id_share_a_connection_and_get_their_own_answers() {
    let gateway = Gateway::start(&[]);
    let session = gateway.open();
    block_on(async {
        let client = connect(&gateway).await;
        let mut calls = tokio::task::JoinSet::new();
        let held = (0..500).map(|at| (at, call("1", "\"t\"", "hold", &json!({ "text": at.to_string() }))));
        let asked = futures_of(held.map(|(at, body)| (at, ask(&client, &gateway, &session.id, body)))).await;
        for (at, response) in asked {
            calls.spawn(async move { (at, message(response).await) });
        }
        let release = call("1", "\"t\"", "release", &json!({ "count": 500 }));
        assert_eq!(text_of(&message(ask(&client, &gateway, &session.id, release).await).await), "released");
        while let Some(answered) = calls.join_next().await {
            let (at, answer) = answered.expect("no panic");
            assert_eq!(text_of(&answer), at.to_string());
        }
    });
}

/// All of them, polled together: each response's head comes before the next request would be answered.
async fn futures_of<T>(work: impl Iterator<Item = (usize, impl Future<Output = T>)>) -> Vec<(usize, T)> {
    let mut running: Vec<_> = work.map(|(at, work)| (at, Box::pin(work), None)).collect();
    std::future::poll_fn(|cx| {
        for (_, work, done) in running.iter_mut().filter(|(_, _, done)| done.is_none()) {
            if let std::task::Poll::Ready(value) = work.as_mut().poll(cx) {
                *done = Some(value);
            }
        }
        if running.iter().all(|(_, _, done)| done.is_some()) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    running.into_iter().filter_map(|(at, _, done)| Some((at, done?))).collect()
}

#[test]
fn a_stream_that_is_reset_ends_alone() {
    let gateway = Gateway::start(&["--response", "sse"]);
    let session = gateway.open();
    block_on(async {
        let client = connect(&gateway).await;
        let reset = ask(&client, &gateway, &session.id, call("1", "1", "never", &json!({}))).await;
        let kept = ask(&client, &gateway, &session.id, call("2", "2", "hold", &json!({ "text": "kept" }))).await;
        drop(reset);
        let release = call("3", "3", "release", &json!({ "count": 1 }));
        message(ask(&client, &gateway, &session.id, release).await).await;
        assert_eq!(text_of(&message(kept).await), "kept");
    });
    eventually_true(Duration::from_secs(1), "no stream is left", || gateway.metric("sse_streams_active", "") == 0);
}

#[test]
fn a_connection_has_no_more_streams_than_calls_may_be_in_flight() {
    let gateway = Gateway::start(&["--response", "sse", "--max-calls", "2"]);
    let (one, other) = (gateway.open(), gateway.open());
    block_on(async {
        let client = connect(&gateway).await;
        let echo = || call("1", "1", "echo", &json!({ "text": "x" }));
        // With its answer the client knows the gateway's bound.
        message(ask(&client, &gateway, &other.id, echo()).await).await;
        let never = || call("2", "2", "never", &json!({}));
        let held = [ask(&client, &gateway, &one.id, never()).await, ask(&client, &gateway, &one.id, never()).await];
        let third = tokio::time::timeout(Duration::from_millis(500), ask(&client, &gateway, &other.id, echo())).await;
        assert!(third.is_err(), "the other session has room, the connection has none");
        drop(held);
        message(ask(&client, &gateway, &other.id, echo()).await).await;
    });
}
