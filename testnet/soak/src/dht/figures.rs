//! The figures of a network of a given size, as the command line prints them.

use phase_report::table::{Column, Table};
use serde::Serialize;
use tokio::time::Instant;

use super::lookup::Summary;
use super::network::{Network, NetworkConfig, NetworkError};
use crate::memory::resident_bytes;

/// The share of the servers that goes.
const GONE: f64 = 0.2;

/// What to measure.
#[derive(Clone)]
pub struct Measurement {
    /// The network.
    pub network: NetworkConfig,
    /// Names announced.
    pub names: usize,
    /// Lookups before, and again after nodes have gone.
    pub lookups: usize,
    /// What this process used before the first network, in bytes; see [`resident_bytes`].
    pub resident_before: Option<u64>,
}

/// What a network of one size did.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// DHT servers.
    pub nodes: usize,
    /// Until all have joined, one wave after another, in seconds.
    pub join_seconds: f64,
    /// Peers in a routing table, on average.
    pub routing_peers: f64,
    /// Messages of a whole lookup, on average.
    pub messages_mean: f64,
    /// Messages that 95 % of the lookups stay within.
    pub messages_p95: u32,
    /// log2 of the number of nodes, to compare with.
    pub log2_nodes: f64,
    /// From the question to the answer, on average, in milliseconds.
    pub latency_mean_ms: f64,
    /// The same, of 95 %.
    pub latency_p95_ms: f64,
    /// The share of lookups that succeeded, 0 to 1.
    pub found: f64,
    /// The same, right after a fifth of the nodes has gone.
    pub found_after_loss: f64,
    /// The same, after everything was announced again.
    pub found_after_republish: f64,
    /// Memory of this process for each node, in KiB; none where the system does not tell.
    pub kib_per_node: Option<f64>,
}

/// Starts a network, looks things up, takes a fifth of it away, announces again and looks again. `tell` hears what is going
/// on.
///
/// # Errors
/// [`NetworkError`].
pub async fn measure(measurement: Measurement, tell: &(dyn Fn(&str) + Sync)) -> Result<Figures, NetworkError> {
    let Measurement { network: config, names, lookups, resident_before } = measurement;
    let (nodes, members) = (config.nodes, config.nodes + config.clients);
    let started = Instant::now();
    let joined = |servers| tell(&format!("{servers} of {nodes} nodes have joined"));
    let mut network = Network::start_and_tell(config, &joined).await?;
    let join_seconds = started.elapsed().as_secs_f64();
    tell(&format!("{nodes} nodes: announcing"));
    network.announce(names).await?;
    tell(&format!("{nodes} nodes: looking up"));
    // One at a time: it is about the way through the network, not about how busy this machine is.
    let before = Summary::of(&network.look_up(lookups, 1).await);
    let routing_peers = network.routing_peers().await;
    let resident = resident_before.and_then(|before| Some(resident_bytes()?.saturating_sub(before)));
    network.kill(GONE);
    tell(&format!("{nodes} nodes: a fifth has gone"));
    let after_loss = Summary::of(&network.look_up(lookups, 1).await);
    network.republish().await?;
    let after_republish = Summary::of(&network.look_up(lookups, 1).await);
    Ok(Figures {
        nodes,
        join_seconds,
        routing_peers,
        messages_mean: before.messages_mean,
        messages_p95: before.messages_p95,
        log2_nodes: (nodes as f64).log2(),
        latency_mean_ms: before.latency_mean.as_secs_f64() * 1e3,
        latency_p95_ms: before.latency_p95.as_secs_f64() * 1e3,
        found: before.found,
        found_after_loss: after_loss.found,
        found_after_republish: after_republish.found,
        kib_per_node: resident.map(|bytes| bytes as f64 / 1024.0 / members as f64),
    })
}

impl Figures {
    /// The columns of a table of networks.
    pub fn table() -> Table {
        let columns = [
            ("nodes", 5),
            ("join", 7),
            ("table", 6),
            ("messages", 9),
            ("p95", 4),
            ("log2 N", 7),
            ("latency", 8),
            ("p95", 6),
            ("found", 7),
            ("-20 %", 6),
            ("announced again", 16),
            ("KiB/node", 9),
        ];
        Table::new(columns.map(|(name, width)| Column::figure(name).width(width)))
    }

    /// A cell for each column.
    pub fn row(&self) -> [String; 12] {
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        [
            self.nodes.to_string(),
            format!("{:.1} s", self.join_seconds),
            format!("{:.1}", self.routing_peers),
            format!("{:.1}", self.messages_mean),
            self.messages_p95.to_string(),
            format!("{:.1}", self.log2_nodes),
            format!("{:.1} ms", self.latency_mean_ms),
            format!("{:.0} ms", self.latency_p95_ms),
            percent(self.found),
            percent(self.found_after_loss),
            percent(self.found_after_republish),
            self.kib_per_node.map_or("-".to_owned(), |kib| format!("{kib:.0}")),
        ]
    }
}
