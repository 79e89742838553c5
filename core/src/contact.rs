//! The contact record: where a node can be reached, signed by the node's own identity key.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::codec::V1;
use crate::dht_key::DhtKey;
use crate::envelope::Payload;
use crate::keys::PublicKey;
use crate::record::{self, DhtRecord, InvalidRecord, RecordError};
use crate::trust::TrustedTime;

/// The most bytes of a peer id's text: that of an Ed25519 key takes 52, that of a hash 46.
pub const MAX_PEER_LEN: usize = 64;

/// The text of a peer id: 1 to [`MAX_PEER_LEN`] bytes of base58btc. Whether it really is a peer id is left to
/// those who know libp2p.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PeerText(String);

impl PeerText {
    /// The text.
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

/// Not the text of a peer id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a peer id: expected text such as 12D3KooW…")]
pub struct PeerTextError(String);

/// Where a node can be reached. Times are Unix times in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// The version of this format.
    pub v: V1,
    /// The node.
    pub peer: PeerText,
    /// Its multiaddrs, at least one: at most [`MAX_ADDRESSES`](record::MAX_ADDRESSES) of at most
    /// [`MAX_ADDRESS_LEN`](record::MAX_ADDRESS_LEN) bytes. Not parsed here.
    pub addresses: Vec<String>,
    /// Grows with every contact that the node makes.
    pub version: u64,
    /// When the record was made.
    pub issued_at: u64,
    /// From when on it must not be believed any more.
    pub expires_at: u64,
}

impl Contact {
    /// Reads and verifies the contact of `peer`, whose identity is `key`. That the two belong together is for
    /// the caller to know: the id of an Ed25519 identity contains the key.
    ///
    /// # Errors
    /// Any of [`RecordError`] but [`RecordError::Signer`].
    pub fn open(bytes: &[u8], peer: &PeerText, key: &PublicKey, at: TrustedTime) -> Result<Self, RecordError> {
        record::open(bytes, &DhtKey::Contact(peer.clone()), |_: &Self| *key, at)
    }
}

impl Payload for Contact {
    const TYPE: &'static str = "phase/contact/v1";
    type Invalid = InvalidRecord;

    fn check(&self) -> Result<(), InvalidRecord> {
        record::check_lifetime(self.issued_at, self.expires_at)?;
        if self.addresses.is_empty() {
            return Err(InvalidRecord::NoAddress);
        }
        record::check_addresses(&self.addresses)
    }
}

impl DhtRecord for Contact {
    fn dht_key(&self) -> DhtKey {
        DhtKey::Contact(self.peer.clone())
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn issued_at(&self) -> u64 {
        self.issued_at
    }

    fn expires_at(&self) -> u64 {
        self.expires_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{MAX_ADDRESS_LEN, MAX_ADDRESSES};

    fn contact() -> Contact {
        Contact {
            v: V1,
            peer: "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN".parse().unwrap(),
            addresses: vec!["/ip4/192.0.2.1/tcp/4001".to_owned()],
            version: 7,
            issued_at: 1_700_000_000,
            expires_at: 1_800_000_000,
        }
    }

    #[test]
    fn the_bytes_have_this_form() {
        assert_eq!(
            hex::encode(crate::codec::to_dag_cbor(&contact())),
            concat!(
                "a661760164706565727834313244334b6f6f5744704a3741733742574177524d6675315655325743714e6a76713338374a",
                "45594b44426a346b78366e58544e6776657273696f6e076961646472657373657381772f6970342f3139322e302e322e31",
                "2f7463702f34303031696973737565645f61741a6553f1006a657870697265735f61741a6b49d200",
            )
        );
    }

    #[test]
    fn a_peer_is_named_in_base58() {
        for text in ["1", "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", &"z".repeat(64)] {
            assert_eq!(text.parse::<PeerText>().unwrap().as_str(), text);
        }
        for text in ["", "0", "O", "I", "l", "a/b", "a b", "ä", "a\0", "/", &"z".repeat(65)] {
            assert!(text.parse::<PeerText>().is_err(), "{text:?} parsed");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let with = |addresses: Vec<String>| Contact { addresses, ..contact() }.check();
        assert_eq!(contact().check(), Ok(()));
        assert_eq!(Contact { issued_at: contact().expires_at, ..contact() }.check(), Err(InvalidRecord::Lifetime));
        assert_eq!(with(vec![]), Err(InvalidRecord::NoAddress));
        let longest = format!("/{}", "a".repeat(MAX_ADDRESS_LEN - 1));
        assert_eq!(with(vec![longest.clone(); MAX_ADDRESSES]), Ok(()));
        assert_eq!(with(vec![longest.clone(); MAX_ADDRESSES + 1]), Err(InvalidRecord::Addresses));
        for address in ["", "ip4/192.0.2.1", "/a b", "/a\u{1b}", "/ä", &format!("{longest}a")] {
            assert_eq!(with(vec![address.to_owned()]), Err(InvalidRecord::Addresses), "{address}");
        }
    }
}
