//! The configuration of a node.

use libp2p::Multiaddr;

use crate::discovery::bootstrap::{BootstrapPeer, BootstrapSource};
use crate::discovery::dht::config::{DhtConfig, Role};
use crate::identity::Identity;
use crate::transport::TransportConfig;

/// The configuration of a node.
pub struct NodeConfig {
    /// The identity of the node. Default: a new key that is not saved.
    pub identity: Identity,
    /// The listen addresses. Default: none, so that the node can only dial.
    pub listen: Vec<Multiaddr>,
    /// The bootstrap peers. The node dials them at the start, and later whenever it is connected to no DHT server.
    /// Without a DHT, it dials them whenever it is connected to no peer. Default: none.
    pub bootstrap: Vec<BootstrapSource>,
    /// The configured peers. They are dialled like bootstrap peers. A client asks each of them for content, without a
    /// search for providers. Default: none.
    pub peers: Vec<BootstrapPeer>,
    /// The configuration of the DHT. Default: `None`, which switches the DHT off.
    pub dht: Option<DhtConfig>,
    /// Whether the node looks for peers on the local network and announces its listen addresses there. Default: false.
    pub mdns: bool,
    /// Whether the node is a private node, which announces neither its listen addresses nor its program version.
    /// Default: false.
    pub is_private: bool,
    /// The configuration of the transports.
    pub transport: TransportConfig,
}

impl Default for NodeConfig {
    /// Returns the configuration of a node that has a new key, does not listen and does not look for peers.
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
    /// Returns the configuration of a DHT node with a new key.
    pub fn in_dht(role: Role, listen: Vec<Multiaddr>, bootstrap: Vec<BootstrapPeer>) -> Self {
        let dht = Some(DhtConfig { role, ..DhtConfig::default() });
        let bootstrap = bootstrap.into_iter().map(BootstrapSource::Peer).collect();
        Self { listen, bootstrap, dht, ..Self::default() }
    }
}
