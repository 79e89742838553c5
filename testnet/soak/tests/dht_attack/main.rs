//! Fifty Sybils around a name flood a small DHT and lie to whoever asks them. The true release is still found, the honest
//! nodes' memory stays bounded, and a new announcement gets through.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../../../../client/tests/network/support/release.rs"]
mod release;
mod sybil;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use phase_client::{Client, ResolveOptions};
use phase_core::{FileStore, Name};
use phase_node::bootstrap::BootstrapPeer;
use phase_node::{DhtConfig, Limits, NodeConfig, NodeHandle, Rate, Role, StoreLimits};
use phase_provider::{Provider, ProviderConfig};
use phase_soak::dht::{Network, NetworkConfig};

use release::{NOW, Publisher, Release, bytes, import, manifest, name};
use sybil::{Sybil, distance};

/// Honest servers, one of which provides the release.
const HONEST: usize = 20;
const SYBILS: usize = 50;
/// Small, so that the flood fills it.
const STORE: StoreLimits = StoreLimits { own: 64, values: 64, providers: 256, providers_per_key: 20 };
/// A test that takes longer, once it is its turn, hangs.
const LIMIT: Duration = Duration::from_secs(600);
/// How long a query may take: seventy nodes share this machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn honest_dht(with_root: bool) -> DhtConfig {
    let (puts, provides) = (Rate { burst: 24, per_second: 0.1 }, Rate { burst: 20, per_second: 0.5 });
    // What is permitted is little, so that the flood exceeds it soon.
    let limits = Limits { puts, provides, ..Limits::default() };
    let clock = Some(Arc::new(|| NOW) as _);
    let roots = if with_root { vec![Publisher::new().trust.root] } else { Vec::new() };
    let (role, query_timeout) = (Role::Server, PATIENCE);
    DhtConfig { role, query_timeout, limits, store: STORE, clock, roots, ..DhtConfig::default() }
}

async fn provider(
    folder: &std::path::Path,
    dht: DhtConfig,
    bootstrap: Vec<BootstrapPeer>,
) -> (Publisher, Release, Provider) {
    let (publisher, path) = (Publisher::new(), folder.join("publisher"));
    let store = FileStore::open(&path).unwrap();
    let files = [("kernel".to_owned(), bytes(1, 10_000))].into();
    let release = publisher.sign(&manifest(import(&store, folder, &files)));
    release.publish(&store);
    drop(store);
    let node = NodeConfig::in_dht(Role::Server, vec!["/memory/0".parse().unwrap()], bootstrap);
    let node = NodeConfig { dht: Some(dht), ..node };
    let provider = Provider::start(ProviderConfig::new(path, node)).await.unwrap();
    provider
        .announced()
        .wait_for(|announced| announced.wanted > 0 && announced.done == announced.wanted)
        .await
        .unwrap();
    (publisher, release, provider)
}

