//! Tests that a provider of many artifacts announces them at a limited rate, and does not repeat its announcements when
//! a known node connects again.

use std::time::Duration;

use phase_node::PeerState;
use phase_provider::Provider;
use tempfile::tempdir;
use tokio::time::Instant;

use super::support::{config, get, in_time, publish, publish_version, source, start, until};

const ARTIFACTS: usize = 1000;
/// The number of announcements that may start at once. The announcement queue of the provider has the same limit.
const BURST: f64 = 64.0;
/// The number of announcements per second after the burst. The announcement queue of the provider has the same limit.
const PER_SECOND: f64 = 40.0;
/// The number of announcements to wait for. It is larger than the burst, so that the rate limit is tested too.
const ENOUGH: usize = 150;

#[tokio::test]
async fn a_thousand_artifacts_are_announced_at_a_limited_rate() {
    let folder = tempdir().unwrap();
    let store = folder.path().join("provider");
    let keys = publish(&store, ARTIFACTS);
    assert!(keys > ARTIFACTS);
    in_time(async {
        let other = start(&folder.path().join("other"), &[]).await;
        let bootstrap = [source(other.node()).await];
        let started = Instant::now();
        let provider = Provider::start(config(&store, &bootstrap)).await.unwrap();
        loop {
            let arrived = other.node().dht_stats().await.unwrap().providers;
            let published = published(&get(&provider, "/metrics").await.body);
            let allowed = BURST + PER_SECOND * started.elapsed().as_secs_f64();
            // Check only the upper limit, because a slow machine may announce less.
            assert!(published as f64 <= allowed, "{published} keys announced, {allowed} are allowed");
            assert!(arrived as f64 <= allowed, "{arrived} provider records arrived, {allowed} are allowed");
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
async fn a_new_connection_to_a_known_node_causes_no_announcements() {
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
        let (first_published, first_refreshed) = (published(&provider.node().metrics()), refreshed(&provider));
        assert!(first_refreshed > 0);

        // Wait until the provider closes the idle connection, and connects again because it needs a DHT server.
        let mut events = provider.node().peer_events();
        for awaited in [PeerState::Disconnected, PeerState::Identified] {
            while events.recv().await.unwrap().state != awaited {}
        }
        // Make the only ref unreadable for some time. The provider must not treat the ref as removed.
        let (path, aside) = (store.join("refs/stable/x86_64"), folder.path().join("aside"));
        for bytes in [b"damaged".to_vec(), std::fs::read(&path).unwrap()] {
            std::fs::write(&aside, bytes).unwrap();
            std::fs::rename(&aside, &path).unwrap();
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        // Publish a new release. Only its new keys are announced: the name, the manifest and one more file.
        let keys = publish_version(&store, 2, 21);
        provider.announced().wait_for(|announced| announced.done == keys && announced.wanted == keys).await.unwrap();
        let new = published(&provider.node().metrics()) - first_published;
        // Six are expected: the announcements of the three keys of the name, of the new manifest and of one file, and
        // the withdrawal of the old manifest. There may be retries. If the unchanged files were announced again, there
        // would be 20 more.
        assert!(new < 20, "{new} announcements were made");
        until(is_quiet).await;
        assert_eq!(refreshed(&provider), first_refreshed, "the provider has refreshed its routing table again");
    })
    .await;
}

/// Returns the number of successful provides and withdrawals according to the metrics.
fn published(metrics: &str) -> u64 {
    counted(metrics, "phase_dht_published_total{kind=\"provide\"} ")
}

/// Returns how often the routing table was refreshed.
fn refreshed(provider: &Provider) -> u64 {
    counted(&provider.node().metrics(), "phase_dht_queries_total{kind=\"refresh\",result=\"ok\"} ")
}

fn counted(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |number| number.parse().unwrap())
}
