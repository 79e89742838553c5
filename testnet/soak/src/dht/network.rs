//! A DHT of real nodes. Starts its nodes in waves, and can kill some of them.

use std::time::Duration;

use futures::future::try_join_all;
use phase_core::{Name, SigningKey};
use phase_node::bootstrap::BootstrapPeer;
use phase_node::{
    DhtConfig, Identity, Multiaddr, Node, NodeConfig, NodeError, NodeHandle, PeerId, Role, TransportConfig,
};

/// The largest number of servers in a wave. A wave is a group of nodes that join at the same time.
const MAX_JOINING: usize = 16;
/// The number of bootstrap peers of a new node. They are servers that already run.
const BOOTSTRAP_PEERS: usize = 3;
/// The timeout for the nodes of a wave to join. If they do not join in time, the start of the network fails.
const JOIN_TIMEOUT: Duration = Duration::from_secs(600);
/// The timeout of a query, and of setting up a connection. It is long, because all nodes share one machine, and the
/// load of the machine must not decide which lookups succeed.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The time after which a connection without a stream is closed. It is short, because all nodes share the memory of one
/// process.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// The time between two refreshes of a routing table. The product's default of five minutes is too short, because the
/// refreshes of a thousand nodes would keep two cores busy.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// The time between two checks whether a joining node still runs queries.
const POLL: Duration = Duration::from_millis(20);

/// The configuration of a DHT network.
#[derive(Clone)]
pub struct NetworkConfig {
    /// The number of DHT servers.
    pub nodes: usize,
    /// The number of additional nodes in client mode. Default: 4.
    pub clients: usize,
    /// The RNG seed, which determines every random choice. Default: 0.
    pub seed: u64,
    /// The address on which each server listens. All servers use the same address, so its port must be 0 (any free
    /// port). Default: in memory.
    pub listen: Multiaddr,
    /// The DHT configuration of every node, except its role. Default: the product's default with a longer query timeout
    /// and less frequent refreshes.
    pub dht: DhtConfig,
    /// The transport configuration of every node. Default: the product's default with a longer setup timeout and a
    /// shorter idle timeout.
    pub transport: TransportConfig,
}

impl NetworkConfig {
    /// Returns the default configuration of an in-memory network with this number of servers.
    pub fn new(nodes: usize) -> Self {
        let listen = "/memory/0".parse().expect("an address");
        let (query_timeout, refresh_interval) = (TIMEOUT, REFRESH_INTERVAL);
        let dht = DhtConfig { query_timeout, refresh_interval, ..DhtConfig::default() };
        let (setup_timeout, idle_timeout) = (TIMEOUT, IDLE_TIMEOUT);
        let transport = TransportConfig { setup_timeout, idle_timeout, ..TransportConfig::default() };
        Self { nodes, clients: 4, seed: 0, listen, dht, transport }
    }
}

/// A running DHT network. Dropping it stops every node.
pub struct Network {
    pub(super) config: NetworkConfig,
    pub(super) random: fastrand::Rng,
    pub(super) servers: Vec<DhtNode>,
    pub(super) clients: Vec<DhtNode>,
    pub(super) announced_names: Vec<AnnouncedName>,
}

/// A name that a node of the network announces.
#[derive(Clone)]
pub(super) struct AnnouncedName {
    pub(super) name: Name,
    /// The encoded pointer, as DHT nodes store it.
    pub(super) pointer: Vec<u8>,
    /// The peer id of the server that puts the pointer and provides the name.
    pub(super) announcer: PeerId,
}

/// A node of the measured DHT network.
pub(super) struct DhtNode {
    node: Node,
    /// The listen address and peer id of a server; `None` for a client, which does not listen.
    listen: Option<BootstrapPeer>,
}

impl DhtNode {
    pub(super) fn handle(&self) -> &NodeHandle {
        self.node.handle()
    }
}

impl Network {
    /// Starts the nodes and waits until all have joined. They start in waves: groups of nodes that join at the same
    /// time. Each node gets a few running servers as bootstrap peers, and has joined when its routing table is filled.
    ///
    /// # Errors
    /// [`NetworkError`] if a node does not start or join.
    pub async fn start(config: NetworkConfig) -> Result<Self, NetworkError> {
        Self::start_with_progress(config, &|_| ()).await
    }

