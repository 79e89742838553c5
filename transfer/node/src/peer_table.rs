//! The peers a node has heard of, and what happens to each of them.
//!
//! ```text
//! discovered ──► connected ──► identified ◄──► transferring
//!      ▲              │             │               │
//!      │              ▼             ▼               ▼
//!      └───────── disconnected ◄────┴───────────────┘ ──► expired (forgotten)
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::address::{self, MAX_ADDRESSES, Scope};
use crate::metrics::Metrics;
use crate::peer::{PeerEvent, PeerInfo, PeerState, Source};

/// Peers that are remembered: twice as many as can be connected.
const MAX_PEERS: usize = 4096;
/// How long a peer without a connection is remembered.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// Events that may wait for a reader; one that is further behind misses the oldest.
const EVENT_QUEUE: usize = 256;
/// The longest part that is kept of what a peer says its program is, in characters.
const MAX_AGENT_LEN: usize = 64;

#[derive(Default)]
struct Book {
    peers: BTreeMap<PeerId, PeerInfo>,
    /// Open transfer streams.
    streams: BTreeMap<PeerId, usize>,
    /// From where connected peers are seen.
    scopes: BTreeMap<PeerId, Scope>,
}

/// The one owner of what is known about peers. The event loop and the guards of streams tell it what happens.
pub(crate) struct PeerTable {
    book: Mutex<Book>,
    events: broadcast::Sender<PeerEvent>,
    metrics: Arc<Metrics>,
}

impl PeerTable {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { book: Mutex::default(), events: broadcast::Sender::new(EVENT_QUEUE), metrics }
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<PeerEvent> {
        self.events.subscribe()
    }

    /// All of them, by peer id.
    pub(crate) fn all(&self) -> Vec<PeerInfo> {
        self.lock().peers.values().cloned().collect()
    }

    pub(crate) fn get(&self, peer: &PeerId) -> Option<PeerInfo> {
        self.lock().peers.get(peer).cloned()
    }

    pub(crate) fn addresses(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.lock().peers.get(peer).map(|info| info.addresses.clone()).unwrap_or_default()
    }

    /// Somebody told us of a peer, and of addresses that it may be believed.
    pub(crate) fn discovered(&self, now: Instant, peer: PeerId, source: Source, addresses: &[Multiaddr]) {
        let mut book = self.lock();
        let is_new = book.peers.get(&peer).is_none_or(|info| info.state == PeerState::Disconnected);
        if is_new {
            self.move_to(&mut book, now, peer, source, PeerState::Discovered);
        }
        book.remember(peer, addresses);
    }

    /// From where a connected peer is seen: the closest that any connection of its present life came from.
    pub(crate) fn scope_of(&self, peer: &PeerId) -> Scope {
        self.lock().scopes.get(peer).copied().unwrap_or(Scope::Public)
    }

    /// There is a connection. `dialled`: the address it was dialled at, known to work.
    /// `source` counts if nobody has told us of it before.
    pub(crate) fn connected(
        &self,
        now: Instant,
        peer: PeerId,
        source: Source,
        remote: &Multiaddr,
        dialled: Option<Multiaddr>,
    ) {
        let mut book = self.lock();
        let scope = address::scope_of_connection(remote);
        book.scopes.entry(peer).and_modify(|held| *held = scope.min(*held)).or_insert(scope);
        let is_connected = book.peers.get(&peer).is_some_and(|info| info.is_connected());
        if !is_connected {
            self.move_to(&mut book, now, peer, source, PeerState::Connected);
        }
        if let (Some(address), Some(info)) = (dialled, book.peers.get_mut(&peer)) {
            info.addresses.retain(|other| *other != address);
            info.addresses.insert(0, address);
            info.addresses.truncate(MAX_ADDRESSES);
        }
    }

    /// It has said who it is.
    pub(crate) fn identified(
        &self,
        now: Instant,
        peer: PeerId,
        agent: &str,
        is_dht_server: bool,
        addresses: &[Multiaddr],
    ) {
        let mut book = self.lock();
        let Some(info) = book.peers.get_mut(&peer) else { return };
        info.agent = Some(agent.chars().take(MAX_AGENT_LEN).collect());
        info.is_dht_server = is_dht_server;
        if info.state == PeerState::Connected {
            let is_transferring = book.streams.contains_key(&peer);
            self.move_to(&mut book, now, peer, Source::Inbound, PeerState::Identified);
            if is_transferring {
                self.move_to(&mut book, now, peer, Source::Inbound, PeerState::Transferring);
            }
        }
        book.remember(peer, addresses);
    }

    /// A ping came back.
    pub(crate) fn pinged(&self, peer: &PeerId, round_trip: Duration) {
        if let Some(info) = self.lock().peers.get_mut(peer) {
            info.round_trip = Some(round_trip);
        }
    }

