//! A machine that knows nobody finds a release in the local network, each in a network of its own.

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

/// A provider of the release that tells the local network of itself and of what it serves, and knows nobody.
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
fn a_peer_of_the_local_network_leads_into_the_dht() {
    netns::run("local_network::a_peer_of_the_local_network_leads_into_the_dht", async {
        in_time(async {
            let world = World::new([("kernel", bytes(1, 1000))]).await;
            let (provider, _server) = provider(&world).await;
            let client = client(NodeConfig { dht: Some(DhtConfig::default()), ..NodeConfig::default() }).await;
            let mut routing = client.node().routing_peers();
            routing.wait_for(|peers| *peers > 0).await.unwrap();
            let table = client.node().routing_table().await;
            assert_eq!(table.iter().map(|entry| entry.peer).collect::<Vec<_>>(), [provider.handle().peer_id()]);
            // And can be asked for whatever it keeps.
            let key = DhtKey::Name("a/b".parse().unwrap());
            provider.handle().provide(&key).await.unwrap();
            let (found, _) = client.node().find_providers(&key).await.collect().await;
            assert_eq!(found.iter().map(|found| found.peer).collect::<Vec<_>>(), [provider.handle().peer_id()]);
        })
        .await;
    });
}

#[test]
fn in_private_it_only_listens() {
    netns::run("local_network::in_private_it_only_listens", async {
        in_time(async {
            let world = World::new([("kernel", bytes(1, 1000))]).await;
            let (provider, _server) = provider(&world).await;
            // What DNS-SD says is enough; libp2p's mDNS, which tells of oneself, is off.
            let client = client(NodeConfig { is_private: true, ..NodeConfig::default() }).await;
            let resolved = resolve(&world, &client).await;
            assert_eq!(resolved.providers, [provider.handle().peer_id()]);
            let seen = provider.handle().peer(&client.node().peer_id()).unwrap();
            assert_eq!((seen.source, seen.agent.as_deref()), (Source::Inbound, Some("phase")));
        })
        .await;
    });
}
