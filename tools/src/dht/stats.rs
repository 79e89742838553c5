//! `phase dht stats`: estimates the size of the DHT, and measures a lookup.

use phase_cli::{self as cli, EXIT_CODES, Fault, NodeArgs, counted};
use phase_core::Failure;
use phase_node::{DhtStats, Identity, NodeHandle, QueryReport};
use serde_json::{Value, json};

use super::distance::{Position, network_size};
use crate::network;
use crate::output::Output;

/// Kademlia's k: a search for the closest nodes returns at most this many. If it returns fewer nodes, the DHT has no
/// other nodes.
const K: usize = 20;
/// The formula for the estimated number of nodes, as it is printed.
const FORMULA: &str = "N = sum(i^2) / sum(i*d_i) - 1, with d_i the distance of the i-th closest node to a random key";

const EXAMPLES: &str = "\
Examples:
  phase dht stats --bootstrap /ip4/127.0.0.1/tcp/4001

The size of the network is estimated from one lookup. The i-th closest of N nodes at random positions has the distance
i/(N+1) of the key space on average (E. Sohl, A New Method for Estimating P2P Network Size, 2020), and
  N = sum(i^2) / sum(i*d_i) - 1
fits the distances d_i of the 20 closest nodes best by least squares. The estimate from one lookup is often wrong by a
quarter. Fewer than 20 nodes are counted, not estimated.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    #[command(flatten)]
    node: NodeArgs,
}

/// The figures that `phase dht stats` prints.
struct Stats {
    /// The DHT counters of the node that this command runs.
    node: DhtStats,
    /// The number of nodes that the lookup returned.
    closest: usize,
    /// The number of nodes in the DHT: counted if the lookup returned fewer than [`K`], otherwise estimated.
    size: f64,
    lookup: QueryReport,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Fault> {
    let stats = network::ask_dht(&args.node, measure)?;
    output.result(|| json(&stats), || text(&stats))
}

async fn measure(node: &NodeHandle) -> Result<Stats, Fault> {
    // The peer id of a new identity serves as a random key.
    let random_key = Identity::ephemeral().peer_id();
    let (found, outcome) = node.find_closest(random_key).await.collect().await;
    let lookup = outcome?;
    let position = Position::of_peer(&random_key);
    let mut distances: Vec<_> = found.iter().map(|node| position.distance(&Position::of_peer(&node.peer))).collect();
    distances.sort();
    let size = if found.len() < K { Some(found.len() as f64) } else { network_size(&distances) };
    let no_answer =
        || Fault::new(Failure::Network, format!("no DHT node answers ({lookup})")).attempts(lookup.attempts());
    let size = size.filter(|size| *size > 0.0).ok_or_else(no_answer)?;
    let stats = node.dht_stats().await.unwrap_or_default();
    Ok(Stats { node: stats, closest: found.len(), size, lookup })
}

fn json(stats: &Stats) -> Value {
    let node = &stats.node;
    json!({
        "network": {
            "nodes": stats.size.round(),
            "is_estimate": stats.closest >= K,
            "formula": FORMULA,
            "from_closest": stats.closest,
        },
        "lookup": network::json_report(&stats.lookup),
        "node": {
            "is_server": node.is_server,
            "routing_peers": node.routing_peers,
            "connected_peers": node.connected_peers,
            "own_values": node.own_values,
            "own_provided": node.own_provided,
            "values": node.values,
            "providers": node.providers,
            "refused": node.refused,
            "ignored_peers": node.ignored_peers,
            "queries": node.queries,
        },
    })
}

fn text(stats: &Stats) -> String {
    let (node, lookup) = (&stats.node, &stats.lookup);
    let size = match stats.closest >= K {
        true => format!("about {:.0} nodes; {FORMULA}", stats.size),
        false => format!("{}, not counting this one", counted(stats.closest, "node", "nodes")),
    };
    let [answered, failed] = [lookup.answered, lookup.failed];
    let requests = counted(lookup.requests, "request", "requests");
    let time = cli::seconds(lookup.took.as_secs_f64());
    let values = |count| counted(count, "value", "values");
    let provided = counted(node.own_provided, "key", "keys");
    let (routing, connected) = (counted(node.routing_peers, "peer", "peers"), node.connected_peers);
    let records = counted(node.providers, "provider record", "provider records");
    [
        format!("network    {size}"),
        format!("lookup     {time}, {requests}, {answered} answered, {failed} failed"),
        format!("routing    {routing} in the routing table, {connected} connected"),
        format!("own        {}, {provided} provided", values(node.own_values)),
        format!("stored     {} and {records} of other nodes; {} refused", values(node.values), node.refused),
    ]
    .join("\n")
}
