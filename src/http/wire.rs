//! A connection as those see it who do not serve it: it can be cut, its requests are counted, and one coarse clock for all
//! connections looks after their deadlines, so that no request costs a timer.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

pub(super) use self::waits::{Alarm, within, within_about};
use super::entrance::Pass;
use super::hush;
use crate::link::stream::{Connection, Cut};
use crate::shards::Shards;
use crate::shutdown::{Phase, Shutdown};
use crate::tls::ClientCertificate;

mod waits;

/// How exact deadlines are: this much late at most, on a machine that has time.
const TICK: Duration = Duration::from_millis(250);
/// No deadline.
const NEVER: u64 = u64::MAX;

/// What a connection is told. Only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Order {
    GoOn,
    /// End with what is being done.
    Leave,
    /// End now.
    Cut,
}

impl Order {
    fn at(phase: Phase) -> Order {
        match phase {
            Phase::Serving | Phase::Draining => Order::GoOn,
            Phase::Closing => Order::Leave,
            Phase::Cut => Order::Cut,
        }
    }
}

/// Whose deadlines a wire stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Speaks {
    /// Nothing has been said yet.
    Unknown,
    /// The handshake of TLS.
    Tls,
    Http1,
    Http2,
    /// One stream of an HTTP/2 connection: it is woken, and nothing else.
    Stream,
}

/// One connection, or one stream of an HTTP/2 connection.
pub(crate) struct Wire {
    ticker: Arc<Ticker>,
    speaks: AtomicU8,
    order: AtomicU8,
    /// What its client showed, once TLS has proved that it is its own.
    certificate: OnceLock<Box<ClientCertificate>>,
    /// It has asked for something.
    has_asked: AtomicBool,
    /// Requests that are not answered, and answers that are not sent.
    busy: AtomicU32,
    /// When it last got on, in milliseconds of the ticker.
    moved: AtomicU64,
    /// When it is to be woken.
    wake_at: AtomicU64,
    /// The same, exactly, in microseconds.
    alarm_at: AtomicU64,
    /// The last alarm that rang.
    rang: AtomicU64,
    waker: Mutex<Option<Waker>>,
    /// How often its task has had its turn, modulo what this holds.
    turns: AtomicU32,
    pub(super) pass: Pass,
}

/// The clock of all connections.
pub(crate) struct Ticker {
    began: Instant,
    /// As of the last look: a clock that costs nothing to read.
    now: AtomicU64,
    wires: Shards<Vec<Arc<Wire>>>,
    /// How many there are, or are about to be.
    count: AtomicUsize,
    /// There is something to look at again.
    woken: Notify,
    shutdown: Arc<Shutdown>,
}

impl Ticker {
    pub(crate) fn new(shutdown: Arc<Shutdown>) -> Arc<Ticker> {
        Arc::new(Ticker {
            began: Instant::now(),
            now: AtomicU64::new(0),
            wires: Shards::default(),
            count: AtomicUsize::new(0),
            woken: Notify::new(),
            shutdown,
        })
    }

    /// A wire that is looked after until nobody else holds it.
    pub(super) fn wire(self: &Arc<Self>, speaks: Speaks) -> Arc<Wire> {
        // It may have stood still.
        self.set_clock();
        if self.count.fetch_add(1, Ordering::Relaxed) == 0 {
            self.woken.notify_one();
        }
        let wire = Arc::new(Wire {
            ticker: Arc::clone(self),
            speaks: AtomicU8::new(speaks as u8),
            order: AtomicU8::new(Order::at(self.shutdown.phase()) as u8),
            certificate: OnceLock::new(),
            has_asked: AtomicBool::new(false),
            busy: AtomicU32::new(0),
            moved: AtomicU64::new(self.now()),
            wake_at: AtomicU64::new(NEVER),
            alarm_at: AtomicU64::new(NEVER),
            rang: AtomicU64::new(0),
            waker: Mutex::default(),
            turns: AtomicU32::new(0),
            pass: Pass::default(),
        });
        self.wires.write(&Arc::as_ptr(&wire)).push(Arc::clone(&wire));
        wire
    }

    /// Looks at every wire four times a second, while there are any, and tells them when the gateway stops. `look` says what
    /// a wire is told whose time may be over.
    pub(crate) async fn run(self: Arc<Self>, look: impl Fn(&Wire, Duration)) {
        loop {
            let phase = self.shutdown.phase();
            tokio::select! {
                () = self.tick() => {}
                () = self.shutdown.reached(phase.next()), if phase < Phase::Cut => {}
            }
            self.set_clock();
            let order = Order::at(self.shutdown.phase());
            let now = self.now();
            for mut wires in self.wires.write_all() {
                let before = wires.len();
                wires.retain(|wire| {
                    let is_held = Arc::strong_count(wire) > 1;
                    if is_held {
                        wire.tell(order);
                        look(wire, Duration::from_millis(now.saturating_sub(wire.moved.load(Ordering::Relaxed))));
                        wire.wake_if_due(now);
                    }
                    is_held
                });
                self.count.fetch_sub(before - wires.len(), Ordering::Relaxed);
            }
        }
    }

    async fn tick(&self) {
        if self.count.load(Ordering::Relaxed) == 0 {
            self.woken.notified().await;
        }
        sleep(TICK).await;
    }

