//! Our part of the DHT: libp2p's Kademlia behind a guard.
//!
//! ```text
//! commands ──► Behaviour ──► kad::Behaviour ◄──► peers
//!                 │ what peers ask: limits, then Kademlia; their records: validate, then store
//!                 │ what queries find: addresses filtered, searches told
//! ```
//!
//! libp2p answers questions without saying whose they were, so they are looked at before it gets them: what a peer asks
//! beyond its share never reaches Kademlia.

mod config;
mod inbound;
mod limits;
mod messages;
mod outbound;
mod providers;
mod queries;
mod shares;
mod store;
mod validate;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, StreamProtocol, kad};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::address::{self, MAX_ADDRESSES, Scope};
use crate::discovery::dht_config::{DhtConfig, Role};
use crate::metrics::Metrics;
use crate::peer_table::Peers;
use limits::Limiter;
use queries::Queries;
use store::Store;
use validate::Validator;

/// How often deadlines are looked at. Also makes Kademlia look at its own, which it does only when it is polled.
const TICK: Duration = Duration::from_millis(250);

/// What Kademlia tells the Swarm.
type KadOut = ToSwarm<kad::Event, THandlerInEvent<kad::Behaviour<Store>>>;
/// What we tell the Swarm.
type Out = ToSwarm<Infallible, THandlerInEvent<kad::Behaviour<Store>>>;

/// From where a connection of a peer comes.
struct Seen {
    id: ConnectionId,
    scope: Scope,
    subnet: Option<IpAddr>,
}

/// See the module's documentation.
pub(crate) struct Behaviour {
    kad: kad::Behaviour<Store>,
    local: PeerId,
    protocol: StreamProtocol,
    validator: Validator,
    limiter: Limiter,
    queries: Queries,
    /// From where each connection of a peer comes.
    connections: BTreeMap<PeerId, Vec<Seen>>,
    /// The closest scope that any connection has had: addresses closer than that are not dialled on the word of others.
    horizon: Scope,
    /// Connected peers that are DHT servers, and their number for all to see.
    servers: BTreeSet<PeerId>,
    routing: watch::Sender<usize>,
    /// What ends the streams of those that are ignored, when they no longer are: at most 32 of each connection.
    held_back: BTreeMap<PeerId, Vec<(ConnectionId, messages::ToPeer)>>,
    out: VecDeque<Out>,
    tick: Interval,
    collect_interval: Duration,
    collect_at: Instant,
    refresh_interval: Duration,
    /// When the routing table was last refreshed with the help of anybody.
    refreshed_at: Option<Instant>,
    refused: u64,
    peers: Arc<Peers>,
    metrics: Arc<Metrics>,
}

