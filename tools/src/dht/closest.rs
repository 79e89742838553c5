//! `phase dht closest`: finds the nodes closest to a DHT key, which are the nodes that store the records of the key.

use phase_cli::{EXIT_CODES, Fault, NodeArgs, printable};
use phase_core::Failure;
use phase_node::{DhtTarget, FoundProvider};
use serde_json::{Value, json};

use super::distance::{Distance, Position};
use super::key::{KEYS, parse_key};
use crate::network;
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  phase dht closest stable/x86_64 --bootstrap /ip4/127.0.0.1/tcp/4001";

#[derive(clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{KEYS}"),
    after_long_help = format!("{EXAMPLES}\n\n{KEYS}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    /// A DHT key or a peer id. A name stands for the first of its three DHT keys
    #[arg(value_name = "KEY|PEER", value_parser = parse_target)]
    target: DhtTarget,
    #[command(flatten)]
    node: NodeArgs,
}

/// Parses a peer id or a DHT key, for clap.
fn parse_target(text: &str) -> Result<DhtTarget, String> {
    text.parse().map(DhtTarget::Peer).or_else(|_| parse_key(text).map(DhtTarget::Key))
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Fault> {
    let target = args.target.clone();
    let (found, outcome) =
        network::ask_dht(&args.node, async |node| Ok(node.find_closest(target.clone()).await.collect().await))?;
    if found.is_empty() {
        let report = outcome?;
        return Err(Fault::new(Failure::Network, format!("no DHT node answers ({report})")).attempts(report.attempts()));
    }
    let position = Position::of_key(&target.to_bytes());
    let with_distance = |node: FoundProvider| (position.distance(&Position::of_peer(&node.peer)), node);
    let mut nodes: Vec<_> = found.into_iter().map(with_distance).collect();
    nodes.sort_by_key(|(distance, _)| *distance);
    let heading = format!("{:<19}  peer", "distance");
    let lines = || std::iter::once(heading).chain(nodes.iter().map(text)).collect::<Vec<_>>().join("\n");
    output.result(|| nodes.iter().map(json).collect(), lines)
}

fn json((distance, node): &(Distance, FoundProvider)) -> Value {
    json!({
        "peer": node.peer.to_string(),
        "addresses": network::texts(&node.addresses),
        "distance_bits": distance.bits(),
        "distance": distance.fraction(),
    })
}

fn text((distance, node): &(Distance, FoundProvider)) -> String {
    let addresses = node.addresses.iter().map(|address| format!("\n    {}", printable(&address.to_string())));
    let addresses: String = addresses.collect();
    format!("{:>3} bits  {}…  {}{addresses}", distance.bits(), distance.prefix(), node.peer)
}

#[cfg(test)]
mod tests {
    use phase_node::PeerId;

    use super::*;

    #[test]
    fn a_target_is_a_dht_key_or_a_peer_id() {
        let peer = PeerId::random();
        assert_eq!(parse_target(&peer.to_string()), Ok(DhtTarget::Peer(peer)));
        assert_eq!(parse_target("stable/x86_64"), Ok(DhtTarget::Key("stable/x86_64".parse().unwrap())));
        assert!(parse_target("stable").is_err());
    }
}
