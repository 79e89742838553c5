//! A signed payload: the bytes of a manifest, trust root or pointer, and signatures over them.
//!
//! ```text
//! envelope  {payload: bytes, signatures: [{alg: "ed25519", sig: bytes, key_id: bytes}, …]}
//! signed    "DSSEv1 " len(type) " " type " " len(payload) " " payload
//! ```
//!
//! What is signed begins with the payload's type ([DSSE]'s pre-authentication encoding), so that no
//! signature fits a payload of another type. Signatures stand in ascending order of key id, once each:
//! the same signatures give the same envelope and CID in whatever order they were made.
//!
//! [DSSE]: https://github.com/secure-systems-lab/dsse/blob/master/protocol.md

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cid::Cid;
use crate::codec::{DecodeError, from_dag_cbor_exact, from_dag_cbor_open, to_dag_cbor};
use crate::failure::{Fails, Failure};
use crate::index::MAX_BLOCK_LEN;
use crate::keys::{KeyId, PublicKey, SigningKey};

/// The most bytes of an envelope: it is stored and sent as one block.
pub const MAX_ENVELOPE_LEN: usize = MAX_BLOCK_LEN;
/// The most signatures of an envelope: it bounds the work of verifying one.
pub const MAX_SIGNATURES: usize = 64;
/// The most bytes of a payload: leaves room for [`MAX_SIGNATURES`] of 128 bytes each.
pub const MAX_PAYLOAD_LEN: usize = MAX_ENVELOPE_LEN - (16 << 10);

/// The one signature algorithm that is understood.
const ED25519: &str = "ed25519";

/// What can be signed. It is encoded as canonical DAG-CBOR; unknown fields are passed over when it is
/// read, and are covered by the signatures.
pub trait Payload: Serialize + DeserializeOwned {
    /// The type as it is signed, unlike any other payload's.
    const TYPE: &'static str;

    /// Why a value makes no sense.
    type Invalid: std::error::Error + Send + Sync + 'static;

    /// Checks what the types of the fields leave open. Called before signing and after reading, so that
    /// no payload leaves or enters an envelope unchecked.
    ///
    /// # Errors
    /// If parts of the value contradict each other or a bound.
    fn check(&self) -> Result<(), Self::Invalid>;
}

/// One signature.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    key_id: KeyId,
    alg: String,
    #[serde(with = "serde_bytes")]
    sig: Vec<u8>,
}

impl Signature {
    /// Which key claims to have signed.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// By which algorithm; only `ed25519` ever counts.
    pub fn alg(&self) -> &str {
        &self.alg
    }
}

/// A payload with its signatures. Nothing about it is verified until [`Envelope::verify`] says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    #[serde(with = "serde_bytes")]
    payload: Vec<u8>,
    signatures: Vec<Signature>,
}

impl Envelope {
    /// An envelope that nobody has signed yet.
    ///
    /// # Errors
    /// [`EnvelopeError::Invalid`] or [`EnvelopeError::PayloadTooLarge`].
    pub fn unsigned<P: Payload>(payload: &P) -> Result<Self, EnvelopeError> {
        payload.check().map_err(invalid::<P>)?;
        let payload = to_dag_cbor(payload);
        if payload.len() > MAX_PAYLOAD_LEN {
            return Err(EnvelopeError::PayloadTooLarge { ty: P::TYPE, len: payload.len() });
        }
        Ok(Self { payload, signatures: Vec::new() })
    }

