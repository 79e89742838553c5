//! The trust root: the keys that may sign releases and roots, and how many of them must sign.
//!
//! Phase uses no certificates and trusts no server. A client has one root and verifies everything that it boots against
//! that root, no matter which peer sent the bytes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::codec::V1;
use crate::dht::Pointer;
use crate::envelope::{Envelope, EnvelopeError, Payload};
use crate::failure::{Fails, Failure};
use crate::keys::{KeyId, PublicKey};
use crate::manifest::Manifest;
use crate::name::{Label, Name};
use crate::time::TrustedTime;

/// The keys that may sign the next trust root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootRole {
    /// The keys that may sign the next root.
    pub keys: BTreeSet<KeyId>,
    /// The number of different keys that must sign the next root.
    pub threshold: u16,
}

/// The keys that may sign for a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelRole {
    /// The keys that may sign manifests.
    pub keys: BTreeSet<KeyId>,
    /// The number of different keys that must sign a manifest.
    pub threshold: u16,
    /// The keys that may sign pointer records. One signature is enough, because the manifest that a pointer leads to is
    /// verified too. A machine that renews pointers therefore needs no key for manifests.
    pub pointer_keys: BTreeSet<KeyId>,
}

/// A trust root, which names the keys that may sign for each channel. Times are Unix times in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustRoot {
    /// The version of the trust root format.
    pub v: V1,
    /// The version of the root. It grows with each new root.
    pub version: u64,
    /// The time at which the root was issued.
    pub issued_at: u64,
    /// The time at which the root expires. From then on, every verification against the root fails.
    pub expires_at: u64,
    /// The public keys that the roles name. The key ids are not encoded, because each id is the hash of its public key.
    #[serde(with = "key_list")]
    pub keys: BTreeMap<KeyId, PublicKey>,
    /// The keys that may sign the next root, and their threshold. This root must be signed by enough of the same keys.
    pub root: RootRole,
    /// The keys that may sign for each channel.
    pub channels: BTreeMap<Label, ChannelRole>,
}

impl TrustRoot {
    /// Makes a root with version 1 for a publisher that has one key. Only this key may sign the manifests and pointers
    /// of `channels`. Only this key may sign the next root.
    pub fn of_one_key(
        key: PublicKey,
        channels: impl IntoIterator<Item = Label>,
        issued_at: u64,
        expires_at: u64,
    ) -> Self {
        let keys = BTreeSet::from([key.id()]);
        let role = ChannelRole { keys: keys.clone(), threshold: 1, pointer_keys: keys.clone() };
        Self {
            v: V1,
            version: 1,
            issued_at,
            expires_at,
            keys: BTreeMap::from([(key.id(), key)]),
            root: RootRole { keys, threshold: 1 },
            channels: channels.into_iter().map(|channel| (channel, role.clone())).collect(),
        }
    }

    /// Decodes a root that is trusted because an operator installed it on this machine. The root's own signatures are
    /// verified only to detect a damaged or incompletely signed root.
    ///
    /// # Errors
    /// [`TrustError::Envelope`] if the root cannot be decoded or has too few signatures. An expired root is no error
    /// here, because the expiry is checked at each use of the root.
    pub fn decode_trusted(bytes: &[u8]) -> Result<Self, TrustError> {
        let envelope = Envelope::decode(bytes)?;
        let claimed: Self = envelope.payload_unverified()?;
        Ok(envelope.verify(&claimed.select(&claimed.root.keys), claimed.root.threshold)?)
    }

    /// Verifies `envelope` and returns the manifest in it. Enough keys of the channel must have signed the manifest,
    /// its name must be `expected`, and neither the manifest nor this root may have expired.
    ///
    /// The caller must check that the version is not lower than the version that it accepted before, and that the
    /// manifest is for the caller's board.
    ///
    /// # Errors
    /// Every variant of [`TrustError`] is possible.
    pub fn verify_manifest(
        &self,
        envelope: &Envelope,
        expected: &Name,
        at: TrustedTime,
    ) -> Result<Manifest, TrustError> {
        let role = self.role(expected, at)?;
        let manifest = envelope.verify(&self.select(&role.keys), role.threshold);
        accept(manifest, envelope, "manifest", expected, at, Manifest::name, |manifest| manifest.expires_at)
    }

