//! Who a node is: an Ed25519 key, whose public half is the peer id.

use libp2p::PeerId;
use libp2p::identity::Keypair;
use phase_core::keys::{PublicKey, SigningKey};

/// A node's key pair.
#[derive(Clone)]
pub struct Identity(pub(crate) Keypair);

impl Identity {
    /// A new key that is kept nowhere.
    pub fn ephemeral() -> Self {
        Self(Keypair::generate_ed25519())
    }

    /// The identity behind a stored key.
    pub fn from_key(key: &SigningKey) -> Self {
        Self(Keypair::ed25519_from_bytes(*key.secret_bytes()).expect("32 bytes are an Ed25519 secret"))
    }

    /// The peer id that others know it by.
    pub fn peer_id(&self) -> PeerId {
        self.0.public().to_peer_id()
    }

    /// The same key for signing records.
    pub(crate) fn signing_key(&self) -> SigningKey {
        let pair = self.0.clone().try_into_ed25519().expect("an identity is made of an Ed25519 key");
        let secret = pair.secret().as_ref().try_into().expect("an Ed25519 secret has 32 bytes");
        SigningKey::from_secret_bytes(&secret)
    }
}

/// The key behind a peer id, if it is an Ed25519 key: such a peer id is the key itself, not its hash.
pub fn public_key_of(peer: &PeerId) -> Option<PublicKey> {
    let multihash = peer.as_ref();
    // 0 is the code of the identity hash.
    let encoded = (multihash.code() == 0).then(|| multihash.digest())?;
    let key = libp2p::identity::PublicKey::try_decode_protobuf(encoded).ok()?.try_into_ed25519().ok()?;
    PublicKey::from_bytes(&key.to_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_id_and_a_signing_key_are_the_same_key() {
        let key = SigningKey::generate().unwrap();
        let identity = Identity::from_key(&key);
        assert_eq!(public_key_of(&identity.peer_id()), Some(key.public()));
        assert_eq!(identity.signing_key().id(), key.id());
        // A peer id that is a hash, as those of long keys are.
        let hashed: PeerId = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N".parse().unwrap();
        assert_eq!(public_key_of(&hashed), None);
    }
}
