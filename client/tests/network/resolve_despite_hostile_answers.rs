//! Tests that a resolve returns the newest valid release, whatever other peers offer, and reports each invalid answer
//! with the reason.

use phase_client::{ResolveError, Resolved};
use phase_core::{DhtKey, Envelope, Manifest, Pointer, SigningKey};
use phase_test_support::in_time;

use crate::support::hostile::{Hostile, Trick};
use crate::support::release::{EXPIRES, NOW, Publisher, Release, bytes, name};
use crate::support::world::{World, patient};

/// A number of answers that is larger than the number of peers, so that the resolve waits for all peers.
const ALL_ANSWERS: usize = 100;

async fn world() -> World {
    World::new([("kernel", bytes(1, 10_000))]).await
}

fn head(release: &Release) -> Trick {
    Trick::Head { pointer: release.pointer.encode(), envelope: release.envelope.encode() }
}

/// Returns a copy of the published manifest to which `change` was applied.
fn changed(world: &World, change: impl FnOnce(&mut Manifest)) -> Manifest {
    let mut manifest = world.release.manifest.clone();
    change(&mut manifest);
    manifest
}

/// Returns the version that the hostile provider offers, or the error in its answer.
fn answer(resolved: &Resolved, hostile: &Hostile) -> Result<u64, String> {
    resolved
        .answers
        .iter()
        .find(|answer| answer.peer == hostile.peer)
        .unwrap()
        .result
        .clone()
        .map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_invalid_answer_is_refused_with_its_reason() {
    in_time(async {
        let world = world().await;
        let Publisher { keys, .. } = &world.publisher;
        let sign = |manifest: &Manifest, keys: &[SigningKey]| {
            world.publisher.point(manifest, Envelope::signed(manifest, keys).unwrap())
        };
        let newer = changed(&world, |manifest| manifest.version = 9);
        let other_channel = changed(&world, |manifest| manifest.channel = "edge".parse().unwrap());
        let expired = changed(&world, |manifest| (manifest.version, manifest.expires_at) = (9, NOW));
        let unknown_key = SigningKey::from_secret_bytes(&[9; 32]);
        let mismatched = Release { pointer: world.release.pointer.clone(), ..sign(&newer, keys) };
        let garbage = Trick::Head { pointer: vec![1; 20], envelope: vec![2; 3000] };
        let nothing = Trick::Head { pointer: Vec::new(), envelope: Vec::new() };
        let tricks = [
            (garbage, "envelope"),
            (nothing, "envelope"),
            (head(&sign(&other_channel, keys)), "channel edge, not stable"),
            (head(&sign(&newer, &keys[..1])), "1 of 2 required signatures"),
            (head(&sign(&newer, &[unknown_key])), "0 of 2 required signatures"),
            (head(&sign(&expired, keys)), "expired"),
            (head(&mismatched), "pointer leads to another release"),
            (Trick::HeadOfAnotherKind, "unexpected reply"),
            (Trick::CloseAtHead, "ended the stream"),
        ];
        let mut hostiles = Vec::new();
        for (trick, why) in tricks {
            hostiles.push((Hostile::start(&world, trick).await, why));
        }
        let honest = world.provider().await;
        let client = world.client("client").await;
        let resolved = world.resolve(&client, ALL_ANSWERS).await;
        assert_eq!(resolved.providers, [honest.peer]);
        for (hostile, why) in &hostiles {
            let error = answer(&resolved, hostile).unwrap_err();
            assert!(error.contains(why), "{error:?} does not say {why:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newer_of_two_releases_is_chosen() {
    in_time(async {
        let world = world().await;
        let older = changed(&world, |manifest| manifest.version = 1);
        let hostile = Hostile::start(&world, head(&world.publisher.sign(&older))).await;
        let honest = world.provider().await;
        let client = world.client("client").await;
        let resolved = world.resolve(&client, ALL_ANSWERS).await;
        assert_eq!((answer(&resolved, &hostile), resolved.providers), (Ok(1), vec![honest.peer]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_older_than_the_one_in_the_store_is_refused_as_a_rollback() {
    in_time(async {
        let world = world().await;
        let older = changed(&world, |manifest| manifest.version = 1);
        let _hostile = Hostile::start(&world, head(&world.publisher.sign(&older))).await;
        let client = world.client("client").await;
        world.put_into("client");
        let error = client.resolve(&name(), &world.publisher.trust, patient(3)).await.unwrap_err();
        assert!(matches!(error, ResolveError::Rollback { offered: 1, floor: 2, .. }), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_release_with_the_same_version_is_reported_as_equivocation() {
    in_time(async {
        let world = world().await;
        let twin = world.publisher.sign(&changed(&world, |manifest| manifest.release = "twin".to_owned()));
        let hostile = Hostile::start(&world, head(&twin)).await;
        let honest = world.provider().await;
        let client = world.client("client").await;
        let name = name();
        let resolve = || client.resolve(&name, &world.publisher.trust, patient(ALL_ANSWERS));

        // Both releases have valid signatures. The client accepts the first release and refuses the other release.
        let resolved = resolve().await.unwrap();
        assert_eq!(resolved.providers.len(), 1);
        let refused: Vec<_> =
            resolved.answers.iter().filter_map(|answer| Some(answer.result.as_ref().err()?.to_string())).collect();
        assert!(refused.len() == 1 && refused[0].contains("equivocation"), "{refused:?}");

        // If the store has one of the two releases, the client accepts only that release.
        world.put_into("client");
        let resolved = resolve().await.unwrap();
        assert_eq!(resolved.providers, [honest.peer]);
        assert!(answer(&resolved, &hostile).unwrap_err().contains("equivocation"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pointer_without_a_manifest_does_not_count() {
    in_time(async {
        let world = world().await;
        let honest = world.provider().await;
        let mut pointer: Pointer = world.release.pointer.payload_unverified().unwrap();
        let urls = vec!["https://example.org/".to_owned()];
        (pointer.manifest, pointer.urls, pointer.version) = (None, urls, pointer.version + 1);
        let mut without_manifest = Envelope::unsigned(&pointer).unwrap();
        without_manifest.sign::<Pointer>(&world.publisher.keys[0]).unwrap();
        let answering = Hostile::start(
            &world,
            Trick::Head { pointer: without_manifest.encode(), envelope: world.release.envelope.encode() },
        )
        .await;
        // Put this pointer last, so that it replaces the correct pointer on every node, including the node that
        // announced the correct one.
        for node in [answering.handle(), honest.handle()] {
            node.put(&DhtKey::Name(name()), without_manifest.encode()).await.unwrap();
        }
        let client = world.client("client").await;
        let resolved = world.resolve(&client, ALL_ANSWERS).await;
        assert_eq!((resolved.pointer_in_dht, &resolved.providers), (false, &vec![honest.peer]));
        let refused = answer(&resolved, &answering).unwrap_err();
        assert!(refused.contains("pointer leads to another release"), "{refused}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_pointer_record_does_not_hide_a_release() {
    in_time(async {
        let world = world().await;
        let honest = world.provider().await;
        // The DHT nodes have no trust root to verify the forged pointer, so it replaces the correct one.
        let mut pointer: Pointer = world.release.pointer.payload_unverified().unwrap();
        (pointer.version, pointer.issued_at, pointer.expires_at) = (u64::MAX, EXPIRES, u64::MAX);
        let mut forged = Envelope::unsigned(&pointer).unwrap();
        forged.sign::<Pointer>(&SigningKey::from_secret_bytes(&[9; 32])).unwrap();
        honest.handle().put(&DhtKey::Name(name()), forged.encode()).await.unwrap();
        let client = world.client("client").await;
        let resolved = world.resolve(&client, ALL_ANSWERS).await;
        assert_eq!((resolved.pointer_in_dht, resolved.providers), (false, vec![honest.peer]));
    })
    .await;
}
