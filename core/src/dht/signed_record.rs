//! The signed record: a value of another application, signed by the key that owns it.

use serde::{Deserialize, Serialize};

use super::key::{self, DhtKey};
use super::record::{self, DhtRecord, Rank, RecordError};
use crate::codec::V1;
use crate::envelope::Payload;
use crate::keys::{KeyId, PublicKey};
use crate::name::Label;
use crate::time::TrustedTime;

/// The maximum length of a value, in bytes. A record with a value of this length, a key, a label and a signature is
/// still far shorter than [`MAX_RECORD_LEN`](record::MAX_RECORD_LEN).
pub const MAX_VALUE_LEN: usize = 4 << 10;

/// A signed record: a value that another application stores under a key id and a label. Times are Unix times in
/// seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedRecord {
    /// The version of the signed record format.
    pub v: V1,
    /// The public key of the owner, which verifies the signature.
    pub key: PublicKey,
    /// The label, which distinguishes the values of one owner. It must not be `manifest`, because the DHT key of the
    /// record would then be the DHT key of a name.
    pub label: Label,
    /// The value, which Phase does not interpret. It has up to [`MAX_VALUE_LEN`] bytes.
    #[serde(with = "serde_bytes")]
    pub value: Vec<u8>,
    /// The version of the value. It grows with each new value under the same label.
    pub version: u64,
    /// The time at which the record was issued.
    pub issued_at: u64,
    /// The time at which the record expires. From then on, the record is refused.
    pub expires_at: u64,
}

impl SignedRecord {
    /// Decodes and verifies the record that the key with the id `owner` signed, and whose label is `label`.
    ///
    /// # Errors
    /// Every variant of [`RecordError`] except [`RecordError::Signer`] is possible.
    pub fn open(bytes: &[u8], owner: &KeyId, label: &Label, at: TrustedTime) -> Result<Self, RecordError> {
        let expected = DhtKey::Record { owner: *owner, label: label.clone() };
        record::open(bytes, &expected, |claimed: &Self| claimed.key, at)
    }
}

impl Payload for SignedRecord {
    const TYPE: &'static str = "phase/record/v1";
    type Invalid = SignedRecordError;

    fn check(&self) -> Result<(), SignedRecordError> {
        if self.expires_at <= self.issued_at {
            return Err(SignedRecordError::Lifetime);
        }
        if self.label.as_str() == key::MANIFEST {
            return Err(SignedRecordError::Label);
        }
        if self.value.len() > MAX_VALUE_LEN {
            return Err(SignedRecordError::Value(self.value.len()));
        }
        Ok(())
    }
}

impl DhtRecord for SignedRecord {
    fn dht_key(&self) -> DhtKey {
        DhtKey::Record { owner: self.key.id(), label: self.label.clone() }
    }

    fn rank(&self) -> Rank {
        Rank { version: self.version, issued_at: self.issued_at }
    }

    fn expires_at(&self) -> u64 {
        self.expires_at
    }
}

/// An error that makes a signed record invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignedRecordError {
    /// The expiry is not later than the time of issue.
    #[error("it expires before it is issued")]
    Lifetime,
    /// The label is `manifest`, so that the DHT key of the record would be the DHT key of a name.
    #[error("its label cannot be {}: its DHT key would be that of a name", key::MANIFEST)]
    Label,
    /// The value is longer than [`MAX_VALUE_LEN`].
    #[error("its value has {0} bytes, more than the maximum of {MAX_VALUE_LEN}")]
    Value(usize),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SigningKey;

    fn key() -> SigningKey {
        SigningKey::from_secret_bytes(&[1; 32])
    }

    fn record() -> SignedRecord {
        SignedRecord {
            v: V1,
            key: key().public(),
            label: "motd".parse().unwrap(),
            value: b"hello".to_vec(),
            version: 7,
            issued_at: 1_700_000_000,
            expires_at: 1_800_000_000,
        }
    }

    #[test]
    fn the_bytes_of_a_signed_record_do_not_change() {
        assert_eq!(
            hex::encode(crate::codec::to_dag_cbor(&record())),
            concat!(
                "a7617601636b657958208a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c656c6162656c64",
                "6d6f74646576616c75654568656c6c6f6776657273696f6e07696973737565645f61741a6553f1006a657870697265735f",
                "61741a6b49d200",
            )
        );
    }

    #[test]
    fn an_invalid_signed_record_is_refused() {
        let with = |change: fn(&mut SignedRecord)| {
            let mut record = record();
            change(&mut record);
            record.check()
        };
        assert_eq!(with(|_| {}), Ok(()));
        assert_eq!(with(|r| r.issued_at = r.expires_at), Err(SignedRecordError::Lifetime));
        assert_eq!(with(|r| r.value.clear()), Ok(()));
        assert_eq!(with(|r| r.value = vec![0; 4097]), Err(SignedRecordError::Value(4097)));
        assert_eq!(with(|r| r.label = "manifest".parse().unwrap()), Err(SignedRecordError::Label));
    }

    #[test]
    fn a_record_with_the_largest_value_fits_into_a_dht_message() {
        let label: Label = "l".repeat(64).parse().unwrap();
        let largest =
            SignedRecord { label: label.clone(), value: vec![0; MAX_VALUE_LEN], version: u64::MAX, ..record() };
        let sealed = largest.seal(&key()).unwrap();
        assert_eq!(SignedRecord::open(&sealed, &key().id(), &label, TrustedTime(0)).unwrap(), largest);
    }
}
