//! Who is a member, who knows whom, and who keeps what.

use std::time::Duration;

use phase_core::DhtKey;
use phase_node::bootstrap::BootstrapPeer;
use phase_node::{DhtConfig, DhtTarget, Identity, Node, NodeConfig, NodeHandle, PeerId, Role, StreamProtocol};
use phase_test_support::{in_time, until};
use sha2::{Digest as _, Sha256};

use super::{CONTENT, KEY, name, network, pointer, values};
use crate::nodes::{address, counted, loopback, start, start_in_dht, start_node};
use crate::stranger::Stranger;

/// Kademlia's k.
const K: usize = 20;

fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// How far a peer is from a place, computed apart from libp2p.
fn distance(peer: &PeerId, place: impl Into<DhtTarget>) -> [u8; 32] {
    let (peer, place) = (hash(&peer.to_bytes()), hash(&place.into().to_bytes()));
    std::array::from_fn(|n| peer[n] ^ place[n])
}

/// An identity in the farthest bucket of `of`: the one that half of all peers are in.
fn far_from(of: PeerId) -> Identity {
    let is_far = |one: &Identity| distance(&one.peer_id(), of)[0] >= 0x80;
    std::iter::repeat_with(Identity::ephemeral).find(is_far).unwrap()
}

fn server() -> DhtConfig {
    DhtConfig { role: Role::Server, ..DhtConfig::default() }
}

/// Many nodes on a busy machine need time.
fn patient(role: Role) -> DhtConfig {
    DhtConfig { role, query_timeout: Duration::from_secs(60), ..DhtConfig::default() }
}

async fn start_as(identity: Identity, dht: DhtConfig, bootstrap: &[BootstrapPeer]) -> Node {
    let config = NodeConfig::in_dht(dht.role, loopback(), bootstrap.to_vec());
    start_node(NodeConfig { identity, dht: Some(dht), ..config }).await
}

async fn knows(node: &NodeHandle, peer: PeerId) -> bool {
    node.routing_table().await.iter().any(|known| known.peer == peer)
}

/// A first node and 24 others, all of them in one bucket of the first.
async fn crowd() -> Vec<Node> {
    let (first, bootstrap) = network().await;
    let others = (0..24).map(|_| start_as(far_from(first.handle().peer_id()), patient(Role::Server), &bootstrap));
    let others = futures::future::join_all(others).await;
    let mut all = vec![first];
    all.extend(others);
    // Each has looked for itself, and so is known to those around it.
    for node in &all[1..] {
        let own = node.handle().peer_id();
        node.handle().find_closest(own).await.finish().await.unwrap();
    }
    all
}

/// The `K` of `nodes` that are closest to a key.
fn closest(nodes: &[Node], key: &DhtKey) -> Vec<PeerId> {
    let mut peers: Vec<_> = nodes.iter().map(|node| node.handle().peer_id()).collect();
    peers.sort_by_key(|peer| distance(peer, key.clone()));
    peers.truncate(K);
    peers
}

