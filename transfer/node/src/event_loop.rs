//! The event loop, which owns the Swarm and does only the work that needs the Swarm.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use libp2p::core::ConnectedPoint;
use libp2p::core::transport::ListenerId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{DialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, identify, ping};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::address::{self, Scope, believable, scope, without_peer};
use crate::behaviour::{Behaviour, BehaviourEvent, Shared};
use crate::command::Command;
use crate::discovery::bootstrap::dial_schedule::DialSchedule;
use crate::discovery::bootstrap::unnamed_dials::UnnamedDials;
use crate::discovery::dht::query::FoundProvider;
use crate::error::{CONNECT_TIMEOUT, ConnectError};
use crate::peer::Source;

/// The interval between two ticks. On every tick, the loop checks deadlines, removes old peers from the peer table, and
/// dials the scheduled peers if their next dial is due.
const TICK: Duration = Duration::from_millis(500);
/// How long a stopping node waits until all connections are closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a stopping node waits for the last packets to be sent.
const CLOSE_DELAY: Duration = Duration::from_millis(50);
/// The node dials a peer of the local network only while fewer peers than this are connected or being dialled. The
/// limit prevents too many dials when many machines are switched on at once. It is enough to connect to most nodes of a
/// small network.
#[cfg(feature = "mdns")]
const MAX_LOCAL_DIALS: usize = 32;

/// A caller that waits for a connection.
struct Waiter {
    reply: oneshot::Sender<Result<(), ConnectError>>,
    deadline: Instant,
}

/// The libp2p listeners of the node, one for each listen address.
pub(crate) struct Listeners {
    pub(crate) ids: Vec<ListenerId>,
    /// Whether one of the listen addresses is unspecified, such as 0.0.0.0.
    pub(crate) wildcard: bool,
}

/// The owner of the Swarm. Other code sends it [`Command`]s.
pub(crate) struct EventLoop {
    swarm: Swarm<Behaviour>,
    commands: mpsc::Receiver<Command>,
    schedule: DialSchedule,
    unnamed_dials: UnnamedDials,
    waiters: BTreeMap<PeerId, Vec<Waiter>>,
    shared: Shared,
    listeners: Listeners,
    /// The last known result of [`Self::is_joined`]. When it changes to false, the node dials the peers of the dial
    /// schedule at once.
    was_joined: bool,
    /// Whether the node withholds its external addresses. A private node always does so, and every node during a
    /// shutdown.
    hidden: bool,
}

impl EventLoop {
    pub(crate) fn new(
        swarm: Swarm<Behaviour>,
        commands: mpsc::Receiver<Command>,
        listeners: Listeners,
        schedule: DialSchedule,
        shared: Shared,
        is_private: bool,
    ) -> Self {
        Self {
            swarm,
            commands,
            schedule,
            unnamed_dials: UnnamedDials::default(),
            waiters: BTreeMap::new(),
            shared,
            listeners,
            was_joined: false,
            hidden: is_private,
        }
    }

