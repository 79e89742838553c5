//! Peer lists: JSON documents with peers and their addresses, which providers serve over HTTP.
//!
//! ```json
//! {"peers": [{"peer_id": "12D3KooW…", "addresses": ["/ip4/192.0.2.7/tcp/4001"]}]}
//! ```
//!
//! A list needs no TLS, because it only names peers to ask, and the node verifies every answer from these peers.

use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use serde::{Deserialize, Serialize};

use crate::discovery::bootstrap::bounds::{MAX_LIST_LEN, MAX_PEERS};
use crate::discovery::bootstrap::error::BootstrapError;
use crate::discovery::bootstrap::source::{BootstrapPeer, peer_at};
use crate::discovery::bootstrap::url::PeersUrl;

/// The timeout of a whole fetch: connecting, sending the request and reading the list.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// The maximum number of addresses of one peer that are written to a list or read from it. The peer table has the same
/// limit.
const MAX_ADDRESSES: usize = 8;

/// Fetches the peer list at `url`. Returns one entry for each address: at most 64 peers with eight addresses each.
///
/// Skips malformed entries and logs their number, so that one malformed entry does not make the whole list useless.
///
/// # Errors
/// If the list could not be fetched within five seconds, or the server's answer is not a peer list.
///
/// # Panics
/// Outside a tokio runtime.
pub async fn fetch_list(url: &PeersUrl) -> Result<Vec<BootstrapPeer>, BootstrapError> {
    let list = url.clone();
    let document = tokio::task::spawn_blocking(move || get(&list)).await.expect("fetching a list does not panic")?;
    let (peers, dropped) = decode(&document).map_err(|source| BootstrapError::NotAList { url: url.clone(), source })?;
    if dropped > 0 {
        tracing::warn!(%url, dropped, used = peers.len(), "ignoring malformed entries of a peer list");
    }
    Ok(peers)
}

fn get(url: &PeersUrl) -> Result<Vec<u8>, BootstrapError> {
    let failed = |source| match source {
        ureq::Error::BodyExceedsLimit(_) => BootstrapError::ListTooLong { url: url.clone() },
        source => BootstrapError::Fetch { url: url.clone(), source },
    };
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(FETCH_TIMEOUT))
        .http_status_as_error(false)
        // Do not follow redirects, because a redirect could lead to any host.
        .max_redirects(0)
        // Peers are dialled without a proxy, so their list is fetched without a proxy too.
        .proxy(None)
        .build()
        .new_agent();
    let mut response = agent.get(url.as_str()).call().map_err(failed)?;
    if response.status() != ureq::http::StatusCode::OK {
        return Err(BootstrapError::Status { url: url.clone(), status: response.status().as_u16() });
    }
    // ureq refuses a body that is exactly as long as the limit, so the limit is one byte more.
    response.body_mut().with_config().limit(MAX_LIST_LEN + 1).read_to_vec().map_err(failed)
}

/// Encodes the JSON document that [`fetch_list`] reads. It contains the first 64 of `peers`, with the first eight
/// addresses of each.
pub fn peers_document(peers: &[(PeerId, Vec<Multiaddr>)]) -> String {
    #[derive(Serialize)]
    struct Document {
        peers: Vec<Entry>,
    }
    let entries = peers.iter().take(MAX_PEERS).map(|(peer, addresses)| Entry {
        peer_id: peer.to_string(),
        addresses: addresses.iter().take(MAX_ADDRESSES).map(ToString::to_string).collect(),
    });
    serde_json::to_string(&Document { peers: entries.collect() }).expect("lists of strings can be encoded as JSON")
}

#[derive(Deserialize, Serialize)]
struct Entry {
    peer_id: String,
    addresses: Vec<String>,
}

/// Returns the peers in a peer list, and the number of malformed entries and addresses in it.
fn decode(document: &[u8]) -> Result<(Vec<BootstrapPeer>, usize), serde_json::Error> {
    #[derive(Deserialize)]
    struct Document {
        peers: Vec<serde_json::Value>,
    }
    let document: Document = serde_json::from_slice(document)?;
    let (mut peers, mut used, mut dropped) = (Vec::new(), 0, 0);
    for entry in document.peers {
        if used == MAX_PEERS {
            break;
        }
        let entry = serde_json::from_value::<Entry>(entry).ok();
        let Some((peer, addresses)) = entry.and_then(|entry| Some((entry.peer_id.parse().ok()?, entry.addresses)))
        else {
            dropped += 1;
            continue;
        };
        let before = peers.len();
        for address in addresses.iter().take(MAX_ADDRESSES) {
            match address.parse().ok().and_then(|parsed| peer_at(peer, parsed)) {
                Some(parsed) => peers.push(parsed),
                None => dropped += 1,
            }
        }
        used += usize::from(peers.len() > before);
    }
    Ok((peers, dropped))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(count: usize, addresses: u16) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let addresses: Vec<_> = (1..=addresses).map(|n| format!("/ip4/127.0.0.1/tcp/{n}").parse().unwrap()).collect();
        (0..count).map(|_| (PeerId::random(), addresses.clone())).collect()
    }

    fn flat(peers: &[(PeerId, Vec<Multiaddr>)]) -> Vec<BootstrapPeer> {
        let one = |peer: &PeerId, address: &Multiaddr| BootstrapPeer { peer: Some(*peer), address: address.clone() };
        peers.iter().flat_map(|(peer, addresses)| addresses.iter().map(|address| one(peer, address))).collect()
    }

    #[test]
    fn a_written_list_is_read_back() {
        for known in [peers(0, 0), peers(1, 1), peers(MAX_PEERS, MAX_ADDRESSES as u16)] {
            let document = peers_document(&known);
            assert!(document.len() as u64 <= MAX_LIST_LEN);
            assert_eq!(decode(document.as_bytes()).unwrap(), (flat(&known), 0));
        }
    }

    #[test]
    fn peers_and_addresses_beyond_the_bounds_are_neither_written_nor_read() {
        let (many, all) = (peers(MAX_PEERS + 1, MAX_ADDRESSES as u16 + 1), MAX_PEERS * MAX_ADDRESSES);
        assert_eq!(decode(peers_document(&many).as_bytes()).unwrap().0.len(), all);
        let entry = |(peer, addresses): &(PeerId, Vec<Multiaddr>)| serde_json::json!({"peer_id": peer.to_string(), "addresses": addresses});
        let foreign = serde_json::json!({"peers": many.iter().map(entry).collect::<Vec<_>>()});
        assert_eq!(decode(foreign.to_string().as_bytes()).unwrap().0.len(), all);
    }

    #[test]
    fn malformed_entries_are_counted_and_unknown_fields_ignored() {
        let good = peers(1, 1);
        let (peer, other) = (good[0].0, PeerId::random());
        let document = serde_json::json!({
            "version": 7,
            "peers": [
                1,
                {"peer_id": "x", "addresses": []},
                {"peer_id": peer.to_string()},
                {"peer_id": peer.to_string(), "addresses": [
                    "localhost:1", "/ip4/127.0.0.1", format!("/ip4/127.0.0.1/tcp/1/p2p/{other}"), "/ip4/127.0.0.1/tcp/1",
                ], "colour": "blue"},
            ],
        });
        assert_eq!(decode(document.to_string().as_bytes()).unwrap(), (flat(&good), 6));
    }

    #[test]
    fn a_document_that_is_not_a_peer_list_is_refused() {
        for text in ["", "{}", "[]", "{\"peers\": {}}", "<html>", "{\"peers\": []"] {
            assert!(decode(text.as_bytes()).is_err(), "{text}");
        }
    }
}
