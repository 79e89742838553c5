//! Tests that a fetch gets the published bytes from an honest provider, whatever a hostile provider does, and reports
//! the hostile provider. The store of the client never contains wrong bytes that a later fetch would use as verified
//! bytes.

use std::time::Duration;

use phase_client::{FetchError, FetchOptions, Report, Verdict};
use phase_core::Store as _;
use phase_protocol::wire::Refusal;
use phase_test_support::gate::Gate;
use phase_test_support::in_time;
use phase_transfer::download::DownloadError;

use crate::support::hostile::{Hostile, Trick};
use crate::support::release::bytes;
use crate::support::world::{World, impatient};

/// The expected entry for a hostile provider in the report.
enum Expect {
    /// The provider is banned, for a reason that contains this text.
    Banned(&'static str),
    /// The provider is banned for a reason that contains this text. It closed the stream before the client verified its
    /// chunk.
    BannedAfterClose(&'static str),
    /// The link to the provider is lost, and the provider delivered nothing.
    Lost,
    /// The provider is still connected, and delivered nothing.
    Useless,
}

async fn world() -> World {
    World::new([("rootfs", bytes(1, 2 << 20))]).await
}

/// Fetches from a hostile and an honest provider. A read gate blocks the chunks of the honest provider. The test opens
/// it after the hostile provider has used its trick. For [`Expect::Banned`], the client must also have ended the stream
/// of the hostile provider. For [`Expect::Lost`], the client must also have lost the connection to it.
async fn survives(trick: Trick, expect: Expect) {
    in_time(async {
        let world = world().await;
        let gate = Gate::new(0);
        let honest = world.gated_provider(&gate, trick == Trick::WrongBlock).await;
        let hostile = Hostile::start(&world, trick).await;
        let client = world.client("client").await;
        let resolved = world.resolve(&client, 2).await;
        let fetch = client.fetch(&resolved, impatient());
        gate.blocked().await;
        hostile.played().await;
        match expect {
            Expect::Banned(_) => hostile.cut_off().await,
            Expect::Lost => drop(fetch.progress().wait_for(|progress| progress.peers == 1).await.unwrap()),
            Expect::BannedAfterClose(_) | Expect::Useless => {}
        }
        assert_no_wrong_bytes_on_disk(&world);
        gate.open();
        let report = fetch.finish().await.unwrap();
        world.assert_fetched("client", ["rootfs"]);
        assert!(report.peers[&honest.peer].verdict == Verdict::Good && report.peers[&honest.peer].bytes > 0);
        assert_verdict(&report, &hostile, &expect);
    })
    .await;
}

fn assert_verdict(report: &Report, hostile: &Hostile, expect: &Expect) {
    let peer = &report.peers[&hostile.peer];
    match (expect, &peer.verdict) {
        (Expect::Banned(why) | Expect::BannedAfterClose(why), Verdict::Banned(reason)) => {
            assert!(reason.contains(why), "{reason}")
        }
        (Expect::Lost, Verdict::Lost(_)) => assert_eq!(peer.bytes, 0),
        (Expect::Useless, Verdict::Good) => assert_eq!(peer.bytes, 0),
        (_, verdict) => panic!("{verdict:?}"),
    }
}

/// Asserts that the artifact has no complete file, and that the partial file holds only published bytes and zeros.
fn assert_no_wrong_bytes_on_disk(world: &World) {
    let entry = &world.release.manifest.artifacts[0];
    let artifact = world.client_folder("client").join("artifacts").join(entry.cid.to_string());
    assert!(!artifact.exists());
    let Ok(part) = std::fs::read(artifact.with_extension("part")) else { return };
    let index = world.store.artifact(&entry.cid).unwrap().unwrap().index().clone();
    let published = &world.files["rootfs"];
    for chunk in index.chunks() {
        let range = usize::try_from(chunk.offset).unwrap()..usize::try_from(chunk.offset).unwrap() + chunk.len as usize;
        // Zeros are allowed, because a correct chunk may be only half written now.
        let mut bytes = part[range.clone()].iter().zip(&published[range]);
        assert!(bytes.all(|(byte, right)| byte == right || *byte == 0), "wrong bytes in the partial file");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_a_chunk_bans_the_provider() {
    survives(Trick::FlipBit, Expect::Banned("do not match its digest")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_before_a_closed_stream_bans_the_provider() {
    survives(Trick::FlipBitAndClose, Expect::BannedAfterClose("do not match its digest")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_closes_the_stream_within_a_chunk_is_lost() {
    survives(Trick::CloseMidChunk, Expect::Lost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_stalls_after_a_chunk_header_does_not_stop_the_fetch() {
    survives(Trick::StallAfterHeader, Expect::Useless).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_lacks_the_chunks_it_announced_does_not_stop_the_fetch() {
    survives(Trick::Refuse(Refusal::Missing), Expect::Useless).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_denies_an_announced_artifact_does_not_stop_the_fetch() {
    survives(Trick::Refuse(Refusal::NotFound), Expect::Useless).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_always_busy_does_not_stop_the_fetch() {
    survives(Trick::Refuse(Refusal::Busy { retry_after_ms: 0 }), Expect::Useless).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announced_header_of_four_gibibytes_bans_the_provider() {
    survives(Trick::OversizedHeader, Expect::Banned("header of 4294967295 bytes")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_longer_than_the_limit_bans_the_provider() {
    survives(Trick::OversizedPayload, Expect::Banned("payload of 1048577 bytes")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_frame_bans_the_provider() {
    survives(Trick::Malformed, Expect::Banned("header cannot be read")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_to_an_unknown_request_bans_the_provider() {
    survives(Trick::UnknownRequest, Expect::Banned("unexpected reply")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unrequested_chunk_bans_the_provider() {
    survives(Trick::UnrequestedChunk, Expect::Banned("unexpected reply")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_chunk_bans_the_provider() {
    survives(Trick::RepeatedChunk, Expect::Banned("unexpected reply")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_number_of_chunks_bans_the_provider() {
    survives(Trick::WrongCount, Expect::Banned("unexpected reply")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_have_update_bans_the_provider() {
    survives(Trick::RepeatedHaveUpdate, Expect::Banned("unexpected reply")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_index_block_bans_the_provider() {
    survives(Trick::WrongBlock, Expect::Banned("bytes that do not match")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_banned_provider_is_reported_when_the_honest_one_starts_later() {
    in_time(async {
        let world = world().await;
        let hostile = Hostile::start(&world, Trick::WrongBlock).await;
        let client = world.client("client").await;
        let resolved = world.resolve(&client, 1).await;
        let fetch = client.fetch(&resolved, FetchOptions::default());
        hostile.cut_off().await;
        let honest = world.provider().await;
        let report = fetch.finish().await.unwrap();
        world.assert_fetched("client", ["rootfs"]);
        assert!(report.peers[&honest.peer].bytes > 0);
        assert_verdict(&report, &hostile, &Expect::Banned("sent bytes that do not match"));
    })
    .await;
}

/// Fetches from a single provider that has no chunks at the first request.
async fn asks_again(trick: Trick) {
    in_time(async {
        let world = world().await;
        let late = Hostile::start(&world, trick).await;
        let client = world.client("client").await;
        let resolved = world.resolve(&client, 1).await;
        let report = client.fetch(&resolved, FetchOptions::default()).finish().await.unwrap();
        world.assert_fetched("client", ["rootfs"]);
        late.played().await;
        assert!(report.peers[&late.peer].bytes > 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_lacks_the_artifact_at_first_is_asked_again() {
    asks_again(Trick::LacksArtifactOnce).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_ends_its_have_updates_is_asked_again() {
    asks_again(Trick::EndsHaveUpdatesOnce).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_honest_provider_a_fetch_fails_and_reports_the_hostile_one() {
    in_time(async {
        let world = world().await;
        let hostile = Hostile::start(&world, Trick::FlipBit).await;
        let client = world.client("client").await;
        let resolved = world.resolve(&client, 1).await;
        let mut options = impatient();
        options.download.give_up_after = Duration::from_secs(10);
        let error = client.fetch(&resolved, options).finish().await.unwrap_err();
        let FetchError::Download(DownloadError::Stalled { report, missing, .. }) = error else { panic!("{error}") };
        assert!(missing > 0);
        assert_verdict(&report, &hostile, &Expect::Banned("do not match its digest"));
        assert_no_wrong_bytes_on_disk(&world);
        // In the next fetch, the chunks with wrong bytes count as missing.
        let entry = &world.release.manifest.artifacts[0];
        let index = world.store.artifact(&entry.cid).unwrap().unwrap().index().clone();
        let part = client.catalog().store().partial(&entry.cid, index).unwrap();
        assert_eq!(u64::from(part.have().len() - part.have().count()), missing);
        assert!(client.catalog().store().pointer(&resolved.name).unwrap().is_none());
    })
    .await;
}
