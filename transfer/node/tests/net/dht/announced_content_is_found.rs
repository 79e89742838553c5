//! Tests of announcements. A client that knows only one bootstrap peer finds providers and values. A provider that
//! withdraws a key is no longer found.

use phase_node::{NodeConfig, Role};
use phase_test_support::in_time;

use super::{CONTENT, KEY, OTHER, network, pointer, providers, values};
use crate::nodes::{loopback, start, start_node};

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_knows_only_the_first_node_finds_and_reaches_a_provider() {
    in_time(async {
        let (_first, bootstrap) = network().await;
        let provider = start(Role::Server, &bootstrap).await;
        provider.handle().provide(&CONTENT).await.unwrap();
        provider.handle().wait_until_announced(&CONTENT).await;
        let seeker = start(Role::Client, &bootstrap).await;
        assert_eq!(providers(seeker.handle(), &CONTENT).await, [provider.handle().peer_id()]);
        seeker.handle().connect(provider.handle().peer_id(), Vec::new()).await.unwrap();
        assert_eq!(providers(seeker.handle(), &OTHER).await, []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_provider_is_no_longer_found() {
    in_time(async {
        let (_first, bootstrap) = network().await;
        let leaving = start(Role::Server, &bootstrap).await;
        let staying = start(Role::Server, &bootstrap).await;
        for node in [&leaving, &staying] {
            node.handle().provide(&CONTENT).await.unwrap();
            node.handle().wait_until_announced(&CONTENT).await;
        }
        let seeker = start(Role::Client, &bootstrap).await;
        assert_eq!(providers(seeker.handle(), &CONTENT).await.len(), 2);
        leaving.handle().withdraw(&CONTENT).await.unwrap();
        leaving.handle().wait_until_announced(&CONTENT).await;
        assert_eq!(providers(seeker.handle(), &CONTENT).await, [staying.handle().peer_id()]);
        // `withdraw` sends a second withdrawal, because the first withdrawal may have been lost.
        assert!(leaving.handle().withdraw(&CONTENT).await.unwrap().answered > 0);
        // `withdraw_provided` sends no withdrawal, because the node no longer provides the key.
        assert_eq!(leaving.handle().withdraw_provided(&CONTENT).await.unwrap().requests, 0);
        // A provider that has withdrawn a key can provide it again.
        leaving.handle().provide(&CONTENT).await.unwrap();
        leaving.handle().wait_until_announced(&CONTENT).await;
        assert_eq!(providers(seeker.handle(), &CONTENT).await.len(), 2);
        // Before a node stops, it hides its addresses and then withdraws its keys.
        leaving.handle().hide_addresses().await;
        leaving.handle().withdraw(&CONTENT).await.unwrap();
        leaving.handle().wait_until_announced(&CONTENT).await;
        leaving.stop().await;
        assert_eq!(providers(seeker.handle(), &CONTENT).await, [staying.handle().peer_id()]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pointer_is_never_replaced_by_an_older_one_or_by_junk() {
    in_time(async {
        let (_first, bootstrap) = network().await;
        // Nodes in client mode receive no queries, so every value that a search finds is stored by the first node.
        let publisher = start(Role::Client, &bootstrap).await;
        let seeker = start(Role::Client, &bootstrap).await;
        let newest = pointer("stable/x86_64", 5);
        publisher.handle().put(&KEY, pointer("stable/x86_64", 4)).await.unwrap();
        publisher.handle().put(&KEY, newest.clone()).await.unwrap();
        assert_eq!(values(seeker.handle(), &KEY).await, [&newest[..]]);
        let others = [pointer("stable/x86_64", 4), pointer("edge/x86_64", 9), b"junk".to_vec(), Vec::new()];
        for (turn, other) in others.into_iter().enumerate() {
            let node = start(Role::Client, &bootstrap).await;
            // The first node acknowledges every put, so the put of a refused value succeeds.
            node.handle().put(&KEY, other).await.unwrap();
            assert_eq!(values(seeker.handle(), &KEY).await, [&newest[..]], "put {turn}");
        }
        let stray = start(Role::Client, &bootstrap).await;
        stray.handle().put(&CONTENT, newest).await.unwrap();
        assert_eq!(values(seeker.handle(), &CONTENT).await, Vec::<Vec<u8>>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_addresses_that_a_search_returns_suffice_to_dial_the_provider() {
    in_time(async {
        let (_first, bootstrap) = network().await;
        let provider = start(Role::Server, &bootstrap).await;
        provider.handle().provide(&CONTENT).await.unwrap();
        provider.handle().wait_until_announced(&CONTENT).await;
        let seeker = start(Role::Client, &bootstrap).await;
        let (found, _) = seeker.handle().find_providers(&CONTENT).await.collect().await;
        assert_eq!(found[0].addresses, provider.handle().listen_addresses().await);
        // The outsider knows no peer and has no DHT, so it can only use the addresses that the search has returned.
        let outsider = start_node(NodeConfig { listen: loopback(), ..NodeConfig::default() }).await;
        outsider.handle().connect(found[0].peer, found[0].addresses.clone()).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_value_is_removed_from_the_store_of_its_publisher() {
    in_time(async {
        let (_first, bootstrap) = network().await;
        let node = start(Role::Server, &bootstrap).await;
        node.handle().put(&KEY, pointer("stable/x86_64", 1)).await.unwrap();
        node.handle().provide(&CONTENT).await.unwrap();
        let stats = node.handle().dht_stats().await.unwrap();
        assert_eq!((stats.own_values, stats.own_provided), (1, 1));
        node.handle().withdraw(&KEY).await.unwrap();
        node.handle().withdraw(&CONTENT).await.unwrap();
        let stats = node.handle().dht_stats().await.unwrap();
        assert_eq!((stats.own_values, stats.own_provided), (0, 0));
    })
    .await;
}