    /// Verifies `envelope` and returns the pointer in it. A pointer key of the channel must have signed the pointer,
    /// its name must be `expected`, and neither the pointer nor this root may have expired.
    ///
    /// # Errors
    /// Every variant of [`TrustError`] is possible.
    pub fn verify_pointer(&self, envelope: &Envelope, expected: &Name, at: TrustedTime) -> Result<Pointer, TrustError> {
        let role = self.role(expected, at)?;
        let pointer = envelope.verify(&self.select(&role.pointer_keys), 1);
        accept(
            pointer,
            envelope,
            "pointer",
            expected,
            at,
            |pointer: &Pointer| pointer.name.clone(),
            |pointer| pointer.expires_at,
        )
    }

    fn role(&self, name: &Name, at: TrustedTime) -> Result<&ChannelRole, TrustError> {
        check_expiry("trust root", self.expires_at, at)?;
        self.channels.get(&name.channel).ok_or_else(|| TrustError::NoChannel {
            version: self.version,
            channel: name.channel.clone(),
            channels: self.channels.keys().cloned().collect(),
        })
    }

    fn select(&self, ids: &BTreeSet<KeyId>) -> BTreeMap<KeyId, PublicKey> {
        ids.iter().filter_map(|id| Some((*id, *self.keys.get(id)?))).collect()
    }
}

/// Checks the name and the expiry of a payload, and returns the payload. `verified` is the result of verifying its
/// signatures.
///
/// The name is checked first, because [`TrustError::WrongName`] explains the cause better than an error about missing
/// signatures. A payload for another channel usually causes both.
fn accept<P: Payload>(
    verified: Result<P, EnvelopeError>,
    envelope: &Envelope,
    what: &'static str,
    expected: &Name,
    at: TrustedTime,
    name: fn(&P) -> Name,
    expires_at: fn(&P) -> u64,
) -> Result<P, TrustError> {
    if let Ok(claimed) = envelope.payload_unverified::<P>() {
        check_name(what, &name(&claimed), expected)?;
    }
    let payload = verified?;
    check_expiry(what, expires_at(&payload), at)?;
    Ok(payload)
}

fn check_name(what: &'static str, found: &Name, expected: &Name) -> Result<(), TrustError> {
    for (part, found, expected) in
        [("channel", &found.channel, &expected.channel), ("architecture", &found.arch, &expected.arch)]
    {
        if found != expected {
            return Err(TrustError::WrongName { what, part, found: found.clone(), expected: expected.clone() });
        }
    }
    Ok(())
}

fn check_expiry(what: &'static str, expires_at: u64, at: TrustedTime) -> Result<(), TrustError> {
    let expires_at = TrustedTime(expires_at);
    if expires_at <= at { Err(TrustError::Expired { what, expires_at, at }) } else { Ok(()) }
}

impl Payload for TrustRoot {
    const TYPE: &'static str = "phase/root/v1";
    type Invalid = TrustRootError;

    fn check(&self) -> Result<(), TrustRootError> {
        if self.expires_at <= self.issued_at {
            return Err(TrustRootError::Lifetime);
        }
        if let Some((id, _)) = self.keys.iter().find(|(id, key)| **id != key.id()) {
            return Err(TrustRootError::WrongId(*id));
        }
        let channels = self.channels.iter();
        let roles = channels.map(|(label, role)| (format!("channel {label}"), &role.keys, role.threshold));
        for (role, keys, threshold) in
            std::iter::once(("root".to_owned(), &self.root.keys, self.root.threshold)).chain(roles)
        {
            if threshold == 0 || usize::from(threshold) > keys.len() {
                return Err(TrustRootError::Threshold { role, threshold, keys: keys.len() });
            }
        }
        let named = self.channels.values().flat_map(|role| role.keys.iter().chain(&role.pointer_keys));
        match self.root.keys.iter().chain(named).find(|id| !self.keys.contains_key(id)) {
            Some(id) => Err(TrustRootError::MissingKey(*id)),
            None => Ok(()),
        }
    }
}

