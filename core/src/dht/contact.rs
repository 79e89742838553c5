//! The contact record: the addresses of a node, signed with the node's own identity key.

use serde::{Deserialize, Serialize};

use super::key::DhtKey;
use super::peer::PeerText;
use super::record::{self, DhtRecord, InvalidAddresses, Rank, RecordError};
use crate::codec::V1;
use crate::envelope::Payload;
use crate::keys::PublicKey;
use crate::time::TrustedTime;

/// A contact record: the addresses of a node. Times are Unix times in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// The version of the contact record format.
    pub v: V1,
    /// The peer id of the node.
    pub peer: PeerText,
    /// The multiaddrs of the node: at least 1, at most [`MAX_ADDRESSES`](record::MAX_ADDRESSES). Each has at most
    /// [`MAX_ADDRESS_LEN`](record::MAX_ADDRESS_LEN) bytes. This crate does not parse multiaddrs.
    pub addresses: Vec<String>,
    /// The version of the record. It grows with each contact record of the node.
    pub version: u64,
    /// The time at which the record was issued.
    pub issued_at: u64,
    /// The time at which the record expires. From then on, the record is refused.
    pub expires_at: u64,
}

impl Contact {
    /// Decodes and verifies the contact record of `peer`, which must be signed with the identity key `key`.
    ///
    /// The caller must have checked that `key` belongs to `peer`. If it is an Ed25519 key, the peer id contains it.
    ///
    /// # Errors
    /// Every variant of [`RecordError`] except [`RecordError::Signer`] is possible.
    pub fn open(bytes: &[u8], peer: &PeerText, key: &PublicKey, at: TrustedTime) -> Result<Self, RecordError> {
        record::open(bytes, &DhtKey::Contact(peer.clone()), |_: &Self| *key, at)
    }
}

impl Payload for Contact {
    const TYPE: &'static str = "phase/contact/v1";
    type Invalid = ContactError;

    fn check(&self) -> Result<(), ContactError> {
        if self.expires_at <= self.issued_at {
            return Err(ContactError::Lifetime);
        }
        if self.addresses.is_empty() {
            return Err(ContactError::NoAddress);
        }
        Ok(record::check_addresses(&self.addresses)?)
    }
}

impl DhtRecord for Contact {
    fn dht_key(&self) -> DhtKey {
        DhtKey::Contact(self.peer.clone())
    }

    fn rank(&self) -> Rank {
        Rank { version: self.version, issued_at: self.issued_at }
    }

    fn expires_at(&self) -> u64 {
        self.expires_at
    }
}

/// An error that makes a contact record invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContactError {
    /// The expiry is not later than the time of issue.
    #[error("it expires before it is issued")]
    Lifetime,
    /// The record lists no address.
    #[error("it lists no address")]
    NoAddress,
    /// The record lists too many addresses, or an invalid address.
    #[error(transparent)]
    Addresses(#[from] InvalidAddresses),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dht::record::{MAX_ADDRESS_LEN, MAX_ADDRESSES};

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
    fn the_bytes_of_a_contact_record_do_not_change() {
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
    fn an_invalid_contact_record_is_refused() {
        let with = |addresses: Vec<String>| Contact { addresses, ..contact() }.check();
        assert_eq!(contact().check(), Ok(()));
        assert_eq!(Contact { issued_at: contact().expires_at, ..contact() }.check(), Err(ContactError::Lifetime));
        assert_eq!(with(vec![]), Err(ContactError::NoAddress));
        let longest = format!("/{}", "a".repeat(MAX_ADDRESS_LEN - 1));
        assert_eq!(with(vec![longest.clone(); MAX_ADDRESSES]), Ok(()));
        assert_eq!(with(vec![longest.clone(); MAX_ADDRESSES + 1]), Err(ContactError::Addresses(InvalidAddresses)));
        for address in ["", "ip4/192.0.2.1", "/a b", "/a\u{1b}", "/ä", &format!("{longest}a")] {
            assert_eq!(with(vec![address.to_owned()]), Err(ContactError::Addresses(InvalidAddresses)), "{address}");
        }
    }
}
