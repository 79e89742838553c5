//! The methods of [`FileStore`] for the life cycle of its content.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::FileStore;
use crate::cid::Cid;
use crate::manifest::Manifest;
use crate::name::Name;
use crate::store::error::StoreError;
use crate::store::lifecycle::inventory::{self, Inventory, StoredArtifact};
use crate::store::lifecycle::release::StoredRelease;
use crate::store::lifecycle::scan::Scan;
use crate::store::lifecycle::set_aside;
use crate::store::lifecycle::sweep::{self, Removal, Removed};
use crate::store::lifecycle::verify::{self, Problem, VerifyProgress};
use crate::store::lifecycle::{pins, served};

impl FileStore {
    /// Returns the releases in the store, sorted by name. The newest version of a name is first.
    ///
    /// # Errors
    /// An error from the operating system. A manifest that is damaged is left out.
    pub fn releases(&self) -> Result<Vec<StoredRelease>, StoreError> {
        let scan = Scan::read(&*self.backend, &self.layout)?;
        Ok(scan.releases.into_iter().map(|scanned| scanned.release).collect())
    }

    /// Returns what the store has. Nothing is hashed except blocks.
    ///
    /// # Errors
    /// An error from the operating system, if a folder cannot be listed.
    pub fn inventory(&self) -> Result<Inventory, StoreError> {
        inventory::read(&*self.backend, &self.layout)
    }

    /// Returns the manifest of a release, or `None` if the store does not have it.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the bytes on disk do not hash to the CID, or an error from the operating system.
    pub fn manifest(&self, manifest: &Cid) -> Result<Option<Manifest>, StoreError> {
        inventory::manifest(&*self.backend, &self.layout, manifest)
    }

    /// Returns how much the store has of each artifact of a release. Nothing is hashed.
    ///
    /// # Errors
    /// An error from the operating system.
    pub fn artifacts_of(&self, manifest: &Manifest) -> Result<Vec<StoredArtifact>, StoreError> {
        let pins = self.pins()?;
        let entries = manifest.artifacts.iter().cloned();
        entries.map(|entry| inventory::artifact(&*self.backend, &self.layout, entry, &pins)).collect()
    }

    /// Hashes every file of the store against what its name says, whatever its seal says. Uses two threads. `progress`
    /// is called by one of them at a time.
    ///
    /// # Errors
    /// An error from the operating system, if a folder cannot be listed. A file that cannot be read is a [`Problem`].
    pub fn verify(&self, progress: &mut (dyn FnMut(VerifyProgress) + Send)) -> Result<Vec<Problem>, StoreError> {
        verify::verify(&*self.backend, &self.layout, progress)
    }

    /// Verifies a block, and takes it out of the store if it is damaged, like
    /// [`Store::set_aside`](crate::store::Store::set_aside) for artifacts.
    ///
    /// # Errors
    /// An error from the operating system. The block is left alone then.
    pub fn set_aside_block(&self, block: &Cid) -> Result<Option<PathBuf>, StoreError> {
        set_aside::block(&*self.backend, &self.layout, block)
    }

    /// Takes the ref of a name out of the store if it cannot be decoded, like
    /// [`Store::set_aside`](crate::store::Store::set_aside) for artifacts. Without the ref, the name is not current in
    /// this store, and its version no longer protects against older releases.
    ///
    /// # Errors
    /// An error from the operating system. The ref is left alone then.
    pub fn set_aside_ref(&self, name: &Name) -> Result<Option<PathBuf>, StoreError> {
        set_aside::reference(&*self.backend, &self.layout, name)
    }

    /// Returns the pinned manifests and artifacts.
    ///
    /// # Errors
    /// An error from the operating system.
    pub fn pins(&self) -> Result<BTreeSet<Cid>, StoreError> {
        pins::list(&*self.backend, &self.layout)
    }

    /// Pins a manifest or an artifact. A pinned release stays as a whole. It is not an error if it is pinned already,
    /// or if the store does not have it.
    ///
    /// # Errors
    /// An error from the operating system.
    pub fn pin(&self, cid: &Cid) -> Result<(), StoreError> {
        pins::add(&*self.backend, &self.layout, cid)
    }

    /// Removes a pin. Returns whether the CID was pinned.
    ///
    /// # Errors
    /// An error from the operating system.
    pub fn unpin(&self, cid: &Cid) -> Result<bool, StoreError> {
        pins::remove(&*self.backend, &self.layout, cid)
    }

    /// Removes releases and orphans, as [`Removal`] says.
    ///
    /// Content that a running provider announces stays, and [`Removed::announced`] lists it. The caller waits until the
    /// provider has withdrawn the content, and calls this function again.
    ///
    /// After an error, some of the files are removed. The rest goes when the function is called again.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] or [`StoreError::NoManifest`] if a manifest or a ref cannot be read, because it may need
    /// any artifact: nothing is removed then. An error from the operating system.
    pub fn remove(&self, removal: &Removal) -> Result<Removed, StoreError> {
        sweep::remove(&*self.backend, &self.layout, removal)
    }

    /// Returns what [`FileStore::remove`] would remove, and changes nothing. Treats the release of
    /// [`Goal::Release`](crate::store::Goal::Release) as if its ref were removed, and announced content as withdrawn.
    ///
    /// # Errors
    /// The errors of [`FileStore::remove`].
    pub fn preview_removal(&self, removal: &Removal) -> Result<Removed, StoreError> {
        sweep::preview(&*self.backend, &self.layout, removal)
    }

    /// Removes the ref of a name if it leads to `manifest`, so that a running provider withdraws the release. Returns
    /// whether it did.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the ref cannot be decoded, or an error from the operating system.
    pub fn remove_ref(&self, name: &Name, manifest: &Cid) -> Result<bool, StoreError> {
        sweep::remove_ref(&*self.backend, &self.layout, name, manifest)
    }

    /// Sets the list of CIDs that the running provider announces, or whose withdrawal has not ended. [`FileStore::remove`]
    /// does not remove them.
    ///
    /// The provider must set the list before it announces a CID, and must read the refs again in between.
    ///
    /// # Errors
    /// An error from the operating system.
    pub fn set_announced<'a>(&self, cids: impl IntoIterator<Item = &'a Cid>) -> Result<(), StoreError> {
        served::write(&*self.backend, &self.layout, cids)
    }
}
