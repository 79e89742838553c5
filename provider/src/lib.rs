//! A provider, which serves a store to peers and announces its releases.
//!
//! A provider with an empty store is a bootstrap node, which stores DHT records of other nodes and helps nodes to find
//! each other.
//!
//! # Example
//!
//! ```
//! use phase_node::{NodeConfig, Role};
//! use phase_provider::{Provider, ProviderConfig};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! // A DHT server on any free port of this machine. As the first node of its network, it needs no bootstrap peers.
//! let node = NodeConfig::in_dht(Role::Server, vec!["/ip4/127.0.0.1/tcp/0".parse()?], Vec::new());
//! let provider = Provider::start(ProviderConfig::new(folder.path().join("store"), node)).await?;
//! // Clients need one of these addresses. Releases that are published into the store from now on are announced too.
//! for address in provider.addresses().await {
//!     println!("{address}");
//! }
//! provider.stop().await;
//! # Ok(())
//! # }
//! ```

mod announce;
mod contact;
mod http;
mod prune;
mod watcher;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use phase_core::store::{FileStore, ProviderLock, Prune, StoreError, StoreWarning};
use phase_core::{Fails, Failure};
use phase_node::bootstrap::{BootstrapPeer, BootstrapSource, RememberedPeers, RememberedPeersKeeper};
use phase_node::{
    CONTACT_INTERVAL, Clock, DhtConfig, Identity, Multiaddr, Node, NodeConfig, NodeError, NodeHandle, PeerId,
};
use phase_transfer::catalog::Catalog;
use phase_transfer::server::{self, Server};
use tokio::sync::mpsc;

pub use announce::Announced;
use announce::{Announcer, AnnouncerConfig};
use contact::Contact;
use http::{HttpPort, HttpServer};
use prune::Pruner;
pub use watcher::FileEvent;
use watcher::Watcher;

/// The default of [`ProviderConfig::remember_interval`]. A crash loses at most the changes of one interval.
const REMEMBER_INTERVAL: Duration = Duration::from_secs(60);
/// The default of [`ProviderConfig::alone_after`]. Within this time, a remembered peer is dialled four times.
const ALONE_AFTER: Duration = Duration::from_secs(15);

/// The configuration of a provider.
pub struct ProviderConfig {
    /// The folder of the store, created if it does not exist.
    pub store: PathBuf,
    /// The folder for the files that the provider writes: locks, the identity key, remembered peers, the chunk map and
    /// seals. If it is set, the store must exist, is never written to, and may lie on read-only media. Default: the
    /// folder of the store.
    pub state: Option<PathBuf>,
    /// The configuration of the node. The identity in it is ignored, because the provider uses the identity in the
    /// store.
    pub node: NodeConfig,
    /// The configuration for serving peers. Default: peers take turns, without a rate limit.
    pub server: server::Config,
    /// The time between two announcements of the same key. Default: half of the lifetime of provider records in the
    /// configuration of this node, or half of the default lifetime if that is shorter.
    pub announce_interval: Duration,
    /// The address on which `/peers`, `/metrics` and `/health` are served over HTTP. Default: none.
    pub http: Option<SocketAddr>,
    /// The interval at which the addresses of the connected DHT servers are saved in the store. After a restart, the
    /// provider dials these addresses. Default: 1 min.
    pub remember_interval: Duration,
    /// The time between two renewals of the contact record, which is valid for two hours. If the DHT configuration has
    /// no clock, the provider has no contact record. Default: 1 h.
    pub contact_interval: Duration,
    /// The time after which a provider without a connected DHT server counts as the first node of its network. It
    /// applies only if the provider knows remembered peers and no other peers. Default: 15 s.
    pub alone_after: Duration,
    /// The releases that stay when a newer one is announced. The others are removed from the store, with what nothing
    /// else needs. Default: none, every release stays. It has no effect without [`ProviderConfig::clock`].
    pub prune: Option<Prune>,
    /// The clock, which returns the Unix time in seconds. Default: none.
    pub clock: Option<Clock>,
}

