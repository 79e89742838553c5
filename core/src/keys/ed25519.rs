//! Ed25519 keys.
//!
//! The text form is the PEM form of OpenSSL: PKCS#8 for secret keys, SPKI for public keys. A secret key is erased from
//! memory when it is dropped, and is never printed.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::Signer as _;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::spki::der::zeroize::Zeroizing;
use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, KeypairBytes};
use serde::{Deserialize, Serialize};

use crate::cid::{Digest, HashAlgorithm};
use crate::failure::{Fails, Failure};

/// The length of a signature, in bytes.
pub const SIGNATURE_LEN: usize = ed25519_dalek::SIGNATURE_LENGTH;

/// The first line of a public key in PEM form.
const PUBLIC_PEM: &str = "-----BEGIN PUBLIC KEY-----";
/// The first line of a secret key in PEM form.
const SECRET_PEM: &str = "-----BEGIN PRIVATE KEY-----";

/// A key id: the BLAKE3 hash of the 32 bytes of a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(Digest);

impl KeyId {
    /// Returns the digest of the public key.
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

/// A public key, which verifies signatures. A key that is a point of small order is refused, because one signature of
/// such a key can be valid for several messages.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "serde_bytes::ByteArray<32>", into = "serde_bytes::ByteArray<32>")]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

impl PublicKey {
    /// Makes a public key from its 32 bytes.
    ///
    /// # Errors
    /// [`KeyError::Point`] if the bytes are not a point on the curve, or are a point of small order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::Point)?;
        if key.is_weak() { Err(KeyError::Point) } else { Ok(Self(key)) }
    }

    /// Returns the public key as 32 bytes.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// Parses a public key in PEM form, which begins with `-----BEGIN PUBLIC KEY-----`.
    ///
    /// # Errors
    /// [`KeyError::PublicPem`], [`KeyError::DamagedPublicPem`], [`KeyError::OpenSsh`] or [`KeyError::Point`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let pem = pem.trim();
        let key = ed25519_dalek::VerifyingKey::from_public_key_pem(pem)
            .map_err(|_| pem_error(pem, PUBLIC_PEM, KeyError::PublicPem, KeyError::DamagedPublicPem))?;
        Self::from_bytes(&key.to_bytes())
    }

    /// Returns the public key in PEM form, which begins with `-----BEGIN PUBLIC KEY-----`.
    pub fn to_pem(&self) -> String {
        self.0.to_public_key_pem(LineEnding::LF).expect("32 bytes have a PEM form")
    }

    /// Returns the id of the key.
    pub fn id(&self) -> KeyId {
        KeyId(HashAlgorithm::Blake3.digest(self.0.as_bytes()))
    }

    /// Returns whether `signature` is a valid signature of `message` by this key.
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

/// A secret key, which makes signatures.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// Generates a secret key with the random number generator of the operating system.
    ///
    /// # Errors
    /// [`KeyError::Random`] if the operating system returns no random bytes.
    pub fn generate() -> Result<Self, KeyError> {
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(secret.as_mut_slice()).map_err(KeyError::Random)?;
        Ok(Self::from_secret_bytes(&secret))
    }

    /// Makes a secret key from its 32 bytes.
    pub fn from_secret_bytes(secret: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(secret))
    }

    /// Returns the secret key as 32 bytes, for a library that has its own key type.
    pub fn secret_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// Parses a secret key in PEM form, which begins with `-----BEGIN PRIVATE KEY-----`.
    ///
    /// # Errors
    /// [`KeyError::SecretPem`], [`KeyError::DamagedSecretPem`] or [`KeyError::OpenSsh`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let pem = pem.trim();
        ed25519_dalek::SigningKey::from_pkcs8_pem(pem)
            .map(Self)
            .map_err(|_| pem_error(pem, SECRET_PEM, KeyError::SecretPem, KeyError::DamagedSecretPem))
    }

    /// Returns the secret key in PEM form, which begins with `-----BEGIN PRIVATE KEY-----`. The format is version 1 of
    /// PKCS#8, because OpenSSL 3.0 cannot read version 2.
    pub fn to_pem(&self) -> Zeroizing<String> {
        let mut pair = KeypairBytes { secret_key: self.0.to_bytes(), public_key: None };
        let pem = pair.to_pkcs8_pem(LineEnding::LF).expect("32 bytes have a PEM form");
        pair.secret_key.fill(0);
        pem
    }

    /// Returns the public key, which verifies the signatures of this key.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Returns the id of the key.
    pub fn id(&self) -> KeyId {
        self.public().id()
    }

    /// Returns the signature of `message`. The same message always has the same signature.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.id())
    }
}