    /// The last connection has ended.
    pub(crate) fn disconnected(&self, now: Instant, peer: PeerId) {
        let mut book = self.lock();
        book.scopes.remove(&peer);
        if let Some(info) = book.peers.get_mut(&peer) {
            info.round_trip = None;
            self.move_to(&mut book, now, peer, Source::Inbound, PeerState::Disconnected);
        }
    }

    /// A local network has lost sight of a peer, or it has not been heard of for long.
    pub(crate) fn expire(&self, now: Instant, peer: PeerId) {
        let mut book = self.lock();
        if book.peers.get(&peer).is_some_and(|info| !info.is_connected()) {
            self.move_to(&mut book, now, peer, Source::Inbound, PeerState::Expired);
        }
    }

    /// Forgets those that have had no connection for long.
    pub(crate) fn handle_tick(&self, now: Instant) {
        let mut book = self.lock();
        let is_old =
            |info: &PeerInfo| !info.is_connected() && now.saturating_duration_since(info.since) >= FORGET_AFTER;
        let old: Vec<_> = book.peers.values().filter(|info| is_old(info)).map(|info| info.peer).collect();
        for peer in old {
            self.move_to(&mut book, now, peer, Source::Inbound, PeerState::Expired);
        }
    }

    /// A transfer stream is open until the guard is dropped.
    pub(crate) fn transfer(self: &Arc<Self>, peer: PeerId) -> Transferring {
        let mut book = self.lock();
        *book.streams.entry(peer).or_default() += 1;
        if book.peers.get(&peer).is_some_and(|info| info.state == PeerState::Identified) {
            self.move_to(&mut book, Instant::now(), peer, Source::Inbound, PeerState::Transferring);
        }
        Transferring { peer, peers: self.clone() }
    }

    fn transfer_ended(&self, peer: PeerId) {
        let mut book = self.lock();
        let Some(count) = book.streams.get_mut(&peer) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        book.streams.remove(&peer);
        if book.peers.get(&peer).is_some_and(|info| info.state == PeerState::Transferring) {
            self.move_to(&mut book, Instant::now(), peer, Source::Inbound, PeerState::Identified);
        }
    }

    /// Changes the state of a peer, which is made known if it was not (`source` says by whom).
    fn move_to(&self, book: &mut Book, now: Instant, peer: PeerId, source: Source, state: PeerState) {
        if !book.peers.contains_key(&peer) && book.peers.len() >= MAX_PEERS {
            let oldest = book.peers.values().filter(|info| !info.is_connected()).min_by_key(|info| info.since);
            let Some(oldest) = oldest.map(|info| info.peer) else { return };
            self.move_to(book, now, oldest, source, PeerState::Expired);
        }
        let from = book.peers.get(&peer).map(|info| info.state);
        let info = book.peers.entry(peer).or_insert_with(|| PeerInfo {
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
            book.peers.remove(&peer);
        }
        self.metrics.peer_moved(from, state);
        // Nobody need listen.
        let _ = self.events.send(PeerEvent { peer, state, source });
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no code panics while it holds the book")
    }
}

impl Book {
    /// Notes how a peer can be reached, while there is room for it.
    fn remember(&mut self, peer: PeerId, addresses: &[Multiaddr]) {
        let Some(info) = self.peers.get_mut(&peer) else { return };
        for address in addresses {
            if info.addresses.len() < MAX_ADDRESSES && !info.addresses.contains(address) {
                info.addresses.push(address.clone());
            }
        }
    }
}

/// A transfer stream is open as long as this lives.
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
    fn a_life_of_a_peer() {
        use PeerState::*;
        let ((peers, mut events), peer, now) = (peers(), PeerId::random(), Instant::now());
        let address: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        peers.discovered(now, peer, Source::LocalNetwork, std::slice::from_ref(&address));
        peers.connected(now, peer, Source::Given, &address, Some(address.clone()));
        peers.connected(now, peer, Source::Given, &address, None);
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
    fn memory_is_bounded_and_the_connected_stay() {
        let ((peers, _), connected, now) = (peers(), PeerId::random(), Instant::now());
        peers.connected(now, connected, Source::Inbound, &"/memory/1".parse().unwrap(), None);
        for n in 0..MAX_PEERS as u64 + 10 {
            peers.discovered(now + Duration::from_secs(n), PeerId::random(), Source::Dht, &[]);
        }
        assert_eq!(peers.all().len(), MAX_PEERS);
        assert!(peers.get(&connected).is_some());
    }

    #[test]
    fn what_a_peer_says_about_itself_is_cut() {
        let ((peers, _), peer, now) = (peers(), PeerId::random(), Instant::now());
        peers.connected(now, peer, Source::Inbound, &"/memory/1".parse().unwrap(), None);
        let many: Vec<Multiaddr> = (1..100).map(|n| format!("/ip4/127.0.0.1/tcp/{n}").parse().unwrap()).collect();
        peers.identified(now, peer, &"x".repeat(10_000), false, &many);
        let info = peers.get(&peer).unwrap();
        assert_eq!((info.agent.unwrap().len(), info.addresses.len()), (MAX_AGENT_LEN, MAX_ADDRESSES));
    }
}
