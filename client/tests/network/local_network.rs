//! Tests that a client without any configured peer finds a release in the local network. Each test runs in its own
//! network namespace.

use std::sync::Arc;

use phase_client::{Client, FetchOptions, ResolveOptions, Resolved};
use phase_core::{DhtKey, MemStore};
use phase_node::{Advert, DhtConfig, Node, NodeConfig, Role, Source};
use phase_test_support::in_time;
use phase_test_support::netns;
use phase_transfer::catalog::Catalog;
use phase_transfer::server::{self, Server};

use crate::support::release::{bytes, name};
use crate::support::world::World;

/// Starts a provider that announces itself and the release in the local network. The provider knows no peer.
async fn provider(world: &World) -> (Node, Server) {
    let listen = vec![format!("/ip4/{}/tcp/0", netns::ADDRESS).parse().unwrap()];
    let dht = Some(DhtConfig { role: Role::Server, ..DhtConfig::default() });
    let node = Node::start(NodeConfig { listen, dht, mdns: true, ..NodeConfig::default() }).await.unwrap();
    let server = Server::start(node.handle(), Arc::new(Catalog::new(world.store.clone())), server::Config::default());
    let version = world.release.manifest.version;
    node.handle().advertise_locally(vec![Advert { name: name(), version, http_port: None }]);
    (node, server)
}

async fn client(config: NodeConfig) -> Client {
    Client::start(Arc::new(MemStore::default()), NodeConfig { mdns: true, ..config }).await.unwrap()
}

async fn resolve(world: &World, client: &Client) -> Resolved {
    let options = ResolveOptions { answers: 1, ..ResolveOptions::default() };
    let resolved = client.resolve(&name(), &world.publisher.trust, options).await.unwrap();
    assert_eq!(resolved.manifest, world.release.manifest);
    resolved
}

#[test]
fn a_release_is_found_and_fetched_without_any_dht() {
    netns::run("local_network::a_release_is_found_and_fetched_without_any_dht", async {
        in_time(async {
            let world = World::new([("kernel", bytes(1, 1 << 20))]).await;
            let (provider, _server) = provider(&world).await;
            let client = client(NodeConfig::default()).await;
            let resolved = resolve(&world, &client).await;
            assert_eq!(resolved.providers, [provider.handle().peer_id()]);
            let known = client.node().peer(&provider.handle().peer_id()).unwrap();
            assert_eq!(known.source, Source::LocalNetwork);
            client.fetch(&resolved, FetchOptions::default()).finish().await.unwrap();
        })
        .await;
    });
}

#[test]
fn a_client_joins_the_dht_through_a_peer_of_the_local_network() {
    netns::run("local_network::a_client_joins_the_dht_through_a_peer_of_the_local_network", async {
        in_time(async {
            let world = World::new([("kernel", bytes(1, 1000))]).await;
            let (provider, _server) = provider(&world).await;
            let client = client(NodeConfig { dht: Some(DhtConfig::default()), ..NodeConfig::default() }).await;
            let mut routing = client.node().routing_peers();
            routing.wait_for(|peers| *peers > 0).await.unwrap();
            let table = client.node().routing_table().await;
            assert_eq!(table.iter().map(|entry| entry.peer).collect::<Vec<_>>(), [provider.handle().peer_id()]);
            // The client is in the DHT now, so it finds a provider record that the provider places.
            let key = DhtKey::Name("a/b".parse().unwrap());
            provider.handle().provide(&key).await.unwrap();
            let (found, _) = client.node().find_providers(&key).await.collect().await;
            assert_eq!(found.iter().map(|found| found.peer).collect::<Vec<_>>(), [provider.handle().peer_id()]);
        })
        .await;
    });
}

#[test]
fn a_private_client_finds_a_local_release_without_announcing_itself() {
    netns::run("local_network::a_private_client_finds_a_local_release_without_announcing_itself", async {
        in_time(async {
            let world = World::new([("kernel", bytes(1, 1000))]).await;
            let (provider, _server) = provider(&world).await;
            // The client uses only DNS-SD. It does not use the mDNS of libp2p, which would announce the client.
            let client = client(NodeConfig { is_private: true, ..NodeConfig::default() }).await;
            let resolved = resolve(&world, &client).await;
            assert_eq!(resolved.providers, [provider.handle().peer_id()]);
            let seen = provider.handle().peer(&client.node().peer_id()).unwrap();
            assert_eq!((seen.source, seen.agent.as_deref()), (Source::Inbound, Some("phase")));
        })
        .await;
    });
}