#[tokio::test(flavor = "multi_thread")]
async fn the_protocol_has_a_name_and_those_with_another_do_not_meet() {
    in_time(async {
        assert_eq!(DhtConfig::default().protocol.as_ref(), "/phase/kad/1.0.0");
        let (first, bootstrap) = network().await;
        let protocol = StreamProtocol::new("/other/kad/1.0.0");
        let other = DhtConfig { protocol: protocol.clone(), ..server() };
        // They are connected and know that they are not of one kind.
        let other = Node::start(NodeConfig {
            dht: Some(other),
            ..NodeConfig::in_dht(Role::Server, loopback(), bootstrap.clone())
        });
        let other = other.await.unwrap();
        for (one, two) in [(&first, &other), (&other, &first)] {
            let agent = async || one.handle().peer(&two.handle().peer_id()).is_some_and(|info| info.agent.is_some());
            until("they have met", agent).await;
            assert!(!one.handle().peer(&two.handle().peer_id()).unwrap().is_dht_server);
            assert_eq!(one.handle().routing_table().await, []);
            assert_eq!(*one.handle().routing_peers().borrow(), 0);
        }
        // With the same name they do.
        let config = DhtConfig { protocol, ..DhtConfig::default() };
        let third = start_in_dht(config, &[address(other.handle()).await]).await;
        assert!(knows(third.handle(), other.handle().peer_id()).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_kept_by_the_twenty_closest_and_a_bucket_holds_twenty() {
    in_time(async {
        let nodes = crowd().await;
        let client = start_in_dht(patient(Role::Client), &[address(nodes[0].handle()).await]).await;
        let report = client.handle().put(&KEY, pointer("stable/x86_64", 1)).await.unwrap();
        let mut keepers = Vec::new();
        let mut fullest = 0;
        for node in &nodes {
            if node.handle().dht_stats().await.unwrap().values == 1 {
                keepers.push(node.handle().peer_id());
            }
            let mut buckets = [0; 256];
            node.handle().routing_table().await.iter().for_each(|known| buckets[known.bucket as usize] += 1);
            fullest = fullest.max(*buckets.iter().max().unwrap());
        }
        keepers.sort_by_key(|peer| distance(peer, KEY.clone()));
        let mut stored = report.stored_at;
        stored.sort_by_key(|peer| distance(peer, KEY.clone()));
        assert_eq!(keepers, stored);
        assert_eq!(keepers, closest(&nodes, &KEY));
        // The first node has met 24 that belong into one bucket.
        assert_eq!(fullest, K);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_closest_peers_come_sorted_and_complete() {
    in_time(async {
        let nodes = crowd().await;
        let client = start_in_dht(patient(Role::Client), &[address(nodes[0].handle()).await]).await;
        for n in 0..4 {
            let key = name(&format!("stable/board-{n}"));
            let (found, outcome) = client.handle().find_closest(key.clone()).await.collect().await;
            outcome.unwrap();
            let found: Vec<_> = found.into_iter().map(|found| found.peer).collect();
            assert_eq!(found, closest(&nodes, &key), "{n}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_in_nobodys_routing_table_and_keeps_nothing() {
    in_time(async {
        let (first, bootstrap) = network().await;
        let second = start(Role::Server, &bootstrap).await;
        until("both servers know each other", async || knows(first.handle(), second.handle().peer_id()).await).await;
        let client = start(Role::Client, &bootstrap).await;
        let peer = client.handle().peer_id();
        // It asks, puts and is known to both, with an address on which it listens.
        client.handle().put(&KEY, pointer("stable/x86_64", 1)).await.unwrap();
        client.handle().find_closest(peer).await.finish().await.unwrap();
        assert_eq!(values(second.handle(), &KEY).await.len(), 1);
        for server in [&first, &second] {
            let is_identified = async || server.handle().peer(&peer).is_some_and(|info| info.agent.is_some());
            until("the client is identified", is_identified).await;
            assert!(!knows(server.handle(), peer).await);
            let stats = server.handle().dht_stats().await.unwrap();
            assert!(stats.is_server && stats.values == 1, "{stats:?}");
            let (found, _) = server.handle().find_closest(peer).await.collect().await;
            assert!(found.iter().all(|found| found.peer != peer), "{found:?}");
        }
        let stats = client.handle().dht_stats().await.unwrap();
        assert!(!stats.is_server && stats.values == 0 && stats.providers == 0, "{stats:?}");
        // Somebody who asks it all the same gets no answer.
        let stranger = Stranger::start(&address(client.handle()).await).await;
        assert!(stranger.ask(peer, &crate::stranger::find_node(&CONTENT)).await.is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_routing_table_is_refreshed_by_itself() {
    in_time(async {
        let (first, bootstrap) = network().await;
        let eager = DhtConfig { refresh_interval: Duration::from_millis(500), ..server() };
        let node = start_in_dht(eager, &bootstrap).await;
        // What it asks because it has just come is over.
        let refreshes = "phase_dht_queries_total{kind=\"refresh\",result=\"ok\"}";
        until("it has refreshed", async || counted(node.handle(), refreshes) >= 2).await;
        // This one asks nobody, and so nobody but the first node hears of it.
        let newcomer = Stranger::start_silent_server(&bootstrap[0]).await;
        until("the first node knows it", async || knows(first.handle(), newcomer.peer).await).await;
        until("the other node knows it", async || knows(node.handle(), newcomer.peer).await).await;
    })
    .await;
}

/// A node with room for one peer in a bucket, and a peer that is in it.
async fn small(stale_after: Duration) -> (Node, Vec<BootstrapPeer>, Node, Identity) {
    let config = DhtConfig { bucket_size: 1.try_into().unwrap(), stale_after, ..server() };
    let node = start_in_dht(config, &[]).await;
    let bootstrap = vec![address(node.handle()).await];
    let identity = far_from(node.handle().peer_id());
    let known = start_as(identity.clone(), server(), &bootstrap).await;
    until("it is known", async || knows(node.handle(), known.handle().peer_id()).await).await;
    (node, bootstrap, known, identity)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_has_gone_makes_room_for_another() {
    in_time(async {
        let (node, bootstrap, known, _) = small(Duration::from_millis(500)).await;
        let gone = known.handle().peer_id();
        known.stop().await;
        until("it is away", async || !node.handle().peer(&gone).unwrap().is_connected()).await;
        assert!(knows(node.handle(), gone).await);
        let newcomer = start_as(far_from(node.handle().peer_id()), server(), &bootstrap).await;
        until("the newcomer is known", async || knows(node.handle(), newcomer.handle().peer_id()).await).await;
        assert!(!knows(node.handle(), gone).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_answers_when_asked_whether_it_is_there_stays() {
    in_time(async {
        let (node, bootstrap, known, identity) = small(Duration::from_secs(60)).await;
        let gone = known.handle().peer_id();
        let listen = known.handle().listen_addresses().await;
        known.stop().await;
        until("it is away", async || !node.handle().peer(&gone).unwrap().is_connected()).await;
        // Back at its place, it waits to be asked.
        let back = NodeConfig { identity, ..NodeConfig::in_dht(Role::Server, listen, Vec::new()) };
        let _back = start_node(back).await;
        let newcomer = start_as(far_from(node.handle().peer_id()), server(), &bootstrap).await;
        until("it was asked", async || node.handle().peer(&gone).unwrap().is_connected()).await;
        let is_back =
            async || node.handle().routing_table().await.iter().any(|one| one.peer == gone && one.is_connected);
        until("it is a member again", is_back).await;
        let newcomer = newcomer.handle().peer_id();
        until("the newcomer was met", async || node.handle().peer(&newcomer).is_some_and(|info| info.is_dht_server))
            .await;
        node.handle().find_closest(CONTENT.clone()).await.finish().await.unwrap();
        assert!(!knows(node.handle(), newcomer).await);
    })
    .await;
}
