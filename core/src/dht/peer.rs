//! Peer ids as text.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The maximum length of a peer id as text, in bytes. A peer id has 52 bytes if it contains an Ed25519 key, and 46
/// bytes if it is a SHA2-256 hash.
pub const MAX_PEER_LEN: usize = 64;

/// A peer id as text: 1 to [`MAX_PEER_LEN`] bytes of base58btc. The text is not decoded, because this crate does not
/// depend on libp2p.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PeerText(String);

impl PeerText {
    /// Returns the peer id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PeerText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PeerText {
    type Err = PeerTextError;

    fn from_str(text: &str) -> Result<Self, PeerTextError> {
        let permitted = |b: u8| b.is_ascii_alphanumeric() && !matches!(b, b'0' | b'O' | b'I' | b'l');
        if text.is_empty() || text.len() > MAX_PEER_LEN || !text.bytes().all(permitted) {
            return Err(PeerTextError(text.chars().take(MAX_PEER_LEN).collect()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for PeerText {
    type Error = PeerTextError;

    fn try_from(text: String) -> Result<Self, PeerTextError> {
        text.parse()
    }
}

impl From<PeerText> for String {
    fn from(peer: PeerText) -> Self {
        peer.0
    }
}

/// The error for a text that is not a peer id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a peer id: expected text such as 12D3KooW…")]
pub struct PeerTextError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_base58_text_is_accepted_as_a_peer_id() {
        for text in ["1", "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", &"z".repeat(64)] {
            assert_eq!(text.parse::<PeerText>().unwrap().as_str(), text);
        }
        for text in ["", "0", "O", "I", "l", "a/b", "a b", "ä", "a\0", "/", &"z".repeat(65)] {
            assert!(text.parse::<PeerText>().is_err(), "{text:?} parsed");
        }
    }
}
