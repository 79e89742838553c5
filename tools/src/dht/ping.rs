//! `phase dht ping`: whether peers answer, and how fast.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use phase_cli::{self as cli, EXIT_CODES, Fault, NodeArgs, printable};
use phase_core::Failure;
use phase_core::time::TrustedTime;
use phase_node::bootstrap::{BootstrapError, BootstrapPeer};
use phase_node::{ConnectError, Multiaddr, Node, NodeConfig, NodeHandle, PeerId, PeerInfo};
use serde_json::{Value, json};

use crate::network;
use crate::output::Output;

/// How long a connected peer has to answer the first ping, which is sent at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long somebody has to answer at an address that does not say who: as long as a dial may take.
const DIAL_PATIENCE: Duration = Duration::from_secs(10);
/// The time between two looks at what is known about a peer: a ping is no event.
const POLL: Duration = Duration::from_millis(20);

const EXAMPLES: &str = "\
Examples:
  phase dht ping /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW…
  phase dht ping /ip4/192.0.2.7/tcp/4001
  phase dht ping 12D3KooW… --bootstrap /ip4/192.0.2.8/tcp/4001/p2p/12D3KooW…

An address is dialled as it is, without a network. A peer id is looked up in the DHT: its contact record, and what the
nodes closest to it know.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    /// Whom to ping: multiaddrs, with or without /p2p, or peer ids
    #[arg(value_name = "ADDR|PEER", required = true)]
    targets: Vec<Target>,
    #[command(flatten)]
    node: NodeArgs,
}

/// Whom to ping.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Address(BootstrapPeer),
    Peer(PeerId),
}

impl FromStr for Target {
    type Err = BootstrapError;

    fn from_str(text: &str) -> Result<Self, BootstrapError> {
        text.parse().map(Self::Peer).or_else(|_| text.parse().map(Self::Address))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Peer(peer) => peer.fmt(f),
        }
    }
}

/// What became of a target.
struct Pinged {
    target: Target,
    answer: Result<PeerInfo, String>,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Fault> {
    let needs_dht = args.targets.iter().any(|target| matches!(target, Target::Peer(_)));
    let ping_all = async |dht: Option<&NodeHandle>| {
        let mut all = Vec::new();
        for target in &args.targets {
            all.push(Pinged { target: target.clone(), answer: ping(dht, target).await });
        }
        Ok(all)
    };
    let pinged = match needs_dht {
        true => network::ask_dht(&args.node, async |node| ping_all(Some(node)).await)?,
        false => network::ask(ping_all(None))?,
    };
    let failed: Vec<_> = pinged
        .iter()
        .filter_map(|pinged| Some(format!("{}: {}", pinged.target, pinged.answer.as_ref().err()?)))
        .collect();
    if failed.len() < pinged.len() || failed.is_empty() {
        output
            .result(|| pinged.iter().map(json).collect(), || pinged.iter().map(text).collect::<Vec<_>>().join("\n"))?;
    }
    if failed.is_empty() { Ok(()) } else { Err(Fault::new(Failure::Network, failed.join("; "))) }
}

async fn ping(dht: Option<&NodeHandle>, target: &Target) -> Result<PeerInfo, String> {
    match (target, dht) {
        (Target::Address(address), _) => ping_address(address).await,
        (Target::Peer(peer), Some(node)) => {
            find(node, *peer).await?;
            round_trip(node, *peer).await
        }
        (Target::Peer(_), None) => Err("no address known".to_owned()),
    }
}

/// With a node of its own for each address, so that it is this address that answers.
async fn ping_address(address: &BootstrapPeer) -> Result<PeerInfo, String> {
    let peers = if address.peer.is_none() { vec![address.clone()] } else { Vec::new() };
    let config = NodeConfig { peers, is_private: true, ..NodeConfig::default() };
    let node = Node::start(config).await.map_err(|error| error.to_string())?;
    let answer = async {
        let peer = match address.peer {
            Some(peer) => {
                node.handle().connect(peer, vec![address.address.clone()]).await.map_err(|e| e.to_string())?;
                peer
            }
            None => whoever(node.handle()).await?,
        };
        round_trip(node.handle(), peer).await
    };
    let answer = answer.await;
    node.stop().await;
    answer
}

/// Who answers at the only address that the node dials.
async fn whoever(node: &NodeHandle) -> Result<PeerId, String> {
    let connected = || node.peers().into_iter().find(PeerInfo::is_connected).map(|info| info.peer);
    let found = poll(DIAL_PATIENCE, connected).await;
    found.ok_or_else(|| format!("no answer within {} s", DIAL_PATIENCE.as_secs()))
}

/// Connects to a peer, wherever it says or others say that it is.
async fn find(node: &NodeHandle, peer: PeerId) -> Result<(), String> {
    let contact = match node.find_contact(peer, TrustedTime(cli::now())).await {
        Ok(found) => match node.verify_contact(&found.record).await {
            Ok(()) => return Ok(()),
            Err(error) => format!("its contact record: {error}"),
        },
        Err(error) => error.to_string(),
    };
    let (closest, _) = node.find_closest(&peer.to_bytes()).await.collect().await;
    let addresses: Vec<Multiaddr> =
        closest.into_iter().filter(|found| found.peer == peer).flat_map(|found| found.addresses).collect();
    match node.connect(peer, addresses).await {
        Ok(()) => Ok(()),
        Err(ConnectError::NoAddress) => Err(format!("{contact}; the nodes closest to it do not know it either")),
        Err(error) => Err(format!("{contact}; where others say it is: {error}")),
    }
}

/// Waits for a ping's answer, and for the peer to say what it is.
async fn round_trip(node: &NodeHandle, peer: PeerId) -> Result<PeerInfo, String> {
    let known = || node.peer(&peer).filter(|info| info.round_trip.is_some() && info.agent.is_some());
    if let Some(info) = poll(PATIENCE, known).await {
        return Ok(info);
    }
    // Not everybody says what it is.
    let info = node.peer(&peer).filter(|info| info.round_trip.is_some());
    info.ok_or_else(|| format!("connected, but no answer to a ping within {} s", PATIENCE.as_secs()))
}

async fn poll<T>(patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let looking = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(patience, looking).await.ok()
}

fn json(pinged: &Pinged) -> Value {
    let info = pinged.answer.as_ref().ok();
    json!({
        "target": pinged.target.to_string(),
        "reachable": info.is_some(),
        "peer": info.map(|info| info.peer.to_string()),
        "round_trip_seconds": info.and_then(|info| info.round_trip).map(|time| time.as_secs_f64()),
        "agent": info.and_then(|info| info.agent.clone()),
        "addresses": info.map(|info| network::texts(&info.addresses)),
        "error": pinged.answer.as_ref().err(),
    })
}

fn text(pinged: &Pinged) -> String {
    match &pinged.answer {
        Ok(info) => {
            let time = network::milliseconds(info.round_trip);
            let agent = info.agent.as_deref().map(printable).unwrap_or_default();
            let address = info.addresses.first().map(|address| printable(&address.to_string())).unwrap_or_default();
            format!("{}  {time}  {agent}\n    {address}", info.peer)
        }
        Err(error) => format!("{}: {}", pinged.target, printable(error)),
    }
}
