//! `phase dht stats`: how large the DHT is, and how fast.

use phase_cli::{EXIT_CODES, Fault, NodeArgs};
use phase_core::Failure;
use phase_node::{DhtStats, Identity, NodeHandle, QueryReport};
use serde_json::{Value, json};

use super::distance::{Position, network_size};
use crate::network;
use crate::output::Output;

/// The nodes that a search for the closest ones ends with: Kademlia's k. With fewer there are no others.
const K: usize = 20;
/// How the size is estimated, as it is told.
const FORMULA: &str = "N = sum(i^2) / sum(i*d_i) - 1, with d_i the distance of the i-th closest node to a random key";

const NOTE: &str = "\
The size of the network is estimated from one lookup: of N nodes at random positions, the i-th closest to a key is at
i/(N+1) of the key space on average (E. Sohl, A New Method for Estimating P2P Network Size, 2020), and
  N = sum(i^2) / sum(i*d_i) - 1
fits the distances d_i of the 20 closest best by least squares. One lookup is often a quarter off. Fewer than 20 nodes
are simply counted.";

#[derive(clap::Args)]
#[command(after_help = NOTE, after_long_help = format!("{NOTE}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    #[command(flatten)]
    node: NodeArgs,
}

struct Stats {
    node: DhtStats,
    closest: usize,
    /// How many nodes there are.
    size: f64,
    lookup: QueryReport,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Fault> {
    let stats = network::ask_dht(&args.node, measure)?;
    output.result(|| json(&stats), || text(&stats))
}

async fn measure(node: &NodeHandle) -> Result<Stats, Fault> {
    // The id of a peer that nobody is: a random key.
    let key = Identity::ephemeral().peer_id().to_bytes();
    let (found, outcome) = node.find_closest(&key).await.collect().await;
    let lookup = outcome.map_err(network::query_fault)?;
    let position = Position::of_key(&key);
    let mut distances: Vec<_> = found.iter().map(|node| position.distance(&Position::of_peer(&node.peer))).collect();
    distances.sort();
    let size = if found.len() < K { Some(found.len() as f64) } else { network_size(&distances) };
    let nobody = || Fault::new(Failure::Network, format!("no node of the DHT answers ({lookup})"));
    let size = size.filter(|size| *size > 0.0).ok_or_else(nobody)?;
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
        false => format!("{} nodes, this one not counted", stats.closest),
    };
    let [asked, answered, failed] = [lookup.requests, lookup.answered, lookup.failed];
    let seconds = lookup.took.as_secs_f64();
    [
        format!("network    {size}"),
        format!("lookup     {seconds:.3} s, {asked} requests, {answered} answered, {failed} failed"),
        format!("routing    {} peers in the table, {} connected", node.routing_peers, node.connected_peers),
        format!("own        {} values, {} keys provided", node.own_values, node.own_provided),
        format!("of others  {} values, {} provider records; {} refused", node.values, node.providers, node.refused),
    ]
    .join("\n")
}
