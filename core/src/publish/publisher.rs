//! Signing a release, and making it visible to clients of the store.

use super::draft::Draft;
use super::error::PublishError;
use super::import::Progress;
use crate::cid::Cid;
use crate::dht::Pointer;
use crate::envelope::Envelope;
use crate::keys::SigningKey;
use crate::manifest::Manifest;
use crate::name::Name;
use crate::store::Store;
use crate::time::TrustedTime;
use crate::trust::{TrustError, TrustRoot};

/// Publishes releases that clients with one trust root accept.
#[derive(Clone, Debug)]
pub struct Publisher {
    root: TrustRoot,
    /// The root as clients have it, signed.
    root_block: Vec<u8>,
    keys: Vec<SigningKey>,
    urls: Vec<String>,
}

/// A release that clients with the publisher's trust root accept, with a pointer record that they accept too.
#[derive(Clone, Debug)]
pub struct Release {
    manifest: Manifest,
    envelope: Envelope,
    pointer: Envelope,
}

impl Release {
    /// What it is a release of.
    pub fn name(&self) -> Name {
        self.manifest.name()
    }

    /// What it consists of.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The manifest with its signatures.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The manifest's CID.
    pub fn cid(&self) -> Cid {
        self.envelope.cid()
    }

    /// The signed pointer record that leads from the name to the manifest.
    pub fn pointer(&self) -> &Envelope {
        &self.pointer
    }
}

impl Publisher {
    /// A publisher for clients that have `root`, the bytes of a signed trust root.
    ///
    /// Every key signs the manifests; of the pointer records it signs those that the root lets it. A key that may not
    /// sign something makes no difference there, and it is an error only if too few others may.
    ///
    /// # Errors
    /// Those of [`TrustRoot::decode_trusted`].
    pub fn new(root: &[u8], keys: Vec<SigningKey>) -> Result<Self, TrustError> {
        Ok(Self { root: TrustRoot::decode_trusted(root)?, root_block: root.to_vec(), keys, urls: Vec::new() })
    }

    /// Where clients without the DHT can get the releases over HTTP: at most [`MAX_URLS`](crate::dht::MAX_URLS).
    #[must_use]
    pub fn with_urls(self, urls: Vec<String>) -> Self {
        Self { urls, ..self }
    }

    /// The trust root.
    pub fn root(&self) -> &TrustRoot {
        &self.root
    }

    /// The CID of the signed trust root.
    pub fn root_cid(&self) -> Cid {
        Cid::of_block(&self.root_block)
    }

    /// Checks all that can be told before the files of a release are read: that it makes sense, and that clients will
    /// accept what the keys sign. Needs no store.
    ///
    /// # Errors
    /// [`PublishError::Envelope`], [`PublishError::Manifest`] or [`PublishError::Pointer`].
    pub fn check(&self, draft: &Draft, now: u64) -> Result<(), PublishError> {
        self.sign(&draft.preview(), now).map(drop)
    }

