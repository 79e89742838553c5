//! The content identifiers that Phase accepts: CIDv1, raw or DAG-CBOR, BLAKE3-256 or SHA2-256.
//!
//! A [`Cid`] always has a permitted codec and hash function. Identity hashes, truncated digests, CIDv0 and unknown
//! codecs are refused when bytes or text are parsed.

use std::fmt;
use std::str::FromStr;

use multihash::Multihash;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::failure::{Fails, Failure};

/// The multicodec code of raw bytes, which is the codec of chunks.
const CODEC_RAW: u64 = 0x55;
/// The multicodec code of DAG-CBOR, which is the codec of index blocks and envelopes.
const CODEC_DAG_CBOR: u64 = 0x71;
/// The multihash code of BLAKE3.
const HASH_BLAKE3: u64 = 0x1e;
/// The multihash code of SHA2-256.
const HASH_SHA2_256: u64 = 0x12;
/// The maximum length of a text that is parsed as a CID, in bytes. A permitted CID has 59 characters in base32 and 73
/// in base16. The limit leaves space for other multibase encodings.
const MAX_TEXT_LEN: usize = 128;

/// The format of the bytes that a [`Cid`] identifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    /// Uninterpreted bytes. This is the codec of chunks.
    Raw,
    /// Canonical DAG-CBOR. This is the codec of index blocks and envelopes.
    DagCbor,
}

/// The hash functions that Phase accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum HashAlgorithm {
    /// BLAKE3 with 32 bytes of output. This is the default.
    #[default]
    #[serde(rename = "blake3")]
    Blake3,
    /// SHA2-256.
    #[serde(rename = "sha2-256")]
    Sha2_256,
}

impl HashAlgorithm {
    /// Returns the digest of `bytes`.
    pub fn digest(self, bytes: &[u8]) -> Digest {
        match self {
            Self::Blake3 => Digest(*blake3::hash(bytes).as_bytes()),
            Self::Sha2_256 => Digest(sha2::Sha256::digest(bytes).into()),
        }
    }
}

/// A 256-bit hash value without the code of its hash function.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Makes a digest from the 32 bytes of a hash value.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes of the hash value.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = CidError;

    fn from_str(text: &str) -> Result<Self, CidError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| CidError::Text)?;
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_bytes::serialize(self.0.as_slice(), serializer)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde_bytes::deserialize::<[u8; 32], D>(deserializer).map(Self)
    }
}

/// A CIDv1 of a permitted codec and hash function.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "cid::Cid", into = "cid::Cid")]
pub struct Cid {
    codec: Codec,
    hash: HashAlgorithm,
    digest: Digest,
}

impl Cid {
    /// Makes a CID from its parts.
    pub const fn new(codec: Codec, hash: HashAlgorithm, digest: Digest) -> Self {
        Self { codec, hash, digest }
    }

    /// Returns the CID of a DAG-CBOR block, hashed with BLAKE3.
    pub fn of_block(bytes: &[u8]) -> Self {
        Self::new(Codec::DagCbor, HashAlgorithm::Blake3, HashAlgorithm::Blake3.digest(bytes))
    }

    /// Parses the binary form of a CID. Trailing bytes are refused.
    ///
    /// # Errors
    /// [`CidError::Bytes`] if the bytes are not one binary CID, or the variant that names the refused part of the CID.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CidError> {
        let mut rest = bytes;
        let cid = cid::Cid::read_bytes(&mut rest).map_err(|_| CidError::Bytes)?;
        if !rest.is_empty() {
            return Err(CidError::Bytes);
        }
        cid.try_into()
    }

    /// Returns the binary form of the CID, which has 36 bytes.
    pub fn to_bytes(self) -> Vec<u8> {
        cid::Cid::from(self).to_bytes()
    }

    /// Returns the codec, which is the format of the identified bytes.
    pub const fn codec(&self) -> Codec {
        self.codec
    }

    /// Returns the hash function that computed the digest.
    pub const fn hash(&self) -> HashAlgorithm {
        self.hash
    }

    /// Returns the digest.
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Checks that the digest of `bytes` equals the digest of this CID.
    ///
    /// # Errors
    /// [`CidError::Mismatch`] if the digests differ.
    pub fn verify(&self, bytes: &[u8]) -> Result<(), CidError> {
        if self.hash.digest(bytes) == self.digest { Ok(()) } else { Err(CidError::Mismatch(*self)) }
    }
}

impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&cid::Cid::from(*self), f)
    }
}

impl fmt::Debug for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cid({self})")
    }
}

impl FromStr for Cid {
    type Err = CidError;

    fn from_str(text: &str) -> Result<Self, CidError> {
        if text.len() > MAX_TEXT_LEN {
            return Err(CidError::Text);
        }
        // The parser returns a misleading error for a CIDv0, because a CIDv0 is base58 without a multibase prefix.
        if text.len() == 46 && text.starts_with("Qm") {
            return Err(CidError::Version);
        }
        text.parse::<cid::Cid>().map_err(|_| CidError::Text)?.try_into()
    }
}

impl TryFrom<cid::Cid> for Cid {
    type Error = CidError;

