//! Canonical DAG-CBOR: one value has one encoding, so that a CID or signature over bytes is one over
//! the value.
//!
//! Two ways in, both of which refuse bytes that encode the value in another way (map keys out of order
//! or twice, longer lengths than needed, trailing bytes):
//! - [`from_dag_cbor_exact`]: a format that Phase alone defines. Unknown fields are refused, since they
//!   could not be encoded again.
//! - [`from_dag_cbor_open`]: a signed payload. Unknown fields are passed over, so that an older client
//!   can read what a newer publisher signs.

use ipld_core::ipld::Ipld;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The canonical encoding of `value`.
///
/// # Panics
/// If `value` has no encoding. Phase's own types have one: their maps have text keys, and they hold no
/// floats.
pub fn to_dag_cbor<T: Serialize>(value: &T) -> Vec<u8> {
    serde_ipld_dagcbor::to_vec(value).expect("types with text keys and no floats have an encoding")
}

/// Decodes a value of a closed format.
///
/// # Errors
/// If the bytes are not exactly what [`to_dag_cbor`] gives for the value.
pub fn from_dag_cbor_exact<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let value: T = decode(bytes)?;
    if to_dag_cbor(&value) == bytes { Ok(value) } else { Err(DecodeError::NotCanonical) }
}

/// Decodes a value of an open format: the bytes are canonical, but may have more fields.
///
/// Takes memory in the order of 100 times the length of `bytes`; the caller bounds that.
///
/// # Errors
/// If the bytes are not canonical DAG-CBOR, or not such a value.
pub fn from_dag_cbor_open<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let tree: Ipld = decode(bytes)?;
    if to_dag_cbor(&tree) != bytes {
        return Err(DecodeError::NotCanonical);
    }
    decode(bytes)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    serde_ipld_dagcbor::from_slice(bytes).map_err(|error| DecodeError::Malformed(error.to_string()))
}

/// The field `v` of a format that has one version so far: encoded as 1, and nothing else is decoded.
///
/// It is called `v` because the shortest name comes first in canonical DAG-CBOR: a later format is
/// told apart before anything else about it can go wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct V1;

impl TryFrom<u64> for V1 {
    type Error = LaterVersion;

    fn try_from(version: u64) -> Result<Self, LaterVersion> {
        if version == 1 { Ok(Self) } else { Err(LaterVersion(version)) }
    }
}

impl From<V1> for u64 {
    fn from(_: V1) -> Self {
        1
    }
}

/// A format of another version than 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("format version {0} is not known here, only 1: update Phase")]
pub struct LaterVersion(u64);

/// Why bytes were not decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Not DAG-CBOR, or not of the expected form.
    #[error("not decodable: {0}")]
    Malformed(String),
    /// DAG-CBOR, but not the one encoding of its value.
    #[error("DAG-CBOR is not canonical")]
    NotCanonical,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        v: V1,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    }

    fn both(hex: &str) -> [Result<Sample, DecodeError>; 2] {
        let bytes = hex::decode(hex).unwrap();
        [from_dag_cbor_exact(&bytes), from_dag_cbor_open(&bytes)]
    }

    #[test]
    fn one_value_has_one_encoding() {
        let sample = Sample { v: V1, name: Some("a".to_owned()) };
        assert_eq!(hex::encode(to_dag_cbor(&sample)), "a2617601646e616d656161");
        for decoded in both("a2617601646e616d656161") {
            assert_eq!(decoded.as_ref(), Ok(&sample));
        }
        for (other, why) in [
            ("a2646e616d656161617601", "keys out of order"),
            ("a361760161760 1646e616d656161", "a key twice"),
            ("a26176180 1646e616d656161", "a number longer than needed"),
            ("a26176017804 6e616d656161", "a text length longer than needed"),
            ("bf61760 1646e616d656161ff", "a map without length"),
            ("a261760 1646e616d65616100", "trailing bytes"),
            ("a261760 1646e616d6561", "bytes missing"),
            ("a261760 1646e616d65f6", "null for an absent field"),
            ("", "nothing"),
        ] {
            let [exact, open] = both(&other.replace(' ', ""));
            assert!(exact.is_err(), "{why}");
            assert!(open.is_err() || why == "null for an absent field", "{why}");
        }
    }

    #[test]
    fn unknown_fields_pass_in_an_open_format_only() {
        let [exact, open] = both("a26161f5617601");
        assert_eq!(exact, Err(DecodeError::NotCanonical));
        assert_eq!(open, Ok(Sample { v: V1, name: None }));
        assert!(both("a26161a26161016162f5617601")[1].is_ok());
        assert!(both("a26161a2616201616101617601")[1].is_err(), "an unknown field is canonical as well");
    }

    #[test]
    fn a_later_version_is_named() {
        let later = to_dag_cbor(&BTreeMap::from([("v", 2), ("a", 1)]));
        let error = from_dag_cbor_open::<Sample>(&later).unwrap_err();
        assert!(error.to_string().contains("format version 2"), "{error}");
    }

    #[test]
    fn deep_nesting_is_an_error() {
        let nested = vec![0x81; 1 << 20];
        assert!(from_dag_cbor_open::<Sample>(&nested).is_err());
        assert!(from_dag_cbor_exact::<Sample>(&nested).is_err());
    }
}
