//! What the DHT promises.

mod members_find_each_other;
mod nobody_gets_more_than_a_share;
mod nodes_find_a_way_in;
mod only_valid_records_are_kept;
mod peers_have_a_life;
mod private_nodes_say_little;
mod queries_end;
mod records_have_an_end;
mod what_is_announced_is_found;

use std::sync::LazyLock;

use phase_core::codec::V1;
use phase_core::{Cid, DhtKey, Envelope, Pointer, SigningKey};
use phase_node::bootstrap::BootstrapPeer;
use phase_node::{Node, NodeHandle, PeerId, Role};

use crate::nodes::{address, start};

pub(crate) static KEY: LazyLock<DhtKey> = LazyLock::new(|| name("stable/x86_64"));
/// Keys under which there can be providers.
pub(crate) static CONTENT: LazyLock<DhtKey> = LazyLock::new(|| name("a/b"));
static OTHER: LazyLock<DhtKey> = LazyLock::new(|| name("a/c"));

/// The key of a name.
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

/// The first node of a network, and how to reach it.
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
