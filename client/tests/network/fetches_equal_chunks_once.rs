//! Tests that zeros are not fetched, and that chunks that occur several times in an artifact are fetched once.

use std::os::unix::fs::MetadataExt as _;

use phase_client::{FetchError, FetchOptions, Report};
use phase_test_support::gate::Gate;
use phase_test_support::in_time;
use phase_transfer::download::DownloadError;

use crate::support::hostile::{Hostile, Trick};
use crate::support::release::bytes;
use crate::support::world::{World, impatient};

fn received(report: &Report) -> u64 {
    report.peers.values().map(|peer| peer.bytes).sum()
}

/// Returns the bytes of an artifact in which a block occurs several times, between other bytes and zeros.
fn repetitive() -> Vec<u8> {
    let block = bytes(3, 300_000);
    [&block[..], &bytes(4, 500_000), &block, &vec![0; 1 << 20], &bytes(5, 500_000), &block, &block].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_mostly_zeros_costs_only_its_data_on_the_network_and_on_the_disk() {
    in_time(async {
        const SIZE: u64 = 256 << 20;
        const DATA: u64 = 4 << 20;
        let mut image = vec![0; SIZE as usize];
        // The data is in four places, none of which begins at the start of a chunk.
        for (place, data) in bytes(1, DATA as usize).chunks(DATA as usize / 4).enumerate() {
            image[place * (60 << 20) + 12_345..][..data.len()].copy_from_slice(data);
        }
        let world = World::new([("rootfs", image)]).await;
        let _provider = world.provider().await;
        let client = world.client("client").await;
        let resolved = world.resolve(&client, 1).await;
        let fetch = client.fetch(&resolved, FetchOptions::default());
        let progress = fetch.progress();
        let report = fetch.finish().await.unwrap();

        world.assert_fetched("client", ["rootfs"]);
        // Each piece of data shares its first and its last chunk with zeros.
        let most = DATA + (8 * (64 << 10));
        let fetched = received(&report);
        let cid = world.release.manifest.artifacts[0].cid.to_string();
        let file = world.client_folder("client").join("artifacts").join(cid);
        let used = file.metadata().unwrap().blocks() * 512;
        println!("image of {SIZE} bytes with {DATA} bytes of data: {fetched} received, {used} on disk");
        assert!((DATA..most).contains(&fetched), "{fetched} bytes were received");
        assert!(used < most, "{used} bytes are used on the disk");
        assert_eq!((report.total, report.resumed, report.repeated), (SIZE, 0, SIZE - fetched));
        let end = progress.latest();
        assert_eq!((end.verified, end.done(), end.needed()), (SIZE, fetched, fetched));
        assert_eq!((end.resumed, end.repeated, end.fetched()), (0, SIZE - fetched, fetched));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_distinct_chunk_of_an_artifact_is_received_once() {
    in_time(async {
        let files = [
            ("block-100-times", bytes(1, 100_000).repeat(100)),
            ("zeros", vec![0; 3 << 20]),
            ("empty", Vec::new()),
            ("one-chunk", bytes(2, 100)),
            ("one-chunk-of-zeros", vec![0; 100]),
            ("repetitive", repetitive()),
        ];
        let world = World::new(files).await;
        let _provider = world.provider().await;
        let client = world.client("client").await;
        let resolved = world.resolve(&client, 1).await;
        let fetch = client.fetch(&resolved, FetchOptions::default());
        let progress = fetch.progress();
        let report = fetch.finish().await.unwrap();
        world.assert_fetched("client", world.all_files());
        let end = progress.latest();
        assert_eq!(received(&report), report.total - report.repeated);
        assert_eq!((end.verified, end.done(), report.resumed), (end.total, end.needed(), 0));
        // The block of 100,000 bytes is received about once, and the block of 300,000 bytes too.
        assert!(received(&report) < 2 << 20, "{} bytes were received", received(&report));

        // All of it is in the store now, so nothing is counted as repeated.
        let again = client.fetch(&resolved, FetchOptions::default()).finish().await.unwrap();
        assert_eq!((received(&again), again.resumed, again.repeated), (0, again.total, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_serves_zeros_and_copies_while_it_still_fetches() {
    in_time(async {
        let world = World::new([("rootfs", [repetitive(), bytes(9, 2 << 20)].concat())]).await;
        // The provider's reads are blocked when half of the data has passed.
        let gate = Gate::new(1 << 20);
        let _provider = world.gated_provider(&gate, false).await;
        let first = world.client("first").await;
        let resolved = world.resolve(&first, 1).await;
        let fetching = first.fetch(&resolved, FetchOptions::default());
        let passed = gate.blocked().await;
        fetching.progress().wait_for(|progress| progress.fetched() >= passed).await.unwrap();
        let second = world.client("second").await;
        let resolved = world.resolve(&second, 1).await;
        let fetching_too = second.fetch(&resolved, FetchOptions::default());
        let peer = first.node().peer_id();
        fetching_too.progress().wait_for(|progress| progress.by_peer.get(&peer).is_some_and(|n| *n > 0)).await.unwrap();
        gate.open();
        fetching.finish().await.unwrap();
        let report = fetching_too.finish().await.unwrap();
        assert_eq!(received(&report), report.total - report.repeated);
        world.assert_fetched("first", ["rootfs"]);
        world.assert_fetched("second", ["rootfs"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_has_only_a_later_one_of_equal_chunks_is_enough() {
    in_time(async {
        let world = World::new([("rootfs", repetitive())]).await;
        let peer = Hostile::start(&world, Trick::OnlyLastOfEqualChunks).await;
        let client = world.client("client").await;
        let resolved = world.resolve(&client, 1).await;
        let report = client.fetch(&resolved, impatient()).finish().await.unwrap();
        world.assert_fetched("client", ["rootfs"]);
        assert_eq!(report.peers[&peer.peer].bytes, report.total - report.repeated);
        assert_eq!(report.reassigned, 0, "no request was refused");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_fetch_counts_repeats_once_and_not_as_resumed() {
    in_time(async {
        let world = World::new([("rootfs", [repetitive(), bytes(9, 2 << 20)].concat())]).await;
        let gate = Gate::new(1 << 20);
        let _provider = world.gated_provider(&gate, false).await;
        let client = world.client("client").await;
        let resolved = world.resolve(&client, 1).await;
        let fetch = client.fetch(&resolved, FetchOptions::default());
        let passed = gate.blocked().await;
        fetch.progress().wait_for(|progress| progress.fetched() >= passed).await.unwrap();
        fetch.stopper().cancel();
        let error = fetch.finish().await.unwrap_err();
        assert!(matches!(error, FetchError::Download(DownloadError::Interrupted)), "{error}");
        gate.open();
        let report = client.fetch(&resolved, FetchOptions::default()).finish().await.unwrap();
        assert!(report.resumed >= passed && report.repeated > 1 << 20, "{report:?}");
        assert_eq!(received(&report) + report.resumed + report.repeated, report.total);
        world.assert_fetched("client", ["rootfs"]);
    })
    .await;
}
