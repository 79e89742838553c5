//! `phase providers`: who the DHT says has something, and whether they can be reached.

use std::collections::BTreeSet;
use std::str::FromStr;

use phase_client::cli::{BootstrapArgs, Fault, printable};
use phase_core::failure::EXIT_CODES;
use phase_core::{Cid, Codec, Failure, Name};
use phase_transfer::net::{NodeHandle, PeerId};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::network;
use crate::output::Output;

/// Providers that are shown; a search of the DHT ends after some twenty answers anyway.
const MAX_PROVIDERS: usize = 256;

#[derive(clap::Args)]
#[command(after_long_help = EXIT_CODES)]
pub(crate) struct Args {
    /// A name (channel/arch), or the CID of a manifest or artifact
    #[arg(value_name = "NAME|CID")]
    key: Key,
    #[command(flatten)]
    bootstrap: BootstrapArgs,
}

/// What to look for in the DHT.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    Name(Name),
    Cid(Cid),
}

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return text.parse().map(Self::Name).map_err(|error: phase_core::NameError| error.to_string());
        }
        match text.parse::<Cid>() {
            Ok(cid) if cid.codec() == Codec::Raw => {
                Err("this is the CID of a chunk: the DHT knows names, manifests and artifacts only".to_owned())
            }
            Ok(cid) => Ok(Self::Cid(cid)),
            Err(error) => Err(format!("neither a name (channel/arch) nor a CID: {error}")),
        }
    }
}

impl Key {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Name(name) => name.key().into_bytes(),
            Self::Cid(cid) => cid.to_bytes(),
        }
    }
}

/// A provider and what became of the attempt to reach it.
struct Found {
    peer: PeerId,
    addresses: Vec<String>,
    unreachable: Option<String>,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Fault> {
    let found = network::ask(async {
        let client = network::join(&args.bootstrap, None).await?;
        let found = look(client.node(), &args.key).await;
        client.stop().await;
        Ok(found)
    })?;
    if found.is_empty() {
        let message = match &args.key {
            Key::Name(name) => format!("no provider of {name} is known in the DHT"),
            Key::Cid(cid) => format!("no provider of {cid} is known in the DHT"),
        };
        return Err(Fault::new(Failure::NotFound, message));
    }
    output.result(|| found.iter().map(json).collect(), || found.iter().map(text).collect::<Vec<_>>().join("\n"))
}

async fn look(node: &NodeHandle, key: &Key) -> Vec<Found> {
    let mut providers = node.find_providers(&key.bytes()).await;
    let (mut seen, mut trying) = (BTreeSet::new(), JoinSet::new());
    while let Some(peer) = providers.recv().await {
        if seen.len() < MAX_PROVIDERS && seen.insert(peer) {
            let node = node.clone();
            trying.spawn(async move { attempt(&node, peer).await });
        }
    }
    let mut found = trying.join_all().await;
    found.sort_by_key(|found| found.peer);
    found
}

async fn attempt(node: &NodeHandle, peer: PeerId) -> Found {
    let unreachable = node.connect(peer, Vec::new()).await.err().map(|error| error.to_string());
    let known = node.addresses_of(vec![peer]).await;
    let addresses = known.into_iter().flat_map(|(_, addresses)| addresses).map(|address| address.to_string());
    Found { peer, addresses: addresses.collect(), unreachable }
}

fn json(found: &Found) -> Value {
    json!({
        "peer": found.peer.to_string(),
        "addresses": found.addresses,
        "reachable": found.unreachable.is_none(),
        "error": found.unreachable,
    })
}

fn text(found: &Found) -> String {
    let state = found.unreachable.as_ref().map_or("reachable".to_owned(), |error| printable(error));
    let addresses = found.addresses.iter().map(|address| format!("\n    {}", printable(address)));
    format!("{}  {state}{}", found.peer, addresses.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_name_or_the_cid_of_something_in_the_dht() {
        let block = Cid::of_block(b"block");
        assert_eq!(block.to_string().parse(), Ok(Key::Cid(block)));
        assert_eq!("stable/x86_64".parse(), Ok(Key::Name("stable/x86_64".parse().unwrap())));
        let chunk = Cid::new(Codec::Raw, block.hash(), *block.digest());
        assert!(chunk.to_string().parse::<Key>().unwrap_err().contains("chunk"));
        assert!("stable".parse::<Key>().is_err());
        assert!("../x".parse::<Key>().is_err());
    }
}