    /// An envelope that each of `keys` has signed.
    ///
    /// # Errors
    /// As [`Envelope::unsigned`] and [`Envelope::sign`].
    pub fn signed<'a, P: Payload>(
        payload: &P,
        keys: impl IntoIterator<Item = &'a SigningKey>,
    ) -> Result<Self, EnvelopeError> {
        let mut envelope = Self::unsigned(payload)?;
        for key in keys {
            envelope.sign::<P>(key)?;
        }
        Ok(envelope)
    }

    /// Signs with one key, in place of an earlier signature by it.
    ///
    /// # Errors
    /// If the payload is no valid `P`, so that nobody signs by mistake what could not be used, or there are
    /// [`MAX_SIGNATURES`] already.
    pub fn sign<P: Payload>(&mut self, key: &SigningKey) -> Result<(), EnvelopeError> {
        self.payload_unverified::<P>()?;
        let sig = key.sign(&signed_bytes(P::TYPE, &self.payload)).to_vec();
        let mut signatures = self.signatures.clone();
        signatures.retain(|signature| signature.key_id != key.id() || signature.alg != ED25519);
        signatures.push(Signature { key_id: key.id(), alg: ED25519.to_owned(), sig });
        self.set_signatures(signatures)
    }

    /// Takes over the signatures that `other` has on the same payload.
    ///
    /// # Errors
    /// [`EnvelopeError::OtherPayload`], or too many signatures.
    pub fn merge(&mut self, other: &Self) -> Result<(), EnvelopeError> {
        if self.payload != other.payload {
            return Err(EnvelopeError::OtherPayload);
        }
        self.set_signatures(self.signatures.iter().chain(&other.signatures).cloned().collect())
    }

    /// The bytes that are stored and sent.
    pub fn encode(&self) -> Vec<u8> {
        to_dag_cbor(self)
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// If the bytes are too many, are not the canonical encoding of an envelope, or the signatures are out of
    /// order or too many.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > MAX_ENVELOPE_LEN {
            return Err(EnvelopeError::TooLarge { len: bytes.len(), max: MAX_ENVELOPE_LEN });
        }
        let envelope: Self = from_dag_cbor_exact(bytes).map_err(EnvelopeError::Decode)?;
        if envelope.signatures.len() > MAX_SIGNATURES {
            return Err(EnvelopeError::TooManySignatures { count: envelope.signatures.len() });
        }
        if !envelope.signatures.is_sorted_by(|a, b| a < b) {
            return Err(EnvelopeError::Order);
        }
        Ok(envelope)
    }

    /// The CID of the encoded envelope; for a manifest, the manifest CID.
    pub fn cid(&self) -> Cid {
        Cid::of_block(&self.encode())
    }

    /// The signatures, in ascending order of key id.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// The payload, if at least `threshold` of `keys` have signed it as a `P`.
    ///
    /// Each key counts once. Signatures that are wrong, or by other keys, count for nothing but do no harm.
    ///
    /// # Errors
    /// [`EnvelopeError::Signatures`], or the payload is no valid `P` although it is signed as one.
    pub fn verify<P: Payload>(&self, keys: &BTreeMap<KeyId, PublicKey>, threshold: u16) -> Result<P, EnvelopeError> {
        // A threshold of nothing is a caller's mistake that must not open the door.
        let needed = usize::from(threshold.max(1));
        let message = signed_bytes(P::TYPE, &self.payload);
        let mut valid = BTreeSet::new();
        let mut unknown = 0;
        for signature in &self.signatures {
            match keys.get(&signature.key_id) {
                Some(key) if signature.alg == ED25519 && key.verify(&message, &signature.sig) => {
                    valid.insert(key.id());
                }
                Some(_) => {}
                None => unknown += 1,
            }
        }
        if valid.len() < needed {
            return Err(EnvelopeError::Signatures { ty: P::TYPE, valid: valid.len(), needed, unknown });
        }
        self.payload_unverified()
    }

    /// The payload without a look at the signatures: for showing it, never for using it.
    ///
    /// # Errors
    /// [`EnvelopeError::Payload`] or [`EnvelopeError::Invalid`].
    pub fn payload_unverified<P: Payload>(&self) -> Result<P, EnvelopeError> {
        let payload: P =
            from_dag_cbor_open(&self.payload).map_err(|source| EnvelopeError::Payload { ty: P::TYPE, source })?;
        payload.check().map_err(invalid::<P>)?;
        Ok(payload)
    }

    /// Puts the signatures in order and keeps them if they fit.
    fn set_signatures(&mut self, mut signatures: Vec<Signature>) -> Result<(), EnvelopeError> {
        signatures.sort();
        signatures.dedup();
        if signatures.len() > MAX_SIGNATURES {
            return Err(EnvelopeError::TooManySignatures { count: signatures.len() });
        }
        let before = std::mem::replace(&mut self.signatures, signatures);
        let len = self.encode().len();
        if len > MAX_ENVELOPE_LEN {
            self.signatures = before;
            return Err(EnvelopeError::TooLarge { len, max: MAX_ENVELOPE_LEN });
        }
        Ok(())
    }
}

