//! `phase dht ping`: connects to peers and measures their round-trip times.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use phase_cli::{self as cli, EXIT_CODES, Fault, NodeArgs, printable};
use phase_core::time::TrustedTime;
use phase_core::{Attempt, Cause, Failure};
use phase_node::bootstrap::{BootstrapError, BootstrapPeer};
use phase_node::{ConnectError, Multiaddr, Node, NodeConfig, NodeHandle, PeerId, PeerInfo};
use serde_json::{Value, json};

use crate::network;
use crate::output::Output;

/// The timeout for the answer to the first ping, which is sent as soon as the peer is connected.
const PATIENCE: Duration = Duration::from_secs(5);
/// The timeout for connecting to an address without a peer id. It is equal to the node's timeout for dialling.
const DIAL_PATIENCE: Duration = Duration::from_secs(10);
/// The interval at which the node's information about a peer is checked, because there is no event for the answer to a
/// ping.
const POLL: Duration = Duration::from_millis(20);

const EXAMPLES: &str = "\
Examples:
  phase dht ping /ip4/127.0.0.1/tcp/4001
  phase dht ping \"$(phase dht ping /ip4/127.0.0.1/tcp/4001 --json | jq -r '.[0].peer')\" \\
      --bootstrap /ip4/127.0.0.1/tcp/4001

An address, with or without /p2p/12D3KooW…, is dialled directly, without the DHT. A peer id is searched in the DHT: in
its contact record, and at the nodes closest to it.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    /// The peers to ping, as multiaddrs with or without /p2p, or as peer ids
    #[arg(value_name = "ADDR|PEER", required = true)]
    targets: Vec<Target>,
    #[command(flatten)]
    node: NodeArgs,
}

/// A peer to ping, by its address or by its peer id.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Address(BootstrapPeer),
    Peer(PeerId),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self::Peer).or_else(|_| text.parse().map(Self::Address)).map_err(|error| match error {
            BootstrapError::Address { .. } => cli::address_error(text),
            error => error.to_string(),
        })
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

/// The result of pinging a target: information about the peer that answered, or the causes of the failure.
struct Pinged {
    target: Target,
    answer: Result<PeerInfo, Vec<Cause>>,
}

impl Pinged {
    /// Returns the failed attempt to ping the target, or `None` if the peer answered.
    fn failed(&self) -> Option<Attempt> {
        Some(Attempt::new(&self.target, self.answer.as_ref().err()?.clone()))
    }
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
    let failed: Vec<_> = pinged.iter().filter_map(Pinged::failed).collect();
    if failed.len() < pinged.len() || failed.is_empty() {
        let text = |pinged| text(pinged, output.is_verbose());
        output
            .result(|| pinged.iter().map(json).collect(), || pinged.iter().map(text).collect::<Vec<_>>().join("\n"))?;
    }
    if failed.is_empty() {
        return Ok(());
    }
    let message = match pinged.len() {
        1 => "the peer cannot be pinged".to_owned(),
        all => format!("{} of {all} peers cannot be pinged", failed.len()),
    };
    Err(Fault::new(Failure::Network, message).attempts(Attempt::merged(failed)))
}

async fn ping(dht: Option<&NodeHandle>, target: &Target) -> Result<PeerInfo, Vec<Cause>> {
    match (target, dht) {
        (Target::Address(address), _) => ping_address(address).await,
        (Target::Peer(peer), Some(node)) => {
            find(node, *peer).await?;
            round_trip(node, *peer).await
        }
        (Target::Peer(_), None) => Err(cause("no address of the peer is known")),
    }
}

fn cause(text: impl ToString) -> Vec<Cause> {
    vec![Cause::new(text)]
}

/// Pings an address. Uses a new node for each address, so that only this address can be dialled.
async fn ping_address(address: &BootstrapPeer) -> Result<PeerInfo, Vec<Cause>> {
    let peers = if address.peer.is_none() { vec![address.clone()] } else { Vec::new() };
    let config = NodeConfig { peers, is_private: true, ..NodeConfig::default() };
    let node = Node::start(config).await.map_err(cause)?;
    let answer = async {
        let peer = match address.peer {
            Some(peer) => {
                node.handle().connect(peer, vec![address.address.clone()]).await.map_err(|error| error.causes())?;
                peer
            }
            None => first_connected(node.handle()).await?,
        };
        round_trip(node.handle(), peer).await
    };
    let answer = answer.await;
    node.stop().await;
    answer
}

/// Waits for the first connected peer. It is the peer at the target address, because the node dials only this address.
async fn first_connected(node: &NodeHandle) -> Result<PeerId, Vec<Cause>> {
    let connected = || node.peers().into_iter().find(PeerInfo::is_connected).map(|info| info.peer);
    let found = poll(DIAL_PATIENCE, connected).await;
    found.ok_or_else(|| cause(format!("no answer within {}", cli::duration(DIAL_PATIENCE))))
}

/// Connects to a peer at the addresses in its contact record. If that fails, tries the addresses that the DHT nodes
/// closest to the peer know.
async fn find(node: &NodeHandle, peer: PeerId) -> Result<(), Vec<Cause>> {
    let mut causes = match node.find_contact(peer, TrustedTime(cli::now())).await {
        Ok(found) => match node.verify_contact(&found.record).await {
            Ok(()) => return Ok(()),
            Err(error) => error.causes(),
        },
        Err(error) => cause(error),
    };
    let (closest, _) = node.find_closest(peer).await.collect().await;
    let addresses: Vec<Multiaddr> =
        closest.into_iter().filter(|found| found.peer == peer).flat_map(|found| found.addresses).collect();
    match node.connect(peer, addresses).await {
        Ok(()) => return Ok(()),
        Err(ConnectError::NoAddress) => causes.push(Cause::new("the nodes closest to it do not know its addresses")),
        Err(error) => causes.extend(error.causes()),
    }
    Err(causes)
}

/// Waits until the connected peer has answered a ping and has sent the name of its program.
async fn round_trip(node: &NodeHandle, peer: PeerId) -> Result<PeerInfo, Vec<Cause>> {
    let known = || node.peer(&peer).filter(|info| info.round_trip.is_some() && info.agent.is_some());
    if let Some(info) = poll(PATIENCE, known).await {
        return Ok(info);
    }
    // Some peers do not send the name of their program, so the answer to the ping is enough.
    let info = node.peer(&peer).filter(|info| info.round_trip.is_some());
    info.ok_or_else(|| cause(format!("connected, but no answer to a ping within {}", cli::duration(PATIENCE))))
}

/// Calls `look` every [`POLL`] until it returns a value. Returns `None` after the time `patience`.
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
        "error": pinged.answer.as_ref().err().map(|causes| network::texts(causes).join("; ")),
    })
}

fn text(pinged: &Pinged, is_verbose: bool) -> String {
    match &pinged.answer {
        Ok(info) => {
            let time = network::milliseconds(info.round_trip);
            let agent = info.agent.as_deref().map(printable).unwrap_or_default();
            let address = info.addresses.first().map(|address| printable(&address.to_string())).unwrap_or_default();
            format!("{}  {time}  {agent}\n    {address}", info.peer)
        }
        Err(causes) => {
            let attempts = Attempt::merged([Attempt::new(&pinged.target, causes.clone())]);
            cli::attempt_lines(&attempts, is_verbose).join("\n")
        }
    }
}
