//! The event loop: it owns the Swarm and does only what needs the Swarm.

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
use crate::discovery::dht::query::FoundProvider;
use crate::discovery::first_peers::dial_schedule::DialSchedule;
use crate::discovery::first_peers::meetings::Meetings;
use crate::error::{CONNECT_TIMEOUT, ConnectError};
use crate::peer::Source;

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(500);
/// How long closing all connections at the end may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the last packets may take to leave.
const CLOSE_DELAY: Duration = Duration::from_millis(50);
/// Peers of the local network that are dialled for the sake of the DHT: enough to join it and to see most of a small
/// network, however many machines are switched on at once.
#[cfg(feature = "mdns")]
const MAX_LOCAL_DIALS: usize = 32;

/// Somebody who waits for a connection.
struct Waiter {
    reply: oneshot::Sender<Result<(), ConnectError>>,
    deadline: Instant,
}

/// What the node listens on.
pub(crate) struct Listeners {
    pub(crate) ids: Vec<ListenerId>,
    /// Whether an unspecified address such as 0.0.0.0 was asked for.
    pub(crate) wildcard: bool,
}

/// Owns the Swarm. Everything else talks to it through [`Command`]s.
pub(crate) struct EventLoop {
    swarm: Swarm<Behaviour>,
    commands: mpsc::Receiver<Command>,
    first_peers: DialSchedule,
    meetings: Meetings,
    waiters: BTreeMap<PeerId, Vec<Waiter>>,
    shared: Shared,
    listeners: Listeners,
    /// There was somebody to ask when a peer was last identified.
    was_joined: bool,
    /// No addresses are told to others: in private, and during a shutdown.
    hidden: bool,
}

impl EventLoop {
    pub(crate) fn new(
        swarm: Swarm<Behaviour>,
        commands: mpsc::Receiver<Command>,
        listeners: Listeners,
        first_peers: DialSchedule,
        shared: Shared,
        is_private: bool,
    ) -> Self {
        Self {
            swarm,
            commands,
            first_peers,
            meetings: Meetings::default(),
            waiters: BTreeMap::new(),
            shared,
            listeners,
            was_joined: false,
            hidden: is_private,
        }
    }

    /// Runs until it is told to stop.
    pub(crate) async fn run(mut self) {
        let bound: Vec<_> = self.swarm.listeners().cloned().collect();
        for address in bound {
            self.handle_listening(address);
        }
        // Before anything else: whoever is connected first keeps none of the others from being dialled.
        self.dial_first_peers(Instant::now());
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
        for waiters in self.waiters.values_mut() {
            for late in waiters.extract_if(.., |waiter| waiter.deadline <= now) {
                let _ = late.reply.send(Err(ConnectError::Timeout));
            }
        }
        self.waiters.retain(|_, waiters| !waiters.is_empty());
        self.shared.peers.handle_tick(now);
        if !self.hidden && self.swarm.external_addresses().next().is_none() {
            // A machine without a network, or one on which everything is tried out.
            let bound: Vec<_> = self.swarm.listeners().cloned().collect();
            bound.into_iter().for_each(|address| self.swarm.add_external_address(address));
        }
        if !self.is_joined() {
            self.dial_first_peers(now);
        }
    }

    /// Dials the first peers if it is time.
    fn dial_first_peers(&mut self, now: Instant) {
        for (peer, addresses) in by_peer(self.first_peers.due(now)) {
            self.dial_first(peer, addresses);
        }
    }

    /// Whether there is anybody to ask: in the DHT, or without one at all.
    fn is_joined(&self) -> bool {
        self.swarm.behaviour().is_in_dht().unwrap_or_else(|| self.swarm.network_info().num_peers() > 0)
    }

