//! Records that a node stores for peers expire, and never use the space for the node's own records.

use std::time::Duration;

use phase_core::{Cid, DhtKey};
use phase_node::{DhtConfig, DhtStats, Limits, NodeHandle, Rate, Role, StoreLimits};
use phase_test_support::{in_time, until};
use tokio::time::Instant;

use super::{CONTENT, KEY, OTHER, pointer, providers, values};
use crate::nodes::{address, start, start_in_dht};

async fn stats(node: &NodeHandle) -> DhtStats {
    node.dht_stats().await.unwrap()
}

/// Returns the configuration of a DHT server that stores records for the time `ttl`.
fn forgetful(ttl: Duration) -> DhtConfig {
    let collect_interval = Duration::from_millis(100);
    DhtConfig { role: Role::Server, value_ttl: ttl, provider_ttl: ttl, collect_interval, ..DhtConfig::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_not_renewed_are_removed_without_being_read() {
    in_time(async {
        let holder = start_in_dht(forgetful(Duration::from_secs(2)), &[]).await;
        let bootstrap = [address(holder.handle()).await];
        let publisher = start(Role::Client, &bootstrap).await;
        let holds = async |values, providers| {
            let stats = stats(holder.handle()).await;
            (stats.values, stats.providers) == (values, providers)
        };
        let announced = async || {
            publisher.handle().put(&KEY, pointer("stable/x86_64", 1)).await.unwrap();
            publisher.handle().provide(&CONTENT).await.unwrap();
            publisher.handle().wait_until_announced(&CONTENT).await;
            holds(1, 1).await
        };
        until("both records are stored", announced).await;
        until("both records are removed", async || holds(0, 0).await).await;
        let seeker = start(Role::Client, &bootstrap).await;
        assert_eq!(providers(seeker.handle(), &CONTENT).await, []);
        assert!(values(seeker.handle(), &KEY).await.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_renewed_are_kept() {
    in_time(async {
        let holder = start_in_dht(forgetful(Duration::from_secs(6)), &[]).await;
        let bootstrap = [address(holder.handle()).await];
        let [publisher, seeker] = [start(Role::Client, &bootstrap).await, start(Role::Client, &bootstrap).await];
        let publisher = publisher.handle();
        publisher.put(&KEY, pointer("stable/x86_64", 1)).await.unwrap();
        publisher.provide(&CONTENT).await.unwrap();
        let begun = Instant::now();
        publisher.provide(&OTHER).await.unwrap();
        publisher.wait_until_announced(&OTHER).await;
        // Renew all records except the provider record of `OTHER`. The renewed records were placed before this record.
        // So when this record has expired, they have outlived the TTL.
        let outlived = async || {
            let stats = stats(holder.handle()).await;
            if stats.providers == 1 {
                assert_eq!(stats.values, 1);
                return true;
            }
            publisher.put(&KEY, pointer("stable/x86_64", 1)).await.unwrap();
            publisher.provide(&CONTENT).await.unwrap();
            publisher.wait_until_announced(&CONTENT).await;
            false
        };
        until("the record that is not renewed has expired", outlived).await;
        assert!(begun.elapsed() >= Duration::from_secs(6), "the record expired too early");
        assert_eq!(providers(seeker.handle(), &CONTENT).await, [publisher.peer_id()]);
        assert_eq!(providers(seeker.handle(), &OTHER).await, []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ttl_of_twelve_hours_is_possible() {
    in_time(async {
        let holder = start_in_dht(forgetful(Duration::from_secs(12 * 60 * 60)), &[]).await;
        let publisher = start(Role::Client, &[address(holder.handle()).await]).await;
        publisher.handle().put(&KEY, pointer("stable/x86_64", 1)).await.unwrap();
        publisher.handle().provide(&CONTENT).await.unwrap();
        until("both records are stored", async || stats(holder.handle()).await.providers == 1).await;
        assert_eq!(stats(holder.handle()).await.values, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn own_announcements_are_stored_even_if_peers_have_filled_the_store() {
    in_time(async {
        let few = StoreLimits { own: 3, values: 2, providers: 2, providers_per_key: 2 };
        let one = Rate { burst: 1000, per_second: 100.0 };
        let limits = Limits { puts: one, provides: one, queries: one, ..Limits::default() };
        let config = DhtConfig { role: Role::Server, store: few, limits, ..DhtConfig::default() };
        let node = start_in_dht(config, &[]).await;
        let bootstrap = [address(node.handle()).await];
        let key = |n: u8| DhtKey::Content(Cid::of_block(&[n]));
        let name = |n: u8| format!("stable/board-{n}");
        let client = start(Role::Client, &bootstrap).await;
        for n in 0..5 {
            let at = super::name(&name(n));
            client.handle().put(&at, pointer(&name(n), 1)).await.unwrap();
            client.handle().provide(&key(n)).await.unwrap();
        }
        until("the store is full", async || {
            let stats = stats(node.handle()).await;
            (stats.values, stats.providers, stats.refused) == (2, 2, 6)
        })
        .await;
        // Start another DHT server, because a put succeeds only if another node acknowledges the value.
        let _other = start(Role::Server, &bootstrap).await;
        node.handle().routing_peers().wait_for(|peers| *peers > 0).await.unwrap();
        for n in 10..13 {
            let at = super::name(&name(n));
            node.handle().put(&at, pointer(&name(n), 1)).await.unwrap();
            node.handle().provide(&key(n)).await.unwrap();
            assert_eq!(providers(client.handle(), &key(n)).await, [node.handle().peer_id()]);
        }
        let stats = stats(node.handle()).await;
        assert_eq!((stats.own_values, stats.own_provided, stats.values, stats.providers), (3, 3, 2, 2));
    })
    .await;
}
