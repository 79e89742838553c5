//! The peer table: the known peers of a node, with the state of each.
//!
//! ```text
//! discovered ──► connected ──► identified ◄──► transferring
//!      ▲              │             │               │
//!      │              ▼             ▼               ▼
//!      └───────── disconnected ◄────┴───────────────┘
//! ```
//!
//! A new peer is `discovered` or `connected`. A `disconnected` peer can become `discovered` or `connected` again. A
//! peer without a connection becomes `expired` after a while or when the table is full, and is then removed from the
//! table.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::address::{self, MAX_ADDRESSES, Scope};
use crate::metrics::Metrics;
use crate::peer::{PeerEvent, PeerInfo, PeerState, Source};

/// The limit on the peers in the table: twice as many as can be connected.
const MAX_PEERS: usize = 4096;
/// How long a peer stays in the table without a connection.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// At most this many events wait for a receiver. A receiver that falls further behind misses the oldest events.
const EVENT_QUEUE: usize = 256;
/// The agent version of a peer is cut to this many characters.
const MAX_AGENT_LEN: usize = 64;

/// The content of the peer table.
#[derive(Default)]
struct Entries {
    peers: BTreeMap<PeerId, PeerInfo>,
    /// The number of open transfer streams of each peer.
    streams: BTreeMap<PeerId, usize>,
    /// The scope of each connected peer.
    scopes: BTreeMap<PeerId, Scope>,
}

/// The peer table. The event loop and the guards of transfer streams update it.
pub(crate) struct PeerTable {
    entries: Mutex<Entries>,
    events: broadcast::Sender<PeerEvent>,
    metrics: Arc<Metrics>,
}

impl PeerTable {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { entries: Mutex::default(), events: broadcast::Sender::new(EVENT_QUEUE), metrics }
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<PeerEvent> {
        self.events.subscribe()
    }

    /// Returns all peers, sorted by peer id.
    pub(crate) fn all(&self) -> Vec<PeerInfo> {
        self.lock().peers.values().cloned().collect()
    }

    pub(crate) fn get(&self, peer: &PeerId) -> Option<PeerInfo> {
        self.lock().peers.get(peer).cloned()
    }

    /// Returns the known addresses of a peer.
    pub(crate) fn addresses(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.lock().peers.get(peer).map(|info| info.addresses.clone()).unwrap_or_default()
    }

    /// Adds a discovered peer, with addresses that were accepted from its source.
    pub(crate) fn discovered(&self, now: Instant, peer: PeerId, source: Source, addresses: &[Multiaddr]) {
        let mut entries = self.lock();
        let is_new = entries.peers.get(&peer).is_none_or(|info| info.state == PeerState::Disconnected);
        if is_new {
            self.move_to(&mut entries, now, peer, source, PeerState::Discovered);
        }
        entries.add_addresses(peer, addresses);
    }

    /// Returns the scope of a connected peer: the narrowest scope of all connections since the peer was last
    /// disconnected. Returns [`Scope::Public`] if the peer is not connected.
    pub(crate) fn scope_of(&self, peer: &PeerId) -> Scope {
        self.lock().scopes.get(peer).copied().unwrap_or(Scope::Public)
    }

    /// Notes a new connection with a peer. `source` becomes the source of the peer if the peer was not known. `dialled`
    /// is the address at which this node dialled the peer. It becomes the first address of the peer, because it is
    /// known to work.
    pub(crate) fn connected(
        &self,
        now: Instant,
        peer: PeerId,
        source: Source,
        remote: &Multiaddr,
        dialled: Option<Multiaddr>,
    ) {
        let mut entries = self.lock();
        let scope = address::scope_of_connection(remote);
        entries.scopes.entry(peer).and_modify(|held| *held = scope.min(*held)).or_insert(scope);
        let is_connected = entries.peers.get(&peer).is_some_and(|info| info.is_connected());
        if !is_connected {
            self.move_to(&mut entries, now, peer, source, PeerState::Connected);
        }
        if let (Some(address), Some(info)) = (dialled, entries.peers.get_mut(&peer)) {
            info.addresses.retain(|other| *other != address);
            info.addresses.insert(0, address);
            info.addresses.truncate(MAX_ADDRESSES);
        }
    }

