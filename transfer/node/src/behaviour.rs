//! The libp2p behaviours of a node, and its connection limits. Only this module knows which optional behaviours are
//! compiled in and switched on.

use std::sync::Arc;

use libp2p::connection_limits::ConnectionLimits;
use libp2p::identity::Keypair;
use libp2p::swarm::NetworkBehaviour;
#[cfg(any(feature = "dht", feature = "mdns"))]
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{Multiaddr, PeerId, StreamProtocol, connection_limits, identify, ping};
use phase_core::Cause;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::NodeConfig;
use crate::discovery::dht::command::DhtCommand;
#[cfg(feature = "dht")]
use crate::discovery::dht::kademlia;
use crate::metrics::Metrics;
use crate::peer_table::PeerTable;
use crate::streams;

/// The protocol version that identify announces.
const IDENTIFY_PROTOCOL: &str = "/phase/1.0.0";
/// The limit on the connections of a node. It is enough for a few hundred machines that boot at once.
const MAX_CONNECTIONS: u32 = 2048;
/// The limit on inbound connections that are being set up at the same time. It is enough for a thousand machines that
/// boot in the same instant.
const MAX_PENDING_INCOMING: u32 = 1024;
/// The limit on outbound connections that are being set up at the same time.
const MAX_PENDING_OUTGOING: u32 = 256;
/// The limit on connections with one peer. Three may be needed: two if both nodes dial at once, and one more for a
/// change of transport.
const MAX_PER_PEER: u32 = 4;

/// The protocols that a node runs on its connections.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) limits: connection_limits::Behaviour,
    pub(crate) identify: identify::Behaviour,
    pub(crate) ping: ping::Behaviour,
    pub(crate) streams: streams::Behaviour,
    #[cfg(feature = "dht")]
    pub(crate) dht: Toggle<kademlia::Behaviour>,
    #[cfg(feature = "mdns")]
    pub(crate) mdns: Toggle<libp2p::mdns::tokio::Behaviour>,
}

/// The state that the behaviours share with the rest of the node.
pub(crate) struct Shared {
    pub(crate) peers: Arc<PeerTable>,
    pub(crate) metrics: Arc<Metrics>,
    /// The number of connected DHT servers.
    pub(crate) routing: watch::Sender<usize>,
}

impl Behaviour {
    pub(crate) fn new(key: &Keypair, config: &NodeConfig, shared: &Shared) -> Self {
        let identify = identify::Config::new(IDENTIFY_PROTOCOL.to_owned(), key.public())
            .with_agent_version(agent(config.is_private))
            // The address cache of identify is off. With the cache, every dial would also use addresses that peers
            // announced and this node has not filtered.
            .with_cache_size(0)
            .with_hide_listen_addrs(config.is_private)
            .with_push_listen_addr_updates(!config.is_private);
        Self {
            limits: connection_limits::Behaviour::new(limits()),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping::Config::new()),
            streams: streams::Behaviour::new(streams::PROTOCOL, shared.peers.clone()),
            #[cfg(feature = "dht")]
            dht: Toggle::from(config.dht.as_ref().map(|dht| {
                let (peers, metrics) = (shared.peers.clone(), shared.metrics.clone());
                let peer = key.public().to_peer_id();
                let mut dht = kademlia::Behaviour::new(peer, dht, peers, metrics, shared.routing.clone());
                if config.is_private {
                    dht.hide();
                }
                dht
            })),
            #[cfg(feature = "mdns")]
            mdns: Toggle::from(mdns(key.public().to_peer_id(), config)),
        }
    }

    /// Passes a command to the DHT. Without a DHT the command is refused.
    pub(crate) fn dht_command(&mut self, now: Instant, command: DhtCommand) {
        #[cfg(feature = "dht")]
        if let Some(dht) = self.dht.as_mut() {
            return dht.command(now, command);
        }
        let _ = now;
        command.refuse();
    }

    /// Returns whether a DHT server is connected, or `None` without a DHT.
    pub(crate) fn is_in_dht(&self) -> Option<bool> {
        #[cfg(feature = "dht")]
        return self.dht.as_ref().map(kademlia::Behaviour::is_joined);
        #[cfg(not(feature = "dht"))]
        None
    }

    /// Returns whether a peer that supports `protocols` is a server of the same DHT.
    pub(crate) fn is_dht_server(&self, protocols: &[StreamProtocol]) -> bool {
        #[cfg(feature = "dht")]
        return self.dht.as_ref().is_some_and(|dht| dht.is_spoken(protocols));
        #[cfg(not(feature = "dht"))]
        {
            let _ = protocols;
            false
        }
    }

    /// Reports a DHT server to the DHT, with the addresses at which the server can be reached.
    pub(crate) fn handle_dht_server(&mut self, peer: PeerId, addresses: &[Multiaddr]) {
        #[cfg(feature = "dht")]
        if let Some(dht) = self.dht.as_mut() {
            dht.handle_server(peer, addresses);
        }
        let _ = (peer, addresses);
    }

    /// Reports to the DHT that a peer could not be reached.
    pub(crate) fn handle_unreachable(&mut self, peer: PeerId, causes: &[Cause]) {
        #[cfg(feature = "dht")]
        if let Some(dht) = self.dht.as_mut() {
            dht.handle_unreachable(peer, causes);
        }
        let _ = (peer, causes);
    }

    /// Makes the DHT send provider records without addresses from now on. Such a record withdraws its key instead of
    /// providing it.
    pub(crate) fn hide(&mut self) {
        #[cfg(feature = "dht")]
        if let Some(dht) = self.dht.as_mut() {
            dht.hide();
        }
    }
}

/// Returns the agent version that identify announces. For a private node, it does not contain the version of the
/// program.
fn agent(is_private: bool) -> String {
    if is_private { "phase".to_owned() } else { format!("phase/{}", env!("CARGO_PKG_VERSION")) }
}

/// Starts mDNS, which announces the listen addresses to the local network. Returns `None` if mDNS is off or cannot be
/// started, and for a private node.
#[cfg(feature = "mdns")]
fn mdns(peer: PeerId, config: &NodeConfig) -> Option<libp2p::mdns::tokio::Behaviour> {
    if !config.mdns || config.is_private {
        return None;
    }
    let started = libp2p::mdns::tokio::Behaviour::new(libp2p::mdns::Config::default(), peer);
    started
        .map_err(|error| tracing::warn!(%error, "cannot start mDNS: no peers of the local network will be found"))
        .ok()
}

fn limits() -> ConnectionLimits {
    ConnectionLimits::default()
        .with_max_pending_incoming(Some(MAX_PENDING_INCOMING))
        .with_max_pending_outgoing(Some(MAX_PENDING_OUTGOING))
        .with_max_established(Some(MAX_CONNECTIONS))
        .with_max_established_per_peer(Some(MAX_PER_PEER))
}
