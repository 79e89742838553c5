//! Tests that a release that does not fit into the store is refused before a chunk is fetched.

use std::io;
use std::path::Path;
use std::sync::Arc;

use phase_client::{Client, FetchOptions};
use phase_core::FileStore;
use phase_core::store::backend::{Backend, BackendFile, FileStat, OpenMode, Space};
use phase_core::store::{OsBackend, StoreError};
use phase_node::{NodeConfig, Role};
use phase_test_support::in_time;

use crate::support::release::bytes;
use crate::support::world::{World, loopback};

/// The real file system with another amount of free space.
#[derive(Debug)]
struct SmallDisk {
    free: u64,
}

impl Backend for SmallDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn BackendFile>> {
        OsBackend.open(path, mode)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsBackend.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        OsBackend.remove(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        OsBackend.create_dir(path)
    }

    fn entries(&self, path: &Path) -> io::Result<Vec<std::ffi::OsString>> {
        OsBackend.entries(path)
    }

    fn space(&self, folder: &Path) -> io::Result<Space> {
        Ok(Space { bytes: self.free, ..OsBackend.space(folder)? })
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        OsBackend.stat(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        OsBackend.sync_dir(path)
    }
}

async fn client_with(world: &World, free: u64) -> Client {
    let store = FileStore::with_backend(world.client_folder("client"), Arc::new(SmallDisk { free })).unwrap();
    let config = NodeConfig::in_dht(Role::Client, vec![loopback()], world.bootstrap.clone());
    Client::start(Arc::new(store), config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn five_artifacts_that_do_not_fit_together_are_refused_before_the_first_byte() {
    in_time(async {
        // Each artifact has an equal copy and many zeros, which need no space.
        let content = |n: u64| [bytes(n, 3 << 20), vec![0; 16 << 20]].concat();
        let files: Vec<_> = (0..5).flat_map(|n| ["", "-copy"].map(|end| (format!("{n}{end}"), content(n)))).collect();
        let world = World::new(files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone()))).await;
        let provider = world.provider().await;
        let client = client_with(&world, 10 << 20).await;
        let resolved = world.resolve(&client, 1).await;
        let fetch = client.fetch(&resolved, FetchOptions::default());
        let progress = fetch.progress();
        let error = fetch.finish().await.unwrap_err();
        let phase_client::FetchError::DoesNotFit(error) = error else { panic!("{error}") };
        assert!(matches!(error, StoreError::DoesNotFit { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains("needs 15.") && message.contains("10.0 MiB can be used"), "{message}");
        assert!(message.contains(world.client_folder("client").to_str().unwrap()), "{message}");
        assert_eq!(progress.latest().by_peer.get(&provider.peer), None, "no chunk was fetched");
        let left = std::fs::read_dir(world.client_folder("client").join("artifacts")).unwrap().count();
        assert_eq!(left, 0, "no partial artifact was begun");
        client.stop().await;

        let client = client_with(&world, 17 << 20).await;
        let resolved = world.resolve(&client, 1).await;
        client.fetch(&resolved, FetchOptions::default()).finish().await.unwrap();
        world.assert_fetched("client", world.all_files());
        assert_eq!(client.catalog().store().names().unwrap().len(), 1);
    })
    .await;
}
