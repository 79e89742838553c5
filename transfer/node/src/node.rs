//! A node: its configuration, start and end.

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
use crate::discovery::first_peers::dial_schedule::DialSchedule;
use crate::discovery::first_peers::{PeersUrl, list_fetcher};
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
    /// Speaks with the local network.
    local: Option<JoinHandle<()>>,
    /// Fetch lists of first peers. End with the node.
    _lists: JoinSet<()>,
    stop: DropGuard,
}

impl Node {
    /// Binds the listen addresses, dials the bootstrap peers and starts the event loop.
    ///
    /// # Errors
    /// [`NodeError::Listen`] if an address cannot be bound, for instance because its port is in use.
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
        let mut first_peers = DialSchedule::new(now);
        first_peers.add(now, Source::Given, config.peers);
        first_peers.add(now, Source::Bootstrap, bootstrap);
        let event_loop = EventLoop::new(swarm, receiver, listeners, first_peers, shared, config.is_private);
        let has_dht = config.dht.is_some() && cfg!(feature = "dht");
        let looks_around = config.mdns && cfg!(feature = "mdns");
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
            looks_around,
        };
        let lists = urls.into_iter().map(|url| fetch_list(handle.clone(), url)).collect();
        let event_loop = AbortOnDropHandle::new(tokio::spawn(event_loop.run()));
        let stop = CancellationToken::new();
        let local = looks_around.then(|| tokio::spawn(talk_locally(handle.clone(), config.is_private, stop.clone())));
        Ok(Self { handle, event_loop, local, _lists: lists, stop: stop.drop_guard() })
    }

    /// A handle to give commands with; cheap to clone.
    pub fn handle(&self) -> &NodeHandle {
        &self.handle
    }

    /// Ends the event loop: connections are closed and ports are free when this returns.
    pub async fn stop(self) {
        let Self { handle, event_loop, local, stop, _lists } = self;
        drop(stop);
        if let Some(local) = local {
            // Says goodbye.
            let _ = local.await;
        }
        handle.send(Command::Stop).await;
        // Joined, or ended by an abort or panic: it is gone either way.
        let _ = event_loop.await;
    }
}

/// Adds the peers of a list to the first peers whenever there is nobody to ask.
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

/// Listens to the local network, and tells it what we serve, until `stop`; then says goodbye.
#[cfg(feature = "mdns")]
async fn talk_locally(node: NodeHandle, is_private: bool, stop: CancellationToken) {
    LocalNetwork { releases: node.local.clone(), host: node, is_private }.run(stop).await;
}

/// Without feature `mdns` there is nobody to hear.
#[cfg(not(feature = "mdns"))]
async fn talk_locally(_: NodeHandle, _: bool, _: CancellationToken) {}

/// Binds every address and waits until each is bound, so that a port in use is an error of the start.
async fn listen(swarm: &mut libp2p::Swarm<Behaviour>, addresses: &[Multiaddr]) -> Result<Listeners, NodeError> {
    use libp2p::swarm::SwarmEvent;
    let mut ids = Vec::new();
    for address in addresses {
        let failed = |source| NodeError::Listen { address: address.clone(), source };
        // libp2p lets several sockets share a TCP port, so it would not notice another program on it.
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

/// The socket address behind `/ip4|ip6/…/tcp/…`, unless the system chooses the port.
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