    /// Starts the nodes as [`start`](Self::start) does. Calls `report` after each wave with the number of servers that
    /// have joined.
    ///
    /// # Errors
    /// [`NetworkError`] if a node does not start or join.
    pub async fn start_with_progress(
        config: NetworkConfig,
        report: &(dyn Fn(usize) + Sync),
    ) -> Result<Self, NetworkError> {
        let random = fastrand::Rng::with_seed(config.seed);
        let mut network =
            Self { config, random, servers: Vec::new(), clients: Vec::new(), announced_names: Vec::new() };
        while network.servers.len() < network.config.nodes {
            let missing = network.config.nodes - network.servers.len();
            let joining = network.servers.len().clamp(1, MAX_JOINING).min(missing);
            let wave: Vec<_> = (0..joining).map(|_| network.next_config(Role::Server)).collect();
            network.servers.extend(join_all(wave).await?);
            report(network.servers.len());
        }
        let clients = (0..network.config.clients).map(|_| network.next_config(Role::Client)).collect();
        network.clients = join_all(clients).await?;
        Ok(network)
    }

    /// Returns the servers that have not been killed.
    pub fn servers(&self) -> impl Iterator<Item = &NodeHandle> {
        self.servers.iter().map(DhtNode::handle)
    }

    /// Returns three random servers as bootstrap peers for another node; fewer if the network is smaller.
    pub fn bootstrap_peers(&mut self) -> Vec<BootstrapPeer> {
        let known: Vec<_> = self.servers.iter().filter_map(|node| node.listen.clone()).collect();
        self.random.choose_multiple(known, BOOTSTRAP_PEERS)
    }

    /// Stops a random fraction of the servers at once, without a message to their peers. Returns the listen addresses
    /// of the stopped servers.
    pub fn kill(&mut self, share: f64) -> Vec<Multiaddr> {
        let left = self.servers.len() as f64 * (1.0 - share);
        self.random.shuffle(&mut self.servers);
        let gone = self.servers.split_off(left.round() as usize);
        gone.into_iter().filter_map(|node| Some(node.listen?.address)).collect()
    }

    /// Returns the mean number of peers in the routing tables of the servers.
    pub async fn routing_peers(&self) -> f64 {
        let mut sum = 0;
        for server in self.servers() {
            sum += server.dht_stats().await.map_or(0, |stats| stats.routing_peers);
        }
        sum as f64 / self.servers.len().max(1) as f64
    }

    /// Returns the configuration of the next node, with a random identity and random bootstrap peers.
    fn next_config(&mut self, role: Role) -> NodeConfig {
        let mut secret = [0; 32];
        self.random.fill(&mut secret);
        let listen = match role {
            Role::Server => vec![self.config.listen.clone()],
            Role::Client => Vec::new(),
        };
        let dht = Some(DhtConfig { role, ..self.config.dht.clone() });
        let identity = Identity::from_key(&SigningKey::from_secret_bytes(&secret));
        let transport = self.config.transport.clone();
        NodeConfig { identity, dht, transport, ..NodeConfig::in_dht(role, listen, self.bootstrap_peers()) }
    }
}

/// Starts nodes concurrently and waits until all have joined.
async fn join_all(nodes: Vec<NodeConfig>) -> Result<Vec<DhtNode>, NetworkError> {
    let joined = tokio::time::timeout(JOIN_TIMEOUT, try_join_all(nodes.into_iter().map(start))).await;
    joined.map_err(|_| NetworkError::NotJoined)?
}

/// Starts a node and waits until it has joined, which means that it is connected to a server and has ended the queries
/// that fill its routing table.
async fn start(config: NodeConfig) -> Result<DhtNode, NetworkError> {
    let is_first = config.bootstrap.is_empty();
    let node = Node::start(config).await?;
    let peer = Some(node.handle().peer_id());
    let address = node.handle().listen_addresses().await.into_iter().next();
    let listen = address.map(|address| BootstrapPeer { peer, address });
    if !is_first {
        // The wait fails only if the node has stopped. The loop below then ends at once, because a stopped node returns
        // no statistics.
        let _ = node.handle().routing_peers().wait_for(|peers| *peers > 0).await;
        while node.handle().dht_stats().await.is_some_and(|stats| stats.queries > 0) {
            tokio::time::sleep(POLL).await;
        }
    }
    Ok(DhtNode { node, listen })
}

/// An error from starting a network or announcing names in it.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A node does not start.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A node does not join the DHT in time.
    #[error("a node has not joined the DHT within {} s", JOIN_TIMEOUT.as_secs())]
    NotJoined,
    /// A name cannot be announced, because one of its DHT keys cannot be put or provided.
    #[error("cannot announce a name")]
    Announce(#[from] phase_node::QueryError),
}
