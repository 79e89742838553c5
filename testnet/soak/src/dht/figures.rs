//! Measures a network of a given size, and formats the figures for the command line.

use phase_report::table::{Column, Table};
use serde::Serialize;
use tokio::time::Instant;

use super::lookup::Summary;
use super::network::{Network, NetworkConfig, NetworkError};
use crate::memory::resident_bytes;

/// The fraction of the servers that a measurement kills.
const KILLED_SHARE: f64 = 0.2;

/// The parameters of a measurement of one DHT network.
#[derive(Clone)]
pub struct Measurement {
    /// The configuration of the network that is started.
    pub network: NetworkConfig,
    /// The number of names that are announced.
    pub names: usize,
    /// The number of lookups in each of the three steps: while all servers run, after a fifth of them was killed, and
    /// after all names were announced again.
    pub lookups: usize,
    /// The resident memory of this process before the first network started, in bytes; see [`resident_bytes`].
    pub resident_before: Option<u64>,
}

/// The figures that were measured in one network.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// The number of DHT servers.
    pub nodes: usize,
    /// The time in seconds from the start of the first node until all nodes had joined.
    pub join_seconds: f64,
    /// The mean number of peers in the routing table of a server.
    pub routing_peers: f64,
    /// The mean number of requests that a lookup sent while all servers were running.
    pub messages_mean: f64,
    /// The 95th percentile of the number of requests that a lookup sent while all servers were running.
    pub messages_p95: u32,
    /// The base-2 logarithm of the number of servers, for comparison with the number of requests of a lookup.
    pub log2_nodes: f64,
    /// The mean time until a lookup found its target while all servers were running, in milliseconds.
    pub latency_mean_ms: f64,
    /// The 95th percentile of the time until a lookup found its target while all servers were running, in milliseconds.
    pub latency_p95_ms: f64,
    /// The fraction of lookups that found their target while all servers were running, 0 to 1.
    pub found: f64,
    /// The fraction of lookups that found their target right after a fifth of the servers was killed, 0 to 1.
    pub found_after_loss: f64,
    /// The fraction of lookups that found their target after a fifth of the servers was killed and all names were
    /// announced again, 0 to 1.
    pub found_after_republish: f64,
    /// The growth of this process's resident memory divided by the number of nodes, in KiB; `None` if the operating
    /// system does not report it.
    pub kib_per_node: Option<f64>,
}

/// Starts a network and measures it: announces names, looks names up, kills a fifth of the servers, looks names up,
/// announces all names again and looks names up once more. Calls `report` with a progress text at each step.
///
/// # Errors
/// [`NetworkError`] if a node does not join or a name cannot be announced.
pub async fn measure(measurement: Measurement, report: &(dyn Fn(&str) + Sync)) -> Result<Figures, NetworkError> {
    let Measurement { network: config, names, lookups, resident_before } = measurement;
    let (nodes, all_nodes) = (config.nodes, config.nodes + config.clients);
    let started = Instant::now();
    let joined = |servers| report(&format!("{servers} of {nodes} nodes have joined"));
    let mut network = Network::start_with_progress(config, &joined).await?;
    let join_seconds = started.elapsed().as_secs_f64();
    report(&format!("{nodes} nodes: announcing"));
    network.announce(names).await?;
    report(&format!("{nodes} nodes: looking up"));
    // Make one lookup at a time, because simultaneous lookups would compete for the CPU. The times would then depend on
    // the speed of this machine.
    let before = Summary::of(&network.look_up(lookups, 1).await);
    let routing_peers = network.routing_peers().await;
    let resident = resident_before.and_then(|before| Some(resident_bytes()?.saturating_sub(before)));
    network.kill(KILLED_SHARE);
    report(&format!("{nodes} nodes: a fifth was killed"));
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
        kib_per_node: resident.map(|bytes| bytes as f64 / 1024.0 / all_nodes as f64),
    })
}

impl Figures {
    /// Returns an empty table with the columns of the figures.
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

    /// Returns the cells of one table row.
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
