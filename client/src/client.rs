//! The client: a node, the catalog of its store, and a server for other peers.

use std::sync::Arc;
use std::time::Duration;

use phase_core::store::Store;
use phase_core::time::TrustedTime;
use phase_core::trust::TrustRoot;
use phase_core::{Attempt, Cause, Fails, Failure};
use phase_node::bootstrap::{BootstrapPeer, BootstrapSource, fetch_list};
use phase_node::{Node, NodeConfig, NodeError, NodeHandle, PeerInfo, PeerState, Source};
use phase_transfer::catalog::Catalog;
use phase_transfer::server::{self, Server};
use tokio::sync::broadcast::error::RecvError;

/// The longest time to wait for the first usable peer.
const JOIN_TIMEOUT: Duration = Duration::from_secs(15);

/// A node that resolves names and fetches releases. Dropping the client closes every connection.
pub struct Client {
    node: Node,
    catalog: Arc<Catalog>,
    _server: Server,
}

/// The trust root and the current time, with which a client verifies manifests and pointers.
#[derive(Clone, Debug)]
pub struct Trust {
    /// The trust root, which lists the keys that may sign each channel.
    pub root: TrustRoot,
    /// The current time. Manifests and pointers that have expired are refused.
    pub time: TrustedTime,
}

impl Client {
    /// Starts a node and waits until a usable peer is connected. The client writes artifacts to `store` and serves them
    /// from there.
    ///
    /// # Errors
    /// [`StartError`] if the node cannot start, if the configuration contains no way to find peers, or if no usable
    /// peer is connected within 15 s.
    pub async fn start(store: Arc<dyn Store>, config: NodeConfig) -> Result<Self, StartError> {
        Self::start_with(store, config, server::Config::default()).await
    }

    /// Starts a client like [`start`](Self::start), with `server` as the configuration for serving other peers.
    ///
    /// # Errors
    /// The errors of [`start`](Self::start).
    pub async fn start_with(
        store: Arc<dyn Store>,
        config: NodeConfig,
        server: server::Config,
    ) -> Result<Self, StartError> {
        let contacts = FirstContacts::of(&config)?;
        let node = Node::start(config).await?;
        let catalog = Arc::new(Catalog::new(store));
        let server = Server::start(node.handle(), catalog.clone(), server);
        join(node.handle(), &contacts).await?;
        Ok(Self { node, catalog, _server: server })
    }

    /// Returns a handle of the node.
    pub fn node(&self) -> &NodeHandle {
        self.node.handle()
    }

    /// Returns the catalog of the artifacts in the store and of the artifacts that are being fetched.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// Stops the client: closes every connection and frees the ports.
    pub async fn stop(self) {
        self.node.stop().await;
    }
}

/// The bootstrap peers and configured peers of a starting node, and the conditions for a usable peer. A usable peer is
/// a connected peer through which the node can resolve and fetch.
struct FirstContacts {
    sources: Vec<BootstrapSource>,
    peers: Vec<BootstrapPeer>,
    /// Whether a usable peer must be a DHT server. If `uses_mdns` is set, peers of the local network need not be DHT
    /// servers.
    needs_dht: bool,
    /// Whether the node searches the local network. Every peer that this search finds is usable.
    uses_mdns: bool,
}

impl FirstContacts {
    fn of(config: &NodeConfig) -> Result<Self, StartError> {
        let uses_mdns = config.mdns;
        if config.bootstrap.is_empty() && config.peers.is_empty() && !uses_mdns {
            return Err(StartError::NoPeers);
        }
        let needs_dht = config.dht.is_some() && config.peers.is_empty();
        Ok(Self { sources: config.bootstrap.clone(), peers: config.peers.clone(), needs_dht, uses_mdns })
    }

    /// Returns whether the node can use this peer to resolve and fetch.
    fn is_usable(&self, info: &PeerInfo) -> bool {
        let is_identified = matches!(info.state, PeerState::Identified | PeerState::Transferring);
        let is_local = self.uses_mdns && info.source == Source::LocalNetwork;
        is_identified && (is_local || info.is_dht_server || !self.needs_dht)
    }
}