    /// Imports the files of a release, signs a manifest of them, and points the name to it.
    ///
    /// # Errors
    /// Any of [`PublishError`] but [`PublishError::NotImported`]. [`PublishError::NotNewer`] also if every version is
    /// used up, or if somebody else has published a later version meanwhile.
    pub fn publish(
        &self,
        store: &dyn Store,
        draft: &Draft,
        now: u64,
        progress: &mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Result<Release, PublishError> {
        self.check(draft, now)?;
        let version = next_version(store, draft)?;
        let release = self.sign(&draft.import(store, version, progress)?, now)?;
        self.make_visible(store, &release)?;
        Ok(release)
    }

    /// Points the name to a manifest that was signed elsewhere and whose artifacts are in the store. The release that
    /// the store has may be published again: that renews its pointer record.
    ///
    /// # Errors
    /// Any of [`PublishError`].
    pub fn publish_signed(&self, store: &dyn Store, manifest: Envelope, now: u64) -> Result<Release, PublishError> {
        let name = manifest.payload_unverified::<Manifest>()?.name();
        let release = self.point(manifest, &name, now)?;
        check_newer(store, &release)?;
        check_artifacts(store, release.manifest())?;
        self.make_visible(store, &release)?;
        Ok(release)
    }

    /// Signs a manifest and a pointer record to it, and verifies both as a client does.
    ///
    /// # Errors
    /// [`PublishError::Envelope`], [`PublishError::Manifest`] or [`PublishError::Pointer`].
    pub fn sign(&self, manifest: &Manifest, now: u64) -> Result<Release, PublishError> {
        self.point(Envelope::signed(manifest, &self.keys)?, &manifest.name(), now)
    }

    /// Puts the signed root and manifest into the store, and then points the name to the release. Its artifacts are
    /// expected to be in the store.
    ///
    /// # Errors
    /// [`PublishError::NotNewer`] if the store has a later version, [`PublishError::Store`].
    pub fn make_visible(&self, store: &dyn Store, release: &Release) -> Result<(), PublishError> {
        store.put_block(&self.root_cid(), &self.root_block)?;
        store.put_block(&release.cid(), &release.envelope.encode())?;
        let (name, version) = (release.name(), release.manifest.version);
        // Another publisher may have been faster; a client would see it as a step back.
        if let Some(held) = held(store, &name)?.filter(|held| held.version > version) {
            return Err(PublishError::NotNewer { name, version, held: held.version });
        }
        Ok(store.set_ref(&name, &release.pointer)?)
    }

    /// Verifies a manifest, and signs a pointer record to it with the keys that may.
    fn point(&self, envelope: Envelope, name: &Name, now: u64) -> Result<Release, PublishError> {
        let at = TrustedTime(now);
        let manifest = self.root.verify_manifest(&envelope, name, at).map_err(PublishError::Manifest)?;
        let pointer = Pointer { urls: self.urls.clone(), ..Pointer::to(&manifest, envelope.cid(), now) };
        let role = self.root.channels.get(&name.channel);
        let may_point = |key: &&SigningKey| role.is_some_and(|role| role.pointer_keys.contains(&key.id()));
        let pointer = Envelope::signed(&pointer, self.keys.iter().filter(may_point))?;
        self.root.verify_pointer(&pointer, name, at).map_err(PublishError::Pointer)?;
        Ok(Release { manifest, envelope, pointer })
    }
}

/// The pointer that the store has.
fn held(store: &dyn Store, name: &Name) -> Result<Option<Pointer>, PublishError> {
    Ok(store.pointer(name)?.map(|envelope| envelope.payload_unverified()).transpose()?)
}

/// The version that a draft asks for, or the one above what the store has.
fn next_version(store: &dyn Store, draft: &Draft) -> Result<u64, PublishError> {
    let name = draft.name();
    let held = held(store, &name)?.map_or(0, |pointer| pointer.version);
    match draft.version() {
        Some(version) if version > held => Ok(version),
        Some(version) => Err(PublishError::NotNewer { name, version, held }),
        None => held.checked_add(1).ok_or(PublishError::NotNewer { name, version: held, held }),
    }
}

/// Checks that a release is later than what the store has, or is the same.
fn check_newer(store: &dyn Store, release: &Release) -> Result<(), PublishError> {
    let (name, version) = (release.name(), release.manifest.version);
    let Some(held) = held(store, &name)? else { return Ok(()) };
    let is_same = version == held.version && held.manifest == Some(release.cid());
    if version > held.version || is_same {
        return Ok(());
    }
    Err(PublishError::NotNewer { name, version, held: held.version })
}

/// Checks that the store can serve what a manifest lists.
fn check_artifacts(store: &dyn Store, manifest: &Manifest) -> Result<(), PublishError> {
    for entry in &manifest.artifacts {
        let artifact = store.artifact(&entry.cid)?;
        if !artifact.is_some_and(|artifact| entry.agrees_with(artifact.index())) {
            return Err(PublishError::NotImported { filename: entry.filename.clone(), cid: entry.cid });
        }
    }
    Ok(())
}
