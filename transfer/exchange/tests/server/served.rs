//! A node that serves an artifact, and nodes that can reach it, on loopback.

use std::sync::Arc;

use phase_core::{Artifact, ChunkerParams, Cid, FileStore, ImportOptions, Store};
use phase_node::{Node, NodeConfig, NodeHandle, Role};
use phase_transfer::catalog::Catalog;
use phase_transfer::server::{self, Server};

/// Starts a node that listens on its own port and has no bootstrap peers.
pub(crate) async fn start() -> Node {
    let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    Node::start(NodeConfig::in_dht(Role::Client, listen, Vec::new())).await.unwrap()
}

/// A node that serves one artifact of 1 MiB, in about 64 chunks.
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

    /// Starts a server of one artifact. `wrap` receives the actual store and returns the store to serve.
    pub(crate) async fn start_with(wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>) -> Self {
        Self::start_configured(wrap, server::Config::default()).await
    }

    /// Like [`start_with`](Self::start_with), with the server configuration `config`.
    pub(crate) async fn start_configured(
        wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>,
        config: server::Config,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        std::fs::write(&source, content()).unwrap();
        let store = FileStore::open(folder.path().join("store")).unwrap();
        let chunker = ChunkerParams::new(4 << 10, 16 << 10, 64 << 10).unwrap();
        let options = ImportOptions::default().with_chunker(chunker);
        let artifact = store.import(&source, &options, &mut |_| {}).unwrap();
        let node = start().await;
        let catalog = Arc::new(Catalog::new(wrap(Arc::new(store))));
        let server = Server::start(node.handle(), catalog.clone(), config);
        Self { node, catalog, artifact, _server: server, _folder: folder }
    }

    pub(crate) fn cid(&self) -> Cid {
        self.artifact.cid()
    }

    pub(crate) fn handle(&self) -> &NodeHandle {
        self.node.handle()
    }
}

/// Returns the bytes of the served artifact.
pub(crate) fn content() -> Vec<u8> {
    phase_test_support::bytes(1, 1 << 20)
}