impl Behaviour {
    pub(crate) fn new(
        local: PeerId,
        config: &DhtConfig,
        peers: Arc<Peers>,
        metrics: Arc<Metrics>,
        routing: watch::Sender<usize>,
    ) -> Self {
        let store = Store::new(local, config.store, config.provider_ttl);
        let mut kad = kad::Behaviour::with_config(local, store, config::kademlia(config));
        // Left to itself, libp2p starts as a client and waits for a confirmed external address.
        kad.set_mode(Some(match config.role {
            Role::Server => kad::Mode::Server,
            Role::Client => kad::Mode::Client,
        }));
        let mut tick = tokio::time::interval(TICK.min(config.query_timeout / 4));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            kad,
            local,
            protocol: config.protocol.clone(),
            validator: Validator { roots: config.roots.clone(), clock: config.clock.clone() },
            limiter: Limiter::new(config.limits),
            queries: Queries::new(config.query_timeout),
            connections: BTreeMap::new(),
            horizon: Scope::Public,
            servers: BTreeSet::new(),
            routing,
            held_back: BTreeMap::new(),
            out: VecDeque::new(),
            tick,
            collect_interval: config.collect_interval,
            collect_at: Instant::now() + config.collect_interval,
            refresh_interval: config.refresh_interval,
            refreshed_at: None,
            refused: 0,
            peers,
            metrics,
        }
    }

    /// Whether any DHT server is connected.
    pub(crate) fn is_joined(&self) -> bool {
        !self.servers.is_empty()
    }

    /// Whether our Kademlia is among these.
    pub(crate) fn is_spoken(&self, protocols: &[StreamProtocol]) -> bool {
        protocols.contains(&self.protocol)
    }

    /// A peer speaks our Kademlia, and can be reached there.
    pub(crate) fn handle_server(&mut self, peer: PeerId, addresses: &[Multiaddr]) {
        for address in addresses {
            self.kad.add_address(&peer, address.clone());
        }
        if self.connections.contains_key(&peer) && self.servers.insert(peer) {
            if self.servers.len() == 1 && self.is_refresh_due(Instant::now()) {
                // Fails only if none of its addresses could be used: then it will be tried with the next one.
                let _ = self.kad.bootstrap();
            }
            self.routing.send_replace(self.servers.len());
        }
    }

    /// Whoever is alone only because idle connections were closed knows everybody still. A refresh takes a lookup
    /// for each bucket, and new connections that soon are idle too.
    fn is_refresh_due(&self, now: Instant) -> bool {
        self.refreshed_at.is_none_or(|at| now >= at + self.refresh_interval)
    }

    /// A peer could not be reached: queries under way may have waited for it.
    pub(crate) fn handle_unreachable(&mut self, peer: PeerId, reason: &str) {
        self.queries.handle_unreachable(peer, reason);
    }

    /// From now on announcements carry no addresses, and so withdraw.
    pub(crate) fn hide(&mut self) {
        self.kad.store_mut().hide();
    }

    /// From where a peer is connected.
    fn scope_of(&self, peer: &PeerId) -> Scope {
        let connections = self.connections.get(peer);
        connections.and_then(|all| all.iter().map(|seen| seen.scope).min()).unwrap_or(Scope::Public)
    }

    /// The network in which a peer is connected, if that says anything; `None` if it is not connected.
    fn subnet_of(&self, peer: &PeerId) -> Option<Option<IpAddr>> {
        Some(self.connections.get(peer)?.first()?.subnet)
    }

    /// Passes on what Kademlia says, after a look at it.
    fn handle(&mut self, mut said: KadOut) {
        match &mut said {
            ToSwarm::NotifyHandler { peer_id, event, .. } => {
                if let Some((key, addresses)) = messages::announced(event)
                    && !self.kad.store_mut().provides(key)
                {
                    addresses.clear();
                }
                if let Some(query) = messages::asked_by(event) {
                    self.queries.handle_asked(&query, *peer_id);
                }
            }
            ToSwarm::Dial { opts } => {
                if let Some(peer) = opts.get_peer_id() {
                    self.queries.handle_dialled(peer);
                }
            }
            _ => {}
        }
        match said {
            ToSwarm::GenerateEvent(kad::Event::InboundRequest { request }) => self.handle_record(request),
            ToSwarm::GenerateEvent(event) => self.handle_event(event),
            other => self.out.push_back(other.map_out(|_| unreachable!("events were handled above"))),
        }
    }

    fn handle_tick(&mut self, now: Instant) {
        self.end_expired_queries(now);
        if now >= self.collect_at {
            self.collect_at = now + self.collect_interval;
            self.kad.store_mut().collect(now);
        }
        self.release_held_back(now);
        let stats = self.stats(now);
        self.metrics.set_dht(&stats);
    }

    /// Ends the streams of those that are no longer ignored.
    fn release_held_back(&mut self, now: Instant) {
        for (peer_id, answers) in std::mem::take(&mut self.held_back) {
            if self.limiter.is_ignored(now, &peer_id) {
                self.held_back.insert(peer_id, answers);
                continue;
            }
            self.out.extend(answers.into_iter().map(|(id, event)| {
                let handler = NotifyHandler::One(id);
                ToSwarm::NotifyHandler { peer_id, handler, event }
            }));
        }
    }

    fn handle_established(&mut self, established: &ConnectionEstablished<'_>) {
        let remote = established.endpoint.get_remote_address();
        let scope = address::scope_of_connection(remote);
        self.horizon = self.horizon.min(scope);
        self.queries.handle_reached(&established.peer_id);
        self.connections.entry(established.peer_id).or_default().push(Seen {
            id: established.connection_id,
            scope,
            subnet: address::subnet(remote),
        });
    }

    fn handle_closed(&mut self, closed: &ConnectionClosed<'_>) {
        if let Some(connections) = self.connections.get_mut(&closed.peer_id) {
            connections.retain(|seen| seen.id != closed.connection_id);
        }
        if let Some(answers) = self.held_back.get_mut(&closed.peer_id) {
            answers.retain(|(id, _)| *id != closed.connection_id);
        }
        if closed.remaining_established == 0 {
            self.connections.remove(&closed.peer_id);
            if self.servers.remove(&closed.peer_id) {
                self.routing.send_replace(self.servers.len());
            }
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = <kad::Behaviour<Store> as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.kad.handle_established_inbound_connection(id, peer, local, remote)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.kad.handle_established_outbound_connection(id, peer, address, role, port)
    }

    /// Kademlia adds what queries have heard: whatever peers like to say.
    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let heard = self.kad.handle_pending_outbound_connection(id, peer, addresses, role)?;
        Ok(address::believable(heard, self.horizon))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match &event {
            FromSwarm::ConnectionEstablished(established) => self.handle_established(established),
            FromSwarm::ConnectionClosed(closed) => self.handle_closed(closed),
            _ => {}
        }
        self.kad.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        if let Some((request, nothing)) = messages::asked_of_us(&event)
            && !self.admits(peer, request)
        {
            self.held_back.entry(peer).or_default().extend(nothing.map(|nothing| (id, nothing)));
            return;
        }
        if let Some((query, is_answer)) = messages::answer_to(&event) {
            self.queries.handle_answered(&query, peer, is_answer);
        }
        self.kad.on_connection_handler_event(peer, id, event);
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Out> {
        loop {
            if let Some(out) = self.out.pop_front() {
                return Poll::Ready(out);
            }
            if let Poll::Ready(said) = self.kad.poll(context) {
                self.handle(said);
            } else if self.tick.poll_tick(context).is_ready() {
                self.handle_tick(Instant::now());
            } else {
                return Poll::Pending;
            }
        }
    }
}

/// Addresses that are shown or dialled of what Kademlia knows of a peer.
fn usable(addresses: impl IntoIterator<Item = Multiaddr>, horizon: Scope) -> Vec<Multiaddr> {
    let mut kept = address::believable(addresses.into_iter().map(address::without_peer), horizon);
    kept.truncate(MAX_ADDRESSES);
    kept
}
