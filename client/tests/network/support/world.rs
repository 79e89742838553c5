//! A network on loopback: a bootstrap node, a published release, and nodes that serve and fetch it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use phase_client::{Client, FetchOptions, ResolveOptions, Resolved, Selection};
use phase_core::{DhtKey, FileStore, Store};
use phase_node::bootstrap::BootstrapPeer;
use phase_node::{Identity, Multiaddr, Node, NodeConfig, NodeHandle, PeerId, Role};
use phase_test_support::gate::{Gate, GatedStore};
use phase_transfer::catalog::Catalog;
use phase_transfer::server::{self, Server};

use super::release::{Publisher, Release, import, manifest, name};

/// A bootstrap node, and a release in a publisher's store.
pub(crate) struct World {
    pub(crate) publisher: Publisher,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) release: Release,
    pub(crate) store: Arc<FileStore>,
    pub(crate) bootstrap: Vec<BootstrapPeer>,
    folder: tempfile::TempDir,
    _bootstrap: Node,
}

/// A node that serves a store.
pub(crate) struct Provider {
    pub(crate) peer: PeerId,
    node: Node,
    _server: Server,
}

impl World {
    /// Starts a bootstrap node, and publishes `files` as version 2 in the store of a publisher.
    pub(crate) async fn new(files: impl IntoIterator<Item = (&str, Vec<u8>)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
        let store = Arc::new(FileStore::open(folder.path().join("publisher")).unwrap());
        let publisher = Publisher::new();
        let release = publisher.sign(&manifest(import(&store, folder.path(), &files)));
        release.publish(&*store);
        let node = start_node(Vec::new()).await;
        let bootstrap = vec![bootstrap_peer(node.handle()).await];
        Self { publisher, files, release, store, bootstrap, folder, _bootstrap: node }
    }

    /// Starts a provider of the release.
    pub(crate) async fn provider(&self) -> Provider {
        self.provider_of(self.store.clone()).await
    }

    /// Starts a provider whose reads of artifacts must pass the read gate `gate`. With `with_index`, reads of the root
    /// block of the first artifact's index must pass it too.
    pub(crate) async fn gated_provider(&self, gate: &Arc<Gate>, with_index: bool) -> Provider {
        let block = with_index.then(|| self.release.manifest.artifacts[0].cid);
        self.provider_of(Arc::new(GatedStore { inner: self.store.clone(), gate: gate.clone(), block })).await
    }

    async fn provider_of(&self, store: Arc<dyn Store>) -> Provider {
        let node = start_node(self.bootstrap.clone()).await;
        let server = Server::start(node.handle(), Arc::new(Catalog::new(store)), server::Config::default());
        announce(node.handle(), &self.release).await;
        Provider { peer: node.handle().peer_id(), node, _server: server }
    }

    /// Returns the store folder of the client with this label.
    pub(crate) fn client_folder(&self, label: &str) -> PathBuf {
        self.folder.path().join(label)
    }

    /// Starts a client with its own store. The client knows only the address of the bootstrap node.
    pub(crate) async fn client(&self, label: &str) -> Client {
        let store = Arc::new(FileStore::open(self.client_folder(label)).unwrap());
        let config = NodeConfig::in_dht(Role::Client, vec![loopback()], self.bootstrap.clone());
        Client::start(store, config).await.unwrap()
    }

    /// Puts the release and its artifacts into the store of a client, as an earlier fetch does.
    pub(crate) fn put_into(&self, client_label: &str) {
        let store = FileStore::open(self.client_folder(client_label)).unwrap();
        import(&store, self.folder.path(), &self.files);
        self.release.publish(&store);
    }

    /// Resolves the release. The resolve ends early when `answers` providers offer the release.
    pub(crate) async fn resolve(&self, client: &Client, answers: usize) -> Resolved {
        let options = patient(answers);
        let resolved = client.resolve(&name(), &self.publisher.trust, options).await.unwrap();
        assert_eq!(resolved.manifest, self.release.manifest);
        resolved
    }

    /// Asserts that the store of a client has exactly the published bytes of `files`.
    pub(crate) fn assert_fetched<'a>(&self, label: &str, files: impl IntoIterator<Item = &'a str>) {
        for file in files {
            let entry = self.release.manifest.artifacts.iter().find(|entry| entry.filename.as_str() == file).unwrap();
            let path = self.client_folder(label).join("artifacts").join(entry.cid.to_string());
            assert!(std::fs::read(&path).unwrap() == self.files[file], "{file} differs");
        }
    }

    /// Returns the names of all files.
    pub(crate) fn all_files(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }
}

impl Provider {
    pub(crate) fn handle(&self) -> &NodeHandle {
        self.node.handle()
    }
}

/// Announces a release in the DHT: puts its pointer, and provides the keys of its name and manifest.
pub(crate) async fn announce(node: &NodeHandle, release: &Release) {
    let key = DhtKey::Name(release.manifest.name());
    node.put(&key, release.pointer.encode()).await.unwrap();
    node.provide(&key).await.unwrap();
    node.provide(&DhtKey::Content(release.cid())).await.unwrap();
    node.wait_until_announced(&key).await;
}

/// Starts a DHT server. Unless `bootstrap` is empty, waits until the server has joined the DHT.
pub(crate) async fn start_node(bootstrap: Vec<BootstrapPeer>) -> Node {
    let is_first = bootstrap.is_empty();
    let node = Node::start(NodeConfig::in_dht(Role::Server, vec![loopback()], bootstrap)).await.unwrap();
    if !is_first {
        node.handle().routing_peers().wait_for(|peers| *peers > 0).await.unwrap();
    }
    node
}

async fn bootstrap_peer(node: &NodeHandle) -> BootstrapPeer {
    BootstrapPeer { peer: Some(node.peer_id()), address: node.listen_addresses().await[0].clone() }
}

/// Starts a provider that does not use the DHT.
pub(crate) async fn serve(identity: &Identity, listen: Multiaddr, store: Arc<dyn Store>) -> (Node, Server) {
    let config = NodeConfig { identity: identity.clone(), listen: vec![listen], ..NodeConfig::default() };
    let node = Node::start(config).await.unwrap();
    let server = Server::start(node.handle(), Arc::new(Catalog::new(store)), server::Config::default());
    (node, server)
}

/// Returns a loopback address with port 0, so that the system chooses a port.
pub(crate) fn loopback() -> Multiaddr {
    "/ip4/127.0.0.1/tcp/0".parse().unwrap()
}

/// Returns resolve options that wait up to 60 s for `answers` peers, so that a test does not fail on a busy machine.
pub(crate) fn patient(answers: usize) -> ResolveOptions {
    ResolveOptions { answers, timeout: Duration::from_secs(60) }
}

/// Returns fetch options for all artifacts. The request timeouts are shorter than the defaults, so that a test with a
/// stalled peer is fast.
pub(crate) fn impatient() -> FetchOptions {
    let mut options = FetchOptions { selection: Selection::All, ..FetchOptions::default() };
    options.download.scheduler.first_timeout = Duration::from_secs(1);
    options.download.scheduler.min_timeout = Duration::from_secs(1);
    options.download.scheduler.max_timeout = Duration::from_secs(2);
    options
}
