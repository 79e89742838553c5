//! A provider: serves a store to peers and announces what is in it.
//!
//! A provider without any release is a bootstrap node: it stores DHT records for others and tells nodes of each other.
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
//! // A DHT server on any free port of this machine, without first peers: the first node of its network.
//! let node = NodeConfig::in_dht(Role::Server, vec!["/ip4/127.0.0.1/tcp/0".parse()?], Vec::new());
//! let provider = Provider::start(ProviderConfig::new(folder.path().join("store"), node)).await?;
//! // Clients are given these addresses; what is published into the store from now on is announced.
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

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use phase_core::store::{FileStore, ProviderLock, StoreError};
use phase_core::{Fails, Failure};
use phase_node::bootstrap::{BootstrapPeer, BootstrapSource, RememberedPeers, RememberedPeersKeeper};
use phase_node::{CONTACT_INTERVAL, DhtConfig, Identity, Multiaddr, Node, NodeConfig, NodeError, NodeHandle, PeerId};
use phase_transfer::catalog::Catalog;
use phase_transfer::server::{self, Server};

pub use announce::Announced;
use announce::{Announcer, AnnouncerConfig};
use contact::Contact;
use http::{HttpPort, HttpServer};

/// How often good peers are saved: what a crash can lose.
const REMEMBER_INTERVAL: Duration = Duration::from_secs(60);
/// By then remembered peers have been dialled four times.
const ALONE_AFTER: Duration = Duration::from_secs(15);

/// What a provider is started with.
pub struct ProviderConfig {
    /// The store's folder; made if it does not exist.
    pub store: PathBuf,
    /// The node; its identity is that of the store.
    pub node: NodeConfig,
    /// Who is sent what, how fast. Default: everybody in turn, as fast as they take it.
    pub server: server::Config,
    /// The time between two announcements of the same thing. Default: half of how long others remember it, which is as
    /// long as this node does, but not longer than nodes with default settings do.
    pub announce_interval: Duration,
    /// Where `/peers`, `/metrics` and `/health` are served over HTTP. Default: nowhere.
    pub http: Option<SocketAddr>,
    /// How often good peers are saved in the store for the next start. Default: 1 min.
    pub remember_interval: Duration,
    /// How often the contact record is renewed, which is valid for two hours. Without a clock in the DHT's configuration
    /// there is none. Default: 1 h.
    pub contact_interval: Duration,
    /// After how long without an answer a provider whose only first peers are remembered ones takes itself for the first
    /// node of its network. Default: 15 s.
    pub alone_after: Duration,
}

impl ProviderConfig {
    /// A provider of the store in `store`, with defaults for the rest.
    pub fn new(store: PathBuf, node: NodeConfig) -> Self {
        // To announce too often costs little, too seldom makes releases vanish.
        let usual = DhtConfig::default().provider_ttl;
        let remembered = node.dht.as_ref().map_or(usual, |dht| dht.provider_ttl.min(usual));
        Self {
            store,
            node,
            server: server::Config::default(),
            announce_interval: remembered / 2,
            http: None,
            remember_interval: REMEMBER_INTERVAL,
            contact_interval: CONTACT_INTERVAL,
            alone_after: ALONE_AFTER,
        }
    }
}

/// A running provider. Dropping it closes every connection without withdrawing what was announced.
pub struct Provider {
    node: Node,
    catalog: Arc<Catalog>,
    announcer: Announcer,
    contact: Option<Contact>,
    keeper: Option<RememberedPeersKeeper>,
    http: Option<HttpServer>,
    _server: Server,
    _lock: ProviderLock,
}

impl Provider {
    /// Locks the store, starts to serve and to announce.
    ///
    /// # Errors
    /// [`ProviderError`]: another provider runs on the store, the store cannot be used, an address cannot be bound.
    pub async fn start(config: ProviderConfig) -> Result<Self, ProviderError> {
        let opened = Opened::open(config.store.clone()).await?;
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
        let catalog = Arc::new(Catalog::new(Arc::new(opened.store)));
        let server = Server::start(handle, catalog.clone(), config.server);
        let http_port = port.as_ref().and_then(HttpPort::public_port);
        let announcing = AnnouncerConfig { interval: config.announce_interval, alone_after, http_port };
        let announcer = Announcer::start(handle.clone(), catalog.clone(), announcing);
        let contact = clock.map(|clock| Contact::start(handle.clone(), clock, config.contact_interval));
        let keeper = in_dht.then(|| {
            let (own, node) = (handle.peer_id(), handle.clone());
            let good = move || node.good_peers();
            RememberedPeersKeeper::start(opened.file, &opened.remembered, config.remember_interval, own, good)
        });
        let http = port.map(|port| HttpServer::start(port, handle.clone()));
        Ok(Self { node, catalog, announcer, contact, keeper, http, _server: server, _lock: opened.lock })
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

    /// Where it serves HTTP, if it does.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(HttpServer::address)
    }

    /// Withdraws what was announced, remembers good peers, closes every connection and unlocks the store.
    pub async fn stop(self) {
        drop(self.contact);
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

/// What a store has for its provider.
struct Opened {
    store: FileStore,
    lock: ProviderLock,
    identity: Identity,
    file: RememberedPeers,
    remembered: Vec<BootstrapPeer>,
}

impl Opened {
    async fn open(folder: PathBuf) -> Result<Self, ProviderError> {
        let opened = tokio::task::spawn_blocking(move || Self::read(&folder)).await;
        Ok(opened.map_err(ProviderError::Worker)??)
    }

    fn read(folder: &Path) -> Result<Self, StoreError> {
        let store = FileStore::open(folder)?;
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

/// Why a provider could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// An address that HTTP cannot be served on.
    #[error("cannot listen on http://{address}: {source}; choose another address or stop what uses it")]
    Http {
        /// The address.
        address: SocketAddr,
        /// What the system said.
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
                Some("one provider serves a store; stop the other one, or give this one another store")
            }
            _ => None,
        }
    }
}
