//! A publisher with one key, for networks that last no longer than a test.

use phase_core::publish::{self, PublishError};
use phase_core::{
    Artifact, ArtifactEntry, Envelope, FileName, Manifest, Name, Payload, Role, SigningKey, Store, TrustRoot,
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
        TrustRoot::of_one_key(self.key.public(), [self.name.channel.clone()], self.issued_at, self.expires_at)
    }

    /// A payload and this publisher's signature.
    pub(crate) fn signed<P: Payload>(&self, payload: &P) -> Envelope {
        Envelope::signed(payload, [&self.key]).expect("a small payload")
    }

    /// Makes artifacts that are in a store its first release.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub(crate) fn publish(&self, store: &dyn Store, artifacts: Vec<ArtifactEntry>) -> Result<(), PublishError> {
        let root = self.signed(&self.root()).encode();
        let publisher = publish::Publisher::new(&root, vec![self.key.clone()]).map_err(PublishError::Manifest)?;
        let manifest = Manifest::new(&self.name, 1, self.issued_at, self.expires_at, artifacts);
        let manifest = Manifest { release: "test".to_owned(), ..manifest };
        publisher.make_visible(store, &publisher.sign(&manifest, self.issued_at)?)
    }
}

/// What a manifest says of an artifact that is in a store.
pub(crate) fn entry(filename: FileName, artifact: &dyn Artifact) -> ArtifactEntry {
    let role = Role::FILE.parse().expect("it is a valid role");
    ArtifactEntry::new(role, filename, artifact.cid(), artifact.index())
}
