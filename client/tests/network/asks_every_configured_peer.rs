//! Tests that a resolve asks every configured peer, not only the first one that the client connects to.

use std::collections::BTreeSet;
use std::sync::Arc;

use phase_client::{Client, ResolveError, Resolved};
use phase_core::{MemStore, Name};
use phase_node::bootstrap::BootstrapPeer;
use phase_node::{Identity, Multiaddr, Node, NodeConfig, PeerId};
use phase_test_support::in_time;
use phase_transfer::server::Server;
use tokio::net::{TcpListener, TcpStream};

use crate::support::release::{bytes, name};
use crate::support::world::{World, loopback, patient, serve};

/// A number of answers that is larger than the number of peers, so that the resolve waits for all peers.
const ALL_ANSWERS: usize = 100;

async fn world() -> World {
    World::new([("kernel", bytes(1, 10_000))]).await
}

/// Starts a provider that only clients with its address can find, because it does not use the DHT.
async fn provider(world: &World, identity: &Identity, listen: Multiaddr) -> (Node, Server) {
    serve(identity, listen, world.store.clone()).await
}

/// Returns a configured peer, with its peer id if `is_named`.
fn configured(identity: &Identity, address: Multiaddr, is_named: bool) -> BootstrapPeer {
    BootstrapPeer { peer: is_named.then(|| identity.peer_id()), address }
}

async fn address_of(node: &Node) -> Multiaddr {
    node.handle().listen_addresses().await[0].clone()
}

async fn client(peers: impl IntoIterator<Item = BootstrapPeer>) -> Client {
    let config = NodeConfig { peers: peers.into_iter().collect(), ..NodeConfig::default() };
    Client::start(Arc::new(MemStore::new()), config).await.unwrap()
}

async fn resolve(client: &Client, world: &World, name: &Name) -> Result<Resolved, ResolveError> {
    client.resolve(name, &world.publisher.trust, patient(ALL_ANSWERS)).await
}

async fn providers(client: &Client, world: &World) -> BTreeSet<PeerId> {
    resolve(client, world, &name()).await.unwrap().providers.into_iter().collect()
}

/// Returns an address on which no program listens.
fn unused() -> Multiaddr {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    tcp(socket.local_addr().unwrap().port())
}

fn tcp(port: u16) -> Multiaddr {
    format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()
}

/// The client stays connected to the first peer, so only a resolve dials the second peer.
#[tokio::test(flavor = "multi_thread")]
async fn a_configured_peer_that_starts_after_the_client_is_asked() {
    in_time(async {
        let world = world().await;
        for is_named in [true, false] {
            let (early, late) = (Identity::ephemeral(), Identity::ephemeral());
            let first = provider(&world, &early, loopback()).await;
            let address = unused();
            let peers = [(&early, address_of(&first.0).await), (&late, address.clone())];
            let client = client(peers.map(|(identity, address)| configured(identity, address, is_named))).await;
            assert_eq!(providers(&client, &world).await, BTreeSet::from([early.peer_id()]));

            let _second = provider(&world, &late, address).await;
            assert_eq!(providers(&client, &world).await, BTreeSet::from([early.peer_id(), late.peer_id()]));
        }
    })
    .await;
}

/// A client starts when it is connected to one peer, and may resolve while it still dials the other peers.
#[tokio::test(flavor = "multi_thread")]
async fn a_configured_peer_that_is_still_being_dialled_is_asked() {
    in_time(async {
        let world = world().await;
        for is_named in [true, false] {
            let (quick, slow) = (Identity::ephemeral(), Identity::ephemeral());
            let first = provider(&world, &quick, loopback()).await;
            let second = provider(&world, &slow, loopback()).await;
            // This proxy accepts the connection of the client at once, but forwards it to the second provider only
            // during the resolve.
            let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let peers = [
                configured(&quick, address_of(&first.0).await, is_named),
                configured(&slow, tcp(proxy.local_addr().unwrap().port()), is_named),
            ];
            let client = client(peers).await;
            assert!(client.node().peer(&slow.peer_id()).is_none(), "the client is already connected to the slow peer");
            let target = socket(&address_of(&second.0).await);
            let (found, ()) = tokio::join!(providers(&client, &world), async {
                tokio::spawn(forward(proxy, target));
            });
            assert_eq!(found, BTreeSet::from([quick.peer_id(), slow.peer_id()]));
        }
    })
    .await;
}

/// An unreachable peer gives no answer, so the result follows from the answers of the other peers.
#[tokio::test(flavor = "multi_thread")]
async fn the_result_is_not_found_even_if_a_configured_peer_is_unreachable() {
    in_time(async {
        let world = world().await;
        let (up, down) = (Identity::ephemeral(), Identity::ephemeral());
        let (node, server) = provider(&world, &up, loopback()).await;
        let client = client([configured(&up, address_of(&node).await, true), configured(&down, unused(), true)]).await;
        let other = "stable/riscv64".parse().unwrap();
        let error = resolve(&client, &world, &other).await.unwrap_err();
        let ResolveError::NotFound { asked, .. } = &error else { panic!("{error}") };
        assert!(asked.iter().any(|attempt| attempt.target == down.peer_id().to_string()), "{error:?}");

        drop(server);
        node.stop().await;
        let error = resolve(&client, &world, &other).await.unwrap_err();
        let ResolveError::Silent { tried, .. } = &error else { panic!("{error}") };
        assert_eq!(tried.len(), 2, "{error:?}");
    })
    .await;
}

/// Returns the host and port of a TCP multiaddr.
fn socket(address: &Multiaddr) -> String {
    let text = address.to_string();
    let parts: Vec<_> = text.split('/').collect();
    format!("{}:{}", parts[2], parts[4])
}

/// Forwards every connection to `target`.
async fn forward(proxy: TcpListener, target: String) {
    loop {
        let (mut near, _) = proxy.accept().await.unwrap();
        let mut far = TcpStream::connect(&target).await.unwrap();
        tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
    }
}
