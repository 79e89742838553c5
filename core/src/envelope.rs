//! The envelope: a payload (the bytes of a manifest, trust root or DHT record) together with its signatures.
//!
//! ```text
//! envelope  {payload: bytes, signatures: [{alg: "ed25519", sig: bytes, key_id: bytes}, …]}
//! signed    "DSSEv1 " len(type) " " type " " len(payload) " " payload
//! ```
//!
//! The signed bytes begin with the type of the payload ([DSSE]'s pre-authentication encoding), so a signature is never
//! valid for a payload of another type. Each signature is listed once, in ascending order of key id. The same
//! signatures therefore give the same envelope and CID, no matter in which order the keys signed.
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

/// The maximum length of an envelope, in bytes. It equals the maximum length of a block, because an envelope is stored
/// and sent as one block.
pub const MAX_ENVELOPE_LEN: usize = MAX_BLOCK_LEN;
/// The maximum number of signatures of an envelope. It limits the time to verify an envelope.
pub const MAX_SIGNATURES: usize = 64;
/// The maximum length of a payload, in bytes. It leaves 16 KiB for the signatures, which need at most 8 KiB
/// ([`MAX_SIGNATURES`] signatures).
pub const MAX_PAYLOAD_LEN: usize = MAX_ENVELOPE_LEN - (16 << 10);

/// The only supported signature algorithm.
const ED25519: &str = "ed25519";

/// A type whose values can be signed as the payload of an envelope. A payload is encoded as canonical DAG-CBOR. Unknown
/// fields are ignored when a payload is decoded, but the signatures cover them.
pub trait Payload: Serialize + DeserializeOwned {
    /// The name of the payload type. The signed bytes contain it, so each payload type must have a different name.
    const TYPE: &'static str;

    /// The error that [`check`](Self::check) returns for an invalid payload.
    type Invalid: std::error::Error + Send + Sync + 'static;

    /// Checks the conditions that the field types do not enforce. [`Envelope`] calls this function before signing and
    /// after decoding, so an invalid payload is neither signed nor returned.
    ///
    /// # Errors
    /// If fields of the payload contradict each other or exceed a limit.
    fn check(&self) -> Result<(), Self::Invalid>;
}

/// One signature of an envelope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    key_id: KeyId,
    alg: String,
    #[serde(with = "serde_bytes")]
    sig: Vec<u8>,
}

impl Signature {
    /// Returns the id of the key that made the signature. The id is only a claim until the envelope is verified.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// Returns the name of the signature algorithm. Only `ed25519` signatures can be valid.
    pub fn alg(&self) -> &str {
        &self.alg
    }
}

/// A payload with its signatures. Nothing in it is verified until [`Envelope::verify`] succeeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    #[serde(with = "serde_bytes")]
    payload: Vec<u8>,
    signatures: Vec<Signature>,
}

impl Envelope {
    /// Makes an envelope without signatures.
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

    /// Makes an envelope that is signed with each of `keys`.
    ///
    /// # Errors
    /// The errors of [`Envelope::unsigned`] and [`Envelope::sign`].
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

    /// Adds the signature of `key`. An earlier signature of the same key is replaced.
    ///
    /// # Errors
    /// If the payload is not a valid `P`, or if the envelope would have more than [`MAX_SIGNATURES`] signatures or be
    /// too large.
    pub fn sign<P: Payload>(&mut self, key: &SigningKey) -> Result<(), EnvelopeError> {
        self.payload_unverified::<P>()?;
        let sig = key.sign(&signed_bytes(P::TYPE, &self.payload)).to_vec();
        let mut signatures = self.signatures.clone();
        signatures.retain(|signature| signature.key_id != key.id() || signature.alg != ED25519);
        signatures.push(Signature { key_id: key.id(), alg: ED25519.to_owned(), sig });
        self.set_signatures(signatures)
    }

    /// Adds the signatures of `other`, whose payload must be the same.
    ///
    /// # Errors
    /// [`EnvelopeError::OtherPayload`] if the payloads differ, or an error if there are too many signatures.
    pub fn merge(&mut self, other: &Self) -> Result<(), EnvelopeError> {
        if self.payload != other.payload {
            return Err(EnvelopeError::OtherPayload);
        }
        self.set_signatures(self.signatures.iter().chain(&other.signatures).cloned().collect())
    }

