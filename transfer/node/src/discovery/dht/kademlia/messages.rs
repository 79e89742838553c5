//! What passes between Kademlia and its connections. libp2p keeps these types to itself; they have names by way of the
//! traits they appear in.

use libp2p::Multiaddr;
use libp2p::kad::{QueryId, RecordKey};
use libp2p::swarm::{THandlerInEvent, THandlerOutEvent};

use crate::discovery::dht::kademlia::limits::Request;
use crate::discovery::dht::kademlia::store::Kademlia;

/// To a connection.
pub(crate) type ToPeer = THandlerInEvent<Kademlia>;
/// From a connection.
pub(crate) type FromPeer = THandlerOutEvent<Kademlia>;

/// What a peer asks of us, and an answer with nothing in it. The stream of a question waits until something is said, and
/// of those a connection has 32: even a peer that is ignored has to be told something some time. A provider record has no
/// answer.
pub(crate) fn asked_of_us(event: &FromPeer) -> Option<(Request, Option<ToPeer>)> {
    let (request, request_id) = match event {
        FromPeer::FindNodeReq { request_id, .. }
        | FromPeer::GetProvidersReq { request_id, .. }
        | FromPeer::GetRecord { request_id, .. } => (Request::Query, *request_id),
        // To a value too, this is anything but an acknowledgement.
        FromPeer::PutRecord { request_id, .. } => (Request::Put, *request_id),
        FromPeer::AddProvider { .. } => return Some((Request::Provide, None)),
        _ => return None,
    };
    Some((request, Some(ToPeer::FindNodeRes { closer_peers: Vec::new(), request_id })))
}

/// The query of ours that asks this and waits for an answer.
pub(crate) fn asked_by(request: &ToPeer) -> Option<QueryId> {
    match request {
        ToPeer::FindNodeReq { query_id, .. }
        | ToPeer::GetProvidersReq { query_id, .. }
        | ToPeer::GetRecord { query_id, .. }
        | ToPeer::PutRecord { query_id, .. } => Some(*query_id),
        _ => None,
    }
}

/// The query of ours that this is the answer to, and whether it is one: else the wait for it has ended.
pub(crate) fn answer_to(event: &FromPeer) -> Option<(QueryId, bool)> {
    match event {
        FromPeer::FindNodeRes { query_id, .. }
        | FromPeer::GetProvidersRes { query_id, .. }
        | FromPeer::GetRecordRes { query_id, .. }
        | FromPeer::PutRecordRes { query_id, .. } => Some((*query_id, true)),
        FromPeer::QueryError { query_id, .. } => Some((*query_id, false)),
        _ => None,
    }
}

/// What we say we provide, and where: without an address, Phase nodes take it as a withdrawal.
pub(crate) fn announced(request: &mut ToPeer) -> Option<(&RecordKey, &mut Vec<Multiaddr>)> {
    match request {
        ToPeer::AddProvider { key, provider, .. } => Some((key, &mut provider.multiaddrs)),
        _ => None,
    }
}
