//! The messages between Kademlia and its connections. libp2p does not export the message types, so this module names
//! them through public traits of libp2p.

use libp2p::Multiaddr;
use libp2p::kad::{QueryId, RecordKey};
use libp2p::swarm::{THandlerInEvent, THandlerOutEvent};

use crate::discovery::dht::kademlia::limits::Request;
use crate::discovery::dht::kademlia::store::Kademlia;

/// A message from Kademlia to the connection handler of a peer.
pub(crate) type ToPeer = THandlerInEvent<Kademlia>;
/// A message from the connection handler of a peer to Kademlia.
pub(crate) type FromPeer = THandlerOutEvent<Kademlia>;

/// Returns the kind of a peer's request, and an empty reply to this request. Returns `None` if the event is not a
/// request.
///
/// An ignored peer receives the empty reply later, because libp2p keeps the stream of a request open until the reply. A
/// connection has at most 32 such streams. A request of the kind `Provide` has no reply.
pub(crate) fn inbound_request(event: &FromPeer) -> Option<(Request, Option<ToPeer>)> {
    let (request, request_id) = match event {
        FromPeer::FindNodeReq { request_id, .. }
        | FromPeer::GetProvidersReq { request_id, .. }
        | FromPeer::GetRecord { request_id, .. } => (Request::Query, *request_id),
        // An empty `FindNodeRes` answers a put, because a `PutRecordRes` would acknowledge the value.
        FromPeer::PutRecord { request_id, .. } => (Request::Put, *request_id),
        FromPeer::AddProvider { .. } => return Some((Request::Provide, None)),
        _ => return None,
    };
    Some((request, Some(ToPeer::FindNodeRes { closer_peers: Vec::new(), request_id })))
}

/// Returns the id of the query that sends `request` and waits for a reply. Returns `None` if no reply is expected.
pub(crate) fn query_of_request(request: &ToPeer) -> Option<QueryId> {
    match request {
        ToPeer::FindNodeReq { query_id, .. }
        | ToPeer::GetProvidersReq { query_id, .. }
        | ToPeer::GetRecord { query_id, .. }
        | ToPeer::PutRecord { query_id, .. } => Some(*query_id),
        _ => None,
    }
}

/// Returns the id of the query to which `event` belongs, and whether the event is a reply. If it is not a reply, the
/// request has failed. Returns `None` if the event belongs to no query.
pub(crate) fn query_of_reply(event: &FromPeer) -> Option<(QueryId, bool)> {
    match event {
        FromPeer::FindNodeRes { query_id, .. }
        | FromPeer::GetProvidersRes { query_id, .. }
        | FromPeer::GetRecordRes { query_id, .. }
        | FromPeer::PutRecordRes { query_id, .. } => Some((*query_id, true)),
        FromPeer::QueryError { query_id, .. } => Some((*query_id, false)),
        _ => None,
    }
}

/// Returns the key and the addresses of a provider record that this node sends. The caller can clear the addresses,
/// because Phase nodes treat a provider record without addresses as a withdrawal.
pub(crate) fn provider_announcement(request: &mut ToPeer) -> Option<(&RecordKey, &mut Vec<Multiaddr>)> {
    match request {
        ToPeer::AddProvider { key, provider, .. } => Some((key, &mut provider.multiaddrs)),
        _ => None,
    }
}
