//! A publisher with one key, for networks that last no longer than a test.

use std::collections::{BTreeMap, BTreeSet};

use phase_core::codec::V1;
use phase_core::{
    Artifact, ArtifactEntry, ChannelRole, Envelope, FileName, Manifest, Name, Payload, Pointer, Role, RootRole,
    SigningKey, Store, StoreError, TrustRoot,
};

/// Signs releases of one name, all of them valid for the same time.
pub(crate) struct Publisher {
    pub(crate) key: SigningKey,
    pub(crate) name: Name,
    /// Unix seconds.
    pub(crate) issued_at: u64,
    /// Unix seconds.
    pub(crate) expires_at: u64,
}

impl Publisher {
    /// Who may sign: this publisher alone.
    pub(crate) fn root(&self) -> TrustRoot {
        let keys = BTreeSet::from([self.key.id()]);
        let channel = ChannelRole { keys: keys.clone(), threshold: 1, pointer_keys: keys.clone() };
        TrustRoot {
            v: V1,
            version: 1,
            issued_at: self.issued_at,
            expires_at: self.expires_at,
            keys: BTreeMap::from([(self.key.id(), self.key.public())]),
            root: RootRole { keys, threshold: 1 },
            channels: BTreeMap::from([(self.name.channel.clone(), channel)]),
        }
    }

    /// A payload and this publisher's signature.
    pub(crate) fn signed<P: Payload>(&self, payload: &P) -> Envelope {
        let mut envelope = Envelope::unsigned(payload).expect("a small payload");
        envelope.sign::<P>(&self.key).expect("a payload that was just encoded");
        envelope
    }

    /// Makes artifacts that are in a store its first release.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub(crate) fn publish(&self, store: &dyn Store, artifacts: Vec<ArtifactEntry>) -> Result<(), StoreError> {
        let manifest = self.signed(&self.manifest(artifacts));
        store.put_block(&manifest.cid(), &manifest.encode())?;
        let pointer = Pointer {
            v: V1,
            name: self.name.clone(),
            manifest: Some(manifest.cid()),
            version: 1,
            issued_at: self.issued_at,
            expires_at: self.expires_at,
            urls: Vec::new(),
        };
        store.set_ref(&self.name, &self.signed(&pointer))
    }

    fn manifest(&self, artifacts: Vec<ArtifactEntry>) -> Manifest {
        Manifest {
            v: V1,
            channel: self.name.channel.clone(),
            arch: self.name.arch.clone(),
            board: None,
            version: 1,
            release: "test".to_owned(),
            issued_at: self.issued_at,
            expires_at: self.expires_at,
            artifacts,
            cmdline: None,
        }
    }
}

/// What a manifest says of an artifact that is in a store.
pub(crate) fn entry(filename: FileName, artifact: &dyn Artifact) -> ArtifactEntry {
    ArtifactEntry {
        role: Role::FILE.parse().expect("it is a valid role"),
        filename,
        size: artifact.index().size(),
        cid: artifact.cid(),
        sha256: artifact.index().sha256(),
    }
}
