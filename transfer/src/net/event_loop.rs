//! The event loop: it owns the Swarm and does only what needs the Swarm.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use libp2p::core::ConnectedPoint;
use libp2p::core::transport::ListenerId;
use libp2p::kad::store::RecordStore as _;
use libp2p::kad::{self, QueryId, Quorum, Record, RecordKey};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{DialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, identify};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::behaviour::{Behaviour, BehaviourEvent, KAD_PROTOCOL};
use super::bootstrap::BootstrapPeer;
use super::command::{CONNECT_TIMEOUT, Command, ConnectError, QueryError, root_cause};
use super::queries::{Queries, Sink, outcome};
use super::records::{self, ProviderVerdict};

/// How often deadlines are looked at. Also makes Kademlia look at its own.
const TICK: Duration = Duration::from_millis(500);
/// How long to wait before bootstrap peers are dialled again while nobody is connected; doubles up to the maximum.
const REDIAL_MIN: Duration = Duration::from_secs(1);
/// The longest wait between dials of the bootstrap peers.
const REDIAL_MAX: Duration = Duration::from_secs(60);
/// How long closing all connections at the end may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the last packets may take to leave.
const CLOSE_DELAY: Duration = Duration::from_millis(50);
/// Addresses remembered of one peer: identify may send any number.
const MAX_ADDRESSES: usize = 8;

/// Somebody who waits for a connection.
struct Waiter {
    reply: oneshot::Sender<Result<(), ConnectError>>,
    deadline: Instant,
}

/// What the node listens on.
pub(super) struct Listeners {
    pub(super) ids: Vec<ListenerId>,
    /// Whether an unspecified address such as 0.0.0.0 was asked for.
    pub(super) wildcard: bool,
}

/// Owns the Swarm. Everything else talks to it through [`Command`]s.
pub(super) struct EventLoop {
    swarm: Swarm<Behaviour>,
    commands: mpsc::Receiver<Command>,
    bootstrap: Vec<BootstrapPeer>,
    redial_at: Instant,
    redial_wait: Duration,
    queries: Queries,
    waiters: BTreeMap<PeerId, Vec<Waiter>>,
    /// Dialable addresses that connected peers have told through identify.
    addresses: BTreeMap<PeerId, Vec<Multiaddr>>,
    /// The number of DHT nodes we are connected with.
    routing: watch::Sender<usize>,
    /// Connected peers that speak our Kademlia.
    dht_peers: BTreeSet<PeerId>,
    listeners: Listeners,
    /// Set by a shutdown: no new external addresses.
    hidden: bool,
}

impl EventLoop {
    pub(super) fn new(
        swarm: Swarm<Behaviour>,
        commands: mpsc::Receiver<Command>,
        listeners: Listeners,
        bootstrap: Vec<BootstrapPeer>,
        routing: watch::Sender<usize>,
    ) -> Self {
        Self {
            swarm,
            commands,
            bootstrap,
            redial_at: Instant::now(),
            redial_wait: REDIAL_MIN,
            queries: Queries::default(),
            waiters: BTreeMap::new(),
            addresses: BTreeMap::new(),
            routing,
            dht_peers: BTreeSet::new(),
            listeners,
            hidden: false,
        }
    }

