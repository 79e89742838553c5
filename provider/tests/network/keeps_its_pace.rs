//! A provider of much does not flood the network when it starts, and says nothing twice to the same nodes.

use std::time::Duration;

use phase_node::PeerState;
use phase_provider::Provider;
use tempfile::tempdir;
use tokio::time::Instant;

use super::support::{config, get, in_time, publish, publish_version, source, start, until};

const ARTIFACTS: usize = 1000;
/// What may go out at once, and a second after that: see the queue of announcements.
const BURST: f64 = 64.0;
const PER_SECOND: f64 = 40.0;
/// Enough to see that what follows the burst keeps its pace.
const ENOUGH: usize = 150;

#[tokio::test]
async fn a_thousand_artifacts_are_announced_little_by_little() {
    let folder = tempdir().unwrap();
    let store = folder.path().join("provider");
    let keys = publish(&store, ARTIFACTS);
    assert!(keys > ARTIFACTS);
    in_time(async {
        let other = start(&folder.path().join("other"), &[]).await;
        let bootstrap = [source(other.node()).await];
        let begun = Instant::now();
        let provider = Provider::start(config(&store, &bootstrap)).await.unwrap();
        loop {
            let arrived = other.node().dht_stats().await.unwrap().providers;
            let published = published(&get(&provider, "/metrics").await.body);
            let may_have = BURST + PER_SECOND * begun.elapsed().as_secs_f64();
            // A slow machine has announced less: this is about the most.
            assert!(published as f64 <= may_have, "{published} announced where {may_have} are allowed");
            assert!(arrived as f64 <= may_have, "{arrived} arrived where {may_have} are allowed");
            if arrived >= ENOUGH {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(provider.announced().borrow().done < keys);
    })
    .await;
}

#[tokio::test]
async fn who_was_told_is_not_told_again_when_a_connection_comes_back() {
    let folder = tempdir().unwrap();
    let store = folder.path().join("provider");
    let keys = publish(&store, 20);
    in_time(async {
        let other = start(&folder.path().join("other"), &[]).await;
        let mut config = config(&store, &[source(other.node()).await]);
        config.node.transport.idle_timeout = Duration::from_secs(1);
        let provider = Provider::start(config).await.unwrap();
        provider.announced().wait_for(|announced| announced.done == keys).await.unwrap();
        let is_quiet = async || provider.node().dht_stats().await.unwrap().queries == 0;
        until(is_quiet).await;
        let (first_told, first_refreshed) = (published(&provider.node().metrics()), refreshed(&provider));
        assert!(first_refreshed > 0);

        // It hangs up when there is nothing to say, and calls again to have somebody to ask.
        let mut events = provider.node().peer_events();
        for awaited in [PeerState::Disconnected, PeerState::Identified] {
            while events.recv().await.unwrap().state != awaited {}
        }
        // For some time the only ref cannot be read. That is not as if there were none.
        let (path, aside) = (store.join("refs/stable/x86_64"), folder.path().join("aside"));
        for bytes in [b"damaged".to_vec(), std::fs::read(&path).unwrap()] {
            std::fs::write(&aside, bytes).unwrap();
            std::fs::rename(&aside, &path).unwrap();
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        // What comes after is only what is new: the name, the manifest, a file more.
        let keys = publish_version(&store, 2, 21);
        provider.announced().wait_for(|announced| announced.done == keys && announced.wanted == keys).await.unwrap();
        let new = published(&provider.node().metrics()) - first_told;
        // Three keys of the name, the manifest, a file, the withdrawn manifest, and what had to be tried again.
        assert!(new < 20, "{new} keys were announced");
        until(is_quiet).await;
        assert_eq!(refreshed(&provider), first_refreshed, "it has looked around again");
    })
    .await;
}

/// How many keys the DHT was told that they are provided.
fn published(metrics: &str) -> u64 {
    counted(metrics, "phase_dht_published_total{kind=\"provide\"} ")
}

/// How often the routing table was refreshed.
fn refreshed(provider: &Provider) -> u64 {
    counted(&provider.node().metrics(), "phase_dht_queries_total{kind=\"refresh\",result=\"ok\"} ")
}

fn counted(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |number| number.parse().unwrap())
}
