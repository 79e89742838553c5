//! The handle of a node, through which the rest of the program uses the node.

mod dht;
mod records;

use std::sync::Arc;
use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use phase_core::Name;
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot, watch};

use crate::address::{Scope, believable, without_peer};
use crate::command::Command;
use crate::discovery::bootstrap::dial_schedule::MAX_PEERS as MAX_SCHEDULED_PEERS;
use crate::discovery::dht::query::FoundProvider;
use crate::discovery::local_network::releases::{Advert, LocalReleases};
use crate::error::{ConnectError, StreamError};
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::peer::{PeerEvent, PeerInfo, Source};
use crate::peer_table::PeerTable;
use crate::streams::{Acceptor, IncomingStreams, Stream};

pub use records::{CONTACT_INTERVAL, FoundRecord, RecordsError, RefusedRecord};

/// The length of the queue of commands to the event loop.
pub(crate) const COMMAND_QUEUE: usize = 256;
/// The limit on concurrent DHT queries of one node. It is needed because libp2p does not limit the queries of an
/// application.
pub(crate) const MAX_QUERIES: usize = 32;
/// How long opening a stream on an established connection may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// A handle of a [`Node`](super::Node): sends commands to its event loop and reads its state. Cheap to clone.
#[derive(Clone)]
pub struct NodeHandle {
    pub(crate) identity: Identity,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) acceptor: Acceptor,
    pub(crate) routing: watch::Receiver<usize>,
    pub(crate) queries: Arc<Semaphore>,
    pub(crate) peers: Arc<PeerTable>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) local: LocalReleases,
    pub(crate) has_dht: bool,
    pub(crate) searches_local_network: bool,
}

impl NodeHandle {
    /// Returns the peer id of this node.
    pub fn peer_id(&self) -> PeerId {
        self.identity.peer_id()
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns a receiver of the number of connected DHT servers.
    pub fn routing_peers(&self) -> watch::Receiver<usize> {
        self.routing.clone()
    }

    /// Returns all peers in the peer table, sorted by peer id.
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.peers.all()
    }

    /// Returns the entry of a peer in the peer table, or `None` if the peer is unknown.
    pub fn peer(&self, peer: &PeerId) -> Option<PeerInfo> {
        self.peers.get(peer)
    }

