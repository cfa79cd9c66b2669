//! One connection: which HTTP it speaks, and the timers that hyper does not have.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::sync::Notify;
use tokio::time::{Instant, interval, sleep, timeout};

use super::Site;
use super::listener::Socket;
use crate::metrics::Metrics;
use crate::shutdown::{Phase, Shutdown};

/// How long a client may take to say which HTTP it speaks, and to send a request's head; also how long an HTTP/1.1
/// connection may be idle.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// The same for the first request on an HTTP/2 connection: with [`LEAVE`], within the ten seconds.
const H2_FIRST: Duration = Duration::from_secs(8);
/// How long an idle HTTP/2 client may take to leave once it is told to.
const LEAVE: Duration = Duration::from_secs(1);
/// How long an HTTP/2 connection may be idle after its first request.
const H2_IDLE: Duration = Duration::from_secs(60);
const H2_LOOK: Duration = Duration::from_millis(500);
/// What hyper may hold for one connection or stream; everything else waits in the log.
const BUFFER: usize = 64 << 10;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) max_streams: u32,
    pub(crate) max_headers: u32,
}

/// Serves a connection to its end.
pub(crate) async fn serve(socket: Socket, site: Site, bounds: Bounds, shutdown: Arc<Shutdown>, metrics: &Metrics) {
    let accepted = Instant::now();
    let is_h2 = tokio::select! {
        first = timeout(HEAD_PATIENCE, speaks_h2(&socket)) => match first {
            Ok(Some(is_h2)) => is_h2,
            Ok(None) => return,
            Err(_) => return metrics.timeout_counted("head"),
        },
        // Who has said nothing yet has nothing to finish.
        () = shutdown.reached(Phase::Closing) => return,
    };
    let cut = Arc::new(Notify::new());
    let busy = Arc::new(());
    let service = {
        let (cut, busy) = (Arc::clone(&cut), Arc::clone(&busy));
        service_fn(move |request| {
            let (site, busy) = (site.clone(), Arc::clone(&busy));
            // On HTTP/2 one client's other streams live on the same connection.
            let cut = (!is_h2).then(|| Arc::clone(&cut));
            // Boxed: hyper keeps room for this future as long as the connection, which mostly waits.
            Box::pin(async move { site.respond(request, cut).await.map(|response| response.map(|body| body.holding(busy))) })
        })
    };
    let io = TokioIo::new(socket);
    if is_h2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(bounds.max_streams)
            .max_header_list_size(bounds.max_headers)
            .max_send_buf_size(BUFFER)
            .keep_alive_interval(Duration::from_secs(15))
            .keep_alive_timeout(Duration::from_secs(20));
        // Boxed: most connections are not of this kind, and would keep its room.
        let mut connection = Box::pin(builder.serve_connection(io, service));
        Box::pin(drive(connection.as_mut(), cut, shutdown, metrics, idle(busy))).await;
    } else {
        let mut builder = http1::Builder::new();
        // What the first bytes took is not given again.
        let patience = HEAD_PATIENCE.saturating_sub(accepted.elapsed()).max(LEAVE);
        builder.timer(TokioTimer::new()).header_read_timeout(patience).max_buf_size(BUFFER);
        let connection = pin!(builder.serve_connection(io, service));
        drive(connection, cut, shutdown, metrics, std::future::pending()).await;
    }
}

/// Runs a connection until it ends, is cut, is idle for too long, or the gateway stops.
async fn drive<C>(
    mut connection: Pin<&mut C>,
    cut: Arc<Notify>,
    shutdown: Arc<Shutdown>,
    metrics: &Metrics,
    idle: impl Future<Output = ()>,
) where
    C: GracefulConnection<Error = hyper::Error>,
{
    let ending = tokio::select! {
        ended = connection.as_mut() => {
            if ended.is_err_and(|error| error.is_timeout()) {
                metrics.timeout_counted("head");
            }
            return;
        }
        () = cut.notified() => return,
        () = shutdown.reached(Phase::Closing) => true,
        () = idle => {
            metrics.timeout_counted("idle_connection");
            false
        }
    };
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = connection.as_mut() => {}
        () = cut.notified() => {}
        () = shutdown.reached(Phase::Cut) => {}
        // An idle client that does not even take its leave.
        () = sleep(LEAVE), if !ending => {}
    }
}

/// Ends when no request has been in hand for a while: hyper's own pings only ask whether the client is alive.
async fn idle(busy: Arc<()>) {
    // One for this future, one for the service.
    const NOBODY: usize = 2;
    let mut look = interval(H2_LOOK);
    let mut since = Instant::now();
    let mut patience = H2_FIRST;
    loop {
        look.tick().await;
        if Arc::strong_count(&busy) > NOBODY {
            since = Instant::now();
            patience = H2_IDLE;
        } else if since.elapsed() >= patience {
            return;
        }
    }
}

/// Looks at the first bytes without taking them; `None` if the client went away.
async fn speaks_h2(socket: &Socket) -> Option<bool> {
    let mut first = [0; PREFACE.len()];
    let mut pause = Duration::from_millis(5);
    loop {
        let count = socket.peek(&mut first).await.ok().filter(|count| *count > 0)?;
        if first[..count] != PREFACE[..count] {
            return Some(false);
        }
        if count == PREFACE.len() {
            return Some(true);
        }
        // The bytes that are there stay readable: waiting for more of them needs a timer, which slows down so that many
        // half prefaces cost little.
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}