    fn try_from(cid: cid::Cid) -> Result<Self, CidError> {
        if cid.version() != cid::Version::V1 {
            return Err(CidError::Version);
        }
        let codec = match cid.codec() {
            CODEC_RAW => Codec::Raw,
            CODEC_DAG_CBOR => Codec::DagCbor,
            other => return Err(CidError::Codec(other)),
        };
        let hash = match cid.hash().code() {
            HASH_BLAKE3 => HashAlgorithm::Blake3,
            HASH_SHA2_256 => HashAlgorithm::Sha2_256,
            other => return Err(CidError::Hash(other)),
        };
        let digest = cid.hash().digest().try_into().map_err(|_| CidError::DigestLength(cid.hash().size()))?;
        Ok(Self::new(codec, hash, Digest(digest)))
    }
}

impl From<Cid> for cid::Cid {
    fn from(cid: Cid) -> Self {
        let codec = match cid.codec {
            Codec::Raw => CODEC_RAW,
            Codec::DagCbor => CODEC_DAG_CBOR,
        };
        let hash = match cid.hash {
            HashAlgorithm::Blake3 => HASH_BLAKE3,
            HashAlgorithm::Sha2_256 => HASH_SHA2_256,
        };
        let hash = Multihash::wrap(hash, cid.digest.as_bytes()).expect("32 bytes fit a 64-byte multihash");
        Self::new_v1(codec, hash)
    }
}

/// An error from parsing a CID, or from verifying bytes against a CID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CidError {
    /// The text is not a CID in a multibase encoding.
    #[error("not a CID: expected text such as bafyr4i…")]
    Text,
    /// The bytes are not exactly one binary CID.
    #[error("not a binary CID")]
    Bytes,
    /// The CID has version 0.
    #[error("CIDv0 is not accepted, only CIDv1")]
    Version,
    /// The codec is neither raw nor DAG-CBOR.
    #[error("codec 0x{0:x} is not accepted, only raw (0x55) and dag-cbor (0x71)")]
    Codec(u64),
    /// The hash function is neither BLAKE3 nor SHA2-256.
    #[error("hash function 0x{0:x} is not accepted, only blake3 (0x1e) and sha2-256 (0x12)")]
    Hash(u64),
    /// The digest is not 32 bytes long.
    #[error("digest of {0} bytes is not accepted, only 32")]
    DigestLength(u8),
    /// The bytes do not match the CID.
    #[error("the bytes do not match CID {0}")]
    Mismatch(Cid),
}

impl Fails for CidError {
    fn failure(&self) -> Failure {
        match self {
            Self::Mismatch(_) => Failure::Untrusted,
            _ => Failure::Input,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw_cid(codec: u64, hash: u64, digest: &[u8]) -> cid::Cid {
        cid::Cid::new_v1(codec, Multihash::wrap(hash, digest).unwrap())
    }

    #[test]
    fn only_permitted_codecs_and_hash_functions_are_parsed() {
        let digest = [7; 32];
        for codec in [CODEC_RAW, CODEC_DAG_CBOR] {
            for hash in [HASH_BLAKE3, HASH_SHA2_256] {
                let outer = raw_cid(codec, hash, &digest);
                let cid = Cid::try_from(outer).unwrap();
                assert_eq!(cid::Cid::from(cid), outer);
                assert_eq!(cid.to_string().parse(), Ok(cid));
                assert_eq!(Cid::from_bytes(&cid.to_bytes()), Ok(cid));
            }
        }
        let refused = [
            (raw_cid(0x70, HASH_SHA2_256, &digest), CidError::Codec(0x70)),
            (raw_cid(CODEC_RAW, 0x00, &digest), CidError::Hash(0x00)),
            (raw_cid(CODEC_RAW, 0x11, &digest[..20]), CidError::Hash(0x11)),
            (raw_cid(CODEC_RAW, HASH_BLAKE3, &digest[..16]), CidError::DigestLength(16)),
            (raw_cid(CODEC_RAW, HASH_BLAKE3, &[7; 64]), CidError::DigestLength(64)),
        ];
        for (outer, expected) in refused {
            assert_eq!(Cid::try_from(outer), Err(expected.clone()));
            assert_eq!(outer.to_string().parse::<Cid>(), Err(expected));
        }
    }

    #[test]
    fn malformed_text_and_bytes_are_refused() {
        let cid = Cid::of_block(b"block");
        let mut trailing = cid.to_bytes();
        trailing.push(0);
        assert_eq!(Cid::from_bytes(&trailing), Err(CidError::Bytes));
        assert_eq!(Cid::from_bytes(&trailing[..20]), Err(CidError::Bytes));
        assert_eq!("Qmc5gCcjYypU7y28oCALwfSvxCBskLuPKWpK4qpterKC7z".parse::<Cid>(), Err(CidError::Version));
        for text in ["", "b", "bafy", "not a cid", &"b".repeat(4096)] {
            assert!(text.parse::<Cid>().is_err(), "{text:.20} parsed");
        }
    }

    #[test]
    fn verify_accepts_only_the_bytes_that_were_hashed() {
        for hash in [HashAlgorithm::Blake3, HashAlgorithm::Sha2_256] {
            let cid = Cid::new(Codec::Raw, hash, hash.digest(b"bytes"));
            assert_eq!(cid.verify(b"bytes"), Ok(()));
            assert_eq!(cid.verify(b"bytez"), Err(CidError::Mismatch(cid)));
        }
    }
}
