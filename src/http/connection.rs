//! One connection: which HTTP it speaks, and the deadlines that hyper does not have.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::OwnedSemaphorePermit;

use super::Site;
use super::body::Body;
use super::handshake::{self, Shaken, Shaking};
use super::socket::{Socket, Stream};
use super::wire::{Alarm, Busy, Order, Speaks, Ticker, Wire};
use crate::metrics::{ActiveGuard, Metrics};
use crate::prefetch::prefetch;
use crate::tls::Handshakes;
use crate::workers::Seat;

/// How long a client may take for the handshake of TLS, to say which HTTP it speaks, and to send a request's head; also how
/// long an HTTP/1.1 connection may be idle.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// The same for the first request on an HTTP/2 connection: with [`LEAVE`], within the ten seconds.
const H2_FIRST: Duration = Duration::from_secs(8);
/// How long an idle HTTP/2 client may take to leave once it is told to.
const LEAVE: Duration = Duration::from_secs(1);
/// How long an HTTP/2 connection may be idle after its first request.
const H2_IDLE: Duration = Duration::from_secs(60);
/// What hyper may hold for one connection or stream; everything else waits in the log.
const BUFFER: usize = 64 << 10;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) max_streams: u32,
    pub(crate) max_headers: u32,
}

/// What all connections of a listener share.
pub(crate) struct Shared {
    pub(crate) site: Site,
    pub(crate) bounds: Bounds,
    pub(crate) ticker: Arc<Ticker>,
    pub(crate) metrics: Arc<Metrics>,
    /// Where TCP connections begin with TLS. A unix socket never does: it does not leave the machine.
    pub(crate) handshakes: Option<Arc<Handshakes>>,
}

/// What is free again when a connection ends.
pub(crate) type Kept = (OwnedSemaphorePermit, ActiveGuard, Seat);

/// A connection being served; ends when it ends, is cut, is idle for too long, or the gateway stops.
pub(crate) struct Serving {
    stage: Stage,
    wire: Arc<Wire>,
    alarm: Alarm,
    shared: Arc<Shared>,
    /// It was told to leave.
    leaves: bool,
    _place: Kept,
}

#[allow(clippy::large_enum_variant)] // nearly every connection is HTTP/1.1
enum Stage {
    /// TLS comes first.
    Handshake(Shaking),
    /// Its first bytes are not there, or do not say enough.
    Greeting(Option<Socket>),
    /// With what wakes it.
    Http1(http1::Connection<TokioIo<Socket>, Requests>, Waker),
    /// Boxed: most connections are not of this kind, and would keep its room.
    Http2(Box<http2::Connection<TokioIo<Socket>, Requests, TokioExecutor>>),
}

impl Serving {
    pub(crate) fn new(socket: Socket, shared: Arc<Shared>, place: Kept) -> Serving {
        let wire = shared.ticker.wire(Speaks::Unknown);
        let stage = match (&shared.handshakes, socket.stream) {
            (Some(handshakes), Stream::Tcp(stream)) => {
                wire.be(Speaks::Tls);
                Stage::Handshake(Box::pin(handshake::shake(stream, Arc::clone(handshakes), Arc::clone(&shared.metrics))))
            }
            (_, stream) => Stage::Greeting(Some(Socket::new(stream, Some(Arc::clone(&wire))))),
        };
        Serving { stage, wire, alarm: Alarm::default(), shared, leaves: false, _place: place }
    }

    /// What the handshake agreed on is spoken; without an agreement, HTTP/1.1.
    fn shaken(&self, shaken: Shaken) -> Stage {
        self.wire.shaken(shaken.certificate);
        let socket = Socket::new(Stream::Tls(shaken.stream), Some(Arc::clone(&self.wire)));
        if shaken.is_h2 { self.http2(socket) } else { self.http1(socket) }
    }

    fn http1(&self, socket: Socket) -> Stage {
        self.wire.be(Speaks::Http1);
        let mut builder = http1::Builder::new();
        builder.header_read_timeout(None).max_buf_size(BUFFER);
        Stage::Http1(builder.serve_connection(TokioIo::new(socket), self.requests()), Waker::from(Arc::clone(&self.wire)))
    }

    fn http2(&self, socket: Socket) -> Stage {
        self.wire.be(Speaks::Http2);
        let bounds = self.shared.bounds;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(bounds.max_streams)
            .max_header_list_size(bounds.max_headers)
            .max_send_buf_size(BUFFER)
            .keep_alive_interval(Duration::from_secs(15))
            .keep_alive_timeout(Duration::from_secs(20));
        Stage::Http2(Box::new(builder.serve_connection(TokioIo::new(socket), self.requests())))
    }

