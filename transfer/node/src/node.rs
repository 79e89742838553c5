//! Starts and stops a node.

use std::sync::Arc;

use futures::StreamExt as _;
use libp2p::Multiaddr;
#[cfg(feature = "mdns")]
use libp2p::PeerId;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use crate::address::is_unspecified;
use crate::behaviour::{Behaviour, Shared};
use crate::command::Command;
use crate::config::NodeConfig;
use crate::discovery::bootstrap::dial_schedule::DialSchedule;
use crate::discovery::bootstrap::{PeersUrl, list_fetcher};
use crate::discovery::local_network::releases::LocalReleases;
#[cfg(feature = "mdns")]
use crate::discovery::local_network::task::{Host, LocalNetwork};
use crate::error::{ListenError, NodeError};
use crate::event_loop::{EventLoop, Listeners};
use crate::handle::{COMMAND_QUEUE, MAX_QUERIES, NodeHandle};
use crate::metrics::Metrics;
use crate::peer::Source;
use crate::peer_table::PeerTable;
use crate::transport::build_swarm;

/// A running node. Dropping it ends the event loop and closes every connection.
pub struct Node {
    handle: NodeHandle,
    event_loop: AbortOnDropHandle<()>,
    /// The task that exchanges announcements with the local network, or `None` if mDNS is off.
    local: Option<JoinHandle<()>>,
    /// The tasks that fetch lists of bootstrap peers. They are aborted when the node is dropped.
    _lists: JoinSet<()>,
    stop: DropGuard,
}

impl Node {
    /// Binds the listen addresses and starts the event loop, which dials the bootstrap peers and the configured peers.
    /// Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`NodeError::Listen`] if an address cannot be bound, for instance because its port is in use;
    /// [`NodeError::Transport`] if the key of the node cannot be used for TLS or Noise.
    pub async fn start(config: NodeConfig) -> Result<Self, NodeError> {
        let metrics = Arc::new(Metrics::new());
        let peers = Arc::new(PeerTable::new(metrics.clone()));
        let (routing, routing_seen) = watch::channel(0);
        let shared = Shared { peers: peers.clone(), metrics: metrics.clone(), routing };
        let keypair = config.identity.0.clone();
        let behaviour = Behaviour::new(&keypair, &config, &shared);
        let mut swarm = build_swarm(&keypair, &config.transport, behaviour)?;
        let listeners = listen(&mut swarm, &config.listen).await?;
        let acceptor = swarm.behaviour().streams.acceptor();
        let (commands, receiver) = mpsc::channel(COMMAND_QUEUE);
        let (urls, bootstrap) = list_fetcher::split(config.bootstrap);
        let now = Instant::now();
        let mut schedule = DialSchedule::new(now);
        schedule.add(now, Source::Configured, config.peers);
        schedule.add(now, Source::Bootstrap, bootstrap);
        let event_loop = EventLoop::new(swarm, receiver, listeners, schedule, shared, config.is_private);
        let has_dht = config.dht.is_some() && cfg!(feature = "dht");
        let searches_local_network = config.mdns && cfg!(feature = "mdns");
        let handle = NodeHandle {
            identity: config.identity,
            commands,
            acceptor,
            routing: routing_seen,
            queries: Arc::new(Semaphore::new(MAX_QUERIES)),
            peers,
            metrics,
            local: LocalReleases::default(),
            has_dht,
            searches_local_network,
        };
        let lists = urls.into_iter().map(|url| fetch_list(handle.clone(), url)).collect();
        let event_loop = AbortOnDropHandle::new(tokio::spawn(event_loop.run()));
        let stop = CancellationToken::new();
        let local = searches_local_network
            .then(|| tokio::spawn(exchange_locally(handle.clone(), config.is_private, stop.clone())));
        Ok(Self { handle, event_loop, local, _lists: lists, stop: stop.drop_guard() })
    }

    /// Returns the handle of the node, which is cheap to clone.
    pub fn handle(&self) -> &NodeHandle {
        &self.handle
    }

    /// Stops the node. When this returns, its connections are closed and its ports are free.
    pub async fn stop(self) {
        let Self { handle, event_loop, local, stop, _lists } = self;
        drop(stop);
        if let Some(local) = local {
            // The task withdraws the announcements on the local network before it ends.
            let _ = local.await;
        }
        handle.send(Command::Stop).await;
        // An error means that the event loop has panicked, so it has ended.
        let _ = event_loop.await;
    }
}

/// Fetches a list of bootstrap peers whenever no DHT server is connected, and adds the listed peers to the dial
/// schedule.
async fn fetch_list(node: NodeHandle, url: PeersUrl) {
    let found = |peers| node.send(Command::Bootstrap { peers });
    list_fetcher::run(url, node.routing_peers(), found).await;
}

#[cfg(feature = "mdns")]
impl Host for NodeHandle {
    fn peer_id(&self) -> PeerId {
        NodeHandle::peer_id(self)
    }

    async fn listening(&self) -> Vec<Multiaddr> {
        self.listen_addresses().await
    }

    async fn handle_discovered(&self, peer: PeerId, addresses: Vec<Multiaddr>) {
        self.discovered(peer, addresses, Source::LocalNetwork).await;
    }
}

/// Exchanges announcements with the local network until `stop` is cancelled, then withdraws the announcements of this
/// node.
#[cfg(feature = "mdns")]
async fn exchange_locally(node: NodeHandle, is_private: bool, stop: CancellationToken) {
    LocalNetwork { releases: node.local.clone(), host: node, is_private }.run(stop).await;
}

/// Does nothing without feature `mdns`.
#[cfg(not(feature = "mdns"))]
async fn exchange_locally(_: NodeHandle, _: bool, _: CancellationToken) {}

/// Binds every address and waits until it is bound, so that [`Node::start`] fails if a port is in use.
async fn listen(swarm: &mut libp2p::Swarm<Behaviour>, addresses: &[Multiaddr]) -> Result<Listeners, NodeError> {
    use libp2p::swarm::SwarmEvent;
    let mut ids = Vec::new();
    for address in addresses {
        let failed = |source| NodeError::Listen { address: address.clone(), source };
        // Try to bind a plain socket first. libp2p lets several sockets share a TCP port, so it would not notice that
        // another program uses the port.
        if let Some(socket) = tcp_socket(address) {
            drop(std::net::TcpListener::bind(socket).map_err(|error| failed(ListenError::Io(error)))?);
        }
        let listener = swarm.listen_on(address.clone()).map_err(|error| failed(error.into()))?;
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { listener_id, .. } if listener_id == listener => break,
                SwarmEvent::ListenerClosed { listener_id, reason, .. } if listener_id == listener => {
                    return Err(failed(reason.err().map_or(ListenError::Closed, ListenError::Io)));
                }
                SwarmEvent::ListenerError { listener_id, error } if listener_id == listener => {
                    return Err(failed(ListenError::Io(error)));
                }
                _ => {}
            }
        }
        ids.push(listener);
    }
    Ok(Listeners { ids, wildcard: addresses.iter().any(is_unspecified) })
}

/// Returns the socket address of `/ip4|ip6/…/tcp/…`, or `None` for other addresses and for port 0.
fn tcp_socket(address: &Multiaddr) -> Option<std::net::SocketAddr> {
    use libp2p::multiaddr::Protocol;
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => std::net::IpAddr::from(ip),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) if port != 0 => Some((ip, port).into()),
        _ => None,
    }
}
