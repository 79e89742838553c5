//! Whatever a provider does, a fetch ends with the published bytes from an honest one, says who misbehaved, and at no
//! time is a wrong byte where it could be used.

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

/// What is expected of a hostile peer's report.
enum Expect {
    /// Banned, and why.
    Banned(&'static str),
    /// The same, but the peer closed the stream itself, before what it had sent was looked at.
    BannedThoughGone(&'static str),
    Lost,
    /// Still connected, without having delivered anything.
    Useless,
}

async fn world() -> World {
    World::new([("rootfs", bytes(1, 2 << 20))]).await
}

/// Fetches from a hostile and an honest provider. The honest one delivers nothing before the trick has been played and
/// its consequence drawn.
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
        hostile.struck().await;
        match expect {
            Expect::Banned(_) => hostile.cut_off().await,
            Expect::Lost => drop(fetch.progress().wait_for(|progress| progress.peers == 1).await.unwrap()),
            Expect::BannedThoughGone(_) | Expect::Useless => {}
        }
        assert_nothing_bad_on_disk(&world);
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
        (Expect::Banned(why) | Expect::BannedThoughGone(why), Verdict::Banned(reason)) => {
            assert!(reason.contains(why), "{reason}")
        }
        (Expect::Lost, Verdict::Lost(_)) => assert_eq!(peer.bytes, 0),
        (Expect::Useless, Verdict::Good) => assert_eq!(peer.bytes, 0),
        (_, verdict) => panic!("{verdict:?}"),
    }
}

/// Nothing has the artifact's name, and the partial file holds published bytes and holes.
fn assert_nothing_bad_on_disk(world: &World) {
    let entry = &world.release.manifest.artifacts[0];
    let artifact = world.client_folder("client").join("artifacts").join(entry.cid.to_string());
    assert!(!artifact.exists());
    let Ok(part) = std::fs::read(artifact.with_extension("part")) else { return };
    let index = world.store.artifact(&entry.cid).unwrap().unwrap().index().clone();
    let published = &world.files["rootfs"];
    for chunk in index.chunks() {
        let range = usize::try_from(chunk.offset).unwrap()..usize::try_from(chunk.offset).unwrap() + chunk.len as usize;
        // Right ones may be being written in this moment.
        let mut bytes = part[range.clone()].iter().zip(&published[range]);
        assert!(bytes.all(|(byte, right)| byte == right || *byte == 0), "wrong bytes in the partial file");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit() {
    survives(Trick::FlipBit, Expect::Banned("do not verify")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_and_a_closed_stream() {
    survives(Trick::FlipBitAndClose, Expect::BannedThoughGone("do not verify")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_closed_within_a_chunk() {
    survives(Trick::CloseMidChunk, Expect::Lost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_after_a_chunks_header() {
    survives(Trick::StallAfterHeader, Expect::Useless).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_claim_to_have_everything() {
    survives(Trick::Refuse(Refusal::Missing), Expect::Useless).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_that_is_claimed_and_then_denied() {
    survives(Trick::Refuse(Refusal::NotFound), Expect::Useless).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_always_busy() {
    survives(Trick::Refuse(Refusal::Busy { retry_after_ms: 0 }), Expect::Useless).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_of_four_gigabytes() {
    survives(Trick::OversizedHeader, Expect::Banned("header of 4294967295 bytes")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_beyond_the_cap() {
    survives(Trick::OversizedPayload, Expect::Banned("payload of 1048577 bytes")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_frame() {
    survives(Trick::Malformed, Expect::Banned("header cannot be read")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_to_no_request() {
    survives(Trick::UnknownRequest, Expect::Banned("nobody asked for")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_was_not_asked_for() {
    survives(Trick::Unasked, Expect::Banned("nobody asked for")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_sent_twice() {
    survives(Trick::Twice, Expect::Banned("nobody asked for")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_to_have_more_chunks_than_there_are() {
    survives(Trick::WrongCount, Expect::Banned("nobody asked for")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_of_new_chunks_that_never_end() {
    survives(Trick::RepeatedDelta, Expect::Banned("nobody asked for")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_index_block() {
    survives(Trick::WrongBlock, Expect::Banned("other bytes than those of")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_liar_is_named_also_if_everybody_else_comes_later() {
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
        assert_verdict(&report, &hostile, &Expect::Banned("sent other bytes"));
    })
    .await;
}

/// Fetches from a provider that has nothing to tell when it is first asked, and from nobody else.
async fn asks_again(trick: Trick) {
    in_time(async {
        let world = world().await;
        let late = Hostile::start(&world, trick).await;
        let client = world.client("client").await;
        let resolved = world.resolve(&client, 1).await;
        let report = client.fetch(&resolved, FetchOptions::default()).finish().await.unwrap();
        world.assert_fetched("client", ["rootfs"]);
        late.struck().await;
        assert!(report.peers[&late.peer].bytes > 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_has_nothing_at_first_is_asked_again() {
    asks_again(Trick::NotYet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_stops_telling_what_it_has_is_asked_again() {
    asks_again(Trick::TellsNoMore).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_honest_provider_the_fetch_fails_and_names_the_liar() {
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
        assert_verdict(&report, &hostile, &Expect::Banned("do not verify"));
        assert_nothing_bad_on_disk(&world);
        // Nothing of it is believed later either.
        let entry = &world.release.manifest.artifacts[0];
        let index = world.store.artifact(&entry.cid).unwrap().unwrap().index().clone();
        let part = client.catalog().store().partial(&entry.cid, index).unwrap();
        assert_eq!(u64::from(part.have().len() - part.have().count()), missing);
        assert!(client.catalog().store().pointer(&resolved.name).unwrap().is_none());
    })
    .await;
}