    /// Stores the data that identify received from a peer. `addresses` are the addresses that this node accepts from
    /// the peer.
    pub(crate) fn identified(
        &self,
        now: Instant,
        peer: PeerId,
        agent: &str,
        is_dht_server: bool,
        addresses: &[Multiaddr],
    ) {
        let mut entries = self.lock();
        let Some(info) = entries.peers.get_mut(&peer) else { return };
        info.agent = Some(agent.chars().take(MAX_AGENT_LEN).collect());
        info.is_dht_server = is_dht_server;
        if info.state == PeerState::Connected {
            let is_transferring = entries.streams.contains_key(&peer);
            self.move_to(&mut entries, now, peer, Source::Inbound, PeerState::Identified);
            if is_transferring {
                self.move_to(&mut entries, now, peer, Source::Inbound, PeerState::Transferring);
            }
        }
        entries.add_addresses(peer, addresses);
    }

    /// Stores the round-trip time of a ping.
    pub(crate) fn pinged(&self, peer: &PeerId, round_trip: Duration) {
        if let Some(info) = self.lock().peers.get_mut(peer) {
            info.round_trip = Some(round_trip);
        }
    }

    /// Notes that the last connection of a peer has ended.
    pub(crate) fn disconnected(&self, now: Instant, peer: PeerId) {
        let mut entries = self.lock();
        entries.scopes.remove(&peer);
        if let Some(info) = entries.peers.get_mut(&peer) {
            info.round_trip = None;
            self.move_to(&mut entries, now, peer, Source::Inbound, PeerState::Disconnected);
        }
    }

    /// Removes a peer that is no longer announced on the local network, unless the peer is connected.
    pub(crate) fn expire(&self, now: Instant, peer: PeerId) {
        let mut entries = self.lock();
        if entries.peers.get(&peer).is_some_and(|info| !info.is_connected()) {
            self.move_to(&mut entries, now, peer, Source::Inbound, PeerState::Expired);
        }
    }

    /// Removes peers that have been without a connection for [`FORGET_AFTER`].
    pub(crate) fn handle_tick(&self, now: Instant) {
        let mut entries = self.lock();
        let is_old =
            |info: &PeerInfo| !info.is_connected() && now.saturating_duration_since(info.since) >= FORGET_AFTER;
        let old: Vec<_> = entries.peers.values().filter(|info| is_old(info)).map(|info| info.peer).collect();
        for peer in old {
            self.move_to(&mut entries, now, peer, Source::Inbound, PeerState::Expired);
        }
    }

    /// Counts one open transfer stream of `peer` until the returned guard is dropped.
    pub(crate) fn transfer(self: &Arc<Self>, peer: PeerId) -> Transferring {
        let mut entries = self.lock();
        *entries.streams.entry(peer).or_default() += 1;
        if entries.peers.get(&peer).is_some_and(|info| info.state == PeerState::Identified) {
            self.move_to(&mut entries, Instant::now(), peer, Source::Inbound, PeerState::Transferring);
        }
        Transferring { peer, peers: self.clone() }
    }

    fn transfer_ended(&self, peer: PeerId) {
        let mut entries = self.lock();
        let Some(count) = entries.streams.get_mut(&peer) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        entries.streams.remove(&peer);
        if entries.peers.get(&peer).is_some_and(|info| info.state == PeerState::Transferring) {
            self.move_to(&mut entries, Instant::now(), peer, Source::Inbound, PeerState::Identified);
        }
    }

    /// Changes the state of a peer and sends an event. Adds the peer with `source` if it was not known, unless the
    /// table is full of connected peers.
    fn move_to(&self, entries: &mut Entries, now: Instant, peer: PeerId, source: Source, state: PeerState) {
        if !entries.peers.contains_key(&peer) && entries.peers.len() >= MAX_PEERS {
            let oldest = entries.peers.values().filter(|info| !info.is_connected()).min_by_key(|info| info.since);
            let Some(oldest) = oldest.map(|info| info.peer) else { return };
            self.move_to(entries, now, oldest, source, PeerState::Expired);
        }
        let from = entries.peers.get(&peer).map(|info| info.state);
        let info = entries.peers.entry(peer).or_insert_with(|| PeerInfo {
            peer,
            state,
            source,
            addresses: Vec::new(),
            agent: None,
            is_dht_server: false,
            round_trip: None,
            since: now,
        });
        (info.state, info.since) = (state, now);
        let source = info.source;
        if state == PeerState::Expired {
            entries.peers.remove(&peer);
        }
        self.metrics.peer_moved(from, state);
        // Sending fails only if there is no receiver.
        let _ = self.events.send(PeerEvent { peer, state, source });
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().expect("no code panics while it holds the lock on the peers")
    }
}

