//! What can be counted from outside: Prometheus metrics named `mcp_gateway_…`, with bounded labels. Anyone may count;
//! `http::admin` prints.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

pub(crate) use self::active::ActiveGuard;
pub(crate) use self::exposition::Format;
use self::seconds::Seconds;
pub(crate) use self::streams::StreamKind;
use self::streams::Streams;
use crate::protocol::jsonrpc::Kind;

mod active;
mod exposition;
mod seconds;
mod streams;

/// One label whose values are all written in this crate.
type Label = [(&'static str, &'static str); 1];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Request {
    method: &'static str,
    route: &'static str,
    code: u16,
}

/// A call that was answered, and a message that has no answer and was taken.
const CALL: Request = Request { method: "POST", route: "mcp", code: 200 };
const TOLD: Request = Request { method: "POST", route: "mcp", code: 202 };

/// Every metric of one gateway, or of one of its servers.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    /// Of these, what is counted most often, so that the hot path looks nothing up.
    calls: Counter,
    told: Counter,
    pub(crate) request_seconds: Seconds,
    pub(crate) connections_active: Gauge,
    pub(crate) sessions_active: Gauge,
    pub(crate) sessions_opened: Counter,
    sessions_closed: Family<Label, Counter>,
    shared_closed: Family<Label, Counter>,
    pub(crate) children_running: Gauge,
    pub(crate) spares: Gauge,
    pub(crate) leases_running: Gauge,
    pub(crate) leases_parked: Gauge,
    pub(crate) listens_active: Gauge,
    pub(crate) child_resident_bytes: Gauge,
    child_spawns: Family<Label, Counter>,
    child_exits: Family<Label, Counter>,
    pub(crate) child_spawn_seconds: Seconds,
    streams: Streams,
    pub(crate) stored_bytes: Gauge,
    pub(crate) stdin_queue_bytes: Gauge,
    pub(crate) events_evicted: Counter,
    replays: Family<Label, Counter>,
    messages: Family<[(&'static str, &'static str); 2], Counter>,
    /// By [`Kind`], so that the hot path looks nothing up.
    to_child: [Counter; 3],
    to_client: [Counter; 3],
    pub(crate) messages_lost: Counter,
    dropped: Family<Label, Counter>,
    bad_lines: Family<Label, Counter>,
    rejected: Family<Label, Counter>,
    timeouts: Family<Label, Counter>,
    accept_errors: Family<Label, Counter>,
    pub(crate) stderr_lines: Counter,
    pub(crate) stderr_lines_unlogged: Counter,
    pub(crate) orphans_reaped: Counter,
    pub(crate) failed_starts: Gauge,
    respawns: Family<Label, Counter>,
    reloads: Family<Label, Counter>,
    pub(crate) escaped: Counter,
    pub(crate) asleep: Gauge,
    pub(crate) memory_percent: Gauge,
    limits: Family<Label, Gauge>,
    resident_bytes: Gauge,
    open_fds: Gauge,
    cpu_seconds: Counter<f64, AtomicU64>,
}

impl Metrics {
    /// Those of the gateway itself, and of the server that has no name of its own.
    pub(crate) fn new() -> Self {
        let mut metrics = Metrics::unregistered(Registry::with_prefix("mcp_gateway"));
        let version = env!("CARGO_PKG_VERSION");
        metrics.registry.register("build", "The running program", Info::new([("version", version)]));
        metrics.register_gateway();
        metrics.register_server();
        metrics
    }

    /// Those of a named server; each has its name as a label.
    pub(crate) fn of_server(name: &str) -> Self {
        let labels = [("server".into(), name.to_owned().into())];
        let mut metrics = Metrics::unregistered(Registry::with_prefix_and_labels("mcp_gateway", labels.into_iter()));
        metrics.register_server();
        metrics
    }

    fn unregistered(registry: Registry) -> Self {
        let messages: Family<[(&'static str, &'static str); 2], Counter> = Family::default();
        let by_kind = |direction| {
            ["request", "notification", "answer"]
                .map(|kind| messages.get_or_create_owned(&[("direction", direction), ("kind", kind)]))
        };
        let requests: Family<Request, Counter> = Family::default();
        Metrics {
            calls: requests.get_or_create_owned(&CALL),
            told: requests.get_or_create_owned(&TOLD),
            requests,
            request_seconds: Seconds::default(),
            connections_active: Gauge::default(),
            sessions_active: Gauge::default(),
            sessions_opened: Counter::default(),
            sessions_closed: Family::default(),
            shared_closed: Family::default(),
            children_running: Gauge::default(),
            spares: Gauge::default(),
            leases_running: Gauge::default(),
            leases_parked: Gauge::default(),
            listens_active: Gauge::default(),
            child_resident_bytes: Gauge::default(),
            child_spawns: Family::default(),
            child_exits: Family::default(),
            child_spawn_seconds: Seconds::default(),
            streams: Streams::default(),
            stored_bytes: Gauge::default(),
            stdin_queue_bytes: Gauge::default(),
            events_evicted: Counter::default(),
            replays: Family::default(),
            to_child: by_kind("to_child"),
            to_client: by_kind("to_client"),
            messages,
            messages_lost: Counter::default(),
            dropped: Family::default(),
            bad_lines: Family::default(),
            rejected: Family::default(),
            timeouts: Family::default(),
            accept_errors: Family::default(),
            stderr_lines: Counter::default(),
            stderr_lines_unlogged: Counter::default(),
            orphans_reaped: Counter::default(),
            failed_starts: Gauge::default(),
            respawns: Family::default(),
            reloads: Family::default(),
            escaped: Counter::default(),
            asleep: Gauge::default(),
            memory_percent: Gauge::default(),
            limits: Family::default(),
            resident_bytes: Gauge::default(),
            open_fds: Gauge::default(),
            cpu_seconds: Counter::default(),
            registry,
        }
    }

