//! Tests that a provider withdraws an older release when a newer one is published, and all of its releases when it
//! stops.

use std::path::Path;

use phase_core::{Cid, DhtKey, FileStore, Name, Pointer, Store as _};
use phase_node::{Node, NodeConfig, NodeHandle, PeerId, Role};
use tempfile::tempdir;

use super::support::{in_time, joined, publish, publish_version, source, start, until};

async fn providers(node: &NodeHandle, cid: Cid) -> Vec<PeerId> {
    let mut search = node.find_providers(&DhtKey::Content(cid)).await;
    let mut found = Vec::new();
    while let Some(provider) = search.recv().await {
        found.push(provider.peer);
    }
    found.dedup();
    found
}

/// Returns the CID of the manifest that a store's ref points to.
fn manifest(store: &Path, name: &Name) -> Cid {
    let pointer = FileStore::open(store).unwrap().pointer(name).unwrap().unwrap();
    pointer.payload_unverified::<Pointer>().unwrap().manifest.unwrap()
}

#[tokio::test]
async fn replaced_releases_and_releases_of_a_stopped_provider_are_withdrawn() {
    let folder = tempdir().unwrap();
    let store = folder.path().join("provider");
    let name: Name = "stable/x86_64".parse().unwrap();
    let keys = publish(&store, 1);
    let older = manifest(&store, &name);
    in_time(async {
        let first = start(&folder.path().join("first"), &[]).await;
        let bootstrap = vec![source(first.node()).await];
        let provider = start(&store, &bootstrap).await;
        let this_provider = [provider.peer_id()];
        provider.announced().wait_for(|announced| announced.done == keys).await.unwrap();
        let client = NodeConfig { bootstrap, ..NodeConfig::in_dht(Role::Client, Vec::new(), Vec::new()) };
        let client = Node::start(client).await.unwrap();
        joined(client.handle()).await;
        until(async || providers(client.handle(), older).await == this_provider).await;

        let keys = publish_version(&store, 2, 2);
        let newer = manifest(&store, &name);
        provider.announced().wait_for(|announced| announced.done == keys).await.unwrap();
        until(async || providers(client.handle(), older).await.is_empty()).await;
        until(async || providers(client.handle(), newer).await == this_provider).await;
        let kept = async || first.node().dht_stats().await.unwrap().providers;
        until(async || kept().await == keys).await;

        provider.stop().await;
        until(async || kept().await == 0).await;
        assert_eq!(providers(client.handle(), newer).await, []);
    })
    .await;
}