    /// Returns the connected DHT servers with the addresses that this node accepts from them. They are used in peer
    /// lists and at the next start of this node. The server that entered its current state first comes first. Host
    /// names are left out, because they may resolve to any address.
    pub fn connected_dht_servers(&self) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let mut all = self.peers.all();
        all.retain(|info| info.is_dht_server && info.is_connected());
        all.sort_by_key(|info| info.since);
        let known = all.into_iter().map(|info| (info.peer, believable(info.addresses, self.scope_of(&info.peer))));
        known.filter(|(_, addresses)| !addresses.is_empty()).collect()
    }

    /// Returns a receiver of the peer events from now on. A receiver that falls behind misses the oldest events.
    pub fn peer_events(&self) -> broadcast::Receiver<PeerEvent> {
        self.peers.subscribe()
    }

    /// Returns whether the node takes part in the DHT.
    pub fn has_dht(&self) -> bool {
        self.has_dht
    }

    /// Returns whether the node looks for peers on the local network.
    pub fn searches_local_network(&self) -> bool {
        self.searches_local_network
    }

    /// Returns the peers that announce on the local network that they serve `name`.
    pub fn local_providers(&self, name: &Name) -> Vec<PeerId> {
        self.local.providers(name)
    }

    /// Announces `adverts` to the local network. They replace the adverts of the previous call.
    pub fn advertise_locally(&self, adverts: Vec<Advert>) {
        self.local.adverts.send_if_modified(|announced| {
            let is_new = *announced != adverts;
            *announced = adverts;
            is_new
        });
    }

    /// Returns the metrics of the node in the OpenMetrics text format, for Prometheus.
    pub fn metrics(&self) -> String {
        self.metrics.encode()
    }

    /// Returns the addresses that the node has bound. The list is empty if the node has been stopped.
    pub async fn listen_addresses(&self) -> Vec<Multiaddr> {
        self.ask(|reply| Command::Listening { reply }).await.unwrap_or_default()
    }

    /// Returns the addresses that the node advertises, without its peer id. The list is empty if the node has been
    /// stopped.
    pub async fn external_addresses(&self) -> Vec<Multiaddr> {
        let external = self.ask(|reply| Command::External { reply }).await.unwrap_or_default();
        external.into_iter().map(without_peer).collect()
    }

    /// Connects to `peer` unless it is already connected. Dials `addresses` and the addresses of the peer in the peer
    /// table, and waits for a connection.
    ///
    /// # Errors
    /// If no address is known, no dial succeeds, or 10 s have passed.
    pub async fn connect(&self, peer: PeerId, addresses: Vec<Multiaddr>) -> Result<(), ConnectError> {
        self.ask(|reply| Command::Connect { peer, addresses, reply }).await.unwrap_or(Err(ConnectError::Stopped))
    }

    /// Returns a receiver of the configured peers. Each peer is sent as soon as its peer id is known. If an address was
    /// configured without a peer id, the node dials the address to learn the peer id. The channel ends when every
    /// configured peer has been sent or its dial has failed.
    pub async fn configured_peers(&self) -> mpsc::Receiver<FoundProvider> {
        let (search, found) = mpsc::channel(MAX_SCHEDULED_PEERS);
        // If the node has been stopped, the sender is dropped, which ends the channel.
        self.send(Command::FindConfigured { search }).await;
        found
    }

    /// Returns the scope of a connected peer: the narrowest scope of all connections since the peer was last
    /// disconnected. Returns [`Scope::Public`] if the peer is not connected.
    pub fn scope_of(&self, peer: &PeerId) -> Scope {
        self.peers.scope_of(peer)
    }

    /// Returns the addresses of `peers` in the peer table. Leaves out peers without addresses.
    pub fn addresses_of(&self, peers: &[PeerId]) -> Vec<(PeerId, Vec<Multiaddr>)> {
        peers.iter().map(|peer| (*peer, self.peers.addresses(peer))).filter(|(_, known)| !known.is_empty()).collect()
    }

    /// Adds a discovered peer to the peer table.
    pub async fn discovered(&self, peer: PeerId, addresses: Vec<Multiaddr>, source: Source) {
        self.send(Command::Discovered { peer, addresses, source }).await;
    }

    /// Stops advertising the addresses of this node. From now on, it sends provider records without addresses, and such
    /// a record withdraws its key. To be called before the node stops.
    pub async fn hide_addresses(&self) {
        let _ = self.ask(|reply| Command::HideAddresses { reply }).await;
    }

    /// Opens a transfer stream to a connected peer. The crate `phase-transfer` implements the protocol on the stream.
    ///
    /// # Errors
    /// If the peer is not connected, does not accept transfer streams, or does not answer within 5 s.
    pub async fn open_stream(&self, peer: PeerId) -> Result<Stream, ConnectError> {
        let opened = self.ask(|reply| Command::OpenStream { peer, reply });
        match tokio::time::timeout(OPEN_TIMEOUT, opened).await {
            Ok(Some(opened)) => opened,
            Ok(None) => Err(ConnectError::Stream(StreamError::NotConnected)),
            Err(_) => Err(ConnectError::Stream(StreamError::Timeout)),
        }
    }

    /// Returns a receiver of the transfer streams that peers open. Returns `None` if there is already a receiver, for
    /// instance in the server of `phase-transfer`.
    pub fn accept_streams(&self) -> Option<IncomingStreams> {
        self.acceptor.accept()
    }

    /// Sends a command. Has no effect if the node has been stopped.
    pub(crate) async fn send(&self, command: Command) {
        let _ = self.commands.send(command).await;
    }

    /// Sends a command and waits for its reply. Returns `None` if the node has been stopped or has dropped the reply.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    }
}