    fn register_gateway(&mut self) {
        let r = &mut self.registry;
        r.register("reloads", "Times the configuration was read again, by result", self.reloads.clone());
        r.register("connections_active", "Open connections", self.connections_active.clone());
        r.register_with_unit(
            "child_rss",
            "Resident memory of all children (not of their own children)",
            Unit::Bytes,
            self.child_resident_bytes.clone(),
        );
        r.register("children_escaped", "Processes that left their child's group and could not be ended", self.escaped.clone());
        r.register("memory_used_percent", "The memory in use, of what cgroup and machine allow", self.memory_percent.clone());
        r.register_with_unit("events_stored", "What all logs hold", Unit::Bytes, self.stored_bytes.clone());
        r.register("accept_errors", "Connections that could not be accepted, by error", self.accept_errors.clone());
        r.register("orphans_reaped", "Processes that were left to us and ended", self.orphans_reaped.clone());
        r.register_with_unit(
            "process_resident_memory",
            "Resident memory of the gateway",
            Unit::Bytes,
            self.resident_bytes.clone(),
        );
        r.register("process_open_fds", "Open descriptors of the gateway", self.open_fds.clone());
        r.register_with_unit("process_cpu", "CPU time of the gateway", Unit::Seconds, self.cpu_seconds.clone());
    }

    fn register_server(&mut self) {
        let r = &mut self.registry;
        r.register("http_requests", "Requests answered, by method, route and status", self.requests.clone());
        r.register_with_unit(
            "http_request_duration",
            "From a request's head to its reply's head",
            Unit::Seconds,
            self.request_seconds.clone(),
        );
        r.register("rejected", "Requests refused, by reason", self.rejected.clone());
        r.register("timeouts", "What was ended because it took too long, by bound", self.timeouts.clone());
        r.register("limit", "The bounds in force", self.limits.clone());
        r.register("sessions_active", "Sessions that are open", self.sessions_active.clone());
        r.register("sessions_opened", "Sessions that were opened", self.sessions_opened.clone());
        r.register("sessions_closed", "Sessions that ended, by reason", self.sessions_closed.clone());
        r.register("shared_children_closed", "Children of modern clients that ended, by reason", self.shared_closed.clone());
        r.register("children_running", "Child processes", self.children_running.clone());
        r.register("children_spare", "Of these, spares", self.spares.clone());
        r.register("leases_running", "Modern calls that may be asked, running", self.leases_running.clone());
        r.register("leases_parked", "Modern calls that wait for their users", self.leases_parked.clone());
        r.register("listens_active", "Open subscriptions in front of legacy children", self.listens_active.clone());
        r.register("child_spawns", "Attempts to start a child, by result", self.child_spawns.clone());
        r.register("child_failed_starts", "Starts of children that failed in a row", self.failed_starts.clone());
        r.register(
            "child_respawns",
            "Children started in the place of one that ended or slept, by reason",
            self.respawns.clone(),
        );
        r.register("sessions_asleep", "Sessions whose child is stopped until their next message", self.asleep.clone());
        r.register("child_exits", "Children that ended, by reason", self.child_exits.clone());
        r.register_with_unit(
            "child_spawn_duration",
            "From a session's request to its answered initialize",
            Unit::Seconds,
            self.child_spawn_seconds.clone(),
        );
        r.register("sse_streams_active", "Event streams being sent, by kind", self.streams.family.clone());
        r.register_with_unit("stdin_queue", "What waits for children to read", Unit::Bytes, self.stdin_queue_bytes.clone());
        r.register("events_evicted", "Events given up before they were read", self.events_evicted.clone());
        r.register("replays", "Streams resumed, by result", self.replays.clone());
        r.register("messages", "Messages passed on, by direction and kind", self.messages.clone());
        r.register("messages_lost", "Messages accepted and then lost", self.messages_lost.clone());
        r.register("messages_dropped", "Messages that belong to nobody, by reason", self.dropped.clone());
        r.register("bad_lines", "Lines of children that are no messages, by reason", self.bad_lines.clone());
        r.register("stderr_lines", "Lines that children wrote to stderr", self.stderr_lines.clone());
        r.register("stderr_lines_unlogged", "Of these, lines over the rate that is logged", self.stderr_lines_unlogged.clone());
    }

