//! A fetch uses every provider there is and other clients too, writes what was published, and resumes.

use futures::future::{join_all, select_all};
use phase_client::{FetchError, FetchOptions, Selection, Verdict};
use phase_test_support::gate::Gate;
use phase_test_support::in_time;
use phase_transfer::download::DownloadError;

use crate::support::release::{bytes, name};
use crate::support::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_knows_only_a_bootstrap_address_fetches_from_all_providers_at_once() {
    in_time(async {
        let world = World::new([("kernel", bytes(1, 6 << 20)), ("initramfs", bytes(2, 3 << 20))]).await;
        let gates = [Gate::new(0), Gate::new(0), Gate::new(0)];
        let mut providers = Vec::new();
        for gate in &gates {
            providers.push(world.gated_provider(gate, false).await);
        }
        let client = world.client("client").await;
        let resolved = world.resolve(&client, 3).await;
        assert!(resolved.pointer_in_dht);
        let fetch = client.fetch(&resolved, FetchOptions::default());
        // Nobody delivers before all three have been asked.
        for gate in &gates {
            gate.blocked().await;
        }
        gates.iter().for_each(|gate| gate.open());
        let report = fetch.finish().await.unwrap();

        world.assert_fetched("client", world.all_files());
        for provider in &providers {
            assert!(report.peers[&provider.peer].bytes > 0, "{report:?}");
        }
        let delivered: u64 = report.peers.values().map(|peer| peer.bytes).sum();
        assert_eq!((delivered, report.total, report.resumed), (9 << 20, 9 << 20, 0));
        let held = client.catalog().store().pointer(&name()).unwrap().unwrap();
        assert_eq!(held.encode(), world.release.pointer.encode());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_and_many_small_and_equal_files_arrive() {
    in_time(async {
        let small = (0..80).map(|n| (format!("etc/{n}"), bytes(n, 37 * n as usize)));
        // Two names for the same bytes, and two empty files (`etc/0` is the other).
        let more = [("copy".to_owned(), bytes(79, 37 * 79)), ("empty".to_owned(), Vec::new())];
        let files: Vec<_> = small.chain(more).collect();
        let world = World::new(files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone()))).await;
        let _provider = world.provider().await;
        let client = world.client("client").await;
        let resolved = world.resolve(&client, 1).await;
        client.fetch(&resolved, FetchOptions::default()).finish().await.unwrap();
        world.assert_fetched("client", world.all_files());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_selected_is_fetched_and_nothing_more_is_promised() {
    in_time(async {
        let world = World::new([("kernel", bytes(1, 100_000)), ("rootfs", bytes(2, 100_000))]).await;
        let _provider = world.provider().await;
        let client = world.client("client").await;
        let resolved = world.resolve(&client, 1).await;
        let select =
            |what: &str| FetchOptions { selection: Selection::Some(vec![what.to_owned()]), ..Default::default() };

        let report = client.fetch(&resolved, select("kernel")).finish().await.unwrap();
        assert_eq!(report.total, 100_000);
        world.assert_fetched("client", ["kernel"]);
        let store = client.catalog().store();
        let rootfs = world.release.manifest.artifacts.iter().find(|entry| entry.filename.as_str() == "rootfs").unwrap();
        assert!(store.artifact(&rootfs.cid).unwrap().is_none());
        // A ref promises that all of the release can be served.
        assert!(store.pointer(&name()).unwrap().is_none());

        let error = client.fetch(&resolved, select("dtb")).finish().await.unwrap_err();
        assert!(matches!(error, FetchError::NoSuchArtifact { .. }), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_serves_others_while_it_still_fetches() {
    in_time(async {
        let world = World::new([("rootfs", bytes(1, 4 << 20))]).await;
        // Half of the artifact, once.
        let gate = Gate::new(2 << 20);
        let provider = world.gated_provider(&gate, false).await;
        let first = world.client("first").await;
        let resolved = world.resolve(&first, 1).await;
        let fetching = first.fetch(&resolved, FetchOptions::default());
        let half = gate.blocked().await;
        fetching.progress().wait_for(|progress| progress.verified >= half).await.unwrap();

        // It knows of the provider only, which gives nothing to anybody now.
        let second = world.client("second").await;
        let resolved = world.resolve(&second, 1).await;
        assert_eq!(resolved.providers, [provider.peer]);
        let fetching_too = second.fetch(&resolved, FetchOptions::default());
        let peer = first.node().peer_id();
        fetching_too.progress().wait_for(|progress| progress.by_peer.get(&peer).is_some_and(|n| *n > 0)).await.unwrap();
        gate.open();
        fetching.finish().await.unwrap();
        fetching_too.finish().await.unwrap();
        world.assert_fetched("first", ["rootfs"]);
        world.assert_fetched("second", ["rootfs"]);
    })
    .await;
}

/// The moment a network is switched on.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_at_one_seed_shares_and_takes_nobody_for_a_liar() {
    in_time(async {
        const CLIENTS: usize = 8;
        let files: Vec<_> = (0..6).map(|n| (n.to_string(), bytes(n, 700 << 10))).collect();
        let world = World::new(files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone()))).await;
        // One copy from the seed, then nothing until they have begun to give each other what they have of it.
        let gate = Gate::new(files.iter().map(|(_, bytes)| bytes.len() as u64).sum());
        let seed = world.gated_provider(&gate, false).await;
        let mut clients = Vec::new();
        for who in 0..CLIENTS {
            clients.push(world.client(&who.to_string()).await);
        }
        let fetches = join_all(clients.iter().map(async |client| {
            let resolved = world.resolve(client, 1).await;
            client.fetch(&resolved, FetchOptions::default())
        }));
        let fetches = fetches.await;
        let sharing = fetches.iter().map(|fetch| {
            let mut progress = fetch.progress();
            Box::pin(async move {
                progress.wait_for(|now| now.by_peer.keys().any(|peer| *peer != seed.peer)).await.is_some()
            })
        });
        assert!(select_all(sharing).await.0);
        gate.open();
        let reports = join_all(fetches.into_iter().map(async |fetch| fetch.finish().await.unwrap())).await;
        for (who, report) in reports.iter().enumerate() {
            world.assert_fetched(&who.to_string(), world.all_files());
            let banned = report.peers.values().find(|peer| matches!(peer.verdict, Verdict::Banned(_)));
            assert!(banned.is_none(), "{banned:?}");
        }
        let of_seed: u64 = reports.iter().filter_map(|report| Some(report.peers.get(&seed.peer)?.bytes)).sum();
        let total: u64 = reports.iter().map(|report| report.total).sum();
        assert!(of_seed < total, "the clients had nothing of each other");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_fetch_resumes_where_it_was() {
    in_time(async {
        let world = World::new([("rootfs", bytes(1, 4 << 20))]).await;
        let gate = Gate::new(1 << 20);
        let _provider = world.gated_provider(&gate, false).await;
        let client = world.client("client").await;
        let resolved = world.resolve(&client, 1).await;
        let fetch = client.fetch(&resolved, FetchOptions::default());
        let some = gate.blocked().await;
        fetch.progress().wait_for(|progress| progress.verified >= some).await.unwrap();
        fetch.stopper().cancel();
        let error = fetch.finish().await.unwrap_err();
        assert!(matches!(error, FetchError::Download(DownloadError::Interrupted)), "{error}");

        gate.open();
        let report = client.fetch(&resolved, FetchOptions::default()).finish().await.unwrap();
        assert!(report.resumed >= some, "{report:?}");
        let delivered: u64 = report.peers.values().map(|peer| peer.bytes).sum();
        assert_eq!(delivered, report.total - report.resumed);
        world.assert_fetched("client", ["rootfs"]);
    })
    .await;
}
