//! What a node counts, for Prometheus. Names follow its conventions: a unit at the end, `_total` for what only grows.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::peer::PeerState;

/// Figures about our part of the DHT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DhtStats {
    /// Whether we keep records for others.
    pub is_server: bool,
    /// Peers in our routing table.
    pub routing_peers: usize,
    /// Connected peers that are DHT servers.
    pub connected_peers: usize,
    /// Our own values.
    pub own_values: usize,
    /// Keys we provide.
    pub own_provided: usize,
    /// Values kept for others.
    pub values: usize,
    /// Provider records kept for others.
    pub providers: usize,
    /// Records of others that were refused, for whatever reason.
    pub refused: u64,
    /// Peers that are ignored at present because they asked too much.
    pub ignored_peers: usize,
    /// Queries of ours under way, also those that refresh the routing table.
    pub queries: usize,
}

/// What a query is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum QueryKind {
    Get,
    Put,
    GetProviders,
    Provide,
    Closest,
    /// Of the routing table.
    Refresh,
}

/// How a query ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum QueryOutcome {
    Ok,
    NotFound,
    Timeout,
    Failed,
}

impl QueryKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::GetProviders => "get_providers",
            Self::Provide => "provide",
            Self::Closest => "closest",
            Self::Refresh => "refresh",
        }
    }
}

impl QueryOutcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotFound => "not_found",
            Self::Timeout => "timeout",
            Self::Failed => "failed",
        }
    }
}

/// Labels by their `as_str`.
macro_rules! label {
    ($($ty:ty),*) => {$(
        impl EncodeLabelValue for $ty {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
                self.as_str().encode(encoder)
            }
        }
    )*};
}
label!(QueryKind, QueryOutcome, PeerState);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Query {
    kind: QueryKind,
    result: QueryOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: QueryKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Records {
    kind: &'static str,
    owner: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: PeerState,
}

/// The counters of one node.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    queries: Family<Query, Counter>,
    durations: Family<Kind, Histogram, fn() -> Histogram>,
    timeouts: Counter,
    published: Family<Kind, Counter>,
    refused: Family<Reason, Counter>,
    routing: Gauge,
    ignored: Gauge,
    records: Family<Records, Gauge>,
    peer_events: Family<State, Counter>,
    peers: Family<State, Gauge>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("phase"),
            queries: Family::default(),
            durations: Family::new_with_constructor(duration_histogram),
            timeouts: Counter::default(),
            published: Family::default(),
            refused: Family::default(),
            routing: Gauge::default(),
            ignored: Gauge::default(),
            records: Family::default(),
            peer_events: Family::default(),
            peers: Family::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("dht_queries", "DHT queries of ours that ended", self.queries.clone());
        registry.register_with_unit(
            "dht_query_duration",
            "How long our DHT queries took",
            Unit::Seconds,
            self.durations.clone(),
        );
        registry.register("dht_query_timeouts", "DHT queries of ours that ran out of time", self.timeouts.clone());
        registry.register("dht_published", "Announcements that reached the DHT", self.published.clone());
        registry.register("dht_refused", "Records and requests of others that were refused", self.refused.clone());
        registry.register("dht_routing_table_peers", "Peers in the routing table", self.routing.clone());
        registry.register(
            "dht_ignored_peers",
            "Peers that are ignored because they asked too much",
            self.ignored.clone(),
        );
        registry.register("dht_records", "Records in the local part of the DHT", self.records.clone());
        registry.register("peer_events", "What happened to peers", self.peer_events.clone());
        registry.register("peers", "Peers by their present state", self.peers.clone());
    }

    /// All of it, in the text format of OpenMetrics.
    pub(crate) fn encode(&self) -> String {
        let mut text = String::new();
        text::encode(&mut text, &self.registry).expect("a string takes everything");
        text
    }

    pub(crate) fn query_ended(&self, kind: QueryKind, result: QueryOutcome, took: Duration) {
        self.queries.get_or_create(&Query { kind, result }).inc();
        self.durations.get_or_create(&Kind { kind }).observe(took.as_secs_f64());
        if result == QueryOutcome::Timeout {
            self.timeouts.inc();
        }
        if result == QueryOutcome::Ok && matches!(kind, QueryKind::Put | QueryKind::Provide) {
            self.published.get_or_create(&Kind { kind }).inc();
        }
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&Reason { reason }).inc();
    }

    /// The present figures of our part of the DHT.
    pub(crate) fn set_dht(&self, stats: &DhtStats) {
        let gauge = |gauge: &Gauge, value: usize| gauge.set(value.try_into().unwrap_or(i64::MAX));
        gauge(&self.routing, stats.routing_peers);
        gauge(&self.ignored, stats.ignored_peers);
        for (kind, owner, value) in [
            ("value", "own", stats.own_values),
            ("provider", "own", stats.own_provided),
            ("value", "others", stats.values),
            ("provider", "others", stats.providers),
        ] {
            gauge(&self.records.get_or_create(&Records { kind, owner }), value);
        }
    }

    /// A peer went from one state to another; `None` is none at all.
    pub(crate) fn peer_moved(&self, from: Option<PeerState>, to: PeerState) {
        self.peer_events.get_or_create(&State { state: to }).inc();
        if let Some(from) = from {
            self.peers.get_or_create(&State { state: from }).dec();
        }
        if to != PeerState::Expired {
            self.peers.get_or_create(&State { state: to }).inc();
        }
    }
}

/// From 1 ms to 16 s: a query has 10 s.
fn duration_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_are_as_prometheus_wants_them() {
        let metrics = Metrics::new();
        metrics.query_ended(QueryKind::GetProviders, QueryOutcome::Timeout, Duration::from_secs(10));
        metrics.query_ended(QueryKind::Put, QueryOutcome::Ok, Duration::from_millis(3));
        metrics.refused("unsigned");
        metrics.set_dht(&DhtStats { routing_peers: 7, values: 3, ..DhtStats::default() });
        metrics.peer_moved(None, PeerState::Connected);
        metrics.peer_moved(Some(PeerState::Connected), PeerState::Identified);
        let text = metrics.encode();
        for line in [
            r#"phase_dht_queries_total{kind="get_providers",result="timeout"} 1"#,
            "phase_dht_query_timeouts_total 1",
            r#"phase_dht_query_duration_seconds_count{kind="put"} 1"#,
            r#"phase_dht_published_total{kind="put"} 1"#,
            r#"phase_dht_refused_total{reason="unsigned"} 1"#,
            "phase_dht_routing_table_peers 7",
            r#"phase_dht_records{kind="value",owner="others"} 3"#,
            r#"phase_peers{state="connected"} 0"#,
            r#"phase_peers{state="identified"} 1"#,
            r#"phase_peer_events_total{state="connected"} 1"#,
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
        }
    }
}
