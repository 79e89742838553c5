//! Bootstrap lists: TOML files with bootstrap peers and URLs of peer lists.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use libp2p::{Multiaddr, PeerId};
use serde::{Deserialize, Serialize};

use crate::discovery::bootstrap::bounds::MAX_LIST_LEN;
use crate::discovery::bootstrap::error::BootstrapError;
use crate::discovery::bootstrap::source::{BootstrapPeer, BootstrapSource, peer_at};
use crate::discovery::bootstrap::url::UrlError;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    bootstrap: Vec<Entry>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

/// Reads the file `path` and returns the first `limit` sources in its bootstrap list.
pub(crate) fn read(path: &Path, limit: usize) -> Result<Vec<BootstrapSource>, BootstrapError> {
    let unreadable = |source| BootstrapError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_LIST_LEN + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_LIST_LEN {
        return Err(BootstrapError::TooLong { path: path.to_owned() });
    }
    parse(&text, path, limit)
}

/// Parses the first `limit` sources in a bootstrap list. `path` appears only in error messages.
pub(crate) fn parse(text: &str, path: &Path, limit: usize) -> Result<Vec<BootstrapSource>, BootstrapError> {
    let document: Document =
        toml::from_str(text).map_err(|source| BootstrapError::Toml { path: path.to_owned(), source })?;
    document.bootstrap.into_iter().take(limit).map(|entry| source(entry, path)).collect()
}

fn source(entry: Entry, path: &Path) -> Result<BootstrapSource, BootstrapError> {
    let in_file = |source| BootstrapError::Entry { path: path.to_owned(), source: Box::new(source) };
    match entry {
        Entry { peer_id: None, address: None, url: Some(url) } => {
            url.parse().map(BootstrapSource::Url).map_err(|error: UrlError| in_file(error.into()))
        }
        Entry { peer_id: Some(peer_id), address: Some(address), url: None } => {
            let peer: PeerId =
                peer_id.parse().map_err(|_| BootstrapError::PeerId { path: path.to_owned(), text: peer_id })?;
            let parsed: BootstrapPeer = address.parse().map_err(in_file)?;
            let known = peer_at(peer, parsed).map(BootstrapSource::Peer);
            known.ok_or_else(|| BootstrapError::TwoPeers { path: path.to_owned(), text: address })
        }
        _ => Err(BootstrapError::Fields { path: path.to_owned() }),
    }
}

/// Encodes peers as a bootstrap list that [`parse`] accepts.
pub(crate) fn encode<'a>(peers: impl Iterator<Item = (&'a PeerId, &'a Multiaddr)>) -> String {
    let entries = peers.map(|(peer, address)| Entry {
        peer_id: Some(peer.to_string()),
        address: Some(address.to_string()),
        url: None,
    });
    toml::to_string(&Document { bootstrap: entries.collect() }).expect("tables of strings can be encoded as TOML")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X";
    const OTHER: &str = "12D3KooWGRUvKK9kW6wqCw5E3mbGZpDYBAt7sQJTzEYLnTvTgpVk";

    #[test]
    fn a_malformed_list_is_refused_with_an_error_that_names_the_file() {
        let at = |peer: &str, address: &str| format!("[[bootstrap]]\npeer_id = \"{peer}\"\naddress = \"{address}\"");
        for text in [
            "bootstrap = 3".to_owned(),
            "[[bootstrap]]".to_owned(),
            at("x", "/ip4/127.0.0.1/tcp/2"),
            at(PEER, "localhost:2"),
            at(PEER, &format!("/ip4/127.0.0.1/tcp/2/p2p/{OTHER}")),
            at(PEER, "/ip4/127.0.0.1/tcp/2") + "\nurl = \"http://localhost/peers\"",
            at(PEER, "/ip4/127.0.0.1/tcp/2") + "\ncolour = 1",
            "[[bootstrap]]\naddress = \"/ip4/127.0.0.1/tcp/2\"".to_owned(),
            "[[bootstrap]]\nurl = \"https://localhost/peers\"".to_owned(),
        ] {
            let error = parse(&text, Path::new("list.toml"), 64).unwrap_err();
            assert!(error.to_string().contains("list.toml"), "{text}: {error}");
        }
    }

    #[test]
    fn a_file_without_an_end_is_refused_as_too_long() {
        let error = read(Path::new("/dev/zero"), 64).unwrap_err();
        assert!(matches!(error, BootstrapError::TooLong { .. }), "{error}");
    }
}