    /// The text exposition of the gateway and its servers, as of now.
    pub(crate) fn print(&self, servers: &[Arc<Metrics>], format: Format) -> String {
        self.read_process();
        let texts = std::iter::once(self).chain(servers.iter().map(AsRef::as_ref)).map(|metrics| {
            let mut text = String::new();
            // Writing to a String cannot fail.
            let _ = encode(&mut text, &metrics.registry);
            text
        });
        exposition::merged(&texts.collect::<Vec<_>>(), format)
    }

    pub(crate) fn request_counted(&self, method: &'static str, route: &'static str, code: u16) {
        let request = Request { method, route, code };
        if request == CALL {
            self.calls.inc();
        } else if request == TOLD {
            self.told.inc();
        } else {
            self.requests.get_or_create(&request).inc();
        }
    }

    pub(crate) fn message_to_child_counted(&self, kind: Kind) {
        self.to_child[kind as usize].inc();
    }

    pub(crate) fn message_to_client_counted(&self, kind: Kind) {
        self.to_client[kind as usize].inc();
    }

    pub(crate) fn messages_lost_counted(&self, count: usize) {
        self.messages_lost.inc_by(count as u64);
    }

    pub(crate) fn session_closed_counted(&self, reason: &'static str) {
        self.sessions_closed.get_or_create(&[("reason", reason)]).inc();
    }

    pub(crate) fn shared_closed_counted(&self, reason: &'static str) {
        self.shared_closed.get_or_create(&[("reason", reason)]).inc();
    }

    pub(crate) fn spawn_counted(&self, result: &'static str) {
        self.child_spawns.get_or_create(&[("result", result)]).inc();
    }

    pub(crate) fn respawn_counted(&self, reason: &'static str) {
        self.respawns.get_or_create(&[("reason", reason)]).inc();
    }

    pub(crate) fn reload_counted(&self, result: &'static str) {
        self.reloads.get_or_create(&[("result", result)]).inc();
    }

    pub(crate) fn exit_counted(&self, reason: &'static str) {
        self.child_exits.get_or_create(&[("reason", reason)]).inc();
    }

    /// A stream begins to be sent; it counts until the guard is dropped.
    pub(crate) fn stream_opened(&self, kind: StreamKind) -> ActiveGuard {
        self.streams.opened(kind)
    }

    pub(crate) fn replay_counted(&self, result: &'static str) {
        self.replays.get_or_create(&[("result", result)]).inc();
    }

    pub(crate) fn drop_counted(&self, reason: &'static str) {
        self.dropped.get_or_create(&[("reason", reason)]).inc();
    }

    pub(crate) fn bad_line_counted(&self, reason: &'static str) {
        self.bad_lines.get_or_create(&[("reason", reason)]).inc();
    }

    pub(crate) fn rejection_counted(&self, reason: &'static str) {
        self.rejected.get_or_create(&[("reason", reason)]).inc();
    }

    pub(crate) fn timeout_counted(&self, bound: &'static str) {
        self.timeouts.get_or_create(&[("bound", bound)]).inc();
    }

    pub(crate) fn accept_error_counted(&self, errno: &'static str) {
        self.accept_errors.get_or_create(&[("errno", errno)]).inc();
    }

    pub(crate) fn limit_set(&self, bound: &'static str, value: i64) {
        self.limits.get_or_create(&[("bound", bound)]).set(value);
    }

    fn read_process(&self) {
        self.resident_bytes.set(resident_bytes("self"));
        self.open_fds.set(std::fs::read_dir("/proc/self/fd").map_or(0, |dir| dir.count() as i64));
        // The name in parentheses may hold spaces; utime and stime are the 12th and 13th fields behind it.
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
        let ticks: f64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
        let seconds = ticks / rustix::param::clock_ticks_per_second() as f64;
        self.cpu_seconds.inc_by((seconds - self.cpu_seconds.get()).max(0.0));
    }
}

/// Resident memory of a process, by its number or as `self`; 0 if it has gone.
pub(crate) fn resident_bytes(process: &str) -> i64 {
    let statm = std::fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<i64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_begin_with_the_program_and_labels_are_printed() {
        let (metrics, server) = (Metrics::new(), Arc::new(Metrics::of_server("files")));
        metrics.request_counted("POST", "mcp", 404);
        server.request_counted("POST", "mcp", 200);
        server.drop_counted("ambiguous_cancel");
        drop(server.stream_opened(StreamKind::Get));
        let text = metrics.print(&[server], Format::OpenMetrics);
        for line in [
            "mcp_gateway_http_requests_total{method=\"POST\",route=\"mcp\",code=\"404\"} 1",
            "mcp_gateway_http_requests_total{server=\"files\",method=\"POST\",route=\"mcp\",code=\"200\"} 1",
            "mcp_gateway_messages_dropped_total{server=\"files\",reason=\"ambiguous_cancel\"} 1",
            "mcp_gateway_sse_streams_active{server=\"files\",kind=\"get\"} 0",
            "mcp_gateway_build_info{version=",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(text.lines().all(|line| line.starts_with("# ") || line.starts_with("mcp_gateway_")), "{text}");
    }
}