    /// Runs until it is told to stop.
    pub(super) async fn run(mut self) {
        let bound: Vec<_> = self.swarm.listeners().cloned().collect();
        for address in bound {
            self.handle_listening(address);
        }
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.handle_event(event),
                command = self.commands.recv() => match command {
                    Some(Command::Stop) | None => break,
                    Some(command) => self.handle_command(command),
                },
                _ = tick.tick() => self.handle_tick(Instant::now()),
            }
        }
        self.close().await;
    }

    /// Says goodbye: without it, peers on QUIC would wait for us until a timeout tells.
    async fn close(mut self) {
        for listener in std::mem::take(&mut self.listeners.ids) {
            self.swarm.remove_listener(listener);
        }
        let connected: Vec<_> = self.swarm.connected_peers().copied().collect();
        if connected.is_empty() {
            return;
        }
        for peer in connected {
            // Fails only if it has gone meanwhile.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let closing = async {
            while self.swarm.network_info().num_peers() > 0 {
                // Dials that were under way.
                if let SwarmEvent::ConnectionEstablished { connection_id, .. } = self.swarm.select_next_some().await {
                    self.swarm.close_connection(connection_id);
                }
            }
            // QUIC says that a connection is closed before it has told the peer.
            tokio::time::sleep(CLOSE_DELAY).await;
        };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
    }

    fn handle_tick(&mut self, now: Instant) {
        for id in self.queries.expire(now) {
            self.finish_in_kademlia(&id);
        }
        for waiters in self.waiters.values_mut() {
            for late in waiters.extract_if(.., |waiter| waiter.deadline <= now) {
                let _ = late.reply.send(Err(ConnectError::Timeout));
            }
        }
        self.waiters.retain(|_, waiters| !waiters.is_empty());
        if !self.hidden && self.swarm.external_addresses().next().is_none() {
            // A machine without a network, or one on which everything is tried out.
            let bound: Vec<_> = self.swarm.listeners().cloned().collect();
            bound.into_iter().for_each(|address| self.swarm.add_external_address(address));
        }
        if self.dht_peers.is_empty() && now >= self.redial_at {
            self.redial_at = now + self.redial_wait;
            self.redial_wait = (self.redial_wait * 2).min(REDIAL_MAX);
            self.dial_bootstrap();
        }
    }

    fn dial_bootstrap(&mut self) {
        for BootstrapPeer { peer, address } in self.bootstrap.clone() {
            let dial = match peer {
                Some(peer) if peer == *self.swarm.local_peer_id() => continue,
                Some(peer) => DialOpts::peer_id(peer)
                    .condition(PeerCondition::DisconnectedAndNotDialing)
                    .addresses(vec![address.clone()])
                    .build(),
                None => DialOpts::unknown_peer_id().address(address.clone()).build(),
            };
            match self.swarm.dial(dial) {
                Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => {}
                Err(error) => tracing::debug!(%address, %error, "cannot dial bootstrap peer"),
            }
        }
    }

    fn handle_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Kad(event)) => self.handle_kad(event),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. })) => {
                self.handle_identified(peer_id, info);
            }
            SwarmEvent::NewListenAddr { address, .. } => self.handle_listening(address),
            SwarmEvent::ExpiredListenAddr { address, .. } => self.swarm.remove_external_address(&address),
            SwarmEvent::ConnectionEstablished { peer_id, endpoint, .. } => {
                let address = endpoint.get_remote_address();
                tracing::debug!(peer = %peer_id, %address, "connected");
                if let ConnectedPoint::Dialer { address, .. } = &endpoint {
                    // Known to work, which what identify tells is not.
                    let (known, address) = (self.addresses.entry(peer_id).or_default(), without_peer(address.clone()));
                    known.retain(|other| *other != address);
                    known.insert(0, address);
                    known.truncate(MAX_ADDRESSES);
                }
                for waiter in self.waiters.remove(&peer_id).unwrap_or_default() {
                    let _ = waiter.reply.send(Ok(()));
                }
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, cause, .. } => {
                tracing::debug!(peer = %peer_id, cause = ?cause.map(|c| c.to_string()), "disconnected");
                self.addresses.remove(&peer_id);
                if self.dht_peers.remove(&peer_id) {
                    self.redial_at = Instant::now();
                    self.routing.send_replace(self.dht_peers.len());
                }
            }
            SwarmEvent::OutgoingConnectionError { peer_id, error, .. } => self.handle_dial_error(peer_id, &error),
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "listener failed"),
            SwarmEvent::ListenerClosed { addresses, reason: Err(error), .. } => {
                tracing::warn!(?addresses, %error, "no longer listening");
            }
            _ => {}
        }
    }

    /// What we listen on is what we advertise. The loopback addresses of a wildcard are held back: they mean another
    /// machine to everybody else. They are used only where there is nothing else, see [`Self::handle_tick`].
    fn handle_listening(&mut self, address: Multiaddr) {
        tracing::info!(%address, "listening");
        let is_held_back = self.listeners.wildcard && is_loopback(&address);
        if !self.hidden && !is_held_back {
            self.swarm.add_external_address(address);
        }
    }

    fn handle_dial_error(&mut self, peer: Option<PeerId>, error: &DialError) {
        tracing::debug!(?peer, %error, "dial failed");
        let Some(peer) = peer else { return };
        if self.swarm.is_connected(&peer) {
            return;
        }
        let reason = match error {
            DialError::NoAddresses => ConnectError::NoAddress,
            DialError::Transport(tried) => {
                let tried = tried.iter().map(|(address, error)| format!("{address}: {}", root_cause(error)));
                ConnectError::Unreachable(tried.collect::<Vec<_>>().join("; "))
            }
            other => ConnectError::Unreachable(other.to_string()),
        };
        for waiter in self.waiters.remove(&peer).unwrap_or_default() {
            let _ = waiter.reply.send(Err(reason.clone()));
        }
    }

    /// Notes how a connected peer can be reached, while there is room for it.
    fn remember(&mut self, peer: PeerId, address: Multiaddr) {
        let (known, address) = (self.addresses.entry(peer).or_default(), without_peer(address));
        if known.len() < MAX_ADDRESSES && !known.contains(&address) {
            known.push(address);
        }
    }

    fn handle_identified(&mut self, peer: PeerId, info: identify::Info) {
        for address in info.listen_addrs.into_iter().filter(records::is_dialable) {
            self.remember(peer, address);
        }
        if !info.protocols.contains(&KAD_PROTOCOL) {
            return;
        }
        for address in self.addresses.get(&peer).cloned().unwrap_or_default() {
            self.swarm.behaviour_mut().kad.add_address(&peer, address);
        }
        if self.dht_peers.insert(peer) {
            self.redial_wait = REDIAL_MIN;
            if self.dht_peers.len() == 1 {
                // Cannot fail: the peer has just been added.
                let _ = self.swarm.behaviour_mut().kad.bootstrap();
            }
            self.routing.send_replace(self.dht_peers.len());
        }
    }

    fn handle_kad(&mut self, event: kad::Event) {
        match event {
            kad::Event::OutboundQueryProgressed { id, result, step, .. } => {
                let outcome = outcome(&result);
                self.handle_results(&id, result);
                if step.last {
                    self.queries.finish(&id, outcome);
                }
            }
            kad::Event::InboundRequest { request: kad::InboundRequest::AddProvider { record: Some(record) } } => {
                self.handle_provider(record);
            }
            kad::Event::InboundRequest { request: kad::InboundRequest::PutRecord { record: Some(record), .. } } => {
                let store = self.swarm.behaviour_mut().kad.store_mut();
                let held = store.get(&record.key).map(|held| held.into_owned());
                if records::accepts_value(&record, held.as_ref()) {
                    // A full store refuses; the others closest to the key have it.
                    let _ = store.put(record);
                }
            }
            _ => {}
        }
    }

    fn handle_provider(&mut self, record: kad::ProviderRecord) {
        let (key, provider) = (record.key.clone(), record.provider);
        let store = self.swarm.behaviour_mut().kad.store_mut();
        match records::judge_provider(record) {
            ProviderVerdict::Store(record) => {
                let _ = store.add_provider(record);
            }
            ProviderVerdict::Withdraw => store.remove_provider(&key, &provider),
            ProviderVerdict::Refuse => {}
        }
    }

    /// Passes on what a search has found. Providers are dialled here, while the query still knows their addresses.
    fn handle_results(&mut self, id: &QueryId, result: kad::QueryResult) {
        match (result, self.queries.sink(id)) {
            (
                kad::QueryResult::GetProviders(Ok(kad::GetProvidersOk::FoundProviders { key, providers })),
                Some(Sink::Providers(found)),
            ) => {
                let found = found.clone();
                for provider in providers {
                    if provider != *self.swarm.local_peer_id() {
                        self.dial_provider(&key, provider);
                        // A reader that has 64 unread providers has enough.
                        let _ = found.try_send(provider);
                    }
                }
            }
            (kad::QueryResult::GetRecord(Ok(kad::GetRecordOk::FoundRecord(found))), Some(Sink::Values(values))) => {
                let _ = values.try_send(found.record.value);
            }
            _ => {}
        }
    }

    fn dial_provider(&mut self, key: &RecordKey, provider: PeerId) {
        let stored = self.swarm.behaviour_mut().kad.store_mut().providers(key);
        let held = stored.into_iter().find(|record| record.provider == provider);
        let addresses = held.map(|record| record.addresses).unwrap_or_default();
        self.dial(provider, addresses);
    }

    /// Dials unless connected or dialling. The outcome arrives as an event.
    fn dial(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses)
            .extend_addresses_through_behaviour()
            .build();
        match self.swarm.dial(options) {
            Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => {}
            Err(error) => self.handle_dial_error(Some(peer), &error),
        }
    }

    fn handle_command(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Listening { reply } => {
                let _ = reply.send(self.swarm.listeners().cloned().collect());
            }
            Command::Connect { peer, addresses, reply } => self.connect(now, peer, addresses, reply),
            Command::OpenStream { peer, reply } => self.swarm.behaviour_mut().streams.open(peer, reply),
            Command::Addresses { peers, reply } => {
                let known = peers.into_iter().filter_map(|peer| Some((peer, self.addresses.get(&peer)?.clone())));
                let _ = reply.send(known.collect());
            }
            Command::FindProviders { key, found, permit } => {
                let id = self.swarm.behaviour_mut().kad.get_providers(RecordKey::new(&key));
                self.queries.insert(now, id, Sink::Providers(found), permit);
            }
            Command::FindValues { key, found, permit } => {
                let id = self.swarm.behaviour_mut().kad.get_record(RecordKey::new(&key));
                self.queries.insert(now, id, Sink::Values(found), permit);
            }
            Command::Put { key, value, reply, permit } => {
                let record = Record::new(key, value);
                let started = self.swarm.behaviour_mut().kad.put_record(record, Quorum::One);
                self.start_query(now, started, reply, permit);
            }
            Command::Provide { key, reply, permit } => {
                let started = self.swarm.behaviour_mut().kad.start_providing(RecordKey::new(&key));
                self.start_query(now, started, reply, permit);
            }
            Command::Withdraw { key, reply, permit } => {
                let key = RecordKey::new(&key);
                let kad = &mut self.swarm.behaviour_mut().kad;
                if self.hidden {
                    let started = kad.start_providing(key.clone());
                    kad.stop_providing(&key);
                    self.start_query(now, started, reply, permit);
                } else {
                    kad.stop_providing(&key);
                    let _ = reply.send(Ok(()));
                }
            }
            Command::HideAddresses { reply } => {
                self.hidden = true;
                let external: Vec<_> = self.swarm.external_addresses().cloned().collect();
                for address in external {
                    self.swarm.remove_external_address(&address);
                }
                let _ = reply.send(());
            }
            Command::Stop => unreachable!("handled by the loop"),
        }
    }

    fn start_query(
        &mut self,
        now: Instant,
        started: Result<QueryId, kad::store::Error>,
        reply: oneshot::Sender<Result<(), QueryError>>,
        permit: tokio::sync::OwnedSemaphorePermit,
    ) {
        match started {
            Ok(id) => self.queries.insert(now, id, Sink::Outcome(reply), permit),
            Err(_) => {
                let _ = reply.send(Err(QueryError::Full));
            }
        }
    }

    fn connect(
        &mut self,
        now: Instant,
        peer: PeerId,
        addresses: Vec<Multiaddr>,
        reply: oneshot::Sender<Result<(), ConnectError>>,
    ) {
        if self.swarm.is_connected(&peer) {
            let _ = reply.send(Ok(()));
            return;
        }
        self.waiters.entry(peer).or_default().push(Waiter { reply, deadline: now + CONNECT_TIMEOUT });
        self.dial(peer, addresses);
    }

    fn finish_in_kademlia(&mut self, id: &QueryId) {
        if let Some(mut query) = self.swarm.behaviour_mut().kad.query_mut(id) {
            query.finish();
        }
    }
}

fn without_peer(mut address: Multiaddr) -> Multiaddr {
    if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
        address.pop();
    }
    address
}

fn is_loopback(address: &Multiaddr) -> bool {
    address.iter().any(|part| match part {
        Protocol::Ip4(ip) => ip.is_loopback(),
        Protocol::Ip6(ip) => ip.is_loopback(),
        _ => false,
    })
}
