//! A private node does not reveal its addresses. A node without the DHT sends no queries.

use phase_core::time::TrustedTime;
use phase_node::{DhtConfig, Node, NodeConfig, QueryError, RecordsError, Role};
use phase_test_support::{in_time, until};

use super::{CONTENT, KEY, network, providers};
use crate::nodes::{address, loopback, start_node};
use crate::raw_peer::{RawPeer, get_providers};

fn private(bootstrap: Vec<phase_node::bootstrap::BootstrapPeer>) -> NodeConfig {
    NodeConfig { is_private: true, ..NodeConfig::in_dht(Role::Server, loopback(), bootstrap) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_node_does_not_reveal_its_listen_addresses() {
    in_time(async {
        let (first, bootstrap) = network().await;
        let node = start_node(private(bootstrap)).await;
        let (peer, at) = (node.handle().peer_id(), address(node.handle()).await);
        node.handle().provide(&CONTENT).await.unwrap();
        node.handle().wait_until_announced(&CONTENT).await;
        assert_eq!(node.handle().external_addresses().await, []);
        // The private node sends its provider record without addresses, so the first node stores no record.
        assert_eq!(first.handle().dht_stats().await.unwrap().providers, 0);
        assert_eq!(providers(first.handle(), &CONTENT).await, []);
        let is_identified = async || first.handle().peer(&peer).is_some_and(|info| info.agent.is_some());
        until("the first node has identified the private node", is_identified).await;
        let info = first.handle().peer(&peer).unwrap();
        assert_eq!((info.agent.as_deref(), info.addresses), (Some("phase"), Vec::new()));
        // A raw peer that already knows the node's address receives no address from the node.
        let raw_peer = RawPeer::start(&at).await;
        let identified = raw_peer.first_identified();
        assert_eq!((identified.agent_version.as_str(), identified.listen_addrs), ("phase", Vec::new()));
        let answer = raw_peer.ask(peer, &get_providers(&CONTENT)).await.unwrap();
        let address = at.address.to_vec();
        assert!(!answer.windows(address.len()).any(|part| part == address));
        let contact = node.handle().advertise_contact(1).await;
        assert!(matches!(contact, Err(RecordsError::NoAddress)), "{contact:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_dht_every_query_fails_at_once() {
    in_time(async {
        let (_first, bootstrap) = network().await;
        let bootstrap = bootstrap.into_iter().map(Into::into).collect();
        let node = Node::start(NodeConfig { listen: loopback(), bootstrap, ..NodeConfig::default() }).await.unwrap();
        let node = node.handle();
        assert!(!node.has_dht());
        let is_off = |error: &QueryError| assert!(matches!(error, QueryError::Off), "{error:?}");
        is_off(&node.put(&KEY, Vec::new()).await.unwrap_err());
        is_off(&node.provide(&CONTENT).await.unwrap_err());
        is_off(&node.withdraw(&CONTENT).await.unwrap_err());
        is_off(&node.find_providers(&CONTENT).await.finish().await.unwrap_err());
        is_off(&node.find_values(&KEY).await.finish().await.unwrap_err());
        is_off(&node.find_closest(KEY.clone()).await.finish().await.unwrap_err());
        let contact = node.find_contact(node.peer_id(), TrustedTime(0)).await.unwrap_err();
        assert!(matches!(contact, RecordsError::Query(QueryError::Off)), "{contact:?}");
        node.wait_until_announced(&KEY).await;
        assert_eq!((node.dht_stats().await, node.routing_table().await), (None, Vec::new()));
        assert_eq!(*node.routing_peers().borrow(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn configured_peers_are_connected_without_the_dht() {
    in_time(async {
        let other = start_node(NodeConfig { listen: loopback(), ..NodeConfig::default() }).await;
        let configured = address(other.handle()).await;
        let peer = configured.peer.unwrap();
        let config = NodeConfig { listen: loopback(), peers: vec![configured], ..NodeConfig::default() };
        let node = Node::start(config).await.unwrap();
        let is_identified = async || node.handle().peer(&peer).is_some_and(|info| info.agent.is_some());
        until("the configured peer is connected", is_identified).await;
        assert!(!node.handle().peer(&peer).unwrap().is_dht_server);
        // A node that has the DHT must connect to its configured peer while it is connected to no DHT server.
        let (configured, dht) = (address(other.handle()).await, Some(DhtConfig::default()));
        let config = NodeConfig { listen: loopback(), peers: vec![configured], dht, ..NodeConfig::default() };
        let node = Node::start(config).await.unwrap();
        let is_identified = async || node.handle().peer(&peer).is_some_and(|info| info.agent.is_some());
        until("the configured peer is connected", is_identified).await;
    })
    .await;
}
