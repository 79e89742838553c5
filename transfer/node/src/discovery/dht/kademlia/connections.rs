//! From where peers are connected: what addresses of theirs may be believed depends on it, and whose share a record counts to.

use std::collections::BTreeMap;
use std::net::IpAddr;

use libp2p::swarm::ConnectionId;
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished};
use libp2p::{Multiaddr, PeerId};

use crate::address::{self, MAX_ADDRESSES, Scope};

/// From where a connection of a peer comes.
struct Seen {
    id: ConnectionId,
    scope: Scope,
    subnet: Option<IpAddr>,
}

/// See the module's documentation.
pub(crate) struct Connections {
    /// From where each connection of a peer comes.
    peers: BTreeMap<PeerId, Vec<Seen>>,
    /// The closest scope that any connection has had: addresses closer than that are not dialled on the word of others.
    horizon: Scope,
}

impl Connections {
    pub(crate) fn new() -> Self {
        Self { peers: BTreeMap::new(), horizon: Scope::Public }
    }

    pub(crate) fn is_connected(&self, peer: &PeerId) -> bool {
        self.peers.contains_key(peer)
    }

    /// From where a peer is connected.
    pub(crate) fn scope_of(&self, peer: &PeerId) -> Scope {
        let connections = self.peers.get(peer);
        connections.and_then(|all| all.iter().map(|seen| seen.scope).min()).unwrap_or(Scope::Public)
    }

    /// The network in which a peer is connected, if that says anything; `None` if it is not connected.
    pub(crate) fn subnet_of(&self, peer: &PeerId) -> Option<Option<IpAddr>> {
        Some(self.peers.get(peer)?.first()?.subnet)
    }

    /// Those of the addresses that others say of a peer which may be dialled from here.
    pub(crate) fn believable(&self, addresses: Vec<Multiaddr>) -> Vec<Multiaddr> {
        address::believable(addresses, self.horizon)
    }

    /// Addresses that are shown or dialled of what Kademlia knows of a peer.
    pub(crate) fn usable(&self, addresses: impl IntoIterator<Item = Multiaddr>) -> Vec<Multiaddr> {
        let mut kept = address::believable(addresses.into_iter().map(address::without_peer), self.horizon);
        kept.truncate(MAX_ADDRESSES);
        kept
    }

    pub(crate) fn handle_established(&mut self, established: &ConnectionEstablished<'_>) {
        let remote = established.endpoint.get_remote_address();
        let scope = address::scope_of_connection(remote);
        self.horizon = self.horizon.min(scope);
        self.peers.entry(established.peer_id).or_default().push(Seen {
            id: established.connection_id,
            scope,
            subnet: address::subnet(remote),
        });
    }

    pub(crate) fn handle_closed(&mut self, closed: &ConnectionClosed<'_>) {
        if let Some(connections) = self.peers.get_mut(&closed.peer_id) {
            connections.retain(|seen| seen.id != closed.connection_id);
        }
        if closed.remaining_established == 0 {
            self.peers.remove(&closed.peer_id);
        }
    }
}
