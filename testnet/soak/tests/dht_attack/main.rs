//! Fifty Sybils close to a name flood a small DHT and give false answers. Clients still find the true release, the
//! memory of honest nodes stays bounded, and a new announcement succeeds.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../../../../client/tests/network/support/release.rs"]
mod release;
mod sybil;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use phase_client::{Client, ResolveOptions};
use phase_core::{DhtKey, FileStore, Name};
use phase_node::bootstrap::BootstrapPeer;
use phase_node::{DhtConfig, Limits, NodeConfig, NodeHandle, Rate, Role, StoreLimits};
use phase_provider::{Provider, ProviderConfig};
use phase_soak::dht::{Network, NetworkConfig};

use release::{NOW, Publisher, Release, bytes, import, manifest, name};
use sybil::{Sybil, distance};

/// The number of honest servers. One of them provides the release.
const HONEST: usize = 20;
const SYBILS: usize = 50;
/// The limits of an honest node's record store. They are low, so that the flood fills it.
const STORE: StoreLimits = StoreLimits { own: 64, values: 64, providers: 256, providers_per_key: 20 };
/// The timeout of one attack, not counting the wait for its turn.
const TEST_LIMIT: Duration = Duration::from_secs(600);
/// The timeout of a query. It is long, because seventy nodes share this machine.
const QUERY_TIMEOUT: Duration = Duration::from_secs(30);

fn honest_dht(with_root: bool) -> DhtConfig {
    let (puts, provides) = (Rate { burst: 24, per_second: 0.1 }, Rate { burst: 20, per_second: 0.5 });
    // The limits are low, so that the flood soon exceeds them.
    let limits = Limits { puts, provides, ..Limits::default() };
    let clock = Some(Arc::new(|| NOW) as _);
    let roots = if with_root { vec![Publisher::new().trust.root] } else { Vec::new() };
    let (role, query_timeout) = (Role::Server, QUERY_TIMEOUT);
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

/// Waits until the flood has an effect: every honest node has refused a record or request, and at least one honest node
/// ignores a peer.
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

/// Announces from `node` another name of the same publisher. Returns the name and its encoded pointer.
async fn announce_another(node: &NodeHandle, publisher: &Publisher, release: &Release) -> (Name, Vec<u8>) {
    let mut other = release.manifest.clone();
    other.arch = "aarch64".parse().unwrap();
    let pointer = publisher.point(&other, release.envelope.clone()).pointer.encode();
    for key in DhtKey::Name(other.name()).copies() {
        node.put(&key, pointer.clone()).await.unwrap();
        node.provide(&key).await.unwrap();
        node.wait_until_announced(&key).await;
    }
    (other.name(), pointer)
}

/// Returns whether the pointer of a name was found under any DHT key of the name, and whether its provider was found.
async fn finds(node: &NodeHandle, name: &Name, pointer: &[u8], provider: &NodeHandle) -> (bool, bool) {
    let (mut has_value, mut has_provider) = (false, false);
    for key in DhtKey::Name(name.clone()).copies() {
        let (values, _) = node.find_values(&key).await.collect().await;
        has_value |= values.iter().any(|found| found.value == pointer);
        let (providers, _) = node.find_providers(&key).await.collect().await;
        has_provider |= providers.iter().any(|found| found.peer == provider.peer_id());
    }
    (has_value, has_provider)
}

/// Runs the attacks of all tests one at a time, because each attack runs seventy nodes on this machine.
async fn in_turn(attack: impl Future<Output = ()>) {
    static TURN: Mutex<()> = Mutex::const_new(());
    let _turn = TURN.lock().await;
    tokio::time::timeout(TEST_LIMIT, attack).await.expect("the attack ends in time");
}

/// Attacks a network and checks that a client still finds the release. With `with_root`, the honest nodes know the
/// publisher's trust root.
async fn attack(rng_seed: u64, with_root: bool) {
    let folder = tempfile::tempdir().unwrap();
    let config =
        NetworkConfig { seed: rng_seed, clients: 0, dht: honest_dht(with_root), ..NetworkConfig::new(HONEST - 1) };
    let mut network = Network::start(config).await.unwrap();
    let (publisher, release, provider) =
        provider(folder.path(), honest_dht(with_root), network.bootstrap_peers()).await;
    let mut honest: Vec<_> = network.servers().cloned().collect();
    honest.push(provider.node().clone());

    let identities = sybil::grind(rng_seed, name().key().as_bytes(), SYBILS);
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
    let dht = Some(DhtConfig { query_timeout: QUERY_TIMEOUT, ..DhtConfig::default() });
    let config = NodeConfig { dht, ..NodeConfig::in_dht(Role::Client, Vec::new(), network.bootstrap_peers()) };
    let client = Client::start(store, config).await.unwrap();
    let options = ResolveOptions { answers: 1, timeout: 2 * QUERY_TIMEOUT };
    let resolved = client.resolve(&name(), &publisher.trust, options).await.unwrap();
    assert_eq!((resolved.manifest, resolved.providers), (release.manifest.clone(), vec![provider.peer_id()]));
    // An honest node without a trust root cannot know which pointer is true, so the true pointer may be missing from
    // the DHT. The client then receives the true pointer from the provider.
    assert!(resolved.pointer_in_dht || !with_root, "the true pointer is not in the DHT");
    let (has_value, has_provider) = finds(client.node(), &other, &pointer, &announcer).await;
    assert!(has_provider && (has_value || !with_root), "value {has_value}, provider {has_provider}");

    assert!(sybil::sent(&sybils) > 100, "the Sybils sent too few records");
    for node in &honest {
        let stats = node.dht_stats().await.unwrap();
        assert!(stats.values <= STORE.values && stats.providers <= STORE.providers, "{stats:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_survives_a_flood_by_the_nodes_closest_to_it() {
    in_turn(attack(1, false)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_know_the_root_keep_the_true_pointer() {
    in_turn(attack(2, true)).await;
}
