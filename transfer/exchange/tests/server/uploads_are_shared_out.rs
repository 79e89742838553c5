//! A server sends no faster than it may, and who does not read is in nobody's way.

use std::time::Duration;

use futures::future::join;
use phase_core::ChunkRange;
use phase_protocol::upload;
use phase_protocol::wire::Request;
use phase_transfer::server;
use tokio::time::Instant;

use phase_test_support::in_time;

use crate::raw::{Raw, stranger};
use crate::served::Served;

/// A stream that is not read ends by itself after 30 s.
const SOONER: Duration = Duration::from_secs(20);

async fn serve(upload: upload::Config) -> Served {
    Served::start_configured(|store| store, server::Config { upload }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_peers_together_get_no_more_than_the_cap_and_a_burst() {
    in_time(async {
        const RATE: u64 = 2 << 20;
        let served = serve(upload::Config { max_rate: Some(RATE), ..upload::Config::default() }).await;
        let (one, other) = (stranger(&served).await, stranger(&served).await);
        let twice = async |node| {
            let mut stream = Raw::open(node, &served).await;
            stream.assert_served(&served, 1).await;
            stream.assert_served(&served, 2).await;
        };
        let begin = Instant::now();
        join(twice(&one), twice(&other)).await;
        // Of 4 MiB the first went out at once.
        assert!(begin.elapsed() >= Duration::from_millis(1500), "sent in {:?}", begin.elapsed());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_nothing_gives_way_to_who_waits() {
    in_time(async {
        let short = Duration::from_millis(10);
        let config = upload::Config { max_jobs: 1, slot_time: short, max_slot_time: short, ..Default::default() };
        let served = serve(upload::Config { evict_after: Duration::from_millis(100), ..config }).await;
        let (stalled, waiting) = (stranger(&served).await, stranger(&served).await);
        let mut unread = Raw::open(&stalled, &served).await;
        // More than any buffers on the way hold.
        let ranges = vec![ChunkRange::new(0, served.artifact.index().len()).unwrap()];
        for id in 0..64 {
            unread.ask(id, Request::Chunks { artifact: served.cid(), ranges: ranges.clone() }).await;
        }
        // There is something to read: it is being served.
        assert!(unread.reply().await.is_some());
        let mut stream = Raw::open(&waiting, &served).await;
        let asked = tokio::time::timeout(SOONER, stream.assert_served(&served, 1)).await;
        asked.expect("nobody has to wait for a reader that does not read");
        while unread.reply().await.is_some() {}
    })
    .await;
}
