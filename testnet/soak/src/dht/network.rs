//! The nodes of a DHT, and how they join it.

use std::time::Duration;

use futures::future::try_join_all;
use phase_core::{Name, SigningKey};
use phase_node::bootstrap::BootstrapPeer;
use phase_node::{
    DhtConfig, Identity, Multiaddr, Node, NodeConfig, NodeError, NodeHandle, PeerId, Role, TransportConfig,
};

/// Nodes that join at the same time, once there are as many already.
const MAX_JOINING: usize = 16;
/// Earlier nodes that a node is told of.
const FIRST_PEERS: usize = 3;
/// How long a node may take to join, and the network to come to rest: whatever takes longer is stuck.
const JOIN_TIMEOUT: Duration = Duration::from_secs(600);
/// How long an answer may take, and setting up a connection. One machine computes for all nodes: how busy it is must not
/// decide what is found.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a connection without a stream is kept: all nodes share one memory.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// How often a routing table is refreshed. A thousand nodes that do it every five minutes keep two cores busy.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// The time between two looks at a node that has queries under way.
const POLL: Duration = Duration::from_millis(20);

/// What a network is made of.
#[derive(Clone)]
pub struct NetworkConfig {
    /// DHT servers.
    pub nodes: usize,
    /// Nodes beside them that only ask. Default: 4.
    pub clients: usize,
    /// Determines everything random. Default: 0.
    pub seed: u64,
    /// Where each server listens; the port has to be free for each. Default: within this process.
    pub listen: Multiaddr,
    /// What every node is configured with, but for its role. Default: what nodes do by default, with more patience.
    pub dht: DhtConfig,
    /// How every node dials. Default: with more patience than nodes have by default, and idle connections are closed soon.
    pub transport: TransportConfig,
}

impl NetworkConfig {
    /// A network of so many servers within this process.
    pub fn new(nodes: usize) -> Self {
        let listen = "/memory/0".parse().expect("an address");
        let (query_timeout, refresh_interval) = (PATIENCE, REFRESH_INTERVAL);
        let dht = DhtConfig { query_timeout, refresh_interval, ..DhtConfig::default() };
        let (setup_timeout, idle_timeout) = (PATIENCE, IDLE_TIMEOUT);
        let transport = TransportConfig { setup_timeout, idle_timeout, ..TransportConfig::default() };
        Self { nodes, clients: 4, seed: 0, listen, dht, transport }
    }
}

/// A running network. Dropping it ends every node.
pub struct Network {
    pub(super) config: NetworkConfig,
    pub(super) random: fastrand::Rng,
    pub(super) servers: Vec<Member>,
    pub(super) clients: Vec<Member>,
    pub(super) subjects: Vec<Subject>,
}

/// A name that somebody announces.
#[derive(Clone)]
pub(super) struct Subject {
    pub(super) name: Name,
    /// The pointer as it stands in the DHT.
    pub(super) pointer: Vec<u8>,
    /// Who puts it there and provides the name.
    pub(super) announcer: PeerId,
}

/// A node of the network.
pub(super) struct Member {
    node: Node,
    /// Where it listens; nowhere for clients.
    at: Option<BootstrapPeer>,
}

impl Member {
    pub(super) fn handle(&self) -> &NodeHandle {
        self.node.handle()
    }
}

