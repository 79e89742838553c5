//! Nodes on loopback.

use phase_node::bootstrap::BootstrapPeer;
use phase_node::{DhtConfig, Multiaddr, Node, NodeConfig, NodeHandle, Role};

/// A node that has joined the network of `bootstrap`, if that names anybody.
pub(crate) async fn start(role: Role, bootstrap: &[BootstrapPeer]) -> Node {
    start_in_dht(DhtConfig { role, ..DhtConfig::default() }, bootstrap).await
}

/// The same, configured otherwise.
pub(crate) async fn start_in_dht(dht: DhtConfig, bootstrap: &[BootstrapPeer]) -> Node {
    start_node(NodeConfig { dht: Some(dht), ..NodeConfig::in_dht(Role::Client, loopback(), bootstrap.to_vec()) }).await
}

/// The same, configured altogether.
pub(crate) async fn start_node(config: NodeConfig) -> Node {
    let joins = !config.bootstrap.is_empty();
    let node = Node::start(config).await.unwrap();
    if joins {
        node.handle().routing_peers().wait_for(|peers| *peers > 0).await.unwrap();
    }
    node
}

/// Where nodes listen: on a port of their own.
pub(crate) fn loopback() -> Vec<Multiaddr> {
    vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()]
}

/// What a node has counted under a name with labels.
pub(crate) fn counted(node: &NodeHandle, name: &str) -> u64 {
    let metrics = node.metrics();
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().unwrap())
}

/// What a node has refused for a reason.
pub(crate) fn refused(node: &NodeHandle, reason: &str) -> u64 {
    counted(node, &format!("phase_dht_refused_total{{reason=\"{reason}\"}}"))
}

/// How others reach a node.
pub(crate) async fn address(node: &NodeHandle) -> BootstrapPeer {
    let address: Multiaddr = node.listen_addresses().await[0].clone();
    BootstrapPeer { peer: Some(node.peer_id()), address }
}