impl Entries {
    /// Adds addresses to a peer, up to [`MAX_ADDRESSES`].
    fn add_addresses(&mut self, peer: PeerId, addresses: &[Multiaddr]) {
        let Some(info) = self.peers.get_mut(&peer) else { return };
        for address in addresses {
            if info.addresses.len() < MAX_ADDRESSES && !info.addresses.contains(address) {
                info.addresses.push(address.clone());
            }
        }
    }
}

/// A guard that counts one open transfer stream of a peer until it is dropped.
pub(crate) struct Transferring {
    peer: PeerId,
    peers: Arc<PeerTable>,
}

impl Drop for Transferring {
    fn drop(&mut self) {
        self.peers.transfer_ended(self.peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers() -> (Arc<PeerTable>, broadcast::Receiver<PeerEvent>) {
        let peers = Arc::new(PeerTable::new(Arc::new(Metrics::new())));
        let events = peers.subscribe();
        (peers, events)
    }

    fn states(events: &mut broadcast::Receiver<PeerEvent>) -> Vec<PeerState> {
        std::iter::from_fn(|| events.try_recv().ok()).map(|event| event.state).collect()
    }

    #[test]
    fn a_peer_passes_through_its_states() {
        use PeerState::*;
        let ((peers, mut events), peer, now) = (peers(), PeerId::random(), Instant::now());
        let address: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        peers.discovered(now, peer, Source::LocalNetwork, std::slice::from_ref(&address));
        peers.connected(now, peer, Source::Configured, &address, Some(address.clone()));
        peers.connected(now, peer, Source::Configured, &address, None);
        let stream = peers.transfer(peer);
        peers.identified(now, peer, "phase/0.1.0", true, &[]);
        drop(stream);
        let (one, other) = (peers.transfer(peer), peers.transfer(peer));
        drop(one);
        peers.disconnected(now, peer);
        drop(other);
        assert_eq!(peers.all()[0].addresses, [address]);
        assert_eq!(peers.all()[0].source, Source::LocalNetwork);
        peers.handle_tick(now + FORGET_AFTER);
        assert_eq!(
            states(&mut events),
            [Discovered, Connected, Identified, Transferring, Identified, Transferring, Disconnected, Expired]
        );
        assert!(peers.all().is_empty() && peers.lock().streams.is_empty());
    }

    #[test]
    fn the_table_is_bounded_and_keeps_connected_peers() {
        let ((peers, _), connected, now) = (peers(), PeerId::random(), Instant::now());
        peers.connected(now, connected, Source::Inbound, &"/memory/1".parse().unwrap(), None);
        for n in 0..MAX_PEERS as u64 + 10 {
            peers.discovered(now + Duration::from_secs(n), PeerId::random(), Source::Dht, &[]);
        }
        assert_eq!(peers.all().len(), MAX_PEERS);
        assert!(peers.get(&connected).is_some());
    }

    #[test]
    fn a_long_agent_version_and_a_long_list_of_addresses_are_cut() {
        let ((peers, _), peer, now) = (peers(), PeerId::random(), Instant::now());
        peers.connected(now, peer, Source::Inbound, &"/memory/1".parse().unwrap(), None);
        let many: Vec<Multiaddr> = (1..100).map(|n| format!("/ip4/127.0.0.1/tcp/{n}").parse().unwrap()).collect();
        peers.identified(now, peer, &"x".repeat(10_000), false, &many);
        let info = peers.get(&peer).unwrap();
        assert_eq!((info.agent.unwrap().len(), info.addresses.len()), (MAX_AGENT_LEN, MAX_ADDRESSES));
    }
}
