//! The least that an idle event stream costs: a hyper server that answers each request with a stream on which nothing comes.
//! It prints its address and serves until its stdin ends.

#![allow(clippy::print_stdout)] // its address

use std::convert::Infallible;
use std::io::Read as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::{TokioIo, TokioTimer};
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

async fn serve(listener: TcpListener) {
    while let Ok((socket, _)) = listener.accept().await {
        let answer = |_: Request<Incoming>| async {
            Ok::<_, Infallible>(
                Response::builder().header("content-type", "text/event-stream").body(Silence).expect("a response"),
            )
        };
        tokio::spawn(http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(socket), service_fn(answer)));
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = listener.local_addr().expect("an address");
    println!("{address}");
    runtime.spawn(serve(listener));
    // Whoever started it has gone when this ends.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
