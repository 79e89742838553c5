//! A provider of much does not flood the network when it starts.

use std::time::Duration;

use phase_provider::Provider;
use tempfile::tempdir;
use tokio::time::Instant;

use super::support::{config, get, in_time, publish, source, start};

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

/// How many keys the DHT was told that they are provided.
fn published(metrics: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix("phase_dht_published_total{kind=\"provide\"} "));
    line.map_or(0, |number| number.parse().unwrap())
}
