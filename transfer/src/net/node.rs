//! A node as the rest of the program sees it: configuration, start, and a handle that sends commands to the event
//! loop and awaits the answers.

use std::num::NonZeroU8;
use std::time::Duration;

use futures::StreamExt as _;
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId, Stream, noise, quic, tcp, tls, yamux};
use phase_core::keys::SigningKey;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::behaviour::{Behaviour, Role};
use super::bootstrap::BootstrapPeer;
use super::command::{Command, ConnectError, QueryError, QueryReply, root_cause};
use super::event_loop::{EventLoop, Listeners};
use super::late_dial::LateDial;
use super::streams::{Acceptor, IncomingStreams};

/// Commands that may wait for the event loop.
const COMMAND_QUEUE: usize = 256;
/// Results of one query that may wait for its reader.
pub(super) const RESULT_QUEUE: usize = 64;
/// DHT queries in flight: libp2p puts no bound on those of the application.
const MAX_QUERIES: usize = 32;
/// How long opening a stream on an established connection may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// How much later than TCP addresses the QUIC addresses of a peer are dialled: a few round trips over a long line, which
/// TCP with TLS and yamux needs more of.
const TCP_HEAD_START: Duration = Duration::from_millis(500);
/// Addresses of one peer that are dialled at a time: all that are usually known, so that the dead ones among them do not
/// hold up the others.
const DIALS_PER_PEER: NonZeroU8 = NonZeroU8::new(24).expect("24 is not zero");
/// How long a connection without a stream is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// A node's key pair.
#[derive(Clone)]
pub struct Identity(pub(super) Keypair);

impl Identity {
    /// A new key that is kept nowhere.
    pub fn ephemeral() -> Self {
        Self(Keypair::generate_ed25519())
    }

    /// The identity behind a stored key.
    pub fn from_key(key: &SigningKey) -> Self {
        Self(Keypair::ed25519_from_bytes(*key.secret_bytes()).expect("32 bytes are an Ed25519 secret"))
    }

    /// The peer id that others know it by.
    pub fn peer_id(&self) -> PeerId {
        self.0.public().to_peer_id()
    }
}

/// What a node is started with.
pub struct NodeConfig {
    /// Who it is.
    pub identity: Identity,
    /// Whether it stores records for others.
    pub role: Role,
    /// Addresses to listen on; empty: it can only dial.
    pub listen: Vec<Multiaddr>,
    /// First peers, dialled at the start and again while no peer is connected.
    pub bootstrap: Vec<BootstrapPeer>,
}

/// A running node. Dropping it ends the event loop and closes every connection.
pub struct Node {
    handle: NodeHandle,
    event_loop: JoinHandle<()>,
}

impl Node {
    /// Binds the listen addresses, dials the bootstrap peers and starts the event loop.
    ///
    /// # Errors
    /// [`NodeError::Listen`] if an address cannot be bound, for instance because its port is in use.
    pub async fn start(config: NodeConfig) -> Result<Self, NodeError> {
        let peer = config.identity.peer_id();
        let mut swarm = libp2p::SwarmBuilder::with_existing_identity(config.identity.0)
            .with_tokio()
            // TLS is twice as fast as Noise for bulk here; whoever speaks only Noise is served as well.
            .with_tcp(tcp::Config::default(), (tls::Config::new, noise::Config::new), yamux::Config::default)
            .map_err(|error| NodeError::Transport(error.to_string()))?
            .with_other_transport(|key| {
                LateDial::new(quic::tokio::Transport::new(quic::Config::new(key)), TCP_HEAD_START)
            })
            .expect("a QUIC transport needs nothing")
            .with_behaviour(|key| Behaviour::new(key, config.role))
            .expect("building the behaviour cannot fail")
            .with_swarm_config(|config| {
                config.with_idle_connection_timeout(IDLE_TIMEOUT).with_dial_concurrency_factor(DIALS_PER_PEER)
            })
            .build();
        let listeners = listen(&mut swarm, &config.listen).await?;
        let acceptor = swarm.behaviour().streams.acceptor();
        let (commands, receiver) = mpsc::channel(COMMAND_QUEUE);
        let (routing, routing_seen) = watch::channel(0);
        let event_loop = EventLoop::new(swarm, receiver, listeners, config.bootstrap, routing);
        let handle = NodeHandle {
            peer,
            commands,
            acceptor,
            routing: routing_seen,
            queries: std::sync::Arc::new(Semaphore::new(MAX_QUERIES)),
        };
        Ok(Self { handle, event_loop: tokio::spawn(event_loop.run()) })
    }

