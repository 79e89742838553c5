//! `phase providers`: who the DHT says has something, and whether they can be reached.

use std::collections::BTreeSet;
use std::str::FromStr;

use phase_cli::{EXIT_CODES, Fault, NodeArgs, printable};
use phase_core::{Cid, Codec, DhtKey, Failure, Name};
use phase_node::{FoundProvider, NodeHandle, PeerId, QueryError, QueryReport};
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
    node: NodeArgs,
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

impl From<&Key> for DhtKey {
    fn from(key: &Key) -> Self {
        match key {
            Key::Name(name) => Self::Name(name.clone()),
            Key::Cid(cid) => Self::Content(*cid),
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
    let key = DhtKey::from(&args.key);
    let found = network::ask(async {
        let client = network::join(&args.node, None).await?;
        let found = look(client.node(), &key).await;
        client.stop().await;
        Ok(found.0)
    })?;
    if found.is_empty() {
        return Err(Fault::new(Failure::NotFound, nobody(&key)));
    }
    tell(&found, output)
}

/// The same, which fails if the DHT does not answer, and says who was asked.
pub(crate) fn run_in_dht(key: &DhtKey, node: &NodeArgs, output: &Output) -> Result<(), Fault> {
    if !matches!(key, DhtKey::Name(_) | DhtKey::NameCopy(..) | DhtKey::Content(_)) {
        let message = format!("{key} has no providers: only names, manifests and artifacts have");
        return Err(Fault::new(Failure::Usage, message).hint(format!("`phase dht get {key}` shows what it holds")));
    }
    let (found, outcome) = network::ask_dht(node, async |node| Ok(look(node, key).await))?;
    if found.is_empty() {
        let report = outcome.map_err(network::query_fault)?;
        return Err(Fault::new(Failure::NotFound, format!("{} ({report})", nobody(key))));
    }
    tell(&found, output)
}

fn nobody(key: &DhtKey) -> String {
    format!("no provider of {key} is known in the DHT")
}

fn tell(found: &[Found], output: &Output) -> Result<(), Fault> {
    output.result(|| found.iter().map(json).collect(), || found.iter().map(text).collect::<Vec<_>>().join("\n"))
}

/// Asks under every key of a name, and tries whoever is found.
async fn look(node: &NodeHandle, key: &DhtKey) -> (Vec<Found>, Result<QueryReport, QueryError>) {
    let (mut seen, mut trying) = (BTreeSet::new(), JoinSet::new());
    let (mut reports, mut failed) = (Vec::new(), None);
    let mut searches = Vec::new();
    for key in network::copies(key) {
        searches.push(node.find_providers(&key.to_bytes()).await);
    }
    for mut providers in searches {
        while let Some(found) = providers.recv().await {
            if seen.len() < MAX_PROVIDERS && seen.insert(found.peer) {
                let node = node.clone();
                trying.spawn(async move { attempt(&node, found).await });
            }
        }
        match providers.finish().await {
            Ok(report) => reports.push(report),
            Err(error) => failed = Some(error),
        }
    }
    let mut found = trying.join_all().await;
    found.sort_by_key(|found| found.peer);
    (found, failed.map_or_else(|| Ok(network::sum(reports)), Err))
}

async fn attempt(node: &NodeHandle, found: FoundProvider) -> Found {
    let FoundProvider { peer, addresses } = found;
    let unreachable = node.connect(peer, addresses.clone()).await.err().map(|error| error.to_string());
    // Those that are known of the peer, then what the DHT says besides.
    let known = node.addresses_of(&[peer]).into_iter().flat_map(|(_, addresses)| addresses);
    let mut all: Vec<String> = Vec::new();
    for address in known.chain(addresses) {
        let text = address.to_string();
        if !all.contains(&text) {
            all.push(text);
        }
    }
    Found { peer, addresses: all, unreachable }
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