    /// Runs until [`Command::Stop`] arrives or all handles are dropped, then closes all connections.
    pub(crate) async fn run(mut self) {
        let bound: Vec<_> = self.swarm.listeners().cloned().collect();
        for address in bound {
            self.handle_listening(address);
        }
        // The peers of the dial schedule are dialled before the first event is handled. Otherwise a peer that is
        // already connected could prevent these dials.
        self.dial_due_peers(Instant::now());
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

    /// Closes all connections. Otherwise peers that are connected over QUIC would notice the end only after a timeout.
    async fn close(mut self) {
        for listener in std::mem::take(&mut self.listeners.ids) {
            self.swarm.remove_listener(listener);
        }
        let connected: Vec<_> = self.swarm.connected_peers().copied().collect();
        if connected.is_empty() {
            return;
        }
        for peer in connected {
            // This call fails only if the peer has disconnected meanwhile.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let closing = async {
            while self.swarm.network_info().num_peers() > 0 {
                // A dial that was in progress has succeeded, so its connection is closed too.
                if let SwarmEvent::ConnectionEstablished { connection_id, .. } = self.swarm.select_next_some().await {
                    self.swarm.close_connection(connection_id);
                }
            }
            // The delay is needed because a QUIC connection counts as closed before its last packet has been sent.
            tokio::time::sleep(CLOSE_DELAY).await;
        };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
    }

    fn handle_tick(&mut self, now: Instant) {
        for waiters in self.waiters.values_mut() {
            for late in waiters.extract_if(.., |waiter| waiter.deadline <= now) {
                let _ = late.reply.send(Err(ConnectError::Timeout));
            }
        }
        self.waiters.retain(|_, waiters| !waiters.is_empty());
        self.shared.peers.handle_tick(now);
        if !self.hidden && self.swarm.external_addresses().next().is_none() {
            // The node has only loopback addresses, so they are advertised. Either the machine has no network, or all
            // nodes run on this machine.
            let bound: Vec<_> = self.swarm.listeners().cloned().collect();
            bound.into_iter().for_each(|address| self.swarm.add_external_address(address));
        }
        if !self.is_joined() {
            self.dial_due_peers(now);
        }
    }

    /// Dials the peers of the dial schedule, if their next dial is due.
    fn dial_due_peers(&mut self, now: Instant) {
        for (peer, addresses) in by_peer(self.schedule.due(now)) {
            self.dial_scheduled(peer, addresses);
        }
    }

    /// Returns whether the node has joined the network. A node has joined if it is connected to a DHT server or,
    /// without a DHT, to any peer.
    fn is_joined(&self) -> bool {
        self.swarm.behaviour().is_in_dht().unwrap_or_else(|| self.swarm.network_info().num_peers() > 0)
    }

    /// Dials a peer of the dial schedule. If its peer id is unknown, dials each of `addresses` separately.
    fn dial_scheduled(&mut self, peer: Option<PeerId>, addresses: Vec<Multiaddr>) {
        let dial = match peer {
            Some(peer) if peer == *self.swarm.local_peer_id() => return,
            Some(peer) => {
                let condition = PeerCondition::DisconnectedAndNotDialing;
                DialOpts::peer_id(peer).condition(condition).addresses(addresses.clone()).build()
            }
            None => return addresses.into_iter().for_each(|address| self.dial_unnamed(address)),
        };
        match self.swarm.dial(dial) {
            Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => {}
            Err(error) => tracing::debug!(?addresses, %error, "cannot dial bootstrap peer"),
        }
    }

    /// Dials an address that was configured without a peer id.
    fn dial_unnamed(&mut self, address: Multiaddr) {
        let dial = DialOpts::unknown_peer_id().address(address.clone()).build();
        let id = dial.connection_id();
        match self.swarm.dial(dial) {
            Ok(()) => self.unnamed_dials.begin(id, address),
            Err(error) => tracing::debug!(%address, %error, "cannot dial bootstrap peer"),
        }
    }

    /// Sends the configured peers to a search. An address without a known peer id is dialled first.
    fn find_configured(&mut self, search: &mpsc::Sender<FoundProvider>) {
        let (own, mut unnamed) = (*self.swarm.local_peer_id(), Vec::new());
        for (peer, address) in self.schedule.configured_peers() {
            match peer {
                Some(peer) if peer == own => {}
                // The channel can hold all configured peers, so sending fails only if the search has ended.
                Some(peer) => drop(search.try_send(FoundProvider { peer, addresses: vec![address.clone()] })),
                None => unnamed.push(address.clone()),
            }
        }
        for address in unnamed {
            if !self.unnamed_dials.wait(&address, search) {
                self.dial_unnamed(address.clone());
                self.unnamed_dials.wait(&address, search);
            }
        }
    }

    fn handle_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        let now = Instant::now();
        match event {
            SwarmEvent::Behaviour(event) => self.handle_behaviour(now, event),
            SwarmEvent::NewListenAddr { address, .. } => self.handle_listening(address),
            SwarmEvent::ExpiredListenAddr { address, .. } => self.swarm.remove_external_address(&address),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                if let Some(address) = self.unnamed_dials.succeed(connection_id, peer_id) {
                    self.schedule.note_answer(&address, peer_id);
                }
                let address = endpoint.get_remote_address();
                tracing::debug!(peer = %peer_id, %address, "connected");
                let dialled = match &endpoint {
                    // Host names are not kept in the peer table, because a name may resolve to another address the next
                    // time.
                    ConnectedPoint::Dialer { address, .. } => {
                        Some(without_peer(address.clone())).filter(|address| scope(address).is_some())
                    }
                    ConnectedPoint::Listener { .. } => None,
                };
                let source = match &endpoint {
                    ConnectedPoint::Listener { .. } => Source::Inbound,
                    ConnectedPoint::Dialer { address, .. } => {
                        // The peer table uses the source only for a peer that it does not know yet. Such a peer is in
                        // the dial schedule, or its source is unknown and counts as the DHT.
                        self.schedule.source_of(&without_peer(address.clone())).unwrap_or(Source::Dht)
                    }
                };
                self.shared.peers.connected(now, peer_id, source, address, dialled);
                for waiter in self.waiters.remove(&peer_id).unwrap_or_default() {
                    let _ = waiter.reply.send(Ok(()));
                }
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, cause, .. } => {
                tracing::debug!(peer = %peer_id, cause = ?cause.map(|c| c.to_string()), "disconnected");
                self.shared.peers.disconnected(now, peer_id);
                if self.was_joined && !self.is_joined() {
                    self.was_joined = false;
                    self.schedule.hurry(now);
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                self.unnamed_dials.fail(connection_id);
                self.handle_dial_error(peer_id, error);
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "listener failed"),
            SwarmEvent::ListenerClosed { addresses, reason: Err(error), .. } => {
                tracing::warn!(?addresses, %error, "stopped listening");
            }
            _ => {}
        }
    }