/// What is signed: the pre-authentication encoding of DSSE version 1.
fn signed_bytes(ty: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {ty} {} ", ty.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

fn invalid<P: Payload>(error: P::Invalid) -> EnvelopeError {
    EnvelopeError::Invalid { ty: P::TYPE, source: Box::new(error) }
}

/// Why an envelope cannot be made, read or trusted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Longer than [`MAX_ENVELOPE_LEN`], or than what it is part of permits.
    #[error("envelope of {len} bytes is too large: at most {max}")]
    TooLarge {
        /// Its length in bytes.
        len: usize,
        /// The most it may have.
        max: usize,
    },
    /// A payload longer than [`MAX_PAYLOAD_LEN`].
    #[error(
        "{ty} of {len} bytes is too large: at most {MAX_PAYLOAD_LEN}; list fewer files, for instance an image of them"
    )]
    PayloadTooLarge {
        /// The type of the payload.
        ty: &'static str,
        /// Its length in bytes.
        len: usize,
    },
    /// Not an envelope.
    #[error("not a signed envelope")]
    Decode(#[source] DecodeError),
    /// More signatures than [`MAX_SIGNATURES`].
    #[error("envelope has {count} signatures: at most {MAX_SIGNATURES}")]
    TooManySignatures {
        /// How many there are.
        count: usize,
    },
    /// Signatures out of order, or one of them twice.
    #[error("envelope lists its signatures out of order or twice")]
    Order,
    /// Two envelopes to be merged hold different payloads.
    #[error("the envelopes hold different payloads: only signatures over the same bytes can be merged")]
    OtherPayload,
    /// Not enough signatures.
    #[error("{ty} has {valid} of {needed} required signatures{}", unknown_note(.unknown))]
    Signatures {
        /// The type of the payload.
        ty: &'static str,
        /// How many of the permitted keys have signed.
        valid: usize,
        /// How many must.
        needed: usize,
        /// How many signatures are by other keys.
        unknown: usize,
    },
    /// The payload is not canonical DAG-CBOR of its type.
    #[error("payload is no {ty}")]
    Payload {
        /// The type that was expected.
        ty: &'static str,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// The payload decodes but makes no sense.
    #[error("{ty} is invalid")]
    Invalid {
        /// The type of the payload.
        ty: &'static str,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Fails for EnvelopeError {
    fn failure(&self) -> Failure {
        match self {
            Self::Signatures { .. } => Failure::Untrusted,
            _ => Failure::Input,
        }
    }
}

fn unknown_note(unknown: &usize) -> String {
    match unknown {
        0 => String::new(),
        1 => " (1 is by a key that may not sign it)".to_owned(),
        more => format!(" ({more} are by keys that may not sign it)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Note {
        text: String,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("empty")]
    struct Empty;

    impl Payload for Note {
        const TYPE: &'static str = "phase/note/v1";
        type Invalid = Empty;

        fn check(&self) -> Result<(), Empty> {
            if self.text.is_empty() { Err(Empty) } else { Ok(()) }
        }
    }

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_secret_bytes(&[seed; 32])
    }

    fn signed(seeds: &[u8]) -> Envelope {
        let mut envelope = Envelope::unsigned(&Note { text: "hi".to_owned() }).unwrap();
        seeds.iter().for_each(|&seed| envelope.sign::<Note>(&key(seed)).unwrap());
        envelope
    }

    #[test]
    fn the_bytes_have_this_form() {
        assert_eq!(signed_bytes("phase/note/v1", b"ab"), b"DSSEv1 13 phase/note/v1 2 ab");
        assert_eq!(hex::encode(signed(&[]).encode()), "a2677061796c6f616449a164746578746268696a7369676e61747572657380");
        assert_eq!(
            hex::encode(signed(&[1]).encode()),
            concat!(
                "a2677061796c6f616449a164746578746268696a7369676e61747572657381a363616c676765643235353139637369675840",
                "2069c5b67539176c299ed6d5d96e94624d22de9b9f12f8a8501cf75fa248df14145451640df23d84d52fc7e22b6a6aebdc52",
                "4c2c0e5e9aa92c99954bee2b2d04666b65795f6964582083561adb398fd87f8e7ed8331bff2fcb945733cc3012879cb9fab0",
                "7928667062",
            )
        );
    }

    #[test]
    fn the_order_of_signing_and_merging_does_not_matter() {
        let one_by_one = signed(&[1, 2, 3]);
        let mut merged = signed(&[3, 1]);
        merged.merge(&signed(&[2, 1])).unwrap();
        merged.sign::<Note>(&key(2)).unwrap();
        assert_eq!((merged.cid(), &merged), (one_by_one.cid(), &one_by_one));
        assert_eq!(Envelope::decode(&merged.encode()).unwrap(), merged);
    }

    #[test]
    fn what_makes_no_sense_is_neither_signed_nor_read() {
        let nothing = Note { text: String::new() };
        assert!(matches!(Envelope::unsigned(&nothing), Err(EnvelopeError::Invalid { .. })));
        let mut smuggled = Envelope { payload: to_dag_cbor(&nothing), signatures: Vec::new() };
        assert!(matches!(smuggled.sign::<Note>(&key(1)), Err(EnvelopeError::Invalid { .. })));
        assert!(matches!(smuggled.payload_unverified::<Note>(), Err(EnvelopeError::Invalid { .. })));
    }

    #[test]
    fn every_length_has_a_bound() {
        let large = Note { text: "a".repeat(MAX_PAYLOAD_LEN) };
        assert!(matches!(Envelope::unsigned(&large), Err(EnvelopeError::PayloadTooLarge { .. })));
        assert!(matches!(Envelope::decode(&vec![0; MAX_ENVELOPE_LEN + 1]), Err(EnvelopeError::TooLarge { .. })));

        let most: Vec<u8> = (0..MAX_SIGNATURES as u8).collect();
        let mut full = signed(&most);
        assert!(matches!(full.sign::<Note>(&key(99)), Err(EnvelopeError::TooManySignatures { count: 65 })));
        assert!(matches!(full.merge(&signed(&[99])), Err(EnvelopeError::TooManySignatures { count: 65 })));
        assert_eq!(full, signed(&most), "a refusal changes nothing");
        full.signatures.push(signed(&[99]).signatures[0].clone());
        assert!(matches!(Envelope::decode(&full.encode()), Err(EnvelopeError::TooManySignatures { count: 65 })));
    }

    #[test]
    fn the_largest_payload_has_room_for_all_signatures() {
        let text = "a".repeat(MAX_PAYLOAD_LEN - 20);
        let mut envelope = Envelope::unsigned(&Note { text }).unwrap();
        (0..MAX_SIGNATURES as u8).for_each(|seed| envelope.sign::<Note>(&key(seed)).unwrap());
        assert!(envelope.encode().len() <= MAX_ENVELOPE_LEN);
    }

    #[test]
    fn other_payloads_are_not_merged() {
        let mut other = Envelope::unsigned(&Note { text: "ho".to_owned() }).unwrap();
        assert!(matches!(other.merge(&signed(&[1])), Err(EnvelopeError::OtherPayload)));
    }
}
