//! A server does not exceed its rate limit, and a peer that does not read does not block other peers.

use std::time::Duration;

use futures::future::join;
use phase_core::ChunkRange;
use phase_protocol::upload;
use phase_protocol::wire::Request;
use phase_transfer::server;
use tokio::time::Instant;

use phase_test_support::in_time;

use crate::raw::{Raw, connected_node};
use crate::served::Served;

/// The time limit of the test. It is shorter than the write timeout of 30 s, so that only an eviction can end the
/// unread stream in time.
const BEFORE_WRITE_TIMEOUT: Duration = Duration::from_secs(20);

async fn serve(upload: upload::Config) -> Served {
    Served::start_configured(|store| store, server::Config { upload }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_peers_together_receive_at_most_the_rate_limit_and_a_burst() {
    in_time(async {
        const RATE: u64 = 2 << 20;
        let served = serve(upload::Config { max_rate: Some(RATE), ..upload::Config::default() }).await;
        let (one, other) = (connected_node(&served).await, connected_node(&served).await);
        let twice = async |node| {
            let mut stream = Raw::open(node, &served).await;
            stream.assert_served(&served, 1).await;
            stream.assert_served(&served, 2).await;
        };
        let begin = Instant::now();
        join(twice(&one), twice(&other)).await;
        // 4 MiB at 2 MiB/s take 2 s, minus 0.1 s for the first burst. The bound leaves a margin.
        assert!(begin.elapsed() >= Duration::from_millis(1500), "sent in {:?}", begin.elapsed());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_does_not_read_is_evicted_for_a_waiting_peer() {
    in_time(async {
        let short = Duration::from_millis(10);
        let config = upload::Config { max_jobs: 1, slot_time: short, max_slot_time: short, ..Default::default() };
        let served = serve(upload::Config { evict_after: Duration::from_millis(100), ..config }).await;
        let (stalled, waiting) = (connected_node(&served).await, connected_node(&served).await);
        let mut unread = Raw::open(&stalled, &served).await;
        // The requests ask for more bytes than the buffers of the connection can hold, so that sending blocks.
        let ranges = vec![ChunkRange::new(0, served.artifact.index().len()).unwrap()];
        for id in 0..64 {
            unread.ask(id, Request::Chunks { artifact: served.cid(), ranges: ranges.clone() }).await;
        }
        // The first reply shows that the peer is being served.
        assert!(unread.reply().await.is_some());
        let mut stream = Raw::open(&waiting, &served).await;
        let asked = tokio::time::timeout(BEFORE_WRITE_TIMEOUT, stream.assert_served(&served, 1)).await;
        asked.expect("a peer that does not read must not keep another one waiting");
        while unread.reply().await.is_some() {}
    })
    .await;
}
