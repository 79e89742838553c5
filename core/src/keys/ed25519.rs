//! Ed25519 keys.
//!
//! Text form is PEM as OpenSSL reads and writes it: PKCS#8 for secret keys, SPKI for public ones. A
//! secret is wiped from memory when dropped and never printed.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::Signer as _;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::spki::der::zeroize::Zeroizing;
use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, KeypairBytes};
use serde::{Deserialize, Serialize};

use crate::cid::{Digest, HashAlgorithm};
use crate::failure::{Fails, Failure};

/// The length of a signature in bytes.
pub const SIGNATURE_LEN: usize = ed25519_dalek::SIGNATURE_LENGTH;

/// The name of a key: BLAKE3 of the 32 bytes of the public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(Digest);

impl KeyId {
    /// The hash value.
    pub const fn digest(&self) -> &Digest {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for KeyId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        text.parse().map(Self).map_err(|_| KeyError::Id)
    }
}

/// A key that checks signatures. Points of small order are refused: for them, one signature can
/// fit several messages.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "serde_bytes::ByteArray<32>", into = "serde_bytes::ByteArray<32>")]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

impl PublicKey {
    /// Reads the 32 bytes of a public key.
    ///
    /// # Errors
    /// [`KeyError::Point`] if they are no point on the curve, or one of small order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::Point)?;
        if key.is_weak() { Err(KeyError::Point) } else { Ok(Self(key)) }
    }

    /// The 32 bytes of the key.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// Reads `-----BEGIN PUBLIC KEY-----`.
    ///
    /// # Errors
    /// [`KeyError::PublicPem`] or [`KeyError::Point`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let key = ed25519_dalek::VerifyingKey::from_public_key_pem(pem.trim()).map_err(|_| KeyError::PublicPem)?;
        Self::from_bytes(&key.to_bytes())
    }

    /// Writes `-----BEGIN PUBLIC KEY-----`.
    pub fn to_pem(&self) -> String {
        self.0.to_public_key_pem(LineEnding::LF).expect("32 bytes have a PEM form")
    }

    /// The name of the key.
    pub fn id(&self) -> KeyId {
        KeyId(HashAlgorithm::Blake3.digest(self.0.as_bytes()))
    }

    /// Whether `signature` is one of this key over `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        ed25519_dalek::Signature::from_slice(signature)
            .is_ok_and(|signature| self.0.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", hex::encode(self.to_bytes()))
    }
}

impl TryFrom<serde_bytes::ByteArray<32>> for PublicKey {
    type Error = KeyError;

    fn try_from(bytes: serde_bytes::ByteArray<32>) -> Result<Self, KeyError> {
        Self::from_bytes(&bytes)
    }
}

impl From<PublicKey> for serde_bytes::ByteArray<32> {
    fn from(key: PublicKey) -> Self {
        Self::new(key.to_bytes())
    }
}

/// A key that makes signatures.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// A new key from the system's randomness.
    ///
    /// # Errors
    /// [`KeyError::Random`] if the system has none to give.
    pub fn generate() -> Result<Self, KeyError> {
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(secret.as_mut_slice()).map_err(KeyError::Random)?;
        Ok(Self::from_secret_bytes(&secret))
    }

    /// The key with these 32 secret bytes.
    pub fn from_secret_bytes(secret: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(secret))
    }

    /// The 32 secret bytes, for a library that keeps its own form of the key.
    pub fn secret_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// Reads `-----BEGIN PRIVATE KEY-----`.
    ///
    /// # Errors
    /// [`KeyError::SecretPem`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        ed25519_dalek::SigningKey::from_pkcs8_pem(pem.trim()).map(Self).map_err(|_| KeyError::SecretPem)
    }

    /// Writes `-----BEGIN PRIVATE KEY-----`: version 1 of PKCS#8, since OpenSSL 3.0 does not read version 2.
    pub fn to_pem(&self) -> Zeroizing<String> {
        let mut pair = KeypairBytes { secret_key: self.0.to_bytes(), public_key: None };
        let pem = pair.to_pkcs8_pem(LineEnding::LF).expect("32 bytes have a PEM form");
        pair.secret_key.fill(0);
        pem
    }

    /// The key that checks what this one signs.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// The name of the key.
    pub fn id(&self) -> KeyId {
        self.public().id()
    }

    /// The signature over `message`. Always the same for the same message.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.id())
    }
}

