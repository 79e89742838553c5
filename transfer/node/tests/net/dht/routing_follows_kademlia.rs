//! Routing follows Kademlia. The tests check which nodes are DHT servers, which peers are in a routing table, and which
//! nodes store a value.

use std::time::Duration;

use phase_core::DhtKey;
use phase_node::bootstrap::BootstrapPeer;
use phase_node::{DhtConfig, DhtTarget, Identity, Node, NodeConfig, NodeHandle, PeerId, Role, StreamProtocol};
use phase_test_support::{in_time, until};
use sha2::{Digest as _, Sha256};

use super::{CONTENT, KEY, name, network, pointer, values};
use crate::nodes::{address, counted, loopback, start, start_in_dht, start_node};
use crate::raw_peer::RawPeer;

/// Kademlia's k: the size of a bucket, and the number of nodes that store a value.
const K: usize = 20;

fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Returns the XOR distance between a peer and a target. Computed without libp2p, so that the tests check libp2p.
fn distance(peer: &PeerId, target: impl Into<DhtTarget>) -> [u8; 32] {
    let (peer, target) = (hash(&peer.to_bytes()), hash(&target.into().to_bytes()));
    std::array::from_fn(|n| peer[n] ^ target[n])
}

/// Returns an identity that belongs to the farthest bucket of the node `of`. This bucket contains half of all
/// identities.
fn far_from(of: PeerId) -> Identity {
    let is_far = |one: &Identity| distance(&one.peer_id(), of)[0] >= 0x80;
    std::iter::repeat_with(Identity::ephemeral).find(is_far).unwrap()
}

fn server() -> DhtConfig {
    DhtConfig { role: Role::Server, ..DhtConfig::default() }
}

/// Returns a configuration with a long query timeout, because many nodes on a busy machine are slow.
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

/// Starts a first node, and 24 more nodes that all belong to the same bucket of the first node.
async fn crowd() -> Vec<Node> {
    let (first, bootstrap) = network().await;
    let others = (0..24).map(|_| start_as(far_from(first.handle().peer_id()), patient(Role::Server), &bootstrap));
    let others = futures::future::join_all(others).await;
    let mut all = vec![first];
    all.extend(others);
    // Each node searches for its own peer id, so that the nodes near this peer id add the node to their routing tables.
    for node in &all[1..] {
        let own = node.handle().peer_id();
        node.handle().find_closest(own).await.finish().await.unwrap();
    }
    all
}