    fn handle_behaviour(&mut self, now: Instant, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Identify(identify::Event::Received { peer_id, connection_id: _, info }) => {
                self.handle_identified(now, peer_id, info);
            }
            BehaviourEvent::Ping(ping::Event { peer, result: Ok(round_trip), .. }) => {
                self.shared.peers.pinged(&peer, round_trip);
            }
            #[cfg(feature = "mdns")]
            BehaviourEvent::Mdns(libp2p::mdns::Event::Discovered(found)) => {
                for (peer, address) in found {
                    self.handle_discovered(now, peer, vec![without_peer(address)], Source::LocalNetwork);
                }
            }
            #[cfg(feature = "mdns")]
            BehaviourEvent::Mdns(libp2p::mdns::Event::Expired(lost)) => {
                // A peer expires only if mDNS no longer announces any address of the peer.
                let mdns = self.swarm.behaviour().mdns.as_ref();
                let is_seen = |peer: &PeerId| mdns.is_some_and(|mdns| mdns.discovered_nodes().any(|seen| seen == peer));
                let lost: Vec<_> = lost.into_iter().map(|(peer, _)| peer).filter(|peer| !is_seen(peer)).collect();
                lost.into_iter().for_each(|peer| self.shared.peers.expire(now, peer));
            }
            _ => {}
        }
    }

    /// Advertises a listen address as an external address. If the node listens on an unspecified address such as
    /// 0.0.0.0, loopback addresses are withheld, because another machine that dials them reaches only itself.
    /// [`Self::handle_tick`] advertises them if the node has no other address.
    fn handle_listening(&mut self, address: Multiaddr) {
        tracing::info!(%address, "listening");
        let is_withheld = self.listeners.wildcard && scope(&address).is_none_or(|scope| scope <= Scope::Loopback);
        if !self.hidden && !is_withheld {
            self.swarm.add_external_address(address);
        }
    }

    fn handle_dial_error(&mut self, peer: Option<PeerId>, error: DialError) {
        tracing::debug!(?peer, %error, "dial failed");
        let Some(peer) = peer else { return };
        if self.swarm.is_connected(&peer) {
            return;
        }
        let reason = ConnectError::of_dial(error);
        self.swarm.behaviour_mut().handle_unreachable(peer, &reason.causes());
        for waiter in self.waiters.remove(&peer).unwrap_or_default() {
            let _ = waiter.reply.send(Err(reason.clone()));
        }
    }

    fn handle_identified(&mut self, now: Instant, peer: PeerId, info: identify::Info) {
        let from = self.shared.peers.scope_of(&peer);
        let announced = believable(info.listen_addrs.into_iter().map(without_peer), from);
        // The addresses of the peer table come first, because this node may have dialled the peer at them. An address
        // that the peer announced may not work.
        let mut addresses = self.shared.peers.addresses(&peer);
        addresses.extend(announced.iter().filter(|address| !addresses.contains(address)).cloned().collect::<Vec<_>>());
        addresses.truncate(address::MAX_ADDRESSES);
        let behaviour = self.swarm.behaviour_mut();
        let is_server = behaviour.is_dht_server(&info.protocols);
        // The table is updated before the number of DHT servers changes, so that a task that waits for this number
        // finds the server in the table.
        self.shared.peers.identified(now, peer, &info.agent_version, is_server, &announced);
        if is_server {
            behaviour.handle_dht_server(peer, &addresses);
        }
        if self.is_joined() {
            self.was_joined = true;
            self.schedule.joined();
        }
    }

    /// Adds a discovered peer to the peer table, and dials it if it was announced on the local network. The DHT uses
    /// the peer once it is connected.
    fn handle_discovered(&mut self, now: Instant, peer: PeerId, addresses: Vec<Multiaddr>, source: Source) {
        if peer == *self.swarm.local_peer_id() {
            return;
        }
        // Private addresses are accepted, because the peer may be on the local network. Loopback addresses are refused.
        let addresses = believable(addresses, Scope::Private);
        self.shared.peers.discovered(now, peer, source, &addresses);
        #[cfg(feature = "mdns")]
        if source == Source::LocalNetwork && self.connected_or_dialled() < MAX_LOCAL_DIALS {
            self.dial(peer, addresses);
        }
    }

    /// Returns the number of peers that are connected or being dialled.
    #[cfg(feature = "mdns")]
    fn connected_or_dialled(&self) -> usize {
        let info = self.swarm.network_info();
        info.num_peers() + info.connection_counters().num_pending_outgoing() as usize
    }

    /// Dials a peer unless it is connected or being dialled. The outcome arrives as an event.
    fn dial(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses)
            .extend_addresses_through_behaviour()
            .build();
        match self.swarm.dial(options) {
            Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => {}
            Err(error) => self.handle_dial_error(Some(peer), error),
        }
    }

    fn handle_command(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Listening { reply } => {
                let _ = reply.send(self.swarm.listeners().cloned().collect());
            }
            Command::External { reply } => {
                let _ = reply.send(self.swarm.external_addresses().cloned().collect());
            }
            Command::Connect { peer, addresses, reply } => self.connect(now, peer, addresses, reply),
            Command::FindConfigured { search } => self.find_configured(&search),
            Command::OpenStream { peer, reply } => self.swarm.behaviour_mut().streams.open(peer, reply),
            Command::HideAddresses { reply } => {
                self.hidden = true;
                self.swarm.behaviour_mut().hide();
                let external: Vec<_> = self.swarm.external_addresses().cloned().collect();
                for address in external {
                    self.swarm.remove_external_address(&address);
                }
                let _ = reply.send(());
            }
            Command::Bootstrap { peers } => self.schedule.add(now, Source::Bootstrap, peers),
            Command::Discovered { peer, addresses, source } => self.handle_discovered(now, peer, addresses, source),
            Command::Dht(command) => self.swarm.behaviour_mut().dht_command(now, command),
            Command::Stop => unreachable!("the loop handles it"),
        }
    }

    /// Connects to a peer at `addresses` and at its addresses in the peer table. Sends the result to `reply`.
    fn connect(
        &mut self,
        now: Instant,
        peer: PeerId,
        mut addresses: Vec<Multiaddr>,
        reply: oneshot::Sender<Result<(), ConnectError>>,
    ) {
        if self.swarm.is_connected(&peer) {
            let _ = reply.send(Ok(()));
            return;
        }
        self.waiters.entry(peer).or_default().push(Waiter { reply, deadline: now + CONNECT_TIMEOUT });
        addresses.extend(self.shared.peers.addresses(&peer));
        self.dial(peer, addresses);
    }
}

