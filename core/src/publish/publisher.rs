//! The publisher, which signs a release and sets the ref of its name in the store.

use super::draft::{Draft, check_version};
use super::error::PublishError;
use super::import::Progress;
use crate::cid::Cid;
use crate::dht::Pointer;
use crate::envelope::Envelope;
use crate::keys::SigningKey;
use crate::manifest::Manifest;
use crate::name::Name;
use crate::store::{Store, StoreError};
use crate::time::TrustedTime;
use crate::trust::{TrustError, TrustRoot};

/// A publisher, which signs releases for clients that have the same trust root as itself.
#[derive(Clone, Debug)]
pub struct Publisher {
    root: TrustRoot,
    /// The encoded envelope of `root`.
    root_block: Vec<u8>,
    keys: Vec<SigningKey>,
    urls: Vec<String>,
}

/// A signed manifest and a signed pointer to it, both acceptable to clients with the publisher's trust root.
#[derive(Clone, Debug)]
pub struct Release {
    manifest: Manifest,
    envelope: Envelope,
    pointer: Envelope,
}

impl Release {
    /// Returns the name of the release.
    pub fn name(&self) -> Name {
        self.manifest.name()
    }

    /// Returns the manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns the envelope of the manifest.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Returns the manifest CID.
    pub fn cid(&self) -> Cid {
        self.envelope.cid()
    }

    /// Returns the envelope of the pointer record that leads from the name to the manifest.
    pub fn pointer(&self) -> &Envelope {
        &self.pointer
    }
}

impl Publisher {
    /// Makes a publisher with the secret keys `keys`. `root` is the encoded envelope of the trust root that clients
    /// have.
    ///
    /// Every key signs each manifest. Only keys that the root permits to sign pointer records sign them. A key that the
    /// root does not permit does no harm, because clients ignore its signature.
    ///
    /// # Errors
    /// The errors of [`TrustRoot::decode_trusted`].
    pub fn new(root: &[u8], keys: Vec<SigningKey>) -> Result<Self, TrustError> {
        Ok(Self { root: TrustRoot::decode_trusted(root)?, root_block: root.to_vec(), keys, urls: Vec::new() })
    }

    /// Sets the URLs at which clients without the DHT can fetch the releases over HTTP: at most
    /// [`MAX_URLS`](crate::dht::MAX_URLS).
    #[must_use]
    pub fn with_urls(self, urls: Vec<String>) -> Self {
        Self { urls, ..self }
    }

    /// Returns the trust root.
    pub fn root(&self) -> &TrustRoot {
        &self.root
    }

    /// Returns the CID of the trust root's envelope.
    pub fn root_cid(&self) -> Cid {
        Cid::of_block(&self.root_block)
    }

    /// Checks everything that can be checked before the files of a release are read: that the manifest is valid, and
    /// that clients will accept the signatures.
    ///
    /// # Errors
    /// [`PublishError::Envelope`], [`PublishError::Manifest`] or [`PublishError::Pointer`].
    pub fn check(&self, draft: &Draft, now: u64) -> Result<(), PublishError> {
        self.sign(&draft.preview(), now).map(drop)
    }

