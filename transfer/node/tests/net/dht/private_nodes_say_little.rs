//! In private a node says nothing about where it is, and without the DHT it asks nobody there.

use phase_core::time::TrustedTime;
use phase_node::{DhtConfig, Node, NodeConfig, QueryError, RecordsError, Role};
use phase_test_support::{in_time, until};

use super::{CONTENT, KEY, network, providers};
use crate::nodes::{address, loopback, start_node};
use crate::stranger::{Stranger, get_providers};

fn private(bootstrap: Vec<phase_node::bootstrap::BootstrapPeer>) -> NodeConfig {
    NodeConfig { is_private: true, ..NodeConfig::in_dht(Role::Server, loopback(), bootstrap) }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_private_nothing_tells_where_a_node_listens() {
    in_time(async {
        let (first, bootstrap) = network().await;
        let node = start_node(private(bootstrap)).await;
        let (peer, at) = (node.handle().peer_id(), address(node.handle()).await);
        node.handle().provide(CONTENT).await.unwrap();
        node.handle().settle(CONTENT).await;
        assert_eq!(node.handle().external_addresses().await, []);
        // Who keeps provider records has none.
        assert_eq!(first.handle().dht_stats().await.unwrap().providers, 0);
        assert_eq!(providers(first.handle(), CONTENT).await, []);
        let is_identified = async || first.handle().peer(&peer).is_some_and(|info| info.agent.is_some());
        until("the first node has been told who it is", is_identified).await;
        let info = first.handle().peer(&peer).unwrap();
        assert_eq!((info.agent.as_deref(), info.addresses), (Some("phase"), Vec::new()));
        // Who finds it all the same is told no more.
        let stranger = Stranger::start(&at).await;
        let told = stranger.first_met();
        assert_eq!((told.agent_version.as_str(), told.listen_addrs), ("phase", Vec::new()));
        let answer = stranger.ask(peer, &get_providers(CONTENT)).await.unwrap();
        let address = at.address.to_vec();
        assert!(!answer.windows(address.len()).any(|part| part == address));
        let contact = node.handle().advertise_contact(1).await;
        assert!(matches!(contact, Err(RecordsError::NoAddress)), "{contact:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_dht_every_question_is_answered_at_once() {
    in_time(async {
        let (_first, bootstrap) = network().await;
        let bootstrap = bootstrap.into_iter().map(Into::into).collect();
        let node = Node::start(NodeConfig { listen: loopback(), bootstrap, ..NodeConfig::default() }).await.unwrap();
        let node = node.handle();
        assert!(!node.has_dht());
        let is_off = |error: &QueryError| assert!(matches!(error, QueryError::Off), "{error:?}");
        is_off(&node.put(KEY, Vec::new()).await.unwrap_err());
        is_off(&node.provide(CONTENT).await.unwrap_err());
        is_off(&node.withdraw(CONTENT).await.unwrap_err());
        is_off(&node.find_providers(CONTENT).await.finish().await.unwrap_err());
        is_off(&node.find_values(KEY).await.finish().await.unwrap_err());
        is_off(&node.find_closest(KEY).await.finish().await.unwrap_err());
        let contact = node.find_contact(node.peer_id(), TrustedTime(0)).await.unwrap_err();
        assert!(matches!(contact, RecordsError::Query(QueryError::Off)), "{contact:?}");
        node.settle(KEY).await;
        assert_eq!((node.dht_stats().await, node.routing_table().await), (None, Vec::new()));
        assert_eq!(*node.routing_peers().borrow(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_are_given_are_connected_without_the_dht() {
    in_time(async {
        let other = start_node(NodeConfig { listen: loopback(), ..NodeConfig::default() }).await;
        let given = address(other.handle()).await;
        let peer = given.peer.unwrap();
        let config = NodeConfig { listen: loopback(), peers: vec![given], ..NodeConfig::default() };
        let node = Node::start(config).await.unwrap();
        let is_met = async || node.handle().peer(&peer).is_some_and(|info| info.agent.is_some());
        until("they are connected", is_met).await;
        assert!(!node.handle().peer(&peer).unwrap().is_dht_server);
        // With the DHT as well, and nobody in it.
        let (given, dht) = (address(other.handle()).await, Some(DhtConfig::default()));
        let config = NodeConfig { listen: loopback(), peers: vec![given], dht, ..NodeConfig::default() };
        let node = Node::start(config).await.unwrap();
        let is_met = async || node.handle().peer(&peer).is_some_and(|info| info.agent.is_some());
        until("they are connected", is_met).await;
    })
    .await;
}
