//! The signed record: a value of another application, signed by the key that owns it.

use serde::{Deserialize, Serialize};

use super::key::{self, DhtKey};
use super::record::{self, DhtRecord, Rank, RecordError};
use crate::codec::V1;
use crate::envelope::Payload;
use crate::keys::{KeyId, PublicKey};
use crate::name::Label;
use crate::time::TrustedTime;

/// The most bytes of a value: with key, label and signature it stays far below
/// [`MAX_RECORD_LEN`](record::MAX_RECORD_LEN).
pub const MAX_VALUE_LEN: usize = 4 << 10;

/// A value under a key and a label. Times are Unix times in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedRecord {
    /// The version of this format.
    pub v: V1,
    /// The key that owns it.
    pub key: PublicKey,
    /// Which of the key's values. Not `manifest`: see [`DhtKey`].
    pub label: Label,
    /// The value: at most [`MAX_VALUE_LEN`] bytes, which mean nothing to Phase.
    #[serde(with = "serde_bytes")]
    pub value: Vec<u8>,
    /// Grows with every value under the label.
    pub version: u64,
    /// When the record was made.
    pub issued_at: u64,
    /// From when on it must not be believed any more.
    pub expires_at: u64,
}

impl SignedRecord {
    /// Reads and verifies what the key that is called `owner` signed under `label`.
    ///
    /// # Errors
    /// Any of [`RecordError`] but [`RecordError::Signer`].
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

/// Why a signed record makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignedRecordError {
    /// It expires before it begins.
    #[error("it expires before it is issued")]
    Lifetime,
    /// The label would make the record look like a name.
    #[error("it cannot be labelled {}: its key would be that of a name", key::MANIFEST)]
    Label,
    /// The value is too long.
    #[error("its value has {0} bytes: at most {MAX_VALUE_LEN}")]
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
    fn the_bytes_have_this_form() {
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
    fn what_makes_no_sense_is_refused() {
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
    fn the_largest_value_fits_a_packet_of_the_dht() {
        let label: Label = "l".repeat(64).parse().unwrap();
        let largest =
            SignedRecord { label: label.clone(), value: vec![0; MAX_VALUE_LEN], version: u64::MAX, ..record() };
        let sealed = largest.seal(&key()).unwrap();
        assert_eq!(SignedRecord::open(&sealed, &key().id(), &label, TrustedTime(0)).unwrap(), largest);
    }
}
