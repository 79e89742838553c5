//! A provider: serves a store to peers and announces what is in it.
//!
//! A provider without any release is a bootstrap node: it stores DHT records for others and tells nodes of each other.

mod announce;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use phase_core::Failure;
use phase_core::store::{FileStore, ProviderLock, StoreError};
use phase_transfer::net::bootstrap::BootstrapPeer;
use phase_transfer::net::catalog::Catalog;
use phase_transfer::net::server::Server;
use phase_transfer::net::{Identity, Multiaddr, Node, NodeConfig, NodeError, NodeHandle, PROVIDER_TTL, PeerId, Role};

pub use announce::Announced;
use announce::Announcer;

/// What a provider is started with.
pub struct ProviderConfig {
    /// The store's folder; made if it does not exist.
    pub store: PathBuf,
    /// Addresses to serve on.
    pub listen: Vec<Multiaddr>,
    /// First peers; empty for the first node of a network.
    pub bootstrap: Vec<BootstrapPeer>,
    /// The time between two announcements of the same thing. Default: half of how long others remember it.
    pub announce_interval: Duration,
}

impl ProviderConfig {
    /// A provider of the store in `store`, with defaults for the rest.
    pub fn new(store: PathBuf, listen: Vec<Multiaddr>, bootstrap: Vec<BootstrapPeer>) -> Self {
        Self { store, listen, bootstrap, announce_interval: PROVIDER_TTL / 2 }
    }
}

/// A running provider. Dropping it closes every connection without withdrawing what was announced.
pub struct Provider {
    node: Node,
    catalog: Arc<Catalog>,
    announcer: Announcer,
    _server: Server,
    _lock: ProviderLock,
}

impl Provider {
    /// Locks the store, starts to serve and to announce.
    ///
    /// # Errors
    /// [`ProviderError`]: another provider runs on the store, the store cannot be used, an address cannot be bound.
    pub async fn start(config: ProviderConfig) -> Result<Self, ProviderError> {
        let folder = config.store.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let store = FileStore::open(&folder)?;
            let lock = store.lock_provider()?;
            let identity = Identity::from_key(&store.identity()?);
            Ok::<_, StoreError>((store, lock, identity))
        });
        let (store, lock, identity) = opened.await.map_err(|error| ProviderError::Worker(error.to_string()))??;
        let is_first = config.bootstrap.is_empty();
        let node = Node::start(NodeConfig {
            identity,
            role: Role::Server,
            listen: config.listen,
            bootstrap: config.bootstrap,
        })
        .await?;
        let catalog = Arc::new(Catalog::new(Arc::new(store)));
        let server = Server::start(node.handle(), catalog.clone());
        let announcer = Announcer::start(node.handle().clone(), catalog.clone(), config.announce_interval, is_first);
        Ok(Self { node, catalog, announcer, _server: server, _lock: lock })
    }

    /// The provider's peer id.
    pub fn peer_id(&self) -> PeerId {
        self.node.handle().peer_id()
    }

    /// The node.
    pub fn node(&self) -> &NodeHandle {
        self.node.handle()
    }

    /// What is being served.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// What has been announced, and a way to wait for it.
    pub fn announced(&self) -> tokio::sync::watch::Receiver<Announced> {
        self.announcer.announced()
    }

    /// The addresses it serves on, as others dial them.
    pub async fn addresses(&self) -> Vec<Multiaddr> {
        let peer = self.peer_id();
        self.node().listen_addresses().await.into_iter().filter_map(|address| address.with_p2p(peer).ok()).collect()
    }

    /// Withdraws what was announced, closes every connection and unlocks the store.
    pub async fn stop(self) {
        self.announcer.withdraw(self.node.handle()).await;
        self.node.stop().await;
    }
}

/// Why a provider could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A task panicked.
    #[error("a worker failed: {0}")]
    Worker(String),
}

impl ProviderError {
    /// The kind of failure, for exit codes.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Store(error) => error.failure(),
            Self::Node(_) => Failure::Network,
            Self::Worker(_) => Failure::Other,
        }
    }
}
