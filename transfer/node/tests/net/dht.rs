//! Tests of the DHT. Each file is named after the behaviour that it tests.

mod announced_content_is_found;
mod each_peer_is_limited;
mod nodes_join_through_bootstrap_peers;
mod only_valid_records_are_kept;
mod peer_states_are_reported;
mod private_nodes_do_not_advertise;
mod queries_end_in_time;
mod records_expire;
mod routing_follows_kademlia;

use std::sync::LazyLock;

use phase_core::codec::V1;
use phase_core::{Cid, DhtKey, Envelope, Pointer, SigningKey};
use phase_node::bootstrap::BootstrapPeer;
use phase_node::{Node, NodeHandle, PeerId, Role};

use crate::nodes::{address, start};

/// A DHT key under which tests put values.
pub(crate) static KEY: LazyLock<DhtKey> = LazyLock::new(|| name("stable/x86_64"));
/// A DHT key that nodes provide.
pub(crate) static CONTENT: LazyLock<DhtKey> = LazyLock::new(|| name("a/b"));
/// Another DHT key that nodes provide.
static OTHER: LazyLock<DhtKey> = LazyLock::new(|| name("a/c"));

/// Returns the DHT key of a release name.
fn name(name: &str) -> DhtKey {
    DhtKey::Name(name.parse().unwrap())
}

fn pointer(name: &str, version: u64) -> Vec<u8> {
    let pointer = Pointer {
        v: V1,
        name: name.parse().unwrap(),
        manifest: Some(Cid::of_block(b"manifest")),
        version,
        issued_at: 1,
        expires_at: 2,
        urls: Vec::new(),
    };
    let mut envelope = Envelope::unsigned(&pointer).unwrap();
    envelope.sign::<Pointer>(&SigningKey::from_secret_bytes(&[1; 32])).unwrap();
    envelope.encode()
}

/// Starts the first node of a network. Returns the node, and a list of bootstrap peers that contains only this node.
pub(crate) async fn network() -> (Node, Vec<BootstrapPeer>) {
    let first = start(Role::Server, &[]).await;
    let bootstrap = vec![address(first.handle()).await];
    (first, bootstrap)
}

pub(crate) async fn providers(node: &NodeHandle, key: &DhtKey) -> Vec<PeerId> {
    let (found, _) = node.find_providers(key).await.collect().await;
    let mut all: Vec<_> = found.into_iter().map(|found| found.peer).collect();
    all.sort();
    all.dedup();
    all
}

async fn values(node: &NodeHandle, key: &DhtKey) -> Vec<Vec<u8>> {
    let (found, _) = node.find_values(key).await.collect().await;
    let mut all: Vec<_> = found.into_iter().map(|found| found.value).collect();
    all.dedup();
    all
}
