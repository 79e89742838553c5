//! `phase dht closest`: the nodes that keep what stands under a key.

use phase_cli::{EXIT_CODES, Fault, NodeArgs, printable};
use phase_core::Failure;
use phase_node::{DhtTarget, FoundProvider};
use serde_json::{Value, json};

use super::distance::{Distance, Position};
use super::key::{KEYS, parse_key};
use crate::network;
use crate::output::Output;

#[derive(clap::Args)]
#[command(after_help = KEYS, after_long_help = format!("{KEYS}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    /// What they are to be close to: a key, or a peer id. Of a name it is the first of its three keys
    #[arg(value_name = "KEY|PEER", value_parser = parse_target)]
    target: DhtTarget,
    #[command(flatten)]
    node: NodeArgs,
}

/// A peer id or a key, for clap.
fn parse_target(text: &str) -> Result<DhtTarget, String> {
    text.parse().map(DhtTarget::Peer).or_else(|_| parse_key(text).map(DhtTarget::Key))
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Fault> {
    let target = args.target.clone();
    let (found, outcome) =
        network::ask_dht(&args.node, async |node| Ok(node.find_closest(target.clone()).await.collect().await))?;
    if found.is_empty() {
        let report = outcome.map_err(network::query_fault)?;
        return Err(Fault::new(Failure::Network, format!("no node of the DHT answers ({report})")));
    }
    let position = Position::of_key(&target.to_bytes());
    let with_distance = |node: FoundProvider| (position.distance(&Position::of_peer(&node.peer)), node);
    let mut nodes: Vec<_> = found.into_iter().map(with_distance).collect();
    nodes.sort_by_key(|(distance, _)| *distance);
    output.result(|| nodes.iter().map(json).collect(), || nodes.iter().map(text).collect::<Vec<_>>().join("\n"))
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
    fn a_target_is_a_key_or_a_peer() {
        let peer = PeerId::random();
        assert_eq!(parse_target(&peer.to_string()), Ok(DhtTarget::Peer(peer)));
        assert_eq!(parse_target("stable/x86_64"), Ok(DhtTarget::Key("stable/x86_64".parse().unwrap())));
        assert!(parse_target("stable").is_err());
    }
}
