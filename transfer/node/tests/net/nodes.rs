//! Starts nodes on loopback, and reads their metrics and addresses.

use phase_node::bootstrap::BootstrapPeer;
use phase_node::{DhtConfig, Multiaddr, Node, NodeConfig, NodeHandle, Role};

/// Starts a node with default settings and, if `bootstrap` is not empty, waits until it has joined the DHT.
pub(crate) async fn start(role: Role, bootstrap: &[BootstrapPeer]) -> Node {
    start_in_dht(DhtConfig { role, ..DhtConfig::default() }, bootstrap).await
}

/// Like [`start`], but with the DHT configuration `dht`.
pub(crate) async fn start_in_dht(dht: DhtConfig, bootstrap: &[BootstrapPeer]) -> Node {
    start_node(NodeConfig { dht: Some(dht), ..NodeConfig::in_dht(Role::Client, loopback(), bootstrap.to_vec()) }).await
}

/// Like [`start`], but with the node configuration `config`.
pub(crate) async fn start_node(config: NodeConfig) -> Node {
    let joins = !config.bootstrap.is_empty();
    let node = Node::start(config).await.unwrap();
    if joins {
        node.handle().routing_peers().wait_for(|peers| *peers > 0).await.unwrap();
    }
    node
}

/// Returns listen addresses for a new node: any free port on loopback.
pub(crate) fn loopback() -> Vec<Multiaddr> {
    vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()]
}

/// Returns the value of a metric. `name` includes the labels. Returns 0 if the node has not counted anything yet.
pub(crate) fn counted(node: &NodeHandle, name: &str) -> u64 {
    let metrics = node.metrics();
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().unwrap())
}

/// Returns how many records and requests a node has refused for `reason`.
pub(crate) fn refused(node: &NodeHandle, reason: &str) -> u64 {
    counted(node, &format!("phase_dht_refused_total{{reason=\"{reason}\"}}"))
}

/// Returns the first listen address of a node as a bootstrap peer.
pub(crate) async fn address(node: &NodeHandle) -> BootstrapPeer {
    let address: Multiaddr = node.listen_addresses().await[0].clone();
    BootstrapPeer { peer: Some(node.peer_id()), address }
}
