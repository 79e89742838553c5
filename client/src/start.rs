//! A client: a node, the store it fetches into, and the root it trusts.

use std::sync::Arc;
use std::time::Duration;

use phase_core::Failure;
use phase_core::store::Store;
use phase_core::trust::{TrustRoot, TrustedTime};
use phase_transfer::net::bootstrap::BootstrapPeer;
use phase_transfer::net::catalog::Catalog;
use phase_transfer::net::server::Server;
use phase_transfer::net::{Identity, Multiaddr, Node, NodeConfig, NodeError, NodeHandle, Role};

/// How long the first contact with the network may take.
const JOIN_TIMEOUT: Duration = Duration::from_secs(15);

/// What a client is started with.
pub struct ClientConfig {
    /// Where artifacts are written to and served from.
    pub store: Arc<dyn Store>,
    /// Who it is to others.
    pub identity: Identity,
    /// Addresses to serve on while fetching; empty: it only takes.
    pub listen: Vec<Multiaddr>,
    /// First peers.
    pub bootstrap: Vec<BootstrapPeer>,
}

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
    /// Starts a node and waits until it has joined the network.
    ///
    /// # Errors
    /// [`StartError`], if it cannot listen or none of the bootstrap peers answers.
    pub async fn start(config: ClientConfig) -> Result<Self, StartError> {
        let bootstrap = config.bootstrap.clone();
        if bootstrap.is_empty() {
            return Err(StartError::NoBootstrap);
        }
        let node = Node::start(NodeConfig {
            identity: config.identity,
            role: Role::Client,
            listen: config.listen,
            bootstrap: config.bootstrap,
        })
        .await?;
        let catalog = Arc::new(Catalog::new(config.store));
        let server = Server::start(node.handle(), catalog.clone());
        join(node.handle(), &bootstrap).await?;
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

/// Waits until a DHT node is connected. Names every bootstrap peer and what became of it if none is.
async fn join(node: &NodeHandle, bootstrap: &[BootstrapPeer]) -> Result<(), StartError> {
    let mut routing = node.routing_peers();
    let joined = async move { routing.wait_for(|peers| *peers > 0).await.is_ok() };
    if tokio::time::timeout(JOIN_TIMEOUT, any_or_all_failed(joined, node, bootstrap)).await == Ok(true) {
        return Ok(());
    }
    let mut tried = Vec::new();
    for peer in bootstrap {
        let outcome = match peer.peer {
            Some(id) => match node.connect(id, vec![peer.address.clone()]).await {
                Ok(()) => "answers, but is not a Phase DHT node".to_owned(),
                Err(error) => error.to_string(),
            },
            None => "no answer".to_owned(),
        };
        tried.push(format!("{peer}: {outcome}"));
    }
    Err(StartError::Unreachable { tried })
}

/// Whether `joined` came true before every bootstrap peer with a known id had failed.
async fn any_or_all_failed(joined: impl Future<Output = bool>, node: &NodeHandle, bootstrap: &[BootstrapPeer]) -> bool {
    let all_failed = async {
        for peer in bootstrap {
            let Some(id) = peer.peer else { return std::future::pending().await };
            if node.connect(id, vec![peer.address.clone()]).await.is_ok() {
                // Connected: `joined` follows once it has identified itself.
                return std::future::pending().await;
            }
        }
    };
    tokio::select! {
        joined = joined => joined,
        () = all_failed => false,
    }
}

/// Why a client could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The node does not start.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// Nobody to ask.
    #[error(
        "no bootstrap peer is known: give one with --bootstrap, --bootstrap-file, PHASE_BOOTSTRAP or bootstrap-nodes.toml"
    )]
    NoBootstrap,
    /// Nobody answers.
    #[error("no bootstrap peer can be reached: {}", tried.join("; "))]
    Unreachable {
        /// Every peer and what became of it.
        tried: Vec<String>,
    },
}

impl StartError {
    /// The kind of failure, for exit codes.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Node(_) | Self::Unreachable { .. } => Failure::Network,
            Self::NoBootstrap => Failure::Usage,
        }
    }
}