/// Waits until a usable peer is connected. On failure, the error lists what was tried: peers, peer lists and the local
/// network.
async fn join(node: &NodeHandle, contacts: &FirstContacts) -> Result<(), StartError> {
    let joined = async {
        tokio::select! {
            () = wait_for_usable_peer(node, contacts) => true,
            () = all_failed(node, contacts) => false,
        }
    };
    if tokio::time::timeout(JOIN_TIMEOUT, joined).await == Ok(true) {
        return Ok(());
    }
    let mut tried = Vec::new();
    for source in contacts.sources.iter().cloned().chain(contacts.peers.iter().cloned().map(BootstrapSource::Peer)) {
        tried.push(try_again(node, &source).await);
    }
    if contacts.uses_mdns {
        tried.push(Attempt::new("local network (mDNS)", vec![Cause::new("no answer")]));
    }
    Err(StartError::Unreachable { tried: Attempt::merged(tried) })
}

async fn wait_for_usable_peer(node: &NodeHandle, contacts: &FirstContacts) {
    let mut events = node.peer_events();
    while !node.peers().iter().any(|info| contacts.is_usable(info)) {
        if let Err(RecvError::Closed) = events.recv().await {
            return;
        }
    }
}

/// Tries a bootstrap peer or a peer list again, and returns the reasons why it led to no usable peer.
async fn try_again(node: &NodeHandle, source: &BootstrapSource) -> Attempt {
    match source {
        BootstrapSource::Url(url) => {
            let cause = match fetch_list(url).await {
                Ok(peers) if peers.len() == 1 => "lists 1 peer, which does not answer".to_owned(),
                Ok(peers) => format!("lists {} peers, none of which answers", peers.len()),
                Err(error) => error.to_string(),
            };
            Attempt::new(url, vec![Cause::new(cause)])
        }
        BootstrapSource::Peer(peer @ BootstrapPeer { peer: Some(id), address }) => {
            let mut causes = match node.connect(*id, vec![address.clone()]).await {
                Ok(()) => vec![Cause::new("answers, but is not a Phase DHT server")],
                Err(error) => error.causes(),
            };
            // A cause without an address, such as a timeout, gets the address that was dialled.
            for cause in &mut causes {
                cause.address.get_or_insert_with(|| peer.to_string());
            }
            Attempt::new(id, causes)
        }
        BootstrapSource::Peer(peer) => Attempt::new(peer, vec![Cause::new("no answer")]),
    }
}

/// Returns when no peer in `contacts` can be reached. Never returns if a connection succeeds. Never returns if mDNS, a
/// peer list, or an address without a peer id may still lead to a peer.
async fn all_failed(node: &NodeHandle, contacts: &FirstContacts) {
    if contacts.uses_mdns {
        return std::future::pending().await;
    }
    let listed = contacts.sources.iter().map(|source| match source {
        BootstrapSource::Peer(peer) => Some(peer.clone()),
        BootstrapSource::Url(_) => None,
    });
    for peer in listed.chain(contacts.peers.iter().cloned().map(Some)) {
        let Some(BootstrapPeer { peer: Some(id), address }) = peer else { return std::future::pending().await };
        if node.connect(id, vec![address]).await.is_ok() {
            // Never return, because this peer may become usable once it is identified. `wait_for_usable_peer` waits for
            // this.
            return std::future::pending().await;
        }
    }
}

/// An error from [`Client::start`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The node cannot start.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The configuration contains no peer, and mDNS is off.
    #[error(
        "no peer is known: name a bootstrap peer with --bootstrap, --bootstrap-file, PHASE_BOOTSTRAP or bootstrap-nodes.toml, or a peer to ask directly with --peer"
    )]
    NoPeers,
    /// No usable peer was reached.
    #[error("no peer can be reached: {} tried", if tried.len() == 1 { "1 was".to_owned() } else { format!("{} were", tried.len()) })]
    Unreachable {
        /// What was tried, with the reasons for each failure: a peer, a peer list, or the local network.
        tried: Vec<Attempt>,
    },
}

impl Fails for StartError {
    fn failure(&self) -> Failure {
        match self {
            Self::Node(_) | Self::Unreachable { .. } => Failure::Network,
            Self::NoPeers => Failure::Usage,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { .. } => Some("check that the peer is running and that this machine can reach its port"),
            _ => None,
        }
    }

    fn attempts(&self) -> Vec<Attempt> {
        match self {
            Self::Unreachable { tried } => tried.clone(),
            _ => Vec::new(),
        }
    }
}
