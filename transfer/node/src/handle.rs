//! What the rest of the program can ask of a node.

mod dht;
mod records;

use std::sync::Arc;
use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use phase_core::Name;
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot, watch};

use crate::address::{Scope, believable, without_peer};
use crate::command::Command;
use crate::discovery::dht::query::FoundProvider;
use crate::discovery::first_peers::dial_schedule::MAX_PEERS as MAX_FIRST_PEERS;
use crate::discovery::local_network::releases::{Advert, LocalReleases};
use crate::error::{ConnectError, StreamError};
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::peer::{PeerEvent, PeerInfo, Source};
use crate::peer_table::PeerTable;
use crate::streams::{Acceptor, IncomingStreams, Stream};

pub use records::{CONTACT_INTERVAL, FoundRecord, RecordsError, RefusedRecord};

/// Commands that may wait for the event loop.
pub(crate) const COMMAND_QUEUE: usize = 256;
/// DHT queries in flight: libp2p puts no bound on those of the application.
pub(crate) const MAX_QUERIES: usize = 32;
/// How long opening a stream on an established connection may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// Gives commands to a [`Node`](super::Node); cheap to clone.
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
    pub(crate) looks_around: bool,
}

impl NodeHandle {
    /// Our own peer id.
    pub fn peer_id(&self) -> PeerId {
        self.identity.peer_id()
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The number of connected DHT servers, and a way to wait until it changes.
    pub fn routing_peers(&self) -> watch::Receiver<usize> {
        self.routing.clone()
    }

    /// The peers that are known, and what is known about each.
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.peers.all()
    }

    /// What is known about one peer.
    pub fn peer(&self, peer: &PeerId) -> Option<PeerInfo> {
        self.peers.get(peer)
    }

    /// Connected DHT servers, those first that have been so for longest, and where each can be dialled as far as it may be
    /// believed: whom to name to others, or to ourselves after a restart. Without host names, which may resolve to anything.
    pub fn good_peers(&self) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let mut all = self.peers.all();
        all.retain(|info| info.is_dht_server && info.is_connected());
        all.sort_by_key(|info| info.since);
        let known = all.into_iter().map(|info| (info.peer, believable(info.addresses, self.scope_of(&info.peer))));
        known.filter(|(_, addresses)| !addresses.is_empty()).collect()
    }

    /// What happens to peers from now on. A reader that falls behind misses the oldest events.
    pub fn peer_events(&self) -> broadcast::Receiver<PeerEvent> {
        self.peers.subscribe()
    }

    /// Whether it takes part in the DHT.
    pub fn has_dht(&self) -> bool {
        self.has_dht
    }

    /// Whether peers of the local network are looked for.
    pub fn looks_around(&self) -> bool {
        self.looks_around
    }

    /// Peers of the local network that say they serve a name.
    pub fn local_providers(&self, name: &Name) -> Vec<PeerId> {
        self.local.providers(name)
    }

    /// Tells the local network what we serve, in place of what it was told before.
    pub fn advertise_locally(&self, adverts: Vec<Advert>) {
        self.local.adverts.send_if_modified(|told| {
            let is_new = *told != adverts;
            *told = adverts;
            is_new
        });
    }

    /// What the node has counted, in the text format of Prometheus.
    pub fn metrics(&self) -> String {
        self.metrics.encode()
    }

    /// The addresses the node is bound to.
    pub async fn listen_addresses(&self) -> Vec<Multiaddr> {
        self.ask(|reply| Command::Listening { reply }).await.unwrap_or_default()
    }

    /// The addresses that others are told.
    pub async fn external_addresses(&self) -> Vec<Multiaddr> {
        let told = self.ask(|reply| Command::External { reply }).await.unwrap_or_default();
        told.into_iter().map(without_peer).collect()
    }

    /// Waits until a connection to `peer` is there, dialling `addresses` and those that are known if it is not.
    ///
    /// # Errors
    /// If none of them answers in time.
    pub async fn connect(&self, peer: PeerId, addresses: Vec<Multiaddr>) -> Result<(), ConnectError> {
        self.ask(|reply| Command::Connect { peer, addresses, reply }).await.unwrap_or(Err(ConnectError::Stopped))
    }

    /// The peers that the node was started with to ask directly, each as soon as it is known who it is. One that was given
    /// without an identity, and has not answered yet, is dialled. Ends when each is known or its dial has failed.
    pub async fn given_peers(&self) -> mpsc::Receiver<FoundProvider> {
        let (search, found) = mpsc::channel(MAX_FIRST_PEERS);
        // A stopped node drops the sender, which ends the search.
        self.send(Command::Given { search }).await;
        found
    }

    /// From where a connected peer is seen.
    pub fn scope_of(&self, peer: &PeerId) -> Scope {
        self.peers.scope_of(peer)
    }

    /// The dialable addresses that are known of `peers`.
    pub fn addresses_of(&self, peers: &[PeerId]) -> Vec<(PeerId, Vec<Multiaddr>)> {
        peers.iter().map(|peer| (*peer, self.peers.addresses(peer))).filter(|(_, known)| !known.is_empty()).collect()
    }

    /// Notes a peer that somebody has told us of.
    pub async fn discovered(&self, peer: PeerId, addresses: Vec<Multiaddr>, source: Source) {
        self.send(Command::Discovered { peer, addresses, source }).await;
    }

    /// From now on nobody is told where we are or what we provide: we are about to leave.
    pub async fn hide_addresses(&self) {
        let _ = self.ask(|reply| Command::HideAddresses { reply }).await;
    }

    /// Opens a raw transfer stream to a connected peer; `phase-transfer` is what speaks on one.
    ///
    /// # Errors
    /// If the peer is not connected, or does not serve.
    pub async fn open_stream(&self, peer: PeerId) -> Result<Stream, ConnectError> {
        let opened = self.ask(|reply| Command::OpenStream { peer, reply });
        match tokio::time::timeout(OPEN_TIMEOUT, opened).await {
            Ok(Some(opened)) => opened,
            Ok(None) => Err(ConnectError::Stream(StreamError::NotConnected)),
            Err(_) => Err(ConnectError::Stream(StreamError::Timeout)),
        }
    }

    /// The raw transfer streams that others open, which the server of `phase-transfer` otherwise takes. `None` if
    /// somebody else accepts them already.
    pub fn accept_streams(&self) -> Option<IncomingStreams> {
        self.acceptor.accept()
    }

    /// Sends a command; a node that has stopped drops it.
    pub(crate) async fn send(&self, command: Command) {
        let _ = self.commands.send(command).await;
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    }
}
