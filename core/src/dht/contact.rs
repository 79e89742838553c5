//! The contact record: where a node can be reached, signed by the node's own identity key.

use serde::{Deserialize, Serialize};

use super::key::DhtKey;
use super::peer::PeerText;
use super::record::{self, DhtRecord, InvalidAddresses, Rank, RecordError};
use crate::codec::V1;
use crate::envelope::Payload;
use crate::keys::PublicKey;
use crate::time::TrustedTime;

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

/// Why a contact record makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContactError {
    /// It expires before it begins.
    #[error("it expires before it is issued")]
    Lifetime,
    /// No address at all.
    #[error("it lists no address")]
    NoAddress,
    /// Too many addresses, or a text that is no address.
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
    fn what_makes_no_sense_is_refused() {
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
