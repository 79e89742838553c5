//! Tests that a restarted provider finds its network again when all of its bootstrap peers have stopped.

use std::path::{Path, PathBuf};
use std::time::Duration;

use phase_core::FileStore;
use phase_node::bootstrap::RememberedPeers;
use phase_node::{Identity, NodeHandle, PeerId};
use phase_provider::Provider;
use tempfile::tempdir;

use super::support::{config, in_time, joined, publish, source, start, until};

const NEVER: Duration = Duration::from_secs(3600);

fn file(store: &Path) -> PathBuf {
    store.join("peers.toml")
}

fn remembered(store: &Path) -> Vec<PeerId> {
    RememberedPeers::new(file(store)).load().into_iter().filter_map(|known| known.peer).collect()
}

fn knows(node: &NodeHandle, peer: PeerId) -> bool {
    node.connected_dht_servers().iter().any(|(known, _)| *known == peer)
}

#[tokio::test]
async fn a_restarted_provider_finds_peers_when_the_bootstrap_node_has_stopped() {
    let folder = tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    in_time(async {
        let bootstrap = start(&path("bootstrap"), &[]).await;
        let first = source(bootstrap.node()).await;
        let stays = start(&path("stays"), std::slice::from_ref(&first)).await;
        let mut restarted = config(&path("restarts"), std::slice::from_ref(&first));
        restarted.remember_interval = NEVER;
        let restarts = Provider::start(restarted).await.unwrap();
        until(async || knows(restarts.node(), stays.peer_id())).await;
        bootstrap.stop().await;
        restarts.stop().await;
        assert!(remembered(&path("restarts")).contains(&stays.peer_id()));
        assert!(!remembered(&path("restarts")).contains(&restarts_id(&path("restarts"))));
        // Restart the provider with and without the address of the stopped bootstrap node. In both cases, the provider
        // finds the remembered peer.
        for configured in [&[first][..], &[]] {
            let again = Provider::start(config(&path("restarts"), configured)).await.unwrap();
            joined(again.node()).await;
            until(async || knows(again.node(), stays.peer_id())).await;
            again.stop().await;
        }
    })
    .await;
}

fn restarts_id(store: &Path) -> PeerId {
    Identity::from_key(&FileStore::open(store).unwrap().identity().unwrap()).peer_id()
}

#[tokio::test]
async fn good_peers_are_saved_while_the_provider_runs() {
    let folder = tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    in_time(async {
        let first = start(&path("first"), &[]).await;
        let mut often = config(&path("second"), &[source(first.node()).await]);
        often.remember_interval = Duration::from_millis(10);
        let second = Provider::start(often).await.unwrap();
        until(async || remembered(&path("second")) == [first.peer_id()]).await;
        let saved = std::fs::read(file(&path("second"))).unwrap();
        // The file must still list the first provider after the first provider has stopped.
        first.stop().await;
        second.node().routing_peers().wait_for(|peers| *peers == 0).await.unwrap();
        second.stop().await;
        assert_eq!(std::fs::read(file(&path("second"))).unwrap(), saved);
    })
    .await;
}

#[tokio::test]
async fn a_provider_that_reaches_no_remembered_peer_becomes_the_first_node() {
    let folder = tempdir().unwrap();
    let store = folder.path().join("store");
    let keys = publish(&store, 3);
    let gone = (Identity::ephemeral().peer_id(), vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap()]);
    RememberedPeers::new(file(&store)).save(std::slice::from_ref(&gone)).unwrap();
    in_time(async {
        let mut impatient = config(&store, &[]);
        impatient.alone_after = Duration::from_millis(100);
        let provider = Provider::start(impatient).await.unwrap();
        provider.announced().wait_for(|announced| announced.done == keys).await.unwrap();
        provider.stop().await;
        assert_eq!(remembered(&store), [gone.0]);

        // With a long `alone_after`, the provider announces nothing until another node connects.
        let mut patient = config(&store, &[]);
        patient.alone_after = NEVER;
        let provider = Provider::start(patient).await.unwrap();
        provider.announced().wait_for(|announced| announced.wanted == keys).await.unwrap();
        assert_eq!(provider.announced().borrow().done, 0);
        let other = start(&folder.path().join("other"), &[source(provider.node()).await]).await;
        provider.announced().wait_for(|announced| announced.done == keys).await.unwrap();
        until(async || other.node().dht_stats().await.unwrap().providers >= keys).await;
    })
    .await;
}

#[tokio::test]
async fn a_remembered_peer_is_found_at_its_second_address() {
    let folder = tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    in_time(async {
        let first = start(&path("first"), &[]).await;
        drop(FileStore::open(path("second")).unwrap());
        let outdated = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        let addresses = vec![outdated, first.node().listen_addresses().await[0].clone()];
        RememberedPeers::new(file(&path("second"))).save(&[(first.peer_id(), addresses)]).unwrap();
        let second = Provider::start(config(&path("second"), &[])).await.unwrap();
        joined(second.node()).await;
    })
    .await;
}

#[tokio::test]
async fn a_provider_with_configured_peers_does_not_save_peers() {
    let folder = tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    in_time(async {
        let first = start(&path("first"), &[]).await;
        let mut direct = config(&path("second"), &[]);
        direct.remember_interval = Duration::from_millis(1);
        direct.node.dht = None;
        direct.node.peers = vec![source(first.node()).await.to_string().parse().unwrap()];
        let second = Provider::start(direct).await.unwrap();
        let is_identified = |node: &NodeHandle| node.peers().iter().any(|info| info.agent.is_some());
        until(async || is_identified(second.node())).await;
        second.stop().await;
        assert!(!file(&path("second")).exists());
    })
    .await;
}
