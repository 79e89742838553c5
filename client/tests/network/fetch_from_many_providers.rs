//! Tests that a fetch asks all providers and other clients, stores exactly the published bytes, and resumes after an
//! interruption.

use futures::future::{join_all, select_all};
use phase_client::{FetchError, FetchOptions, Selection, Verdict};
use phase_protocol::scheduler::Order;
use phase_test_support::gate::Gate;
use phase_test_support::in_time;
use phase_transfer::download::DownloadError;

use crate::support::release::{bytes, name};
use crate::support::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_one_bootstrap_address_fetches_from_all_providers() {
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
        // Open the read gates only after all three providers have received a request for chunks, so that each delivers
        // some.
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
async fn empty_files_many_small_files_and_equal_files_are_fetched() {
    in_time(async {
        let small = (0..80).map(|n| (format!("etc/{n}"), bytes(n, 37 * n as usize)));
        // The file `copy` has the same bytes as `etc/79`. The file `empty` has no bytes, like `etc/0`.
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
async fn only_selected_artifacts_are_fetched_and_the_ref_is_not_set() {
    in_time(async {
        let world = World::new([("kernel", bytes(1, 100_000)), ("rootfs", bytes(2, 100_000))]).await;
        let _provider = world.provider().await;
        let client = world.client("client").await;
        let resolved = world.resolve(&client, 1).await;
        let select =
            |file: &str| FetchOptions { selection: Selection::Some(vec![file.to_owned()]), ..Default::default() };

        let report = client.fetch(&resolved, select("kernel")).finish().await.unwrap();
        assert_eq!(report.total, 100_000);
        world.assert_fetched("client", ["kernel"]);
        let store = client.catalog().store();
        let rootfs = world.release.manifest.artifacts.iter().find(|entry| entry.filename.as_str() == "rootfs").unwrap();
        assert!(store.artifact(&rootfs.cid).unwrap().is_none());
        // The ref is not set, because the store cannot serve the whole release.
        assert!(store.pointer(&name()).unwrap().is_none());

        let error = client.fetch(&resolved, select("dtb")).finish().await.unwrap_err();
        assert!(matches!(error, FetchError::NoSuchArtifact { .. }), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_serves_other_clients_while_it_still_fetches() {
    in_time(async {
        let world = World::new([("rootfs", bytes(1, 4 << 20))]).await;
        // The read gate lets the provider read half of the artifact, and then blocks its reads.
        let gate = Gate::new(2 << 20);
        let provider = world.gated_provider(&gate, false).await;
        let first = world.client("first").await;
        let resolved = world.resolve(&first, 1).await;
        let fetching = first.fetch(&resolved, FetchOptions::default());
        let half = gate.blocked().await;
        fetching.progress().wait_for(|progress| progress.verified >= half).await.unwrap();

        // The second client's resolve finds only the provider. The reads of the provider are blocked now, so the second
        // client must fetch from the first client.
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

/// All clients start at once, as when the machines of a site are switched on.
#[tokio::test(flavor = "multi_thread")]
async fn a_flash_crowd_at_one_seed_shares_chunks_and_bans_no_peer() {
    in_time(async {
        const CLIENTS: usize = 8;
        let files: Vec<_> = (0..6).map(|n| (n.to_string(), bytes(n, 700 << 10))).collect();
        let world = World::new(files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone()))).await;
        // The read gate lets the seed read as many bytes as all files have, and then blocks its reads until the clients
        // serve each other.
        let gate = Gate::new(files.iter().map(|(_, bytes)| bytes.len() as u64).sum());
        let seed = world.gated_provider(&gate, false).await;
        let mut clients = Vec::new();
        for n in 0..CLIENTS {
            clients.push(world.client(&n.to_string()).await);
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
        for (n, report) in reports.iter().enumerate() {
            world.assert_fetched(&n.to_string(), world.all_files());
            let banned = report.peers.values().find(|peer| matches!(peer.verdict, Verdict::Banned(_)));
            assert!(banned.is_none(), "{banned:?}");
        }
        let from_seed: u64 = reports.iter().filter_map(|report| Some(report.peers.get(&seed.peer)?.bytes)).sum();
        let total: u64 = reports.iter().map(|report| report.total).sum();
        assert!(from_seed < total, "the clients fetched everything from the seed");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_fetch_resumes_where_it_stopped() {
    in_time(async {
        let world = World::new([("rootfs", bytes(1, 4 << 20))]).await;
        let gate = Gate::new(1 << 20);
        let _provider = world.gated_provider(&gate, false).await;
        let client = world.client("client").await;
        let resolved = world.resolve(&client, 1).await;
        let fetch = client.fetch(&resolved, FetchOptions::default());
        let passed = gate.blocked().await;
        fetch.progress().wait_for(|progress| progress.verified >= passed).await.unwrap();
        fetch.stopper().cancel();
        let error = fetch.finish().await.unwrap_err();
        assert!(matches!(error, FetchError::Download(DownloadError::Interrupted)), "{error}");

        gate.open();
        let report = client.fetch(&resolved, FetchOptions::default()).finish().await.unwrap();
        assert!(report.resumed >= passed, "{report:?}");
        let delivered: u64 = report.peers.values().map(|peer| peer.bytes).sum();
        assert_eq!(delivered, report.total - report.resumed);
        world.assert_fetched("client", ["rootfs"]);
    })
    .await;
}

/// Prints the rates with and without an order window, with `--nocapture`.
#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_with_an_order_window_completes_from_several_providers() {
    in_time(async {
        const LEN: u64 = 48 << 20;
        let world = World::new([("rootfs", bytes(1, LEN as usize)), ("kernel", bytes(2, 100_000))]).await;
        let _providers = [world.provider().await, world.provider().await];
        for (label, max_ahead) in [("free", None), ("window", Some(16 << 20)), ("narrow", Some(0))] {
            let client = world.client(label).await;
            let resolved = world.resolve(&client, 2).await;
            let mut options = FetchOptions::default();
            options.download.order = Order::Sequential;
            options.download.scheduler.max_ahead = max_ahead;
            let report = client.fetch(&resolved, options).finish().await.unwrap();
            println!("{label}: {:.1} MiB/s", LEN as f64 / (1 << 20) as f64 / report.elapsed.as_secs_f64());
            world.assert_fetched(label, world.all_files());
        }
    })
    .await;
}
