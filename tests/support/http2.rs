//! A client of HTTP/2 over prior knowledge.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::gateway::Gateway;

pub(crate) type Client = SendRequest<Full<Bytes>>;

pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), work).await.expect("within half a minute") })
}

pub(crate) async fn connect(gateway: &Gateway) -> Client {
    let socket = TcpStream::connect(gateway.address()).await.expect("the gateway listens");
    let (client, connection) = handshake(TokioExecutor::new(), TokioIo::new(socket)).await.expect("HTTP/2");
    tokio::spawn(connection);
    client
}