/// Serde functions that encode a map from key ids to public keys as a list of the public keys.
mod key_list {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::keys::{KeyId, PublicKey};

    pub(super) fn serialize<S: Serializer>(
        keys: &BTreeMap<KeyId, PublicKey>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(keys.values())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<KeyId, PublicKey>, D::Error> {
        let listed = Vec::<PublicKey>::deserialize(deserializer)?;
        let keys: BTreeMap<_, _> = listed.iter().map(|key| (key.id(), *key)).collect();
        if keys.len() == listed.len() { Ok(keys) } else { Err(D::Error::custom("a key is listed twice")) }
    }
}

/// An error that makes a trust root invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustRootError {
    /// The expiry is not later than the time of issue.
    #[error("it expires before it is issued")]
    Lifetime,
    /// A key id is not the hash of its key.
    #[error("key id {0} is not the hash of its key")]
    WrongId(KeyId),
    /// The threshold of a role is 0, or larger than the number of keys in the role.
    #[error("{role} requires {}", threshold_problem(*.threshold, *.keys))]
    Threshold {
        /// The role: `root`, or for instance `channel stable`.
        role: String,
        /// The threshold of the role.
        threshold: u16,
        /// The number of keys that the role names.
        keys: usize,
    },
    /// A role names a key that the root does not list.
    #[error("key {0} is named by a role but not listed")]
    MissingKey(KeyId),
}

fn threshold_problem(threshold: u16, keys: usize) -> String {
    if threshold == 0 {
        return "0 signatures: the threshold must be at least 1".to_owned();
    }
    let signatures = if threshold == 1 { "signature" } else { "signatures" };
    let noun = if keys == 1 { "key" } else { "keys" };
    format!("{threshold} {signatures}, but has only {keys} {noun}")
}

fn list(channels: &[Label]) -> String {
    match channels {
        [] => "none".to_owned(),
        channels => channels.iter().map(Label::as_str).collect::<Vec<_>>().join(", "),
    }
}

/// An error from verifying a root, manifest or pointer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The envelope or its payload cannot be decoded, the payload is invalid, or there are too few valid signatures.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The root names no keys for the channel.
    #[error("trust root version {version} has no channel {channel}; it has: {}", list(.channels))]
    NoChannel {
        /// The version of the root.
        version: u64,
        /// The requested channel.
        channel: Label,
        /// The channels of the root.
        channels: Vec<Label>,
    },
    /// The payload is for another name.
    #[error("{what} is for {part} {found}, not {expected}")]
    WrongName {
        /// The kind of payload: `manifest` or `pointer`.
        what: &'static str,
        /// The part of the payload's name that differs from the requested name: `channel` or `architecture`.
        part: &'static str,
        /// The channel or architecture in the payload.
        found: Label,
        /// The requested channel or architecture.
        expected: Label,
    },
    /// The payload or the root has expired.
    #[error(
        "{what} expired at {expires_at}; now it is {at} or later: get a newer one from the publisher, or check this \
         machine's clock"
    )]
    Expired {
        /// The expired item: `trust root`, `manifest` or `pointer`.
        what: &'static str,
        /// The time at which the item expired.
        expires_at: TrustedTime,
        /// The trusted time with which the expiry was compared.
        at: TrustedTime,
    },
}

impl Fails for TrustError {
    fn failure(&self) -> Failure {
        Failure::Untrusted
    }
}
