//! What a node is started with.

use libp2p::Multiaddr;

use crate::discovery::dht::config::{DhtConfig, Role};
use crate::discovery::first_peers::{BootstrapPeer, BootstrapSource};
use crate::identity::Identity;
use crate::transport::TransportConfig;

/// What a node is started with.
pub struct NodeConfig {
    /// Who it is. Default: a new key that is kept nowhere.
    pub identity: Identity,
    /// Addresses to listen on. Default: none, so that it can only dial.
    pub listen: Vec<Multiaddr>,
    /// First peers, dialled at the start and again while there is nobody to ask. Default: none.
    pub bootstrap: Vec<BootstrapSource>,
    /// Peers to ask directly, whatever else finds. Default: none.
    pub peers: Vec<BootstrapPeer>,
    /// How it takes part in the DHT. Default: not at all.
    pub dht: Option<DhtConfig>,
    /// Whether it looks for peers in the local network, and tells them where it listens. Default: no.
    pub mdns: bool,
    /// Whether it says nothing about itself that it need not: no listen addresses, no version. Default: no.
    pub is_private: bool,
    /// How it dials.
    pub transport: TransportConfig,
}

impl Default for NodeConfig {
    /// A node with a new key that listens nowhere and looks for nobody.
    fn default() -> Self {
        Self {
            identity: Identity::ephemeral(),
            listen: Vec::new(),
            bootstrap: Vec::new(),
            peers: Vec::new(),
            dht: None,
            mdns: false,
            is_private: false,
            transport: TransportConfig::default(),
        }
    }
}

impl NodeConfig {
    /// A node of the DHT with a new key.
    pub fn in_dht(role: Role, listen: Vec<Multiaddr>, bootstrap: Vec<BootstrapPeer>) -> Self {
        let dht = Some(DhtConfig { role, ..DhtConfig::default() });
        let bootstrap = bootstrap.into_iter().map(BootstrapSource::Peer).collect();
        Self { listen, bootstrap, dht, ..Self::default() }
    }
}