    /// An idle client hears, under TLS, that it is cut off on purpose.
    fn part(&mut self) {
        if let Stage::Http1(connection, _) = std::mem::replace(&mut self.stage, Stage::Greeting(None))
            && !self.wire.is_busy()
        {
            connection.into_parts().io.into_inner().part();
        }
    }

    fn requests(&self) -> Requests {
        Requests { shared: Arc::clone(&self.shared), wire: Arc::clone(&self.wire) }
    }
}

impl Future for Serving {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let serving = &mut *self;
        prefetch(serving);
        prefetch(&*serving.wire);
        serving.wire.watch(cx);
        serving.alarm.look(&serving.wire);
        let order = serving.wire.order();
        if order == Order::Cut {
            serving.part();
            return Poll::Ready(());
        }
        let leaves_now = order == Order::Leave && !std::mem::replace(&mut serving.leaves, order == Order::Leave);
        // Who has said nothing yet has nothing to finish.
        if serving.leaves && matches!(serving.stage, Stage::Handshake(_) | Stage::Greeting(_)) {
            return Poll::Ready(());
        }
        if let Stage::Handshake(shaking) = &mut serving.stage {
            let Some(shaken) = ready!(shaking.as_mut().poll(cx)) else { return Poll::Ready(()) };
            serving.stage = serving.shaken(shaken);
        }
        if let Stage::Greeting(socket) = &mut serving.stage {
            let Some(is_h2) = ready!(socket.as_ref().map_or(Poll::Ready(None), |socket| speaks_h2(socket, &serving.wire, cx)))
            else {
                return Poll::Ready(());
            };
            if let Some(socket) = socket.take() {
                serving.stage = if is_h2 { serving.http2(socket) } else { serving.http1(socket) };
            }
        }
        match &mut serving.stage {
            Stage::Handshake(_) | Stage::Greeting(_) => Poll::Ready(()),
            Stage::Http1(connection, waker) => {
                let mut connection = Pin::new(connection);
                if leaves_now {
                    connection.as_mut().graceful_shutdown();
                }
                let ended = connection.poll(&mut Context::from_waker(waker)).map(drop);
                if ended.is_pending() {
                    serving.alarm.set(&serving.wire, cx);
                }
                ended
            }
            Stage::Http2(connection) => {
                let mut connection = Pin::new(&mut **connection);
                if leaves_now {
                    connection.as_mut().graceful_shutdown();
                }
                connection.poll(cx).map(drop)
            }
        }
    }
}

/// What answers the requests of one connection.
struct Requests {
    shared: Arc<Shared>,
    wire: Arc<Wire>,
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    /// Boxed: hyper keeps room for it as long as the connection, which mostly waits.
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Self::Error>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let (shared, busy) = (Arc::clone(&self.shared), Busy::new(&self.wire));
        Box::pin(async move {
            let response = shared.site.respond(&mut request, busy.wire()).await;
            Ok(response.map(|body| body.holding(busy)))
        })
    }
}

/// Tells a connection to end that has been idle for too long.
pub(crate) fn look(metrics: &Metrics, wire: &Wire, since: Duration) {
    if wire.is_busy() {
        return;
    }
    match wire.speaks() {
        Speaks::Tls => {
            if since >= HEAD_PATIENCE && wire.tell(Order::Cut) {
                metrics.timeout_counted("handshake");
            }
        }
        Speaks::Unknown | Speaks::Http1 => {
            if since >= HEAD_PATIENCE && wire.tell(Order::Cut) {
                metrics.timeout_counted("head");
            }
        }
        Speaks::Http2 => {
            let patience = if wire.has_asked() { H2_IDLE } else { H2_FIRST };
            if since >= patience && wire.tell(Order::Leave) {
                metrics.timeout_counted("idle_connection");
            }
            // An idle client that does not even take its leave.
            if since >= patience + LEAVE {
                wire.tell(Order::Cut);
            }
        }
        Speaks::Stream => {}
    }
}

/// Looks at the first bytes without taking them; `None` if the client went away.
fn speaks_h2(socket: &Socket, wire: &Wire, cx: &mut Context<'_>) -> Poll<Option<bool>> {
    let mut first = [0; PREFACE.len()];
    let Some(count) = ready!(socket.poll_peek(cx, &mut first)).ok().filter(|count| *count > 0) else {
        return Poll::Ready(None);
    };
    if first[..count] != PREFACE[..count] {
        return Poll::Ready(Some(false));
    }
    if count == PREFACE.len() {
        return Poll::Ready(Some(true));
    }
    // The bytes that are there stay readable: only the clock can wake whoever waits for more of them.
    wire.wake_at(wire.now());
    Poll::Pending
}