/// Groups addresses by peer, because a second dial of a peer is refused while the first one is in progress. An address
/// without a peer id is a group of its own.
fn by_peer(scheduled: Vec<(Option<PeerId>, Multiaddr)>) -> Vec<(Option<PeerId>, Vec<Multiaddr>)> {
    let mut all: Vec<(Option<PeerId>, Vec<Multiaddr>)> = Vec::new();
    for (peer, address) in scheduled {
        match all.iter_mut().find(|(known, _)| peer.is_some() && *known == peer) {
            Some((_, addresses)) => addresses.push(address),
            None => all.push((peer, vec![address])),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use phase_test_support::in_time;
    use tokio::net::TcpListener;
    use tokio::sync::watch;
    use tokio_util::task::AbortOnDropHandle;

    use super::*;
    use crate::config::NodeConfig;
    use crate::discovery::bootstrap::BootstrapPeer;
    use crate::identity::Identity;
    use crate::metrics::Metrics;
    use crate::peer_table::PeerTable;
    use crate::transport::build_swarm;

    fn event_loop(configured: Vec<BootstrapPeer>, commands: mpsc::Receiver<Command>) -> EventLoop {
        let metrics = Arc::new(Metrics::new());
        let peers = Arc::new(PeerTable::new(metrics.clone()));
        let shared = Shared { peers, metrics, routing: watch::Sender::new(0) };
        let (config, key) = (NodeConfig::default(), Identity::ephemeral().0);
        let swarm = build_swarm(&key, &config.transport, Behaviour::new(&key, &config, &shared)).unwrap();
        let mut schedule = DialSchedule::new(Instant::now());
        schedule.add(Instant::now(), Source::Configured, configured);
        let listeners = Listeners { ids: Vec::new(), wildcard: false };
        EventLoop::new(swarm, commands, listeners, schedule, shared, false)
    }

    /// In this test, the node is already connected to another peer when its event loop starts.
    #[tokio::test]
    async fn a_configured_peer_is_dialled_even_if_another_peer_is_connected() {
        in_time(async {
            let (_handle, commands) = mpsc::channel(1);
            let mut other = event_loop(Vec::new(), commands);
            other.swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
            let SwarmEvent::NewListenAddr { address, .. } = other.swarm.select_next_some().await else { panic!() };
            let peer = *other.swarm.local_peer_id();
            let _other = AbortOnDropHandle::new(tokio::spawn(other.run()));

            let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let listed = format!("/ip4/127.0.0.1/tcp/{}", first.local_addr().unwrap().port()).parse().unwrap();
            let (_handle, commands) = mpsc::channel(1);
            let mut event_loop = event_loop(vec![BootstrapPeer { peer: None, address: listed }], commands);
            event_loop.dial(peer, vec![address]);
            while !event_loop.is_joined() {
                let event = event_loop.swarm.select_next_some().await;
                event_loop.handle_event(event);
            }
            let _running = AbortOnDropHandle::new(tokio::spawn(event_loop.run()));
            first.accept().await.unwrap();
        })
        .await;
    }
}
