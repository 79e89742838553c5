//! `phase dht peers`: shows the routing table of a node that has just joined.

use std::time::Duration;

use phase_cli::{self as cli, EXIT_CODES, Fault, NodeArgs, counted, printable};
use phase_node::RoutingPeer;
use serde_json::{Value, json};

use crate::network;
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  phase dht peers --bootstrap /ip4/127.0.0.1/tcp/4001
  phase dht peers --wait 10s --json --bootstrap /ip4/127.0.0.1/tcp/4001

A node that joins searches for the nodes closest to itself, and learns of other nodes from their answers. Bucket 255
holds peers from the half of the network that is farthest from this node, bucket 254 peers from the next quarter, and so
on. A bucket holds at most 20 peers.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    /// How long to wait after joining, while the routing table fills
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = cli::parse_duration,
        allow_hyphen_values = true)]
    wait: Duration,
    #[command(flatten)]
    node: NodeArgs,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Fault> {
    let mut table = network::ask_dht(&args.node, async |node| {
        tokio::time::sleep(args.wait).await;
        Ok(node.routing_table().await)
    })?;
    table.sort_by(|one, other| other.bucket.cmp(&one.bucket).then_with(|| one.peer.cmp(&other.peer)));
    output.result(|| table.iter().map(json).collect(), || text(&table))
}

fn json(peer: &RoutingPeer) -> Value {
    json!({
        "peer": peer.peer.to_string(),
        "addresses": network::texts(&peer.addresses),
        "connected": peer.is_connected,
        "bucket": peer.bucket,
    })
}

fn text(table: &[RoutingPeer]) -> String {
    let mut lines = Vec::new();
    for bucket in table.chunk_by(|one, other| one.bucket == other.bucket) {
        lines.push(format!("bucket {}, {}", bucket[0].bucket, counted(bucket.len(), "peer", "peers")));
        for peer in bucket {
            let state = if peer.is_connected { "connected" } else { "" };
            lines.push(format!("  {}  {state}", peer.peer).trim_end().to_owned());
            lines.extend(peer.addresses.iter().map(|address| format!("    {}", printable(&address.to_string()))));
        }
    }
    lines.push(counted(table.len(), "peer", "peers"));
    lines.join("\n")
}