impl ProviderConfig {
    /// Creates a configuration for the store in the folder `store`. The other fields have their defaults.
    pub fn new(store: PathBuf, node: NodeConfig) -> Self {
        // Use the shorter lifetime. An interval that is too short costs little, but records expire during an interval
        // that is too long.
        let usual = DhtConfig::default().provider_ttl;
        let record_ttl = node.dht.as_ref().map_or(usual, |dht| dht.provider_ttl.min(usual));
        Self {
            store,
            state: None,
            node,
            server: server::Config::default(),
            announce_interval: record_ttl / 2,
            http: None,
            remember_interval: REMEMBER_INTERVAL,
            contact_interval: CONTACT_INTERVAL,
            alone_after: ALONE_AFTER,
            prune: None,
            clock: None,
        }
    }
}

/// A running provider. Dropping it closes every connection, but withdraws no announcement.
pub struct Provider {
    node: Node,
    catalog: Arc<Catalog>,
    announcer: Announcer,
    contact: Option<Contact>,
    keeper: Option<RememberedPeersKeeper>,
    _pruner: Option<Pruner>,
    http: Option<HttpServer>,
    warnings: Vec<StoreWarning>,
    file_events: Option<mpsc::Receiver<FileEvent>>,
    watcher: Watcher,
    _server: Server,
    _lock: ProviderLock,
}

impl Provider {
    /// Locks the store, and starts to serve it and to announce its releases.
    ///
    /// # Errors
    /// [`ProviderError`] if another provider runs on the store, if the store cannot be used, or if an address cannot be
    /// bound.
    pub async fn start(config: ProviderConfig) -> Result<Self, ProviderError> {
        let opened = Opened::open(config.store.clone(), config.state.clone()).await?;
        let port = match config.http {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let in_dht = config.node.dht.is_some() && config.node.peers.is_empty();
        let alone_after = match config.node.peers.is_empty() && config.node.bootstrap.is_empty() {
            true if in_dht && !opened.remembered.is_empty() => Some(config.alone_after),
            true => Some(Duration::ZERO),
            false => None,
        };
        let clock = config.node.dht.as_ref().and_then(|dht| dht.clock.clone());
        let mut node = NodeConfig { identity: opened.identity, ..config.node };
        if in_dht {
            node.bootstrap.extend(opened.remembered.iter().cloned().map(BootstrapSource::Peer));
        }
        let node = Node::start(node).await?;
        let handle = node.handle();
        let store = opened.store;
        let warnings = store.warnings().to_vec();
        let catalog = Arc::new(Catalog::new(Arc::new(store.clone())));
        let server = Server::start(handle, catalog.clone(), config.server);
        let http_port = port.as_ref().and_then(HttpPort::public_port);
        let announcing =
            AnnouncerConfig { interval: config.announce_interval, alone_after, store: store.clone(), http_port };
        let announcer = Announcer::start(handle.clone(), catalog.clone(), announcing);
        let pruning = config.prune.zip(config.clock);
        let pruner = pruning.map(|(limits, clock)| {
            Pruner::start(store, catalog.clone(), limits, clock, announcer.planned(), announcer.announced())
        });
        let (watcher, file_events) = Watcher::start(catalog.clone(), announcer.artifacts());
        let contact = clock.map(|clock| Contact::start(handle.clone(), clock, config.contact_interval));
        let keeper = in_dht.then(|| {
            let (own, node) = (handle.peer_id(), handle.clone());
            let good = move || node.connected_dht_servers();
            RememberedPeersKeeper::start(opened.file, &opened.remembered, config.remember_interval, own, good)
        });
        let http = port.map(|port| HttpServer::start(port, handle.clone()));
        Ok(Self {
            node,
            catalog,
            announcer,
            contact,
            keeper,
            _pruner: pruner,
            http,
            warnings,
            file_events: Some(file_events),
            watcher,
            _server: server,
            _lock: opened.lock,
        })
    }

    /// Returns the peer id of the provider.
    pub fn peer_id(&self) -> PeerId {
        self.node.handle().peer_id()
    }

    /// Returns a handle of the node.
    pub fn node(&self) -> &NodeHandle {
        self.node.handle()
    }

    /// Returns the catalog of the artifacts that the provider serves.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// Returns a receiver for the progress of the announcements.
    pub fn announced(&self) -> tokio::sync::watch::Receiver<Announced> {
        self.announcer.announced()
    }

    /// Returns what makes the store slower or less safe than usual. A program should print it once.
    pub fn warnings(&self) -> &[StoreWarning] {
        &self.warnings
    }

    /// Takes the receiver of events about the files of the store. The first call returns it, later calls return `None`.
    pub fn take_file_events(&mut self) -> Option<mpsc::Receiver<FileEvent>> {
        self.file_events.take()
    }

    /// Returns the listen addresses in the form in which other nodes dial them, with the peer id at the end.
    pub async fn addresses(&self) -> Vec<Multiaddr> {
        let peer = self.peer_id();
        self.node().listen_addresses().await.into_iter().filter_map(|address| address.with_p2p(peer).ok()).collect()
    }

    /// Returns the address of the HTTP server, or `None` if there is none.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(HttpServer::address)
    }