    fn set_clock(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(NEVER);
        self.now.store(now, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }
}

impl Wire {
    pub(super) fn speaks(&self) -> Speaks {
        match self.speaks.load(Ordering::Relaxed) {
            1 => Speaks::Tls,
            2 => Speaks::Http1,
            3 => Speaks::Http2,
            4 => Speaks::Stream,
            _ => Speaks::Unknown,
        }
    }

    pub(super) fn be(&self, speaks: Speaks) {
        self.speaks.store(speaks as u8, Ordering::Relaxed);
    }

    /// The handshake of TLS has ended; it may have proved whose connection this is.
    pub(super) fn shaken(&self, certificate: Option<ClientCertificate>) {
        if let Some(certificate) = certificate {
            // There is one handshake a connection.
            let _ = self.certificate.set(Box::new(certificate));
        }
        self.moved();
    }

    /// What the client showed. Which servers believe it is theirs to say.
    pub(crate) fn certificate(&self) -> Option<&ClientCertificate> {
        self.certificate.get().map(|certificate| &**certificate)
    }

    /// Whom a body wakes that waits for the clock: on HTTP/2 each stream is a task of its own.
    pub(super) fn of_stream(self: &Arc<Self>) -> Arc<Wire> {
        if self.speaks() == Speaks::Http2 { self.ticker.wire(Speaks::Stream) } else { Arc::clone(self) }
    }

    /// Which turn of its task this is. Two that follow each other differ.
    pub(super) fn turn(&self) -> u32 {
        self.turns.load(Ordering::Relaxed)
    }

    /// Begins a turn: whoever serves it is woken when it is told something, and when a deadline has passed.
    pub(super) fn watch(&self, cx: &Context<'_>) {
        // Nobody else writes it.
        self.turns.store(self.turn().wrapping_add(1), Ordering::Relaxed);
        let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    /// The same where that is one stream: an HTTP/1.1 connection is watched as a whole, and what it holds is woken by the wire.
    pub(super) fn watch_stream(&self, cx: &Context<'_>) {
        if self.speaks() == Speaks::Stream {
            self.watch(cx);
        }
    }

    pub(super) fn order(&self) -> Order {
        match self.order.load(Ordering::Acquire) {
            0 => Order::GoOn,
            1 => Order::Leave,
            _ => Order::Cut,
        }
    }

    /// Tells it to end; says whether that is news.
    pub(super) fn tell(&self, order: Order) -> bool {
        let is_news = order != Order::GoOn && self.order.fetch_max(order as u8, Ordering::AcqRel) < order as u8;
        if is_news {
            self.rouse();
        }
        is_news
    }

    /// Bytes were written. On HTTP/2 they may be no more than a ping.
    pub(super) fn wrote(&self) {
        if self.speaks() == Speaks::Http1 {
            self.moved();
        }
    }

    /// It got on.
    fn moved(&self) {
        self.moved.store(self.ticker.now(), Ordering::Relaxed);
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed) > 0
    }

    pub(super) fn has_asked(&self) -> bool {
        self.has_asked.load(Ordering::Relaxed)
    }

    /// A time on the ticker's clock, which stands still between two looks.
    pub(super) fn now(&self) -> Duration {
        Duration::from_millis(self.ticker.now())
    }

    /// Has it woken then, or sooner if somebody else asks for that.
    pub(super) fn wake_at(&self, at: Duration) {
        self.wake_at.fetch_min(u64::try_from(at.as_millis()).unwrap_or(NEVER), Ordering::Relaxed);
    }

    /// What ends the connection, where that serves nobody else: on HTTP/2 one client's other streams live on it.
    pub(super) fn cut(self: &Arc<Self>) -> Option<Cut> {
        (self.speaks() == Speaks::Http1).then(|| Arc::clone(self) as Cut)
    }

    fn wake_if_due(&self, now: u64) {
        if self.wake_at.load(Ordering::Relaxed) <= now {
            self.wake_at.store(NEVER, Ordering::Relaxed);
            self.rouse();
        }
    }

    fn rouse(&self) {
        if let Some(waker) = &*self.waker.lock().unwrap_or_else(PoisonError::into_inner) {
            waker.wake_by_ref();
        }
    }
}

/// What an HTTP/1.1 connection waits for wakes it by way of its wire, which knows of wakes that nobody needs.
impl Wake for Wire {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !hush::holds() {
            self.rouse();
        }
    }
}

impl Connection for Wire {
    fn cut(&self) {
        self.tell(Order::Cut);
    }
}

/// A request in hand, until its answer has been sent.
pub(crate) struct Busy(Arc<Wire>);

impl Busy {
    pub(super) fn new(wire: &Arc<Wire>) -> Busy {
        wire.busy.fetch_add(1, Ordering::Relaxed);
        wire.has_asked.store(true, Ordering::Relaxed);
        wire.moved();
        Busy(Arc::clone(wire))
    }

    pub(super) fn wire(&self) -> &Arc<Wire> {
        &self.0
    }

    pub(super) fn is_h2(&self) -> bool {
        self.0.speaks() == Speaks::Http2
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
        self.0.moved();
    }
}