impl Network {
    /// Starts the nodes one after another, a few at a time. Each is told of a few earlier ones, and has joined when its
    /// routing table is filled.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn start(config: NetworkConfig) -> Result<Self, NetworkError> {
        Self::start_and_tell(config, &|_| ()).await
    }

    /// The same, saying after each step how many servers have joined.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn start_and_tell(config: NetworkConfig, tell: &(dyn Fn(usize) + Sync)) -> Result<Self, NetworkError> {
        let random = fastrand::Rng::with_seed(config.seed);
        let mut network = Self { config, random, servers: Vec::new(), clients: Vec::new(), subjects: Vec::new() };
        while network.servers.len() < network.config.nodes {
            let missing = network.config.nodes - network.servers.len();
            let joining = network.servers.len().clamp(1, MAX_JOINING).min(missing);
            let wave: Vec<_> = (0..joining).map(|_| network.member(Role::Server)).collect();
            network.servers.extend(join_all(wave).await?);
            tell(network.servers.len());
        }
        let clients = (0..network.config.clients).map(|_| network.member(Role::Client)).collect();
        network.clients = join_all(clients).await?;
        Ok(network)
    }

    /// The servers that are left.
    pub fn servers(&self) -> impl Iterator<Item = &NodeHandle> {
        self.servers.iter().map(Member::handle)
    }

    /// A few of the servers, as a node that joins is told of them.
    pub fn first_peers(&mut self) -> Vec<BootstrapPeer> {
        let known: Vec<_> = self.servers.iter().filter_map(|member| member.at.clone()).collect();
        self.random.choose_multiple(known, FIRST_PEERS)
    }

    /// Ends a random share of the servers, all at once and without a word; returns where they listened.
    pub fn kill(&mut self, share: f64) -> Vec<Multiaddr> {
        let left = self.servers.len() as f64 * (1.0 - share);
        self.random.shuffle(&mut self.servers);
        let gone = self.servers.split_off(left.round() as usize);
        gone.into_iter().filter_map(|member| Some(member.at?.address)).collect()
    }

    /// The mean number of peers in the routing tables of the servers.
    pub async fn routing_peers(&self) -> f64 {
        let mut sum = 0;
        for server in self.servers() {
            sum += server.dht_stats().await.map_or(0, |stats| stats.routing_peers);
        }
        sum as f64 / self.servers.len().max(1) as f64
    }

    /// How the next node is to be started.
    fn member(&mut self, role: Role) -> NodeConfig {
        let mut secret = [0; 32];
        self.random.fill(&mut secret);
        let listen = match role {
            Role::Server => vec![self.config.listen.clone()],
            Role::Client => Vec::new(),
        };
        let dht = Some(DhtConfig { role, ..self.config.dht.clone() });
        let identity = Identity::from_key(&SigningKey::from_secret_bytes(&secret));
        let transport = self.config.transport.clone();
        NodeConfig { identity, dht, transport, ..NodeConfig::in_dht(role, listen, self.first_peers()) }
    }
}

/// Starts nodes at the same time and waits until all have joined.
async fn join_all(nodes: Vec<NodeConfig>) -> Result<Vec<Member>, NetworkError> {
    let joined = tokio::time::timeout(JOIN_TIMEOUT, try_join_all(nodes.into_iter().map(start))).await;
    joined.map_err(|_| NetworkError::Alone)?
}

/// Starts a node and waits until it has joined: it has met a server and has no query under way that fills its routing table.
async fn start(config: NodeConfig) -> Result<Member, NetworkError> {
    let is_first = config.bootstrap.is_empty();
    let node = Node::start(config).await?;
    let peer = Some(node.handle().peer_id());
    let address = node.handle().listen_addresses().await.into_iter().next();
    let at = address.map(|address| BootstrapPeer { peer, address });
    if !is_first {
        // Fails only if the node has stopped: then it has no query under way either.
        let _ = node.handle().routing_peers().wait_for(|peers| *peers > 0).await;
        while node.handle().dht_stats().await.is_some_and(|stats| stats.queries > 0) {
            tokio::time::sleep(POLL).await;
        }
    }
    Ok(Member { node, at })
}

/// Why a network does not come to be, or does not do as it is told.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A node does not start.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A node finds nobody.
    #[error("a node has not joined the DHT within {} s", JOIN_TIMEOUT.as_secs())]
    Alone,
    /// Nobody keeps what is announced.
    #[error("cannot announce")]
    Announce(#[from] phase_node::QueryError),
}
