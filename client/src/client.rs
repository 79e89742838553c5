//! A client: a node, the store it fetches into, and the root it trusts.

use std::sync::Arc;
use std::time::Duration;

use phase_core::store::Store;
use phase_core::time::TrustedTime;
use phase_core::trust::TrustRoot;
use phase_core::{Fails, Failure};
use phase_node::bootstrap::{BootstrapPeer, BootstrapSource, fetch_list};
use phase_node::{Node, NodeConfig, NodeError, NodeHandle, PeerInfo, PeerState, Source};
use phase_transfer::catalog::Catalog;
use phase_transfer::server::{self, Server};
use tokio::sync::broadcast::error::RecvError;

/// How long the first contact with the network may take.
const JOIN_TIMEOUT: Duration = Duration::from_secs(15);

/// A node that resolves and fetches. Dropping it closes every connection.
pub struct Client {
    node: Node,
    catalog: Arc<Catalog>,
    _server: Server,
}

/// What a client believes while it resolves: whom, and from when on.
#[derive(Clone, Debug)]
pub struct Trust {
    /// Who may sign.
    pub root: TrustRoot,
    /// What expired before this is refused.
    pub time: TrustedTime,
}

impl Client {
    /// Starts a node and waits until it has somebody to ask. `store` is where artifacts are written to and served from.
    ///
    /// # Errors
    /// [`StartError`], if it cannot listen or nobody is found.
    pub async fn start(store: Arc<dyn Store>, config: NodeConfig) -> Result<Self, StartError> {
        Self::start_with(store, config, server::Config::default()).await
    }

    /// The same, with settings of its own for what others are sent.
    ///
    /// # Errors
    /// As above.
    pub async fn start_with(
        store: Arc<dyn Store>,
        config: NodeConfig,
        server: server::Config,
    ) -> Result<Self, StartError> {
        let first = FirstContact::of(&config)?;
        let node = Node::start(config).await?;
        let catalog = Arc::new(Catalog::new(store));
        let server = Server::start(node.handle(), catalog.clone(), server);
        join(node.handle(), &first).await?;
        Ok(Self { node, catalog, _server: server })
    }

    /// The node.
    pub fn node(&self) -> &NodeHandle {
        self.node.handle()
    }

    /// What is in the store and what is being fetched.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// Closes every connection and frees the ports.
    pub async fn stop(self) {
        self.node.stop().await;
    }
}

/// Whom a node can meet first.
struct FirstContact {
    sources: Vec<BootstrapSource>,
    peers: Vec<BootstrapPeer>,
    /// Whether a DHT server has to be among them.
    needs_dht: bool,
    /// Whether anybody of the local network will do.
    looks_around: bool,
}

impl FirstContact {
    fn of(config: &NodeConfig) -> Result<Self, StartError> {
        let looks_around = config.mdns;
        if config.bootstrap.is_empty() && config.peers.is_empty() && !looks_around {
            return Err(StartError::Nobody);
        }
        let needs_dht = config.dht.is_some() && config.peers.is_empty();
        Ok(Self { sources: config.bootstrap.clone(), peers: config.peers.clone(), needs_dht, looks_around })
    }

    /// Whether this peer is somebody to ask.
    fn is_met(&self, info: &PeerInfo) -> bool {
        let is_identified = matches!(info.state, PeerState::Identified | PeerState::Transferring);
        let is_local = self.looks_around && info.source == Source::LocalNetwork;
        is_identified && (is_local || info.is_dht_server || !self.needs_dht)
    }
}

/// Waits until there is somebody to ask. Names everybody who was tried if nobody is.
async fn join(node: &NodeHandle, first: &FirstContact) -> Result<(), StartError> {
    let met = meet(node, first);
    let joined = async {
        tokio::select! {
            () = met => true,
            () = all_failed(node, first) => false,
        }
    };
    if tokio::time::timeout(JOIN_TIMEOUT, joined).await == Ok(true) {
        return Ok(());
    }
    let mut tried = Vec::new();
    for source in first.sources.iter().cloned().chain(first.peers.iter().cloned().map(BootstrapSource::Peer)) {
        tried.push(format!("{source}: {}", what_became_of(node, &source).await));
    }
    if first.looks_around {
        tried.push("nobody answers in the local network (mDNS)".to_owned());
    }
    Err(StartError::Unreachable { tried })
}

async fn meet(node: &NodeHandle, first: &FirstContact) {
    let mut events = node.peer_events();
    while !node.peers().iter().any(|info| first.is_met(info)) {
        if let Err(RecvError::Closed) = events.recv().await {
            return;
        }
    }
}

async fn what_became_of(node: &NodeHandle, source: &BootstrapSource) -> String {
    match source {
        BootstrapSource::Url(url) => match fetch_list(url).await {
            Ok(peers) => format!("lists {} peers, none of which answers", peers.len()),
            Err(error) => error.to_string(),
        },
        BootstrapSource::Peer(BootstrapPeer { peer: Some(id), address }) => {
            match node.connect(*id, vec![address.clone()]).await {
                Ok(()) => "answers, but is not a Phase DHT node".to_owned(),
                Err(error) => error.to_string(),
            }
        }
        BootstrapSource::Peer(BootstrapPeer { peer: None, .. }) => "no answer".to_owned(),
    }
}

/// Ends when every peer has failed, provided that there is nobody else who could come.
async fn all_failed(node: &NodeHandle, first: &FirstContact) {
    let listed = first.sources.iter().map(|source| match source {
        BootstrapSource::Peer(peer) => Some(peer.clone()),
        BootstrapSource::Url(_) => None,
    });
    for peer in listed.chain(first.peers.iter().cloned().map(Some)) {
        let Some(BootstrapPeer { peer: Some(id), address }) = peer else { return std::future::pending().await };
        if first.looks_around || node.connect(id, vec![address]).await.is_ok() {
            // Connected: it is met once it has identified itself.
            return std::future::pending().await;
        }
    }
    if first.looks_around {
        std::future::pending().await
    }
}

/// Why a client could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The node does not start.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// Nobody to ask.
    #[error(
        "no peer is known: give a first one with --bootstrap, --bootstrap-file, PHASE_BOOTSTRAP or bootstrap-nodes.toml, or one to ask directly with --peer"
    )]
    Nobody,
    /// Nobody answers.
    #[error("nobody can be reached: {}", tried.join("; "))]
    Unreachable {
        /// Every peer and what became of it.
        tried: Vec<String>,
    },
}

impl Fails for StartError {
    fn failure(&self) -> Failure {
        match self {
            Self::Node(_) | Self::Unreachable { .. } => Failure::Network,
            Self::Nobody => Failure::Usage,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { .. } => Some("is that node running, and may this machine reach its port?"),
            _ => None,
        }
    }
}
