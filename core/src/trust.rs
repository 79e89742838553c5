//! The trust root: who may sign what, and how many of them must.
//!
//! Phase knows no certificates and trusts no server: a client carries one root, and whatever it boots
//! verifies against that, wherever the bytes came from.

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

/// Who may sign the next trust root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootRole {
    /// The keys.
    pub keys: BTreeSet<KeyId>,
    /// How many of them must sign.
    pub threshold: u16,
}

/// Who may sign for a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelRole {
    /// The keys for manifests.
    pub keys: BTreeSet<KeyId>,
    /// How many of them must sign a manifest.
    pub threshold: u16,
    /// The keys for pointer records. One is enough: a pointer is a hint that only says where to look, and
    /// can be renewed by a machine that holds no key for manifests.
    pub pointer_keys: BTreeSet<KeyId>,
}

/// Which keys are trusted with what. Times are Unix times in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustRoot {
    /// The version of this format.
    pub v: V1,
    /// Grows by one with every root.
    pub version: u64,
    /// When it was made.
    pub issued_at: u64,
    /// From when on nothing verifies against it any more.
    pub expires_at: u64,
    /// Every key that a role names. Encoded as a list of the keys alone: an id is always the hash of its key.
    #[serde(with = "key_list")]
    pub keys: BTreeMap<KeyId, PublicKey>,
    /// Who may sign the next root. They sign this one too.
    pub root: RootRole,
    /// Who may sign for each channel.
    pub channels: BTreeMap<Label, ChannelRole>,
}

impl TrustRoot {
    /// The first root of a publisher with one key, which alone signs manifests and pointers of `channels` and the next
    /// root.
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

    /// Reads the root that the operator hands to a client. That it is the right one, the operator vouches
    /// for; its own signatures are checked, so that a damaged or half signed one is noticed.
    ///
    /// # Errors
    /// [`TrustError::Envelope`]. Whether it has expired is checked when it is used.
    pub fn decode_trusted(bytes: &[u8]) -> Result<Self, TrustError> {
        let envelope = Envelope::decode(bytes)?;
        let claimed: Self = envelope.payload_unverified()?;
        Ok(envelope.verify(&claimed.select(&claimed.root.keys), claimed.root.threshold)?)
    }

    /// The manifest in `envelope`, if enough of its channel's keys signed it, it is for the name that was
    /// asked for, and neither it nor this root has expired.
    ///
    /// Whether its version may be used, in view of those seen before, and whether it is for this board
    /// is for the caller to say.
    ///
    /// # Errors
    /// Any of [`TrustError`].
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

    /// The pointer record in `envelope`, if one of its channel's pointer keys signed it, it is for the name
    /// that was asked for, and neither it nor this root has expired.
    ///
    /// # Errors
    /// Any of [`TrustError`].
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
        self.channels
            .get(&name.channel)
            .ok_or_else(|| TrustError::NoChannel { version: self.version, channel: name.channel.clone() })
    }

    fn select(&self, ids: &BTreeSet<KeyId>) -> BTreeMap<KeyId, PublicKey> {
        ids.iter().filter_map(|id| Some((*id, *self.keys.get(id)?))).collect()
    }
}

/// Accepts a payload whose signatures were looked at, if it is for the right name and has not expired.
///
/// Another channel's payload usually fails by its signatures, which says little: if it is openly for
/// another name, that is the error.
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

/// Keys by id, encoded as a list of the keys.
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

/// Why a trust root makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustRootError {
    /// It expires before it begins.
    #[error("it expires before it is issued")]
    Lifetime,
    /// A key id that is not the hash of its key.
    #[error("key id {0} is not the hash of its key")]
    WrongId(KeyId),
    /// A threshold of nothing, or one that cannot be met.
    #[error(
        "{role} needs {threshold} signatures of {keys} keys: the threshold must be at least 1 and at most the number of keys"
    )]
    Threshold {
        /// Which role.
        role: String,
        /// How many must sign.
        threshold: u16,
        /// How many can.
        keys: usize,
    },
    /// A role names a key that is not there.
    #[error("key {0} is named by a role but not listed")]
    MissingKey(KeyId),
}

/// Why something is not trusted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// Too few signatures, or no such payload at all.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Nobody may sign for the channel.
    #[error("trust root version {version} has no channel {channel}: ask the publisher for the right root")]
    NoChannel {
        /// The version of the root.
        version: u64,
        /// The channel that was asked for.
        channel: Label,
    },
    /// Signed, but for something else.
    #[error("{what} is for {part} {found}, not {expected}")]
    WrongName {
        /// What was verified.
        what: &'static str,
        /// Which part of its name differs.
        part: &'static str,
        /// What it is for.
        found: Label,
        /// What was asked for.
        expected: Label,
    },
    /// No longer valid.
    #[error("{what} expired at {expires_at}, and it is {at} or later: a newer one must be published")]
    Expired {
        /// What was verified.
        what: &'static str,
        /// When it expired.
        expires_at: TrustedTime,
        /// What is known about the present time.
        at: TrustedTime,
    },
}

impl Fails for TrustError {
    fn failure(&self) -> Failure {
        Failure::Untrusted
    }
}