/// Returns the error for `text` that is not a key. The error is `damaged` if the text begins with `first_line`.
fn pem_error(text: &str, first_line: &str, other: KeyError, damaged: KeyError) -> KeyError {
    if text.starts_with("-----BEGIN OPENSSH ") || text.starts_with("ssh-") {
        KeyError::OpenSsh
    } else if text.starts_with(first_line) {
        damaged
    } else {
        other
    }
}

/// An error from parsing or generating a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text is not a key id.
    #[error("not a key id: expected 64 hexadecimal digits")]
    Id,
    /// The text is not a public key.
    #[error("not an Ed25519 public key: expected PEM text that begins with {PUBLIC_PEM}")]
    PublicPem,
    /// The text begins like a public key, but is damaged or a key of another kind.
    #[error("not an Ed25519 public key: damaged, or of another kind than Ed25519")]
    DamagedPublicPem,
    /// The text is not a secret key.
    #[error("not an Ed25519 secret key: expected PEM text that begins with {SECRET_PEM}")]
    SecretPem,
    /// The text begins like a secret key, but is damaged or a key of another kind.
    #[error("not an Ed25519 secret key: damaged, or of another kind than Ed25519")]
    DamagedSecretPem,
    /// The text is a key in the format of OpenSSH.
    #[error("an OpenSSH key, not an Ed25519 key in PEM form: make a key with `phase key new`")]
    OpenSsh,
    /// The bytes are not a permitted point on the curve.
    #[error("not an Ed25519 public key: the bytes are not a permitted point on the curve")]
    Point,
    /// The operating system returned no random bytes.
    #[error("cannot get random bytes for a new key")]
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

    /// The secret key of test 1 in RFC 8032, section 7.1. `RFC_SIGNATURE` is its signature of the empty message.
    const RFC_SECRET: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    const RFC_PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    const RFC_SIGNATURE: &str = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b";

    fn rfc_key() -> SigningKey {
        SigningKey::from_secret_bytes(&hex::decode(RFC_SECRET).unwrap().try_into().unwrap())
    }

    #[test]
    fn signatures_equal_the_test_vector_of_the_rfc() {
        let key = rfc_key();
        assert_eq!(hex::encode(key.public().to_bytes()), RFC_PUBLIC);
        assert_eq!(hex::encode(key.sign(b"")), RFC_SIGNATURE);
        assert!(key.public().verify(b"", &key.sign(b"")));
        assert!(!key.public().verify(b"x", &key.sign(b"")));
        assert!(!key.public().verify(b"", &key.sign(b"")[..63]));
    }

    #[test]
    fn the_pem_forms_equal_those_of_openssl() {
        // The expected text is the output of `openssl pkey -in <secret> [-pubout]` for the key of RFC 8032.
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
    fn the_error_names_a_damaged_key_and_an_openssh_key() {
        let key = rfc_key();
        let (secret, public) = (key.to_pem(), key.public().to_pem());
        assert_eq!(SigningKey::from_pem(&secret[..60]).unwrap_err(), KeyError::DamagedSecretPem);
        assert_eq!(PublicKey::from_pem(&public[..60]), Err(KeyError::DamagedPublicPem));
        assert_eq!(PublicKey::from_pem("ssh-ed25519 AAAAC3Nz a@b"), Err(KeyError::OpenSsh));
        let openssh = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----\n";
        assert_eq!(SigningKey::from_pem(openssh).unwrap_err(), KeyError::OpenSsh);
    }

    #[test]
    fn a_key_id_is_the_hash_of_the_public_key() {
        let id = rfc_key().id();
        assert_eq!(id.to_string(), blake3::hash(&hex::decode(RFC_PUBLIC).unwrap()).to_string());
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("d75a".parse::<KeyId>(), Err(KeyError::Id));
    }

    #[test]
    fn points_of_small_order_are_refused() {
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
