//! Canonical DAG-CBOR. Each value has exactly one encoding, so a CID of the encoded bytes identifies the value, and a
//! signature of the encoded bytes covers it.
//!
//! Two functions decode a value. Both refuse every encoding that is not canonical, for instance because map keys are
//! out of order or repeated, a number is encoded in more bytes than needed, or other bytes follow the value:
//! - [`from_dag_cbor_exact`] is for a closed format. Unknown fields are refused, because they would be lost if the
//!   value were encoded again.
//! - [`from_dag_cbor_open`] is for an open format, such as a signed payload. Unknown fields are ignored, so that an
//!   older client can read the payload of a newer publisher.

use ipld_core::ipld::Ipld;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Returns the canonical encoding of `value`.
///
/// # Panics
/// If `value` has no encoding. Phase's own types always have an encoding, because their maps have text keys and they
/// contain no floats.
pub fn to_dag_cbor<T: Serialize>(value: &T) -> Vec<u8> {
    serde_ipld_dagcbor::to_vec(value).expect("types with text keys and no floats have an encoding")
}

/// Decodes a value of a closed format, which permits no unknown fields.
///
/// # Errors
/// If the bytes are not exactly what [`to_dag_cbor`] returns for the value.
pub fn from_dag_cbor_exact<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let value: T = decode(bytes)?;
    if to_dag_cbor(&value) == bytes { Ok(value) } else { Err(DecodeError::NotCanonical) }
}

/// Decodes a value of an open format. The bytes must be canonical, but may contain unknown fields.
///
/// Decoding needs about 100 bytes of memory per byte of input, so the caller must limit the length of `bytes`.
///
/// # Errors
/// If the bytes are not canonical DAG-CBOR, or do not encode a value of type `T`.
pub fn from_dag_cbor_open<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let tree: Ipld = decode(bytes)?;
    if to_dag_cbor(&tree) != bytes {
        return Err(DecodeError::NotCanonical);
    }
    decode(bytes)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    serde_ipld_dagcbor::from_slice(bytes).map_err(|error| DecodeError::Malformed(in_words(error)))
}

/// Returns the cause of a decoding error in words. The library displays its errors only in Rust's debug notation.
fn in_words<E>(error: serde_ipld_dagcbor::DecodeError<E>) -> String {
    use serde_ipld_dagcbor::DecodeError as Cause;
    let cause = match error {
        Cause::Msg(text) => return text,
        Cause::Eof { .. } | Cause::RequireLength { .. } => "the data is cut off",
        Cause::Mismatch { .. } => "a value has another type than expected",
        _ => "not DAG-CBOR",
    };
    cause.to_owned()
}

/// The type of the field `v`, which is the version of a format. It is encoded as 1, and every other number is refused.
///
/// The field is named `v` because canonical DAG-CBOR puts the shortest map key first. The decoder therefore reports a
/// later version before another change of the format can cause an error.
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

/// The error for a format version other than 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("format version {0} is not supported, only version 1: update Phase")]
pub struct LaterVersion(u64);

/// An error from decoding DAG-CBOR.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes are not DAG-CBOR, or not of the expected type. Contains the cause in words.
    #[error("{0}")]
    Malformed(String),
    /// The bytes are DAG-CBOR, but not the canonical encoding of their value.
    #[error("the DAG-CBOR is not canonical")]
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
    fn only_the_canonical_encoding_of_a_value_is_accepted() {
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
    fn unknown_fields_are_accepted_in_an_open_format_only() {
        let [exact, open] = both("a26161f5617601");
        assert_eq!(exact, Err(DecodeError::NotCanonical));
        assert_eq!(open, Ok(Sample { v: V1, name: None }));
        assert!(both("a26161a26161016162f5617601")[1].is_ok());
        assert!(both("a26161a2616201616101617601")[1].is_err(), "an unknown field must be canonical as well");
    }

    #[test]
    fn the_error_for_a_later_version_names_that_version() {
        let later = to_dag_cbor(&BTreeMap::from([("v", 2), ("a", 1)]));
        let error = from_dag_cbor_open::<Sample>(&later).unwrap_err();
        assert!(error.to_string().contains("format version 2"), "{error}");
    }

    #[test]
    fn the_error_names_the_cause_in_words() {
        for (hex, expected) in [
            ("a261760 1646e616d6561", "the data is cut off"),
            ("", "the data is cut off"),
            ("6161", "a value has another type than expected"),
            ("a0", "missing field `v`"),
            ("a16176 01 00", "not DAG-CBOR"),
        ] {
            let [exact, _] = both(&hex.replace(' ', ""));
            assert_eq!(exact.unwrap_err().to_string(), expected, "{hex}");
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        let nested = vec![0x81; 1 << 20];
        assert!(from_dag_cbor_open::<Sample>(&nested).is_err());
        assert!(from_dag_cbor_exact::<Sample>(&nested).is_err());
    }
}
