//! `phase providers`: finds the providers of a name or CID in the DHT, and tries to connect to each.

use std::collections::BTreeSet;
use std::str::FromStr;

use phase_cli::{self as cli, EXIT_CODES, Fault, NodeArgs, printable};
use phase_core::{Attempt, Cid, Codec, DhtKey, Fails as _, Failure, Name};
use phase_node::{ConnectError, FoundProvider, NodeHandle, PeerId, QueryError, QueryReport};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::network;
use crate::output::Output;

/// At most this many providers are tried and shown. A search in the DHT usually finds about twenty.
const MAX_PROVIDERS: usize = 256;

const EXAMPLES: &str = "\
Examples:
  phase providers stable/x86_64 --bootstrap /ip4/127.0.0.1/tcp/4001
  phase providers \"$(phase inspect store/refs/stable/x86_64 --json | jq -r .manifest)\" \\
      --bootstrap /ip4/127.0.0.1/tcp/4001

The address is that of a provider on this machine: phase-provider serve --store store";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    /// A name (channel/arch), or the CID of a manifest or artifact
    #[arg(value_name = "NAME|CID")]
    key: Key,
    #[command(flatten)]
    node: NodeArgs,
}

/// The name or CID for which providers are searched.
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
                Err("this is the CID of a chunk: give the CID of its artifact or manifest, or a name".to_owned())
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

/// A provider, and the result of the attempt to connect to it.
struct Found {
    peer: PeerId,
    addresses: Vec<String>,
    /// The reason why the provider cannot be reached, or `None` if it can be reached.
    unreachable: Option<ConnectError>,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Fault> {
    let key = DhtKey::from(&args.key);
    let (found, outcome) = network::ask(async {
        let client = network::join(&args.node, None).await?;
        let found = look(client.node(), &key).await;
        client.stop().await;
        Ok(found)
    })?;
    if found.is_empty() {
        if let Err(QueryError::Off) = outcome {
            let message = match args.node.has_peers() {
                true => network::PEER_WITHOUT_DHT,
                false => "providers are found through the DHT, which is switched off",
            };
            return Err(Fault::new(Failure::NotFound, message));
        }
        let asked = outcome.map_or_else(|error| error.attempts(), |report| report.attempts());
        return Err(Fault::new(Failure::NotFound, no_provider(&key)).attempts(asked));
    }
    print(&found, output)
}

/// Runs `phase dht providers`. It prints the same result as `phase providers`, but its errors also say whether the DHT
/// answered and which peers were asked.
pub(crate) fn run_in_dht(key: &DhtKey, node: &NodeArgs, output: &Output) -> Result<(), Fault> {
    if !matches!(key, DhtKey::Name(_) | DhtKey::NameCopy(..) | DhtKey::Content(_)) {
        let message = format!("{key} has no providers: only names, manifests and artifacts have them");
        return Err(Fault::new(Failure::Usage, message).hint(format!("`phase dht get {key}` shows its value")));
    }
    let (found, outcome) = network::ask_dht(node, async |node| Ok(look(node, key).await))?;
    if found.is_empty() {
        let report = outcome?;
        let message = format!("{} ({report})", no_provider(key));
        return Err(Fault::new(Failure::NotFound, message).attempts(report.attempts()));
    }
    print(&found, output)
}

fn no_provider(key: &DhtKey) -> String {
    format!("no provider of {key} is announced in the DHT")
}

fn print(found: &[Found], output: &Output) -> Result<(), Fault> {
    let text = |found| text(found, output.is_verbose());
    output.result(|| found.iter().map(json).collect(), || found.iter().map(text).collect::<Vec<_>>().join("\n"))
}

/// Searches for providers under `key` and its copies ([`DhtKey::copies`]), and tries to connect to each provider.
async fn look(node: &NodeHandle, key: &DhtKey) -> (Vec<Found>, Result<QueryReport, QueryError>) {
    let (mut seen, mut trying) = (BTreeSet::new(), JoinSet::new());
    let (mut reports, mut failed) = (Vec::new(), None);
    let mut searches = Vec::new();
    for key in key.copies() {
        searches.push(node.find_providers(&key).await);
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

/// Tries to connect to a provider that was found. Returns its addresses, and the error if it cannot be reached.
async fn attempt(node: &NodeHandle, found: FoundProvider) -> Found {
    let FoundProvider { peer, addresses } = found;
    let unreachable = node.connect(peer, addresses.clone()).await.err();
    // The addresses that this node knows of the peer come first, then the other addresses from the DHT.
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
        "error": found.unreachable.as_ref().map(ToString::to_string),
    })
}

fn text(found: &Found, is_verbose: bool) -> String {
    let Some(error) = &found.unreachable else {
        let addresses = found.addresses.iter().map(|address| format!("\n    {}", printable(address)));
        return format!("{}  reachable{}", found.peer, addresses.collect::<String>());
    };
    let causes = error.causes();
    let mut lines = vec![format!("{}  cannot be reached: {}", found.peer, cli::causes_text(&causes))];
    if is_verbose {
        lines.extend(cli::attempt_lines(&[Attempt::new(found.peer, causes)], true).into_iter().skip(1));
    }
    lines.join("\n  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_name_or_the_cid_of_a_block_but_not_of_a_chunk() {
        let block = Cid::of_block(b"block");
        assert_eq!(block.to_string().parse(), Ok(Key::Cid(block)));
        assert_eq!("stable/x86_64".parse(), Ok(Key::Name("stable/x86_64".parse().unwrap())));
        let chunk = Cid::new(Codec::Raw, block.hash(), *block.digest());
        assert!(chunk.to_string().parse::<Key>().unwrap_err().contains("chunk"));
        assert!("stable".parse::<Key>().is_err());
        assert!("../x".parse::<Key>().is_err());
    }
}