    /// Imports the files of a release, signs a manifest that lists them, and points the name to it.
    ///
    /// # Errors
    /// Every variant of [`PublishError`] except [`PublishError::NotImported`] is possible. [`PublishError::NotNewer`]
    /// has one more cause: another publisher has published the version in the draft, or a later one, during the import.
    pub fn publish(
        &self,
        store: &dyn Store,
        draft: &Draft,
        now: u64,
        progress: &mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Result<Release, PublishError> {
        self.check(draft, now)?;
        // This check fails before the files are read. The version is read again later, under the lock.
        next_version(store, draft)?;
        let entries = draft.import_files(store, progress)?;
        // Another publisher may publish the name during the import, which may take long. The lock is held only for the
        // steps that need the version.
        let _lock = store.lock_name(&draft.name())?;
        let release = self.sign(&draft.manifest(next_version(store, draft)?, entries), now)?;
        self.set_ref(store, &release)?;
        Ok(release)
    }

    /// Publishes a manifest that is already signed, for instance on another machine. Its artifacts must be in the
    /// store. The current release may be published again, so that its pointer record is renewed.
    ///
    /// # Errors
    /// Every variant of [`PublishError`] is possible.
    pub fn publish_signed(&self, store: &dyn Store, manifest: Envelope, now: u64) -> Result<Release, PublishError> {
        let name = manifest.payload_unverified::<Manifest>()?.name();
        let release = self.point(manifest, &name, now)?;
        check_newer(store, &release)?;
        check_artifacts(store, release.manifest())?;
        self.make_visible(store, &release)?;
        Ok(release)
    }

    /// Signs a manifest and a pointer record that leads to it, and verifies both as a client does.
    ///
    /// # Errors
    /// [`PublishError::Envelope`], [`PublishError::Manifest`] or [`PublishError::Pointer`].
    pub fn sign(&self, manifest: &Manifest, now: u64) -> Result<Release, PublishError> {
        self.point(Envelope::signed(manifest, &self.keys)?, &manifest.name(), now)
    }

    /// Stores the envelopes of the trust root and of the manifest, and then points the name to the release. The
    /// artifacts of the release must be in the store.
    ///
    /// # Errors
    /// [`PublishError::NotNewer`] if the store has a later version, or another manifest with the same version;
    /// [`PublishError::Store`] if the store cannot be used.
    pub fn make_visible(&self, store: &dyn Store, release: &Release) -> Result<(), PublishError> {
        let _lock = store.lock_name(&release.name())?;
        self.set_ref(store, release)
    }

    /// Does the work of [`make_visible`](Self::make_visible). The caller must hold the lock of the name.
    fn set_ref(&self, store: &dyn Store, release: &Release) -> Result<(), PublishError> {
        // Another publisher may have published a later version in the meantime. Clients would refuse the older version.
        check_newer(store, release)?;
        store.put_block(&self.root_cid(), &self.root_block)?;
        store.put_block(&release.cid(), &release.envelope.encode())?;
        match store.set_ref(&release.name(), &release.pointer) {
            Err(StoreError::RefIsNewer { name, version, held }) => Err(PublishError::NotNewer { name, version, held }),
            other => Ok(other?),
        }
    }

    /// Verifies a manifest, and signs a pointer record to the manifest with the keys that may sign pointers.
    fn point(&self, envelope: Envelope, name: &Name, now: u64) -> Result<Release, PublishError> {
        let at = TrustedTime(now);
        let issued_at = TrustedTime(self.root.issued_at);
        if at < issued_at {
            return Err(PublishError::ClockBeforeRoot { now: at, issued_at });
        }
        let manifest = self.root.verify_manifest(&envelope, name, at).map_err(PublishError::Manifest)?;
        check_version(name, manifest.version)?;
        let pointer = Pointer { urls: self.urls.clone(), ..Pointer::to(&manifest, envelope.cid(), now) };
        let role = self.root.channels.get(&name.channel);
        let may_point = |key: &&SigningKey| role.is_some_and(|role| role.pointer_keys.contains(&key.id()));
        let pointer = Envelope::signed(&pointer, self.keys.iter().filter(may_point))?;
        self.root.verify_pointer(&pointer, name, at).map_err(PublishError::Pointer)?;
        Ok(Release { manifest, envelope, pointer })
    }
}

/// Returns the pointer record that the store has for a name.
fn stored_pointer(store: &dyn Store, name: &Name) -> Result<Option<Pointer>, PublishError> {
    Ok(store.pointer(name)?.map(|envelope| envelope.payload_unverified()).transpose()?)
}

/// Returns the version that was set in the draft, or the version in the store plus 1.
fn next_version(store: &dyn Store, draft: &Draft) -> Result<u64, PublishError> {
    let name = draft.name();
    let held = stored_pointer(store, &name)?.map_or(0, |pointer| pointer.version);
    match draft.version() {
        Some(version) if version > held => Ok(version),
        Some(version) => Err(PublishError::NotNewer { name, version, held }),
        None => {
            let version = held.saturating_add(1);
            check_version(&name, version).map(|()| version)
        }
    }
}

/// Checks that a release is newer than the release in the store, or is the same release.
fn check_newer(store: &dyn Store, release: &Release) -> Result<(), PublishError> {
    let (name, version) = (release.name(), release.manifest.version);
    let Some(held) = stored_pointer(store, &name)? else { return Ok(()) };
    let is_same = version == held.version && held.manifest == Some(release.cid());
    if version > held.version || is_same {
        return Ok(());
    }
    Err(PublishError::NotNewer { name, version, held: held.version })
}

/// Checks that the store has every artifact that a manifest lists.
fn check_artifacts(store: &dyn Store, manifest: &Manifest) -> Result<(), PublishError> {
    for entry in &manifest.artifacts {
        let artifact = store.artifact(&entry.cid)?;
        if !artifact.is_some_and(|artifact| entry.agrees_with(artifact.index())) {
            return Err(PublishError::NotImported { filename: entry.filename.clone(), cid: entry.cid });
        }
    }
    Ok(())
}
