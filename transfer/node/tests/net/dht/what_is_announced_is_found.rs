//! Providers and values are found by those who know only the first node, for as long as they are announced.

use phase_node::{NodeConfig, Role};
use phase_test_support::in_time;

use super::{CONTENT, KEY, OTHER, network, pointer, providers, values};
use crate::nodes::{loopback, start, start_node};

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_found_and_reached_by_somebody_who_knows_only_the_first_node() {
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
async fn what_is_withdrawn_is_not_found_any_more() {
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
        // Whoever does not know whether that was heard can say so again.
        assert!(leaving.handle().withdraw(&CONTENT).await.unwrap().answered > 0);
        assert_eq!(leaving.handle().withdraw_provided(&CONTENT).await.unwrap().requests, 0);
        // It may come back.
        leaving.handle().provide(&CONTENT).await.unwrap();
        leaving.handle().wait_until_announced(&CONTENT).await;
        assert_eq!(providers(seeker.handle(), &CONTENT).await.len(), 2);
        // In a hurry it says so of everything at once, before others hear of each.
        leaving.handle().hide_addresses().await;
        leaving.handle().withdraw(&CONTENT).await.unwrap();
        leaving.handle().wait_until_announced(&CONTENT).await;
        leaving.stop().await;
        assert_eq!(providers(seeker.handle(), &CONTENT).await, [staying.handle().peer_id()]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pointer_is_kept_and_never_replaced_by_an_older_one_or_by_junk() {
    in_time(async {
        let (_first, bootstrap) = network().await;
        // A client's own part of the DHT is not asked: what is found is what the first node keeps.
        let publisher = start(Role::Client, &bootstrap).await;
        let seeker = start(Role::Client, &bootstrap).await;
        let newest = pointer("stable/x86_64", 5);
        publisher.handle().put(&KEY, pointer("stable/x86_64", 4)).await.unwrap();
        publisher.handle().put(&KEY, newest.clone()).await.unwrap();
        assert_eq!(values(seeker.handle(), &KEY).await, [&newest[..]]);
        let others = [pointer("stable/x86_64", 4), pointer("edge/x86_64", 9), b"junk".to_vec(), Vec::new()];
        for (turn, other) in others.into_iter().enumerate() {
            let node = start(Role::Client, &bootstrap).await;
            // Whether it was kept, nobody says.
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
async fn what_a_search_finds_is_enough_to_dial_the_provider() {
    in_time(async {
        let (_first, bootstrap) = network().await;
        let provider = start(Role::Server, &bootstrap).await;
        provider.handle().provide(&CONTENT).await.unwrap();
        provider.handle().wait_until_announced(&CONTENT).await;
        let seeker = start(Role::Client, &bootstrap).await;
        let (found, _) = seeker.handle().find_providers(&CONTENT).await.collect().await;
        assert_eq!(found[0].addresses, provider.handle().listen_addresses().await);
        // This one knows nobody, and is in no DHT that could help it.
        let outsider = start_node(NodeConfig { listen: loopback(), ..NodeConfig::default() }).await;
        outsider.handle().connect(found[0].peer, found[0].addresses.clone()).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_withdrawn_is_forgotten_here() {
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
