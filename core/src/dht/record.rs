//! DHT records: small signed payloads with a version and an expiry.
//!
//! A contact record, an authority record and a signed record have exactly one signature. The DHT key determines the key
//! that must have signed, so a node can verify the record without a trust root. A pointer record is verified against
//! the trust root and may have several signatures.

use std::collections::BTreeMap;

use super::key::DhtKey;
use crate::envelope::{Envelope, EnvelopeError, Payload};
use crate::failure::{Fails, Failure};
use crate::keys::{KeyId, PublicKey, SigningKey};
use crate::time::TrustedTime;

/// The maximum length of an encoded record with its signatures, in bytes. It is half the maximum length of a DHT
/// message (16 KiB).
pub const MAX_RECORD_LEN: usize = 8 << 10;
/// The maximum number of addresses in a record.
pub const MAX_ADDRESSES: usize = 16;
/// The maximum length of one address in a record, in bytes.
pub const MAX_ADDRESS_LEN: usize = 256;

/// The rank of a record, which decides which of two records with the same DHT key is newer. A higher version is newer.
/// If the versions are equal, a later time of issue is newer, because the record was renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// The version of the record.
    pub version: u64,
    /// The time of issue, as a Unix time in seconds.
    pub issued_at: u64,
}

/// A type of DHT record: a payload that is stored under a DHT key. Times are Unix times in seconds.
pub trait DhtRecord: Payload {
    /// Returns the DHT key under which the record is stored.
    fn dht_key(&self) -> DhtKey;

    /// Returns the rank of the record, which decides which of two records is newer.
    fn rank(&self) -> Rank;

    /// Returns the time at which the record expires.
    fn expires_at(&self) -> u64;

    /// Signs the record and returns the encoded envelope, which is stored in the DHT.
    ///
    /// # Errors
    /// If the record is invalid or too large, or if the DHT key contains the id of a key other than `key`.
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

/// Decodes the envelope of a record without verifying it.
///
/// # Errors
/// [`EnvelopeError::TooLarge`] if the envelope is longer than [`MAX_RECORD_LEN`], and the errors of
/// [`Envelope::decode`].
pub fn decode_envelope(bytes: &[u8]) -> Result<Envelope, EnvelopeError> {
    if bytes.len() > MAX_RECORD_LEN {
        return Err(EnvelopeError::TooLarge { len: bytes.len(), max: MAX_RECORD_LEN });
    }
    Envelope::decode(bytes)
}

/// Decodes and verifies a record. It must have the DHT key `expected` and exactly one signature. `signer` returns the
/// key that must have signed it. The argument of `signer` is the record before it is verified.
pub(crate) fn open<R: DhtRecord>(
    bytes: &[u8],
    expected: &DhtKey,
    signer: impl FnOnce(&R) -> PublicKey,
    at: TrustedTime,
) -> Result<R, RecordError> {
    let envelope = decode_envelope(bytes)?;
    // Several signatures are refused, because any peer could add signatures and so make many encodings of one record.
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

/// Checks the number, length and characters of multiaddrs, without parsing them.
pub(crate) fn check_addresses(addresses: &[String]) -> Result<(), InvalidAddresses> {
    let is_address = |text: &String| {
        text.starts_with('/') && text.len() <= MAX_ADDRESS_LEN && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let is_list = addresses.len() <= MAX_ADDRESSES && addresses.iter().all(is_address);
    if is_list { Ok(()) } else { Err(InvalidAddresses) }
}

/// The error for a list of addresses that is too long or contains an invalid address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it may list at most {MAX_ADDRESSES} addresses such as /ip4/192.0.2.1/tcp/4001, of at most {MAX_ADDRESS_LEN} bytes each"
)]
pub struct InvalidAddresses;

/// An error from signing, decoding or verifying a record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The record is too large, has another type, is invalid, or is not signed by the expected key.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The record has no signature, or more than one signature.
    #[error("the record must have 1 signature and has {count}")]
    Signatures {
        /// The number of signatures that the record has.
        count: usize,
    },
    /// The record is for another DHT key.
    #[error("record is for {found}, not {expected}")]
    OtherKey {
        /// The DHT key of the record.
        found: Box<DhtKey>,
        /// The requested DHT key.
        expected: Box<DhtKey>,
    },
    /// The key that was passed for signing does not own the record.
    #[error("key {found} cannot sign a record that key {expected} owns")]
    Signer {
        /// The id of the key that was passed for signing.
        found: KeyId,
        /// The id of the key that owns the record.
        expected: KeyId,
    },
    /// The record has expired.
    #[error("record expired at {expires_at}; now it is {at} or later")]
    Expired {
        /// The time at which the record expired.
        expires_at: TrustedTime,
        /// The trusted time with which the expiry was compared.
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