/// Why something is not a key, or none could be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not the text of a key id.
    #[error("not a key id: expected 64 hexadecimal digits")]
    Id,
    /// Not the text of a public key.
    #[error("not an Ed25519 public key: expected PEM text that begins with -----BEGIN PUBLIC KEY-----")]
    PublicPem,
    /// Not the text of a secret key.
    #[error("not an Ed25519 secret key: expected PEM text that begins with -----BEGIN PRIVATE KEY-----")]
    SecretPem,
    /// Not a point on the curve that a key may have.
    #[error("not an Ed25519 public key: no usable point on the curve")]
    Point,
    /// The system gave no randomness.
    #[error("no randomness for a new key")]
    Random(#[source] getrandom::Error),
}

impl Fails for KeyError {
    fn failure(&self) -> Failure {
        match self {
            Self::Random(_) => Failure::Other,
            _ => Failure::Input,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, section 7.1, test 1: the empty message.
    const RFC_SECRET: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    const RFC_PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    const RFC_SIGNATURE: &str = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b";

    fn rfc_key() -> SigningKey {
        SigningKey::from_secret_bytes(&hex::decode(RFC_SECRET).unwrap().try_into().unwrap())
    }

    #[test]
    fn signatures_are_those_of_the_rfc() {
        let key = rfc_key();
        assert_eq!(hex::encode(key.public().to_bytes()), RFC_PUBLIC);
        assert_eq!(hex::encode(key.sign(b"")), RFC_SIGNATURE);
        assert!(key.public().verify(b"", &key.sign(b"")));
        assert!(!key.public().verify(b"x", &key.sign(b"")));
        assert!(!key.public().verify(b"", &key.sign(b"")[..63]));
    }

    #[test]
    fn text_forms_are_those_of_openssl() {
        // From `openssl pkey -in <secret> [-pubout]` with the key of RFC 8032.
        let secret = "-----BEGIN PRIVATE KEY-----\n\
            MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
            -----END PRIVATE KEY-----\n";
        let public = "-----BEGIN PUBLIC KEY-----\n\
            MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
            -----END PUBLIC KEY-----\n";
        let key = rfc_key();
        assert_eq!(key.to_pem().as_str(), secret);
        assert_eq!(key.public().to_pem(), public);
        assert_eq!(SigningKey::from_pem(secret).unwrap().id(), key.id());
        assert_eq!(PublicKey::from_pem(public), Ok(key.public()));
        assert_eq!(SigningKey::from_pem(public).unwrap_err(), KeyError::SecretPem);
        assert_eq!(PublicKey::from_pem(secret), Err(KeyError::PublicPem));
    }

    #[test]
    fn a_key_id_is_the_hash_of_the_key() {
        let id = rfc_key().id();
        assert_eq!(id.to_string(), blake3::hash(&hex::decode(RFC_PUBLIC).unwrap()).to_string());
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("d75a".parse::<KeyId>(), Err(KeyError::Id));
    }

    #[test]
    fn weak_points_are_refused() {
        let mut identity = [0; 32];
        identity[0] = 1;
        for bytes in [[0; 32], identity] {
            assert_eq!(PublicKey::from_bytes(&bytes), Err(KeyError::Point));
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let key = rfc_key();
        assert_eq!(format!("{key:?}"), format!("SigningKey({})", key.id()));
        assert_ne!(SigningKey::generate().unwrap().id(), SigningKey::generate().unwrap().id());
    }
}
