//! The metrics of a node, for Prometheus. Names follow its conventions: the unit at the end, and `_total` for counters.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::peer::PeerState;

/// The DHT figures of this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DhtStats {
    /// Whether this node is a DHT server, which stores records of peers and answers queries.
    pub is_server: bool,
    /// The number of peers in the routing table of this node.
    pub routing_peers: usize,
    /// The number of connected peers that are DHT servers.
    pub connected_peers: usize,
    /// The number of values that this node has put into the DHT.
    pub own_values: usize,
    /// The number of keys that this node provides.
    pub own_provided: usize,
    /// The number of values that this node stores for peers.
    pub values: usize,
    /// The number of provider records that this node stores for peers.
    pub providers: usize,
    /// The number of requests and records from peers that this node has refused so far, for any reason.
    pub refused: u64,
    /// The number of peers that are currently ignored because they exceeded a request limit.
    pub ignored_peers: usize,
    /// The number of running queries of this node, including queries that refresh the routing table.
    pub queries: usize,
}

/// The purpose of a DHT query, which is a label of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum QueryKind {
    Get,
    Put,
    GetProviders,
    /// A query that provides a key or withdraws it.
    Provide,
    /// A query that finds the nodes closest to a key.
    Closest,
    /// A query that refreshes the routing table.
    Refresh,
}

/// The outcome of a DHT query, which is a label of the metrics.
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

/// Implements `EncodeLabelValue` for types that have a method `as_str`.
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

/// The counters and gauges of one node.
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
        registry.register("dht_queries", "Ended DHT queries of this node", self.queries.clone());
        registry.register_with_unit(
            "dht_query_duration",
            "Duration of the DHT queries of this node",
            Unit::Seconds,
            self.durations.clone(),
        );
        registry.register("dht_query_timeouts", "DHT queries of this node that timed out", self.timeouts.clone());
        registry.register(
            "dht_published",
            "DHT puts, provides and withdrawals of this node that succeeded",
            self.published.clone(),
        );
        registry.register("dht_refused", "Requests and records of peers that this node refused", self.refused.clone());
        registry.register("dht_routing_table_peers", "Peers in the routing table of this node", self.routing.clone());
        registry.register(
            "dht_ignored_peers",
            "Peers that are ignored because they exceeded a request limit",
            self.ignored.clone(),
        );
        registry.register(
            "dht_records",
            "DHT records that this node stores, its own and those of peers",
            self.records.clone(),
        );
        registry.register("peer_events", "Changes of the state of peers, by new state", self.peer_events.clone());
        registry.register("peers", "Known peers, by state", self.peers.clone());
    }

    /// Returns all metrics in the text format of OpenMetrics.
    pub(crate) fn encode(&self) -> String {
        let mut text = String::new();
        text::encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text
    }

    /// Counts an ended query.
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

    /// Counts a refused request or record of a peer.
    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&Reason { reason }).inc();
    }

    /// Sets the gauges of the DHT.
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

    /// Counts the change of a peer from one state to another. `from` is `None` for a new peer.
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

/// Returns a histogram with buckets from 1 ms to 16 s. By default a query ends after at most 10 s, and a put after
/// about 15 s.
fn duration_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_the_names_and_labels_that_prometheus_expects() {
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
