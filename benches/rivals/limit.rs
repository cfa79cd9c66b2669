//! The least that an HTTP server in front of JSON must do: bare hyper that parses the JSON and says the text again, with no
//! child, and answers a GET with a stream on which nothing comes. Runs as a process of its own; prints its address.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// A body that never ends.
struct Silence;

impl Body for Silence {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

/// Serves on this port of the loopback, or on any if it is 0.
pub(crate) fn serve(port: u16) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a port");
        println!("{}", listener.local_addr().expect("bound"));
        loop {
            let (socket, _) = listener.accept().await.expect("a connection");
            socket.set_nodelay(true).expect("a TCP socket");
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service_fn(answer)));
        }
    });
}

async fn answer(request: Request<hyper::body::Incoming>) -> Result<Response<Either<Full<Bytes>, Silence>>, Infallible> {
    if request.method() == Method::GET {
        return Ok(typed("text/event-stream", Either::Right(Silence)));
    }
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let message: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = &message["params"]["arguments"]["text"];
    let answer =
        format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"content":[{{"type":"text","text":{text}}}]}}}}"#, message["id"]);
    Ok(typed("application/json", Either::Left(Full::new(answer.into()))))
}

fn typed<T>(kind: &'static str, body: T) -> Response<T> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
