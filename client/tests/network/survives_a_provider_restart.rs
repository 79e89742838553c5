//! Tests that a fetch continues when a configured peer restarts.

use std::sync::Arc;

use phase_client::{Client, FetchOptions};
use phase_core::MemStore;
use phase_node::bootstrap::BootstrapPeer;
use phase_node::{Identity, NodeConfig};
use phase_test_support::gate::{Gate, GatedStore};
use phase_test_support::in_time;

use crate::support::release::bytes;
use crate::support::world::{World, loopback, patient, serve};

/// The client knows the provider only from its configuration, because there is no DHT.
#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_continues_after_its_only_provider_has_restarted() {
    in_time(async {
        let world = World::new([("rootfs", bytes(1, 4 << 20))]).await;
        let (gate, identity) = (Gate::new(1 << 20), Identity::ephemeral());
        let gated = GatedStore { inner: world.store.clone(), gate: gate.clone(), block: None };
        let (node, server) = serve(&identity, loopback(), Arc::new(gated)).await;
        let address = node.handle().listen_addresses().await[0].clone();
        let peer = BootstrapPeer { peer: Some(identity.peer_id()), address: address.clone() };
        let store = Arc::new(MemStore::new());
        let client = Client::start(store, NodeConfig { peers: vec![peer], ..NodeConfig::default() }).await.unwrap();
        let resolved =
            client.resolve(&world.release.manifest.name(), &world.publisher.trust, patient(1)).await.unwrap();
        let fetch = client.fetch(&resolved, FetchOptions::default());
        let passed = gate.blocked().await;
        let mut progress = fetch.progress();
        progress.wait_for(|progress| progress.verified >= passed).await.unwrap();

        drop(server);
        node.stop().await;
        progress.wait_for(|progress| progress.peers == 0).await.unwrap();
        gate.open();
        let _restarted = serve(&identity, address, world.store.clone()).await;
        let report = fetch.finish().await.unwrap();
        assert_eq!(report.peers[&identity.peer_id()].bytes, 4 << 20);
    })
    .await;
}