    fn dial_first(&mut self, peer: Option<PeerId>, addresses: Vec<Multiaddr>) {
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

    /// Dials an address that came without an identity.
    fn dial_unnamed(&mut self, address: Multiaddr) {
        let dial = DialOpts::unknown_peer_id().address(address.clone()).build();
        let id = dial.connection_id();
        match self.swarm.dial(dial) {
            Ok(()) => self.meetings.begin(id, address),
            Err(error) => tracing::debug!(%address, %error, "cannot dial bootstrap peer"),
        }
    }

    /// Tells a search of the given peers. Those of whom nobody knows who they are have to be met first.
    fn find_given(&mut self, search: &mpsc::Sender<FoundProvider>) {
        let (own, mut unmet) = (*self.swarm.local_peer_id(), Vec::new());
        for (peer, address) in self.first_peers.given() {
            match peer {
                Some(peer) if peer == own => {}
                // There is room for all, so this fails only if nobody listens.
                Some(peer) => drop(search.try_send(FoundProvider { peer, addresses: vec![address.clone()] })),
                None => unmet.push(address.clone()),
            }
        }
        for address in unmet {
            if !self.meetings.wait(&address, search) {
                self.dial_unnamed(address.clone());
                self.meetings.wait(&address, search);
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
                if let Some(address) = self.meetings.succeed(connection_id, peer_id) {
                    self.first_peers.met(&address, peer_id);
                }
                let address = endpoint.get_remote_address();
                tracing::debug!(peer = %peer_id, %address, "connected");
                let dialled = match &endpoint {
                    // A name may lead elsewhere the next time.
                    ConnectedPoint::Dialer { address, .. } => {
                        Some(without_peer(address.clone())).filter(|address| scope(address).is_some())
                    }
                    ConnectedPoint::Listener { .. } => None,
                };
                let source = match &endpoint {
                    ConnectedPoint::Listener { .. } => Source::Inbound,
                    ConnectedPoint::Dialer { address, .. } => {
                        // Whoever else dials has told us of the peer before, but for Kademlia.
                        self.first_peers.source_of(&without_peer(address.clone())).unwrap_or(Source::Dht)
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
                    self.first_peers.hurry(now);
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                self.meetings.fail(connection_id);
                self.handle_dial_error(peer_id, error);
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "listener failed"),
            SwarmEvent::ListenerClosed { addresses, reason: Err(error), .. } => {
                tracing::warn!(?addresses, %error, "no longer listening");
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
                // It may still be seen at another address.
                let mdns = self.swarm.behaviour().mdns.as_ref();
                let is_seen = |peer: &PeerId| mdns.is_some_and(|mdns| mdns.discovered_nodes().any(|seen| seen == peer));
                let lost: Vec<_> = lost.into_iter().map(|(peer, _)| peer).filter(|peer| !is_seen(peer)).collect();
                lost.into_iter().for_each(|peer| self.shared.peers.expire(now, peer));
            }
            _ => {}
        }
    }

    /// What we listen on is what we advertise. The loopback addresses of a wildcard are held back: they mean another
    /// machine to everybody else. They are used only where there is nothing else, see [`Self::handle_tick`].
    fn handle_listening(&mut self, address: Multiaddr) {
        tracing::info!(%address, "listening");
        let is_held_back = self.listeners.wildcard && scope(&address).is_none_or(|scope| scope <= Scope::Loopback);
        if !self.hidden && !is_held_back {
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
        self.swarm.behaviour_mut().handle_unreachable(peer, &reason.to_string());
        for waiter in self.waiters.remove(&peer).unwrap_or_default() {
            let _ = waiter.reply.send(Err(reason.clone()));
        }
    }

    fn handle_identified(&mut self, now: Instant, peer: PeerId, info: identify::Info) {
        let from = self.shared.peers.scope_of(&peer);
        let told = believable(info.listen_addrs.into_iter().map(without_peer), from);
        // What it was dialled at is known to work, which what it says of itself is not.
        let mut addresses = self.shared.peers.addresses(&peer);
        addresses.extend(told.iter().filter(|address| !addresses.contains(address)).cloned().collect::<Vec<_>>());
        addresses.truncate(address::MAX_ADDRESSES);
        let behaviour = self.swarm.behaviour_mut();
        let is_server = behaviour.is_dht_server(&info.protocols);
        // Whoever hears that one more server is there finds it among the peers.
        self.shared.peers.identified(now, peer, &info.agent_version, is_server, &told);
        if is_server {
            behaviour.handle_dht_server(peer, &addresses);
        }
        if self.is_joined() {
            self.was_joined = true;
            self.first_peers.joined();
        }
    }

    /// Somebody has told us of a peer. The DHT takes it in when it is connected.
    fn handle_discovered(&mut self, now: Instant, peer: PeerId, addresses: Vec<Multiaddr>, source: Source) {
        if peer == *self.swarm.local_peer_id() {
            return;
        }
        // From within the local network, whatever it says.
        let addresses = believable(addresses, Scope::Private);
        self.shared.peers.discovered(now, peer, source, &addresses);
        #[cfg(feature = "mdns")]
        if source == Source::LocalNetwork && self.busy_with() < MAX_LOCAL_DIALS {
            self.dial(peer, addresses);
        }
    }

    /// Peers that are connected or being dialled.
    #[cfg(feature = "mdns")]
    fn busy_with(&self) -> usize {
        let info = self.swarm.network_info();
        info.num_peers() + info.connection_counters().num_pending_outgoing() as usize
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
            Command::Given { search } => self.find_given(&search),
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
            Command::Bootstrap { peers } => self.first_peers.add(now, Source::Bootstrap, peers),
            Command::Discovered { peer, addresses, source } => self.handle_discovered(now, peer, addresses, source),
            Command::Dht(command) => self.swarm.behaviour_mut().dht_command(now, command),
            Command::Stop => unreachable!("handled by the loop"),
        }
    }

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

/// All addresses of a peer together: while one of them is being dialled, another dial of the same peer is refused. Whoever
/// is not known by name is somebody else at each address.
fn by_peer(first: Vec<(Option<PeerId>, Multiaddr)>) -> Vec<(Option<PeerId>, Vec<Multiaddr>)> {
    let mut all: Vec<(Option<PeerId>, Vec<Multiaddr>)> = Vec::new();
    for (peer, address) in first {
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
    use crate::discovery::first_peers::BootstrapPeer;
    use crate::identity::Identity;
    use crate::metrics::Metrics;
    use crate::peer_table::PeerTable;
    use crate::transport::build_swarm;

    fn event_loop(given: Vec<BootstrapPeer>, commands: mpsc::Receiver<Command>) -> EventLoop {
        let metrics = Arc::new(Metrics::new());
        let peers = Arc::new(PeerTable::new(metrics.clone()));
        let shared = Shared { peers, metrics, routing: watch::Sender::new(0) };
        let (config, key) = (NodeConfig::default(), Identity::ephemeral().0);
        let swarm = build_swarm(&key, &config.transport, Behaviour::new(&key, &config, &shared)).unwrap();
        let mut first_peers = DialSchedule::new(Instant::now());
        first_peers.add(Instant::now(), Source::Given, given);
        let listeners = Listeners { ids: Vec::new(), wildcard: false };
        EventLoop::new(swarm, commands, listeners, first_peers, shared, false)
    }

    /// A caller may have asked for a connection with one of them before the first tick.
    #[tokio::test]
    async fn a_first_peer_is_dialled_at_the_start_though_another_is_connected() {
        in_time(async {
            let (_handle, commands) = mpsc::channel(1);
            let mut other = event_loop(Vec::new(), commands);
            other.swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
            let SwarmEvent::NewListenAddr { address, .. } = other.swarm.select_next_some().await else { panic!() };
            let peer = *other.swarm.local_peer_id();
            let _other = AbortOnDropHandle::new(tokio::spawn(other.run()));

            let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let given = format!("/ip4/127.0.0.1/tcp/{}", first.local_addr().unwrap().port()).parse().unwrap();
            let (_handle, commands) = mpsc::channel(1);
            let mut event_loop = event_loop(vec![BootstrapPeer { peer: None, address: given }], commands);
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
