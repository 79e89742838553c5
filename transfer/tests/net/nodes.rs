//! Nodes on loopback, and a served artifact.

use std::sync::Arc;
use std::time::Duration;

use phase_core::{Artifact, ChunkerParams, Cid, FileStore, ImportOptions, Store};
use phase_transfer::net::bootstrap::BootstrapPeer;
use phase_transfer::net::catalog::Catalog;
use phase_transfer::net::server::Server;
use phase_transfer::net::{Identity, Multiaddr, Node, NodeConfig, NodeHandle, Role};

/// A test that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs a test; one that hangs fails.
pub(crate) async fn in_time<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, test).await.expect("the test hangs")
}

/// A node that has joined the network of `bootstrap`, if that names anybody.
pub(crate) async fn start(role: Role, bootstrap: &[BootstrapPeer]) -> Node {
    let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    let config = NodeConfig { identity: Identity::ephemeral(), role, listen, bootstrap: bootstrap.to_vec() };
    let node = Node::start(config).await.unwrap();
    if !bootstrap.is_empty() {
        node.handle().routing_peers().wait_for(|peers| *peers > 0).await.unwrap();
    }
    node
}

/// How others reach a node.
pub(crate) async fn address(node: &NodeHandle) -> BootstrapPeer {
    let address: Multiaddr = node.listen_addresses().await[0].clone();
    BootstrapPeer { peer: Some(node.peer_id()), address }
}

/// A node that serves one artifact of 1 MiB in about 64 chunks.
pub(crate) struct Served {
    pub(crate) node: Node,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) artifact: Arc<dyn Artifact>,
    _server: Server,
    _folder: tempfile::TempDir,
}

impl Served {
    pub(crate) async fn start() -> Self {
        Self::start_with(|store| store).await
    }

    /// Serves what `wrap` makes of the store.
    pub(crate) async fn start_with(wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        std::fs::write(&source, content()).unwrap();
        let store = FileStore::open(folder.path().join("store")).unwrap();
        let chunker = ChunkerParams::new(4 << 10, 16 << 10, 64 << 10).unwrap();
        let options = ImportOptions { chunker, ..ImportOptions::default() };
        let artifact = store.import(&source, &options, &mut |_| {}).unwrap();
        let node = start(Role::Server, &[]).await;
        let catalog = Arc::new(Catalog::new(wrap(Arc::new(store))));
        let server = Server::start(node.handle(), catalog.clone());
        Self { node, catalog, artifact, _server: server, _folder: folder }
    }

    pub(crate) fn cid(&self) -> Cid {
        self.artifact.cid()
    }

    pub(crate) fn handle(&self) -> &NodeHandle {
        self.node.handle()
    }
}

/// The bytes of the served artifact.
pub(crate) fn content() -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(1);
    std::iter::repeat_with(|| random.u8(..)).take(1 << 20).collect()
}