    /// A handle to give commands with; cheap to clone.
    pub fn handle(&self) -> &NodeHandle {
        &self.handle
    }

    /// Ends the event loop: connections are closed and ports are free when this returns.
    pub async fn stop(mut self) {
        let _ = self.handle.commands.send(Command::Stop).await;
        // Joined, or ended by an abort or panic: it is gone either way.
        let _ = (&mut self.event_loop).await;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.event_loop.abort();
    }
}

/// Binds every address and waits until each is bound, so that a port in use is an error of the start.
async fn listen(swarm: &mut libp2p::Swarm<Behaviour>, addresses: &[Multiaddr]) -> Result<Listeners, NodeError> {
    use libp2p::swarm::SwarmEvent;
    let mut ids = Vec::new();
    for address in addresses {
        let failed = |reason: String| NodeError::Listen { address: address.clone(), reason };
        // libp2p lets several sockets share a TCP port, so it would not notice another program on it.
        if let Some(socket) = tcp_socket(address) {
            drop(std::net::TcpListener::bind(socket).map_err(|error| failed(error.to_string()))?);
        }
        let listener = swarm.listen_on(address.clone()).map_err(|error| failed(root_cause(&error)))?;
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { listener_id, .. } if listener_id == listener => break,
                SwarmEvent::ListenerClosed { listener_id, reason, .. } if listener_id == listener => {
                    return Err(failed(reason.err().map_or_else(|| "closed".to_owned(), |error| root_cause(&error))));
                }
                SwarmEvent::ListenerError { listener_id, error } if listener_id == listener => {
                    return Err(failed(root_cause(&error)));
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

fn is_unspecified(address: &Multiaddr) -> bool {
    use libp2p::multiaddr::Protocol;
    address.iter().any(|part| match part {
        Protocol::Ip4(ip) => ip.is_unspecified(),
        Protocol::Ip6(ip) => ip.is_unspecified(),
        _ => false,
    })
}

/// Gives commands to a [`Node`].
#[derive(Clone)]
pub struct NodeHandle {
    peer: PeerId,
    commands: mpsc::Sender<Command>,
    acceptor: Acceptor,
    routing: watch::Receiver<usize>,
    queries: std::sync::Arc<Semaphore>,
}

impl NodeHandle {
    /// Our own peer id.
    pub fn peer_id(&self) -> PeerId {
        self.peer
    }

    /// The number of connected DHT nodes in the routing table, and a way to wait until it changes.
    pub fn routing_peers(&self) -> watch::Receiver<usize> {
        self.routing.clone()
    }

    /// The addresses the node is bound to.
    pub async fn listen_addresses(&self) -> Vec<Multiaddr> {
        self.ask(|reply| Command::Listening { reply }).await.unwrap_or_default()
    }

    /// Waits until a connection to `peer` is there, dialling `addresses` and those that the DHT told if it is not.
    pub async fn connect(&self, peer: PeerId, addresses: Vec<Multiaddr>) -> Result<(), ConnectError> {
        self.ask(|reply| Command::Connect { peer, addresses, reply }).await.unwrap_or(Err(ConnectError::Stopped))
    }

    /// The dialable addresses that connected `peers` have told us.
    pub async fn addresses_of(&self, peers: Vec<PeerId>) -> Vec<(PeerId, Vec<Multiaddr>)> {
        self.ask(|reply| Command::Addresses { peers, reply }).await.unwrap_or_default()
    }

    /// Providers of `key` as the DHT names them. Each is being dialled when it is returned here. The channel closes
    /// when the query ends.
    pub async fn find_providers(&self, key: &[u8]) -> mpsc::Receiver<PeerId> {
        let (found, receiver) = mpsc::channel(RESULT_QUEUE);
        let permit = self.query_permit().await;
        // A stopped node drops `found`, which ends the search.
        let _ = self.commands.send(Command::FindProviders { key: key.to_vec(), found, permit }).await;
        receiver
    }

    /// Values that DHT nodes hold under `key`, unverified. The channel closes when the query ends.
    pub async fn find_values(&self, key: &[u8]) -> mpsc::Receiver<Vec<u8>> {
        let (found, receiver) = mpsc::channel(RESULT_QUEUE);
        let permit = self.query_permit().await;
        let _ = self.commands.send(Command::FindValues { key: key.to_vec(), found, permit }).await;
        receiver
    }

    /// Stores a value at the nodes closest to `key`.
    pub async fn put(&self, key: &[u8], value: Vec<u8>) -> Result<(), QueryError> {
        let permit = self.query_permit().await;
        self.query(|reply| Command::Put { key: key.to_vec(), value, reply, permit }).await
    }

    /// Tells the nodes closest to `key` that we provide it. They do not acknowledge it, see [`settle`](Self::settle).
    pub async fn provide(&self, key: &[u8]) -> Result<(), QueryError> {
        let permit = self.query_permit().await;
        self.query(|reply| Command::Provide { key: key.to_vec(), reply, permit }).await
    }

    /// Stops providing `key`. After [`hide_addresses`](Self::hide_addresses) the nodes closest to it are told; before,
    /// they forget it when its time is over.
    pub async fn withdraw(&self, key: &[u8]) -> Result<(), QueryError> {
        let permit = self.query_permit().await;
        self.query(|reply| Command::Withdraw { key: key.to_vec(), reply, permit }).await
    }

    /// Waits until what was announced for `key` has arrived: asks the nodes closest to it for something else and awaits
    /// their answers. Whoever announces and then leaves without this may not be heard.
    pub async fn settle(&self, key: &[u8]) {
        let mut values = self.find_values(key).await;
        while values.recv().await.is_some() {}
    }

    /// Forgets our external addresses, so that what is announced from now on cannot be dialled.
    pub async fn hide_addresses(&self) {
        let _ = self.ask(|reply| Command::HideAddresses { reply }).await;
    }

    /// Opens a raw transfer stream to a connected peer; [`PeerLink`](super::PeerLink) is what speaks on one.
    pub async fn open_stream(&self, peer: PeerId) -> Result<Stream, ConnectError> {
        let opened = self.ask(|reply| Command::OpenStream { peer, reply });
        match tokio::time::timeout(OPEN_TIMEOUT, opened).await {
            Ok(Some(opened)) => opened,
            Ok(None) => Err(ConnectError::Stream("not connected".to_owned())),
            Err(_) => Err(ConnectError::Stream("timed out".to_owned())),
        }
    }

    /// The raw transfer streams that others open, which [`Server`](super::server::Server) otherwise takes. `None` if
    /// somebody else accepts them already.
    pub fn accept_streams(&self) -> Option<IncomingStreams> {
        self.acceptor.accept()
    }

    async fn query_permit(&self) -> OwnedSemaphorePermit {
        self.queries.clone().acquire_owned().await.expect("the semaphore is never closed")
    }

    async fn query(&self, command: impl FnOnce(QueryReply) -> Command) -> Result<(), QueryError> {
        self.ask(command).await.unwrap_or(Err(QueryError::Stopped))
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    }
}

/// Why a node could not be started.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// An address that cannot be listened on.
    #[error("cannot listen on {address}: {reason}; choose another address or stop what uses it")]
    Listen {
        /// The address.
        address: Multiaddr,
        /// What the system said.
        reason: String,
    },
    /// The encrypted transports cannot be set up.
    #[error("cannot set up the transports: {0}")]
    Transport(String),
}
