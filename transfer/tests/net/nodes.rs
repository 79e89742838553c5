//! Nodes on loopback, and a served artifact.

use std::sync::Arc;
use std::time::Duration;

use phase_core::{Artifact, ChunkerParams, Cid, FileStore, ImportOptions, Store};
use phase_transfer::net::bootstrap::BootstrapPeer;
use phase_transfer::net::catalog::Catalog;
use phase_transfer::net::server::{self, Server};
use phase_transfer::net::{DhtConfig, Multiaddr, Node, NodeConfig, NodeHandle, Role};
use tokio::time::Instant;

/// A test that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(120);

/// What does not happen for that long does not happen.
const PATIENCE: Duration = Duration::from_secs(40);

/// Runs a test; one that hangs fails.
pub(crate) async fn in_time<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, test).await.expect("the test hangs")
}

/// Waits for something that nobody tells of.
pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "it never happens that {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A node that has joined the network of `bootstrap`, if that names anybody.
pub(crate) async fn start(role: Role, bootstrap: &[BootstrapPeer]) -> Node {
    start_in_dht(DhtConfig { role, ..DhtConfig::default() }, bootstrap).await
}

/// The same, configured otherwise.
pub(crate) async fn start_in_dht(dht: DhtConfig, bootstrap: &[BootstrapPeer]) -> Node {
    start_node(NodeConfig { dht: Some(dht), ..NodeConfig::in_dht(Role::Client, loopback(), bootstrap.to_vec()) }).await
}

/// The same, configured altogether.
pub(crate) async fn start_node(config: NodeConfig) -> Node {
    let joins = !config.bootstrap.is_empty();
    let node = Node::start(config).await.unwrap();
    if joins {
        node.handle().routing_peers().wait_for(|peers| *peers > 0).await.unwrap();
    }
    node
}

/// Where nodes listen: on a port of their own.
pub(crate) fn loopback() -> Vec<Multiaddr> {
    vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()]
}

/// What a node has counted under a name with labels.
pub(crate) fn counted(node: &NodeHandle, name: &str) -> u64 {
    let metrics = node.metrics();
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().unwrap())
}

/// What a node has refused for a reason.
pub(crate) fn refused(node: &NodeHandle, reason: &str) -> u64 {
    counted(node, &format!("phase_dht_refused_total{{reason=\"{reason}\"}}"))
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
        Self::start_configured(wrap, server::Config::default()).await
    }

    /// The same, with settings of its own.
    pub(crate) async fn start_configured(
        wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>,
        config: server::Config,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        std::fs::write(&source, content()).unwrap();
        let store = FileStore::open(folder.path().join("store")).unwrap();
        let chunker = ChunkerParams::new(4 << 10, 16 << 10, 64 << 10).unwrap();
        let options = ImportOptions { chunker, ..ImportOptions::default() };
        let artifact = store.import(&source, &options, &mut |_| {}).unwrap();
        let node = start(Role::Server, &[]).await;
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

/// The bytes of the served artifact.
pub(crate) fn content() -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(1);
    std::iter::repeat_with(|| random.u8(..)).take(1 << 20).collect()
}
