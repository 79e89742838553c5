//! The network behaviour. Wraps libp2p's Kademlia and puts [`Inbound`] and [`Outbound`] between Kademlia and the peers.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
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
use phase_core::Cause;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::address;
use crate::discovery::dht::command::DhtCommand;
use crate::discovery::dht::config::{DhtConfig, Role};
use crate::discovery::dht::kademlia::connections::Connections;
use crate::discovery::dht::kademlia::inbound::Inbound;
use crate::discovery::dht::kademlia::messages;
use crate::discovery::dht::kademlia::outbound::Outbound;
use crate::discovery::dht::kademlia::settings;
use crate::discovery::dht::kademlia::store::{Kademlia, Store};
use crate::discovery::dht::query::RoutingPeer;
use crate::metrics::{DhtStats, Metrics};
use crate::peer_table::PeerTable;

/// The interval between two checks of deadlines. Each check also polls Kademlia, because Kademlia checks its own
/// deadlines only when it is polled.
const TICK: Duration = Duration::from_millis(250);

/// A message from Kademlia to the Swarm, which [`Behaviour`] intercepts.
type KadOut = ToSwarm<kad::Event, THandlerInEvent<Kademlia>>;
/// A message from [`Behaviour`] to the Swarm.
type Out = ToSwarm<Infallible, THandlerInEvent<Kademlia>>;

/// The network behaviour of this node's part of the DHT, see the [parent module](super).
pub(crate) struct Behaviour {
    kad: Kademlia,
    protocol: StreamProtocol,
    inbound: Inbound,
    outbound: Outbound,
    connections: Connections,
    /// The connected peers that are DHT servers.
    servers: BTreeSet<PeerId>,
    /// Publishes the number of connected DHT servers to the rest of the node.
    routing: watch::Sender<usize>,
    out: VecDeque<Out>,
    tick: Interval,
    collect_interval: Duration,
    collect_at: Instant,
    metrics: Arc<Metrics>,
}

