//! The open connections to each peer. The scope of a connection decides which addresses are accepted from the peer. The
//! subnet of a connection decides which share of the record store the peer's records use.

use std::collections::BTreeMap;
use std::net::IpAddr;

use libp2p::swarm::ConnectionId;
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished};
use libp2p::{Multiaddr, PeerId};

use crate::address::{self, MAX_ADDRESSES, Scope};

/// One open connection to a peer.
struct OpenConnection {
    id: ConnectionId,
    /// The scope of the peer's address: from where this address can be reached.
    scope: Scope,
    /// The subnet of the peer's address. `None` for an IPv4 loopback address, or without an IP address, for instance
    /// with `/dns4/…`.
    subnet: Option<IpAddr>,
}

/// The open connections to all peers.
pub(crate) struct Connections {
    /// The open connections to each connected peer, oldest first.
    peers: BTreeMap<PeerId, Vec<OpenConnection>>,
    /// The narrowest scope of all connections since this node started. A reported address with a narrower scope is not
    /// dialled, because a hostile peer may have invented it.
    narrowest: Scope,
}

impl Connections {
    pub(crate) fn new() -> Self {
        Self { peers: BTreeMap::new(), narrowest: Scope::Public }
    }

    pub(crate) fn is_connected(&self, peer: &PeerId) -> bool {
        self.peers.contains_key(peer)
    }

    /// Returns the narrowest scope of the connections to a peer, or [`Scope::Public`] if the peer is not connected.
    pub(crate) fn scope_of(&self, peer: &PeerId) -> Scope {
        let connections = self.peers.get(peer);
        connections.and_then(|all| all.iter().map(|seen| seen.scope).min()).unwrap_or(Scope::Public)
    }

    /// Returns the subnet of the oldest open connection to a peer. Returns `None` if the peer is not connected, and
    /// `Some(None)` if the connection has no subnet.
    pub(crate) fn subnet_of(&self, peer: &PeerId) -> Option<Option<IpAddr>> {
        Some(self.peers.get(peer)?.first()?.subnet)
    }

    /// Filters addresses that peers have reported. Returns at most eight that this node may dial.
    pub(crate) fn believable(&self, addresses: Vec<Multiaddr>) -> Vec<Multiaddr> {
        address::believable(addresses, self.narrowest)
    }

    /// Filters `addresses`, which Kademlia knows of one peer. Returns at most eight that this node may dial, without
    /// `/p2p`.
    pub(crate) fn usable(&self, addresses: impl IntoIterator<Item = Multiaddr>) -> Vec<Multiaddr> {
        let mut kept = address::believable(addresses.into_iter().map(address::without_peer), self.narrowest);
        kept.truncate(MAX_ADDRESSES);
        kept
    }

    pub(crate) fn handle_established(&mut self, established: &ConnectionEstablished<'_>) {
        let remote = established.endpoint.get_remote_address();
        let scope = address::scope_of_connection(remote);
        self.narrowest = self.narrowest.min(scope);
        self.peers.entry(established.peer_id).or_default().push(OpenConnection {
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
