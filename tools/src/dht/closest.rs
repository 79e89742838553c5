//! `phase dht closest`: the nodes that keep what stands under a key.

use std::str::FromStr;

use phase_cli::{EXIT_CODES, Fault, NodeArgs, printable};
use phase_core::{DhtKey, Failure};
use phase_node::{FoundProvider, PeerId};
use serde_json::{Value, json};

use super::distance::{Distance, Position};
use super::key::{KEYS, parse_key};
use crate::network;
use crate::output::Output;

#[derive(clap::Args)]
#[command(after_help = KEYS, after_long_help = format!("{KEYS}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    /// What they are to be close to: a key, or a peer id. Of a name it is the first of its three keys
    #[arg(value_name = "KEY|PEER")]
    target: Target,
    #[command(flatten)]
    node: NodeArgs,
}

/// A place in the DHT.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Key(DhtKey),
    Peer(PeerId),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self::Peer).or_else(|_| parse_key(text).map(Self::Key))
    }
}

impl Target {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Key(key) => key.to_bytes(),
            Self::Peer(peer) => peer.to_bytes(),
        }
    }
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Fault> {
    let bytes = args.target.bytes();
    let (found, outcome) =
        network::ask_dht(&args.node, async |node| Ok(node.find_closest(&bytes).await.collect().await))?;
    if found.is_empty() {
        let report = outcome.map_err(network::query_fault)?;
        return Err(Fault::new(Failure::Network, format!("no node of the DHT answers ({report})")));
    }
    let position = Position::of_key(&bytes);
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
    use super::*;

    #[test]
    fn a_target_is_a_key_or_a_peer() {
        let peer = PeerId::random();
        assert_eq!(peer.to_string().parse(), Ok(Target::Peer(peer)));
        assert_eq!("stable/x86_64".parse(), Ok(Target::Key("stable/x86_64".parse().unwrap())));
        assert!("stable".parse::<Target>().is_err());
    }
}