/// Returns the [`K`] nodes that are closest to a key, closest first.
fn closest(nodes: &[Node], key: &DhtKey) -> Vec<PeerId> {
    let mut peers: Vec<_> = nodes.iter().map(|node| node.handle().peer_id()).collect();
    peers.sort_by_key(|peer| distance(peer, key.clone()));
    peers.truncate(K);
    peers
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_with_different_protocol_names_do_not_share_a_dht() {
    in_time(async {
        assert_eq!(DhtConfig::default().protocol.as_ref(), "/phase/kad/1.0.0");
        let (first, bootstrap) = network().await;
        let protocol = StreamProtocol::new("/other/kad/1.0.0");
        let other = DhtConfig { protocol: protocol.clone(), ..server() };
        // The two nodes have different protocol names. They connect to each other, but neither is in the routing table
        // of the other.
        let other = Node::start(NodeConfig {
            dht: Some(other),
            ..NodeConfig::in_dht(Role::Server, loopback(), bootstrap.clone())
        });
        let other = other.await.unwrap();
        for (one, two) in [(&first, &other), (&other, &first)] {
            let agent = async || one.handle().peer(&two.handle().peer_id()).is_some_and(|info| info.agent.is_some());
            until("the nodes have identified each other", agent).await;
            assert!(!one.handle().peer(&two.handle().peer_id()).unwrap().is_dht_server);
            assert_eq!(one.handle().routing_table().await, []);
            assert_eq!(*one.handle().routing_peers().borrow(), 0);
        }
        // The third node has the same protocol name as the other node, so these two nodes share a DHT.
        let config = DhtConfig { protocol, ..DhtConfig::default() };
        let third = start_in_dht(config, &[address(other.handle()).await]).await;
        assert!(knows(third.handle(), other.handle().peer_id()).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_20_closest_nodes_store_a_value_and_a_bucket_holds_20_peers() {
    in_time(async {
        let nodes = crowd().await;
        let client = start_in_dht(patient(Role::Client), &[address(nodes[0].handle()).await]).await;
        let report = client.handle().put(&KEY, pointer("stable/x86_64", 1)).await.unwrap();
        let mut holders = Vec::new();
        let mut fullest = 0;
        for node in &nodes {
            if node.handle().dht_stats().await.unwrap().values == 1 {
                holders.push(node.handle().peer_id());
            }
            let mut buckets = [0; 256];
            node.handle().routing_table().await.iter().for_each(|known| buckets[known.bucket as usize] += 1);
            fullest = fullest.max(*buckets.iter().max().unwrap());
        }
        holders.sort_by_key(|peer| distance(peer, KEY.clone()));
        let mut stored = report.stored_at;
        stored.sort_by_key(|peer| distance(peer, KEY.clone()));
        assert_eq!(holders, stored);
        assert_eq!(holders, closest(&nodes, &KEY));
        // 24 peers belong to one bucket of the first node, but the bucket holds only 20.
        assert_eq!(fullest, K);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_returns_all_closest_peers_sorted_by_distance() {
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
async fn a_node_in_client_mode_is_in_no_routing_table_and_stores_nothing() {
    in_time(async {
        let (first, bootstrap) = network().await;
        let second = start(Role::Server, &bootstrap).await;
        until("the first server has the second in its routing table", async || {
            knows(first.handle(), second.handle().peer_id()).await
        })
        .await;
        let client = start(Role::Client, &bootstrap).await;
        let peer = client.handle().peer_id();
        // The client puts a value and sends a query, so both servers learn its peer id and listen address. Neither
        // server may add the client to its routing table.
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
        // The client does not answer a query that a raw peer sends.
        let raw_peer = RawPeer::start(&address(client.handle()).await).await;
        assert!(raw_peer.ask(peer, &crate::raw_peer::find_node(&CONTENT)).await.is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_routing_table_is_refreshed_periodically() {
    in_time(async {
        let (first, bootstrap) = network().await;
        let eager = DhtConfig { refresh_interval: Duration::from_millis(500), ..server() };
        let node = start_in_dht(eager, &bootstrap).await;
        // Joining causes up to two refreshes, so wait for these first.
        let refreshes = "phase_dht_queries_total{kind=\"refresh\",result=\"ok\"}";
        until("the node has refreshed its routing table twice", async || counted(node.handle(), refreshes) >= 2).await;
        // The newcomer connects only to the first node and sends no queries. So `node` can learn of the newcomer only
        // by a refresh.
        let newcomer = RawPeer::start_silent_server(&bootstrap[0]).await;
        until("the first node knows the newcomer", async || knows(first.handle(), newcomer.peer).await).await;
        until("the other node knows the newcomer", async || knows(node.handle(), newcomer.peer).await).await;
    })
    .await;
}

/// Starts a node whose buckets hold one peer each, and a peer that fills the farthest bucket of this node.
async fn node_with_full_bucket(stale_after: Duration) -> (Node, Vec<BootstrapPeer>, Node, Identity) {
    let config = DhtConfig { bucket_size: 1.try_into().unwrap(), stale_after, ..server() };
    let node = start_in_dht(config, &[]).await;
    let bootstrap = vec![address(node.handle()).await];
    let identity = far_from(node.handle().peer_id());
    let known = start_as(identity.clone(), server(), &bootstrap).await;
    until("the peer is in the routing table", async || knows(node.handle(), known.handle().peer_id()).await).await;
    (node, bootstrap, known, identity)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnected_peer_is_replaced_in_a_full_bucket() {
    in_time(async {
        let (node, bootstrap, known, _) = node_with_full_bucket(Duration::from_millis(500)).await;
        let gone = known.handle().peer_id();
        known.stop().await;
        until("the peer is disconnected", async || !node.handle().peer(&gone).unwrap().is_connected()).await;
        assert!(knows(node.handle(), gone).await);
        let newcomer = start_as(far_from(node.handle().peer_id()), server(), &bootstrap).await;
        until("the newcomer is in the routing table", async || knows(node.handle(), newcomer.handle().peer_id()).await)
            .await;
        assert!(!knows(node.handle(), gone).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnected_peer_that_answers_a_dial_stays_in_a_full_bucket() {
    in_time(async {
        let (node, bootstrap, known, identity) = node_with_full_bucket(Duration::from_secs(60)).await;
        let gone = known.handle().peer_id();
        let listen = known.handle().listen_addresses().await;
        known.stop().await;
        until("the peer is disconnected", async || !node.handle().peer(&gone).unwrap().is_connected()).await;
        // The peer starts again at the same address, without a bootstrap peer. So it is connected only if the node
        // dials it.
        let back = NodeConfig { identity, ..NodeConfig::in_dht(Role::Server, listen, Vec::new()) };
        let _back = start_node(back).await;
        let newcomer = start_as(far_from(node.handle().peer_id()), server(), &bootstrap).await;
        until("the peer was dialled", async || node.handle().peer(&gone).unwrap().is_connected()).await;
        let is_back =
            async || node.handle().routing_table().await.iter().any(|one| one.peer == gone && one.is_connected);
        until("the peer is connected in the routing table again", is_back).await;
        let newcomer = newcomer.handle().peer_id();
        until("the newcomer is identified", async || {
            node.handle().peer(&newcomer).is_some_and(|info| info.is_dht_server)
        })
        .await;
        node.handle().find_closest(CONTENT.clone()).await.finish().await.unwrap();
        assert!(!knows(node.handle(), newcomer).await);
    })
    .await;
}