impl Behaviour {
    pub(crate) fn new(
        local: PeerId,
        config: &DhtConfig,
        peers: Arc<PeerTable>,
        metrics: Arc<Metrics>,
        routing: watch::Sender<usize>,
    ) -> Self {
        let store = Store::new(local, config.store, config.provider_ttl);
        let mut kad = kad::Behaviour::with_config(local, store, settings::kademlia(config));
        // Without this call, libp2p starts in client mode and waits for a confirmed external address.
        kad.set_mode(Some(match config.role {
            Role::Server => kad::Mode::Server,
            Role::Client => kad::Mode::Client,
        }));
        let mut tick = tokio::time::interval(TICK.min(config.query_timeout / 4));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            kad,
            protocol: config.protocol.clone(),
            inbound: Inbound::new(config, metrics.clone()),
            outbound: Outbound::new(local, config, peers, metrics.clone()),
            connections: Connections::new(),
            servers: BTreeSet::new(),
            routing,
            out: VecDeque::new(),
            tick,
            collect_interval: config.collect_interval,
            collect_at: Instant::now() + config.collect_interval,
            metrics,
        }
    }

    /// Returns whether this node is connected to any DHT server.
    pub(crate) fn is_joined(&self) -> bool {
        !self.servers.is_empty()
    }

    /// Returns whether `protocols`, which a peer speaks, contains the Kademlia protocol of this network.
    pub(crate) fn is_spoken(&self, protocols: &[StreamProtocol]) -> bool {
        protocols.contains(&self.protocol)
    }

    /// Executes a command from the node handle.
    pub(crate) fn command(&mut self, now: Instant, command: DhtCommand) {
        match command {
            DhtCommand::Query(query, permit) => self.outbound.start(now, &mut self.kad, query, permit),
            DhtCommand::Routing { reply } => {
                let _ = reply.send(self.routing_table());
            }
            DhtCommand::Stats { reply } => {
                let _ = reply.send(self.stats(now));
            }
        }
    }

    /// Adds a DHT server of this network to the routing table and, if it is connected, to the connected DHT servers.
    pub(crate) fn handle_server(&mut self, peer: PeerId, addresses: &[Multiaddr]) {
        for address in addresses {
            self.kad.add_address(&peer, address.clone());
        }
        if self.connections.is_connected(&peer) && self.servers.insert(peer) {
            if self.servers.len() == 1 {
                self.outbound.handle_joined(Instant::now(), &mut self.kad);
            }
            self.routing.send_replace(self.servers.len());
        }
    }

    /// Notes in every running query that `peer` could not be reached, because Kademlia does not report which query
    /// needed the peer.
    pub(crate) fn handle_unreachable(&mut self, peer: PeerId, causes: &[Cause]) {
        self.outbound.queries.handle_unreachable(peer, causes);
    }

    /// Makes this node send all further provider records without addresses, so that they withdraw the keys instead of
    /// providing them.
    pub(crate) fn hide(&mut self) {
        self.kad.store_mut().hide();
    }

    /// Handles a message from Kademlia. An event is handled in this module. The Swarm receives every message that is
    /// not an event.
    fn handle(&mut self, mut message: KadOut) {
        match &mut message {
            ToSwarm::NotifyHandler { peer_id, event, .. } => {
                if let Some((key, addresses)) = messages::provider_announcement(event)
                    && !self.kad.store_mut().provides(key)
                {
                    addresses.clear();
                }
                if let Some(query) = messages::query_of_request(event) {
                    self.outbound.queries.handle_asked(&query, *peer_id);
                }
            }
            ToSwarm::Dial { opts } => {
                if let Some(peer) = opts.get_peer_id() {
                    self.outbound.queries.handle_dialled(peer);
                }
            }
            _ => {}
        }
        match message {
            ToSwarm::GenerateEvent(kad::Event::InboundRequest { request }) => {
                self.inbound.handle_record(&self.connections, self.kad.store_mut(), request);
            }
            ToSwarm::GenerateEvent(event) => {
                self.outbound.handle_event(&mut self.kad, &self.connections, event);
                self.out.extend(self.outbound.take_dials().into_iter().map(|opts| ToSwarm::Dial { opts }));
            }
            other => self.out.push_back(other.map_out(|_| unreachable!("events are handled above"))),
        }
    }

    fn handle_tick(&mut self, now: Instant) {
        self.outbound.end_expired(now, &mut self.kad);
        if now >= self.collect_at {
            self.collect_at = now + self.collect_interval;
            self.kad.store_mut().collect(now);
        }
        let released = self.inbound.take_released(now);
        self.out.extend(released.into_iter().map(|(peer_id, id, event)| {
            let handler = NotifyHandler::One(id);
            ToSwarm::NotifyHandler { peer_id, handler, event }
        }));
        let stats = self.stats(now);
        self.metrics.set_dht(&stats);
    }

    fn handle_established(&mut self, established: &ConnectionEstablished<'_>) {
        self.connections.handle_established(established);
        self.outbound.queries.handle_reached(&established.peer_id);
    }

    fn handle_closed(&mut self, closed: &ConnectionClosed<'_>) {
        self.connections.handle_closed(closed);
        self.inbound.handle_closed(&closed.peer_id, closed.connection_id);
        if closed.remaining_established == 0 && self.servers.remove(&closed.peer_id) {
            self.routing.send_replace(self.servers.len());
        }
    }

    fn routing_table(&mut self) -> Vec<RoutingPeer> {
        let buckets = self.kad.kbuckets();
        let peers = buckets.flat_map(|bucket| {
            let number = bucket.range().0.ilog2().unwrap_or(0);
            let peers = bucket.iter().map(move |entry| RoutingPeer {
                peer: *entry.node.key.preimage(),
                addresses: entry.node.value.iter().cloned().map(address::without_peer).collect(),
                is_connected: entry.status == kad::NodeStatus::Connected,
                bucket: number,
            });
            peers.collect::<Vec<_>>()
        });
        peers.collect()
    }

    fn stats(&mut self, now: Instant) -> DhtStats {
        let counts = self.kad.store_mut().counts();
        DhtStats {
            is_server: self.kad.mode() == kad::Mode::Server,
            routing_peers: self.kad.kbuckets().map(|bucket| bucket.num_entries()).sum(),
            connected_peers: self.servers.len(),
            own_values: counts.own_values,
            own_provided: counts.own_provided,
            values: counts.values,
            providers: counts.providers,
            refused: self.inbound.refused(),
            ignored_peers: self.inbound.ignored(now),
            queries: self.kad.iter_queries().count(),
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

    /// Returns the addresses of `peer` that Kademlia knows from its queries and its routing table. Filters these
    /// addresses, because hostile peers may have invented them.
    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let known = self.kad.handle_pending_outbound_connection(id, peer, addresses, role)?;
        Ok(self.connections.believable(known))
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
        if !self.inbound.admits(Instant::now(), peer, id, &event) {
            return;
        }
        if let Some((query, is_answer)) = messages::query_of_reply(&event) {
            self.outbound.queries.handle_answered(&query, peer, is_answer);
        }
        self.kad.on_connection_handler_event(peer, id, event);
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Out> {
        loop {
            if let Some(out) = self.out.pop_front() {
                return Poll::Ready(out);
            }
            if let Poll::Ready(message) = self.kad.poll(context) {
                self.handle(message);
            } else if self.tick.poll_tick(context).is_ready() {
                self.handle_tick(Instant::now());
            } else {
                return Poll::Pending;
            }
        }
    }
}
