//! What the DHT holds values of: small payloads that are signed, have a version and expire.
//!
//! A contact, an authority record and a signed record have one signature, by a key that follows from the DHT key:
//! a node that asks for the key can verify the answer without a trust root. A pointer
//! is verified by the trust root and may have more signatures.

use std::collections::BTreeMap;

use super::key::DhtKey;
use crate::envelope::{Envelope, EnvelopeError, Payload};
use crate::failure::{Fails, Failure};
use crate::keys::{KeyId, PublicKey, SigningKey};
use crate::time::TrustedTime;

/// The most bytes of an encoded record with its signatures: half a packet of the DHT (16 KiB).
pub const MAX_RECORD_LEN: usize = 8 << 10;
/// The most addresses in a list.
pub const MAX_ADDRESSES: usize = 16;
/// The most bytes of one address.
pub const MAX_ADDRESS_LEN: usize = 256;

/// Which of two records under one key is the newer: the one with the higher version; of two with the same version the one that was
/// made later, which is a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// The record's version.
    pub version: u64,
    /// When the record was made: a Unix time in seconds.
    pub issued_at: u64,
}

/// A payload that stands in the DHT. Times are Unix times in seconds.
pub trait DhtRecord: Payload {
    /// The key under which it stands.
    fn dht_key(&self) -> DhtKey;

    /// How new it is.
    fn rank(&self) -> Rank;

    /// From when on it must not be believed any more.
    fn expires_at(&self) -> u64;

    /// The signed bytes as they stand in the DHT.
    ///
    /// # Errors
    /// If the record makes no sense, is too large, or `key` is not the one that its DHT key asks for.
    fn seal(&self, key: &SigningKey) -> Result<Vec<u8>, RecordError> {
        if let Some(expected) = self.dht_key().owner().filter(|owner| *owner != key.id()) {
            return Err(RecordError::Signer { found: key.id(), expected });
        }
        let bytes = Envelope::signed(self, [key])?.encode();
        if bytes.len() > MAX_RECORD_LEN {
            return Err(EnvelopeError::TooLarge { len: bytes.len(), max: MAX_RECORD_LEN }.into());
        }
        Ok(bytes)
    }
}

/// Reads the envelope of a record as it comes from the DHT or a peer. Nothing about it is verified.
///
/// # Errors
/// [`EnvelopeError::TooLarge`] past [`MAX_RECORD_LEN`], and those of [`Envelope::decode`].
pub fn decode_envelope(bytes: &[u8]) -> Result<Envelope, EnvelopeError> {
    if bytes.len() > MAX_RECORD_LEN {
        return Err(EnvelopeError::TooLarge { len: bytes.len(), max: MAX_RECORD_LEN });
    }
    Envelope::decode(bytes)
}

/// Reads and verifies a record that the key that `signer` picks alone must have signed. `signer` gets a payload
/// that is not verified yet, but is openly for the expected key.
pub(crate) fn open<R: DhtRecord>(
    bytes: &[u8],
    expected: &DhtKey,
    signer: impl FnOnce(&R) -> PublicKey,
    at: TrustedTime,
) -> Result<R, RecordError> {
    let envelope = decode_envelope(bytes)?;
    // Strangers could otherwise add signatures of their own, and one record would have many forms.
    if envelope.signatures().len() != 1 {
        return Err(RecordError::Signatures { count: envelope.signatures().len() });
    }
    let claimed: R = envelope.payload_unverified()?;
    let found = claimed.dht_key();
    if found != *expected {
        return Err(RecordError::OtherKey { found: Box::new(found), expected: Box::new(expected.clone()) });
    }
    let key = signer(&claimed);
    let record: R = envelope.verify(&BTreeMap::from([(key.id(), key)]), 1)?;
    let expires_at = TrustedTime(record.expires_at());
    if expires_at <= at {
        return Err(RecordError::Expired { expires_at, at });
    }
    Ok(record)
}

/// Checks what can be told of a list of multiaddrs without parsing them.
pub(crate) fn check_addresses(addresses: &[String]) -> Result<(), InvalidAddresses> {
    let is_address = |text: &String| {
        text.starts_with('/') && text.len() <= MAX_ADDRESS_LEN && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let is_list = addresses.len() <= MAX_ADDRESSES && addresses.iter().all(is_address);
    if is_list { Ok(()) } else { Err(InvalidAddresses) }
}

/// A list of addresses that is too long, or has a text that is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it may list at most {MAX_ADDRESSES} addresses such as /ip4/192.0.2.1/tcp/4001, of at most {MAX_ADDRESS_LEN} bytes each"
)]
pub struct InvalidAddresses;

/// Why a record cannot be made or is not believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Too large, no such record, one that makes no sense, or not signed by the right key.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Not exactly one signature.
    #[error("record has {count} signatures: expected 1")]
    Signatures {
        /// How many there are.
        count: usize,
    },
    /// Signed, perhaps, but for another key of the DHT.
    #[error("record is for {found}, not {expected}")]
    OtherKey {
        /// What it is for.
        found: Box<DhtKey>,
        /// What was asked for.
        expected: Box<DhtKey>,
    },
    /// To be signed by a key that cannot sign it.
    #[error("key {found} cannot sign a record of key {expected}")]
    Signer {
        /// The key that was given.
        found: KeyId,
        /// The key that the record is of.
        expected: KeyId,
    },
    /// No longer valid.
    #[error("record expired at {expires_at}, and it is {at} or later")]
    Expired {
        /// When it expired.
        expires_at: TrustedTime,
        /// What is known about the present time.
        at: TrustedTime,
    },
}

impl Fails for RecordError {
    fn failure(&self) -> Failure {
        match self {
            Self::Envelope(error) => error.failure(),
            Self::Signer { .. } => Failure::Input,
            Self::Signatures { .. } | Self::OtherKey { .. } | Self::Expired { .. } => Failure::Untrusted,
        }
    }
}
