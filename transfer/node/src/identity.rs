//! The identity of a node: an Ed25519 key pair, whose public key is encoded in the peer id.

use libp2p::PeerId;
use libp2p::identity::Keypair;
use phase_core::keys::{PublicKey, SigningKey};

/// The key pair of a node.
#[derive(Clone)]
pub struct Identity(pub(crate) Keypair);

impl Identity {
    /// Generates a new key, which is not saved.
    pub fn ephemeral() -> Self {
        Self(Keypair::generate_ed25519())
    }

    /// Creates an identity from a stored key.
    pub fn from_key(key: &SigningKey) -> Self {
        Self(Keypair::ed25519_from_bytes(*key.secret_bytes()).expect("any 32 bytes are an Ed25519 secret"))
    }

    /// Returns the peer id.
    pub fn peer_id(&self) -> PeerId {
        self.0.public().to_peer_id()
    }

    /// Returns the key of this identity as a signing key for records.
    pub(crate) fn signing_key(&self) -> SigningKey {
        let pair = self.0.clone().try_into_ed25519().expect("every identity has an Ed25519 key");
        let secret = pair.secret().as_ref().try_into().expect("an Ed25519 secret has 32 bytes");
        SigningKey::from_secret_bytes(&secret)
    }
}

/// Returns the public key that a peer id contains, or `None` if the peer id does not contain an Ed25519 key. The peer
/// ids of other key types may contain only the hash of the key.
pub fn public_key_of(peer: &PeerId) -> Option<PublicKey> {
    let multihash = peer.as_ref();
    // Code 0 means that the digest is not a hash but the encoded key itself.
    let encoded = (multihash.code() == 0).then(|| multihash.digest())?;
    let key = libp2p::identity::PublicKey::try_decode_protobuf(encoded).ok()?.try_into_ed25519().ok()?;
    PublicKey::from_bytes(&key.to_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_id_contains_the_public_key_of_the_signing_key() {
        let key = SigningKey::generate().unwrap();
        let identity = Identity::from_key(&key);
        assert_eq!(public_key_of(&identity.peer_id()), Some(key.public()));
        assert_eq!(identity.signing_key().id(), key.id());
        // The peer ids of long keys, such as RSA keys, are hashes.
        let hashed: PeerId = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N".parse().unwrap();
        assert_eq!(public_key_of(&hashed), None);
    }
}
