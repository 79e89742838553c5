//! Peers that are given are asked, each of them, whichever the client meets first.

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

/// More answers than there are: everybody is heard.
const EVERYBODY: usize = 100;

async fn world() -> World {
    World::new([("kernel", bytes(1, 10_000))]).await
}

/// A provider of the release that only those find who are given its address.
async fn provider(world: &World, identity: &Identity, listen: Multiaddr) -> (Node, Server) {
    serve(identity, listen, world.store.clone()).await
}

/// A peer at an address, with or without its identity.
fn given(identity: &Identity, address: Multiaddr, is_named: bool) -> BootstrapPeer {
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
    client.resolve(name, &world.publisher.trust, patient(EVERYBODY)).await
}

async fn providers(client: &Client, world: &World) -> BTreeSet<PeerId> {
    resolve(client, world, &name()).await.unwrap().providers.into_iter().collect()
}

/// An address on which nobody listens.
fn unused() -> Multiaddr {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    tcp(socket.local_addr().unwrap().port())
}

fn tcp(port: u16) -> Multiaddr {
    format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()
}

/// The client is connected with the first one all the time, so nothing but a resolve looks for the other.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_started_after_the_client() {
    in_time(async {
        let world = world().await;
        for is_named in [true, false] {
            let (early, late) = (Identity::ephemeral(), Identity::ephemeral());
            let first = provider(&world, &early, loopback()).await;
            let address = unused();
            let peers = [(&early, address_of(&first.0).await), (&late, address.clone())];
            let client = client(peers.map(|(identity, address)| given(identity, address, is_named))).await;
            assert_eq!(providers(&client, &world).await, BTreeSet::from([early.peer_id()]));

            let _second = provider(&world, &late, address).await;
            assert_eq!(providers(&client, &world).await, BTreeSet::from([early.peer_id(), late.peer_id()]));
        }
    })
    .await;
}

/// The client is started as soon as it has met one, and may resolve at once.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_still_being_dialled() {
    in_time(async {
        let world = world().await;
        for is_named in [true, false] {
            let (quick, slow) = (Identity::ephemeral(), Identity::ephemeral());
            let first = provider(&world, &quick, loopback()).await;
            let second = provider(&world, &slow, loopback()).await;
            // Takes the call, and passes nothing on until it is told to.
            let line = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let peers = [
                given(&quick, address_of(&first.0).await, is_named),
                given(&slow, tcp(line.local_addr().unwrap().port()), is_named),
            ];
            let client = client(peers).await;
            assert!(client.node().peer(&slow.peer_id()).is_none(), "nobody could meet it");
            let far = socket(&address_of(&second.0).await);
            let (found, ()) = tokio::join!(providers(&client, &world), async {
                tokio::spawn(forward(line, far));
            });
            assert_eq!(found, BTreeSet::from([quick.peer_id(), slow.peer_id()]));
        }
    })
    .await;
}

/// What nobody can reach has said nothing: the others decide what is known of a name.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_unreachable_keeps_nobody_from_saying_that_there_is_nothing() {
    in_time(async {
        let world = world().await;
        let (up, down) = (Identity::ephemeral(), Identity::ephemeral());
        let (node, server) = provider(&world, &up, loopback()).await;
        let client = client([given(&up, address_of(&node).await, true), given(&down, unused(), true)]).await;
        let other = "stable/riscv64".parse().unwrap();
        let error = resolve(&client, &world, &other).await.unwrap_err();
        let ResolveError::NotFound { asked, .. } = &error else { panic!("{error}") };
        assert!(asked.iter().any(|line| line.contains(&down.peer_id().to_string())), "{error}");

        drop(server);
        node.stop().await;
        let error = resolve(&client, &world, &other).await.unwrap_err();
        let ResolveError::Silent { tried, .. } = &error else { panic!("{error}") };
        assert_eq!(tried.len(), 2, "{error}");
    })
    .await;
}

fn socket(address: &Multiaddr) -> String {
    let text = address.to_string();
    let parts: Vec<_> = text.split('/').collect();
    format!("{}:{}", parts[2], parts[4])
}

/// Passes on every connection to `far`.
async fn forward(line: TcpListener, far: String) {
    loop {
        let (mut near, _) = line.accept().await.unwrap();
        let mut far = TcpStream::connect(&far).await.unwrap();
        tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
    }
}