    /// Stops the provider: saves the addresses of the connected DHT servers, withdraws all announcements, closes every
    /// connection and unlocks the store.
    pub async fn stop(self) {
        drop((self.contact, self.watcher));
        if let Some(http) = self.http {
            http.stop().await;
        }
        if let Some(keeper) = self.keeper {
            keeper.stop().await;
        }
        self.announcer.withdraw(self.node.handle()).await;
        self.node.stop().await;
    }
}

/// An opened and locked store, with the identity and the remembered peers in it.
struct Opened {
    store: FileStore,
    lock: ProviderLock,
    identity: Identity,
    file: RememberedPeers,
    remembered: Vec<BootstrapPeer>,
}

impl Opened {
    async fn open(folder: PathBuf, state: Option<PathBuf>) -> Result<Self, ProviderError> {
        let opened = tokio::task::spawn_blocking(move || Self::read(&folder, state.as_deref())).await;
        Ok(opened.map_err(ProviderError::Worker)??)
    }

    fn read(folder: &Path, state: Option<&Path>) -> Result<Self, StoreError> {
        let store = match state {
            Some(state) => FileStore::open_with_state(folder, state)?,
            None => FileStore::open(folder)?,
        };
        let lock = store.lock_provider()?;
        let identity = Identity::from_key(&store.identity()?);
        let file = RememberedPeers::new(store.peers_file());
        let remembered = file.load();
        Ok(Self { store, lock, identity, file, remembered })
    }
}

async fn bind(address: SocketAddr) -> Result<HttpPort, ProviderError> {
    HttpPort::bind(address).await.map_err(|source| ProviderError::Http { address, source })
}

/// An error from [`Provider::start`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderError {
    /// The store cannot be used, or another provider runs on it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The node cannot start.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// HTTP cannot be served on the configured address.
    #[error("cannot listen on http://{address}: {source}; choose another address or stop the program that uses it")]
    Http {
        /// The configured address.
        address: SocketAddr,
        /// The I/O error.
        source: io::Error,
    },
    /// A task panicked.
    #[error("a worker failed")]
    Worker(#[source] tokio::task::JoinError),
}

impl Fails for ProviderError {
    fn failure(&self) -> Failure {
        match self {
            Self::Store(error) => error.failure(),
            Self::Node(_) | Self::Http { .. } => Failure::Network,
            Self::Worker(_) => Failure::Other,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Store(StoreError::ProviderRunning { .. }) => {
                Some("stop the other provider, or give each provider a folder of its own with --state DIR")
            }
            _ => None,
        }
    }
}
