//! The authority record: the names for which a publisher's key claims to sign, and nodes that serve releases of these
//! names. The record is signed with the same key.
//!
//! The record is only a claim. The trust root decides whether the key may sign for a name.

use serde::{Deserialize, Serialize};

use super::key::DhtKey;
use super::record::{self, DhtRecord, InvalidAddresses, Rank, RecordError};
use crate::codec::V1;
use crate::envelope::Payload;
use crate::keys::{KeyId, PublicKey};
use crate::name::Name;
use crate::time::TrustedTime;

/// The maximum number of names in an authority record. A record with long names can hold fewer names, because its
/// length is limited to [`MAX_RECORD_LEN`](record::MAX_RECORD_LEN).
pub const MAX_NAMES: usize = 64;

/// An authority record: the names for which a publisher's key signs. Times are Unix times in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// The version of the authority record format.
    pub v: V1,
    /// The publisher's public key, which verifies the record.
    pub key: PublicKey,
    /// The names for which the key signs: at most [`MAX_NAMES`].
    pub names: Vec<Name>,
    /// The multiaddrs of nodes that serve releases of the names in `names`: at most
    /// [`MAX_ADDRESSES`](record::MAX_ADDRESSES). Each has at most [`MAX_ADDRESS_LEN`](record::MAX_ADDRESS_LEN) bytes.
    /// This crate does not parse multiaddrs.
    pub providers: Vec<String>,
    /// The version of the record. It grows with each authority record that the key signs.
    pub version: u64,
    /// The time at which the record was issued.
    pub issued_at: u64,
    /// The time at which the record expires. From then on, the record is refused.
    pub expires_at: u64,
}

impl Authority {
    /// Decodes and verifies the authority record that the key with the id `expected` signed.
    ///
    /// # Errors
    /// Every variant of [`RecordError`] except [`RecordError::Signer`] is possible.
    pub fn open(bytes: &[u8], expected: &KeyId, at: TrustedTime) -> Result<Self, RecordError> {
        record::open(bytes, &DhtKey::Authority(*expected), |claimed: &Self| claimed.key, at)
    }
}

impl Payload for Authority {
    const TYPE: &'static str = "phase/authority/v1";
    type Invalid = AuthorityError;

    fn check(&self) -> Result<(), AuthorityError> {
        if self.expires_at <= self.issued_at {
            return Err(AuthorityError::Lifetime);
        }
        if self.names.len() > MAX_NAMES {
            return Err(AuthorityError::Names(self.names.len()));
        }
        Ok(record::check_addresses(&self.providers)?)
    }
}

impl DhtRecord for Authority {
    fn dht_key(&self) -> DhtKey {
        DhtKey::Authority(self.key.id())
    }

    fn rank(&self) -> Rank {
        Rank { version: self.version, issued_at: self.issued_at }
    }

    fn expires_at(&self) -> u64 {
        self.expires_at
    }
}

/// An error that makes an authority record invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// The expiry is not later than the time of issue.
    #[error("it expires before it is issued")]
    Lifetime,
    /// The record lists too many names.
    #[error("it lists {0} names, more than the maximum of {MAX_NAMES}")]
    Names(usize),
    /// The record lists too many addresses, or an invalid address.
    #[error(transparent)]
    Addresses(#[from] InvalidAddresses),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dht::record::{MAX_ADDRESS_LEN, MAX_ADDRESSES};
    use crate::envelope::EnvelopeError;
    use crate::keys::SigningKey;

    fn key() -> SigningKey {
        SigningKey::from_secret_bytes(&[1; 32])
    }

    fn authority() -> Authority {
        Authority {
            v: V1,
            key: key().public(),
            names: vec!["stable/x86_64".parse().unwrap()],
            providers: vec!["/dns4/example.org/tcp/4001".to_owned()],
            version: 7,
            issued_at: 1_700_000_000,
            expires_at: 1_800_000_000,
        }
    }

    #[test]
    fn the_bytes_of_an_authority_record_do_not_change() {
        assert_eq!(
            hex::encode(crate::codec::to_dag_cbor(&authority())),
            concat!(
                "a7617601636b657958208a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c656e616d657381",
                "a26461726368667838365f3634676368616e6e656c66737461626c656776657273696f6e07696973737565645f61741a65",
                "53f1006970726f76696465727381781a2f646e73342f6578616d706c652e6f72672f7463702f343030316a657870697265",
                "735f61741a6b49d200",
            )
        );
    }

    #[test]
    fn an_invalid_authority_record_is_refused() {
        let with = |change: fn(&mut Authority)| {
            let mut authority = authority();
            change(&mut authority);
            authority.check()
        };
        assert_eq!(with(|_| {}), Ok(()));
        assert_eq!(with(|a| a.issued_at = a.expires_at), Err(AuthorityError::Lifetime));
        assert_eq!(with(|a| a.names.clear()), Ok(()));
        assert_eq!(with(|a| a.names = vec![a.names[0].clone(); 64]), Ok(()));
        assert_eq!(with(|a| a.names = vec![a.names[0].clone(); 65]), Err(AuthorityError::Names(65)));
        assert_eq!(with(|a| a.providers.clear()), Ok(()));
        assert_eq!(
            with(|a| a.providers = vec![a.providers[0].clone(); 17]),
            Err(AuthorityError::Addresses(InvalidAddresses))
        );
        assert_eq!(
            with(|a| a.providers[0] = "example.org".to_owned()),
            Err(AuthorityError::Addresses(InvalidAddresses))
        );
    }

    #[test]
    fn a_record_that_is_too_large_for_a_dht_message_is_not_signed() {
        let names = vec![format!("{}/x86_64", "c".repeat(16)).parse().unwrap(); MAX_NAMES];
        let providers = vec![format!("/{}", "a".repeat(MAX_ADDRESS_LEN - 1)); MAX_ADDRESSES];
        let large = Authority { names, providers, version: u64::MAX, ..authority() };
        let sealed = large.seal(&key()).unwrap();
        assert_eq!(Authority::open(&sealed, &key().id(), TrustedTime(0)).unwrap(), large);

        let names = vec![format!("{0}/{0}", "c".repeat(64)).parse().unwrap(); MAX_NAMES];
        let too_large = Authority { names, ..large }.seal(&key()).unwrap_err();
        assert!(matches!(too_large, RecordError::Envelope(EnvelopeError::TooLarge { .. })), "{too_large}");
        assert!(too_large.to_string().ends_with("more than the maximum of 8192"), "{too_large}");
    }
}