/// Waits until the flood has made every honest node refuse something, and somebody is ignored.
async fn flooded(honest: &[NodeHandle]) {
    loop {
        let (mut have_refused, mut ignored) = (0, 0);
        for node in honest {
            let stats = node.dht_stats().await.unwrap();
            have_refused += usize::from(stats.refused > 0);
            ignored += stats.ignored_peers;
        }
        if have_refused == honest.len() && ignored > 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Has `node` announce another name of the same publisher.
async fn announce_another(node: &NodeHandle, publisher: &Publisher, release: &Release) -> (Name, Vec<u8>) {
    let mut other = release.manifest.clone();
    other.arch = "aarch64".parse().unwrap();
    let pointer = publisher.point(&other, release.envelope.clone()).pointer.encode();
    for key in other.name().keys() {
        node.put(key.as_bytes(), pointer.clone()).await.unwrap();
        node.provide(key.as_bytes()).await.unwrap();
        node.settle(key.as_bytes()).await;
    }
    (other.name(), pointer)
}

/// Whether a provider and a valid pointer of a name are found under any of its keys.
async fn finds(node: &NodeHandle, name: &Name, pointer: &[u8], provider: &NodeHandle) -> (bool, bool) {
    let (mut has_value, mut has_provider) = (false, false);
    for key in name.keys() {
        let (values, _) = node.find_values(key.as_bytes()).await.collect().await;
        has_value |= values.iter().any(|found| found.value == pointer);
        let (providers, _) = node.find_providers(key.as_bytes()).await.collect().await;
        has_provider |= providers.iter().any(|found| found.peer == provider.peer_id());
    }
    (has_value, has_provider)
}

/// Runs one attack at a time: seventy nodes are enough for any machine.
async fn in_turn(attack: impl Future<Output = ()>) {
    static TURN: Mutex<()> = Mutex::const_new(());
    let _turn = TURN.lock().await;
    tokio::time::timeout(LIMIT, attack).await.expect("the test hangs");
}

/// `with_root`: the honest nodes know the publisher's trust root.
async fn attack(seed: u64, with_root: bool) {
    let folder = tempfile::tempdir().unwrap();
    let config = NetworkConfig { seed, clients: 0, dht: honest_dht(with_root), ..NetworkConfig::new(HONEST - 1) };
    let mut network = Network::start(config).await.unwrap();
    let (publisher, release, provider) = provider(folder.path(), honest_dht(with_root), network.first_peers()).await;
    let mut honest: Vec<_> = network.servers().cloned().collect();
    honest.push(provider.node().clone());

    let identities = sybil::grind(seed, name().key().as_bytes(), SYBILS);
    let nearest = honest.iter().map(|node| distance(&node.peer_id(), &name())).min().unwrap();
    let is_near = |key: &&libp2p::identity::Keypair| distance(&key.public().to_peer_id(), &name()) < nearest;
    let near = identities.iter().filter(is_near).count();
    assert!(near >= 20, "only {near} Sybils are nearer to the name than every honest node");
    let mut targets = Vec::new();
    for node in &honest {
        targets.push((node.peer_id(), node.listen_addresses().await[0].clone()));
    }
    let sybils: Vec<_> =
        identities.into_iter().enumerate().map(|(n, key)| Sybil::start(n, key, targets.clone(), &release)).collect();
    flooded(&honest).await;

    let announcer = network.servers().next().unwrap().clone();
    let (other, pointer) = announce_another(&announcer, &publisher, &release).await;
    let store = Arc::new(FileStore::open(folder.path().join("client")).unwrap());
    let dht = Some(DhtConfig { query_timeout: PATIENCE, ..DhtConfig::default() });
    let config = NodeConfig { dht, ..NodeConfig::in_dht(Role::Client, Vec::new(), network.first_peers()) };
    let client = Client::start(store, config).await.unwrap();
    let options = ResolveOptions { answers: 1, timeout: 2 * PATIENCE };
    let resolved = client.resolve(&name(), &publisher.trust, options).await.unwrap();
    assert_eq!((resolved.manifest, resolved.providers), (release.manifest.clone(), vec![provider.peer_id()]));
    // Without a root a node cannot tell whose pointer is the true one; then it is the provider who tells.
    assert!(resolved.pointer_in_dht || !with_root, "the true pointer is found among the false ones");
    let (has_value, has_provider) = finds(client.node(), &other, &pointer, &announcer).await;
    assert!(has_provider && (has_value || !with_root), "value {has_value}, provider {has_provider}");

    assert!(sybil::sent(&sybils) > 100, "the flood went on");
    for node in &honest {
        let stats = node.dht_stats().await.unwrap();
        assert!(stats.values <= STORE.values && stats.providers <= STORE.providers, "{stats:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_survives_a_flood_by_those_closest_to_it() {
    in_turn(attack(1, false)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_know_the_root_keep_the_true_pointer() {
    in_turn(attack(2, true)).await;
}