    /// Returns the encoded envelope, which is stored and sent.
    pub fn encode(&self) -> Vec<u8> {
        to_dag_cbor(self)
    }

    /// Decodes an envelope from the bytes that [`encode`](Self::encode) returned.
    ///
    /// # Errors
    /// If `bytes` is too long, if it is not the canonical encoding of an envelope, or if the signatures are out of
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

    /// Returns the CID of the encoded envelope. If the payload is a manifest, this is the manifest CID.
    pub fn cid(&self) -> Cid {
        Cid::of_block(&self.encode())
    }

    /// Returns the signatures, in ascending order of key id.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Returns the payload if at least `threshold` of the keys in `keys` have signed it as a payload of type `P`.
    ///
    /// Each key counts once. Invalid signatures are ignored, and so are signatures by keys that are not in `keys`.
    ///
    /// # Errors
    /// [`EnvelopeError::Signatures`] if there are too few valid signatures. [`EnvelopeError::Payload`] or
    /// [`EnvelopeError::Invalid`] if the signed payload is not a valid `P`.
    pub fn verify<P: Payload>(&self, keys: &BTreeMap<KeyId, PublicKey>, threshold: u16) -> Result<P, EnvelopeError> {
        // A threshold of 0 is a mistake in the caller, and must not make an unsigned payload valid.
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

    /// Returns the payload without verifying the signatures. The payload may be shown to people, but must not be
    /// trusted.
    ///
    /// # Errors
    /// [`EnvelopeError::Payload`] or [`EnvelopeError::Invalid`].
    pub fn payload_unverified<P: Payload>(&self) -> Result<P, EnvelopeError> {
        let payload: P =
            from_dag_cbor_open(&self.payload).map_err(|source| EnvelopeError::Payload { ty: P::TYPE, source })?;
        payload.check().map_err(invalid::<P>)?;
        Ok(payload)
    }

    /// Replaces the signatures of the envelope with `signatures`, sorted and deduplicated. An error leaves the envelope
    /// unchanged.
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

/// Returns the bytes that are signed: the pre-authentication encoding of DSSE version 1.
fn signed_bytes(ty: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {ty} {} ", ty.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

fn invalid<P: Payload>(error: P::Invalid) -> EnvelopeError {
    EnvelopeError::Invalid { ty: P::TYPE, source: Box::new(error) }
}

/// An error from making, decoding or verifying an envelope.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// The envelope is longer than [`MAX_ENVELOPE_LEN`], or longer than a DHT record may be.
    #[error("envelope has {len} bytes, more than the maximum of {max}")]
    TooLarge {
        /// The length of the envelope in bytes.
        len: usize,
        /// The maximum length of the envelope in bytes.
        max: usize,
    },
    /// The payload is longer than [`MAX_PAYLOAD_LEN`].
    #[error(
        "{} has {len} bytes, more than the maximum of {MAX_PAYLOAD_LEN}: list fewer files, for instance one image \
         that contains them",
        noun(.ty)
    )]
    PayloadTooLarge {
        /// The name of the payload type.
        ty: &'static str,
        /// The length of the payload in bytes.
        len: usize,
    },
    /// The bytes are not an envelope.
    #[error("not a signed envelope")]
    Decode(#[source] DecodeError),
    /// The envelope has more signatures than [`MAX_SIGNATURES`].
    #[error("envelope has {count} signatures, more than the maximum of {MAX_SIGNATURES}")]
    TooManySignatures {
        /// The number of signatures.
        count: usize,
    },
    /// The signatures are out of order, or one is repeated.
    #[error("the signatures of the envelope are out of order or repeated")]
    Order,
    /// The two envelopes to merge have different payloads.
    #[error("the files are different documents: only copies of one document can be merged")]
    OtherPayload,
    /// Too few of the permitted keys have signed.
    #[error("{} has {valid} of {needed} required signatures{}", noun(.ty), unknown_note(.unknown))]
    Signatures {
        /// The name of the payload type.
        ty: &'static str,
        /// The number of permitted keys that have signed.
        valid: usize,
        /// The number of permitted keys that must sign.
        needed: usize,
        /// The number of signatures by keys that are not permitted.
        unknown: usize,
    },
    /// The payload cannot be decoded as the expected type.
    #[error("the payload is not {}", with_article(noun(.ty)))]
    Payload {
        /// The name of the expected payload type.
        ty: &'static str,
        /// The error from decoding the payload.
        #[source]
        source: DecodeError,
    },
    /// The payload can be decoded but is invalid.
    #[error("{} is invalid", noun(.ty))]
    Invalid {
        /// The name of the payload type.
        ty: &'static str,
        /// The error from checking the payload.
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

/// Returns the word for a payload type in messages, for instance `trust root` for `phase/root/v1`.
fn noun(ty: &str) -> &str {
    let name = ty.strip_prefix("phase/").and_then(|rest| rest.strip_suffix("/v1")).unwrap_or(ty);
    match name {
        "root" => "trust root",
        "pointer" => "pointer record",
        "contact" => "contact record",
        "authority" => "authority record",
        "record" => "signed record",
        other => other,
    }
}

fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
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
    fn the_bytes_of_an_envelope_do_not_change() {
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
    fn an_invalid_payload_is_neither_signed_nor_read() {
        let nothing = Note { text: String::new() };
        assert!(matches!(Envelope::unsigned(&nothing), Err(EnvelopeError::Invalid { .. })));
        let mut smuggled = Envelope { payload: to_dag_cbor(&nothing), signatures: Vec::new() };
        assert!(matches!(smuggled.sign::<Note>(&key(1)), Err(EnvelopeError::Invalid { .. })));
        assert!(matches!(smuggled.payload_unverified::<Note>(), Err(EnvelopeError::Invalid { .. })));
    }

    #[test]
    fn payload_envelope_and_signatures_have_a_maximum_length() {
        let large = Note { text: "a".repeat(MAX_PAYLOAD_LEN) };
        assert!(matches!(Envelope::unsigned(&large), Err(EnvelopeError::PayloadTooLarge { .. })));
        assert!(matches!(Envelope::decode(&vec![0; MAX_ENVELOPE_LEN + 1]), Err(EnvelopeError::TooLarge { .. })));

        let most: Vec<u8> = (0..MAX_SIGNATURES as u8).collect();
        let mut full = signed(&most);
        assert!(matches!(full.sign::<Note>(&key(99)), Err(EnvelopeError::TooManySignatures { count: 65 })));
        assert!(matches!(full.merge(&signed(&[99])), Err(EnvelopeError::TooManySignatures { count: 65 })));
        assert_eq!(full, signed(&most), "a refused signature does not change the envelope");
        full.signatures.push(signed(&[99]).signatures[0].clone());
        assert!(matches!(Envelope::decode(&full.encode()), Err(EnvelopeError::TooManySignatures { count: 65 })));
    }

    #[test]
    fn the_largest_payload_leaves_space_for_all_signatures() {
        let text = "a".repeat(MAX_PAYLOAD_LEN - 20);
        let mut envelope = Envelope::unsigned(&Note { text }).unwrap();
        (0..MAX_SIGNATURES as u8).for_each(|seed| envelope.sign::<Note>(&key(seed)).unwrap());
        assert!(envelope.encode().len() <= MAX_ENVELOPE_LEN);
    }

    #[test]
    fn messages_name_the_payload_type_in_words() {
        for (ty, expected) in [
            ("phase/manifest/v1", "a manifest"),
            ("phase/root/v1", "a trust root"),
            ("phase/pointer/v1", "a pointer record"),
            ("phase/authority/v1", "an authority record"),
            ("phase/record/v1", "a signed record"),
            ("other", "an other"),
        ] {
            assert_eq!(with_article(noun(ty)), expected);
        }
        let error = signed(&[]).verify::<Note>(&BTreeMap::new(), 1).unwrap_err();
        assert_eq!(error.to_string(), "note has 0 of 1 required signatures");
    }

    #[test]
    fn envelopes_with_different_payloads_are_not_merged() {
        let mut other = Envelope::unsigned(&Note { text: "ho".to_owned() }).unwrap();
        assert!(matches!(other.merge(&signed(&[1])), Err(EnvelopeError::OtherPayload)));
    }
}
