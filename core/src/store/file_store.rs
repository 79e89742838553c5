//! The store in a folder on disk.

mod lifecycle_methods;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::backend::Backend;
use super::confined::Confined;
use super::copy::Copy;
use super::error::StoreError;
use super::import_space::ImportSource;
use super::input::{self, FileReader, InputFile};
use super::interface::{Artifact, Partial, Store};
use super::layout::Layout;
use super::lock::{NameLock, ProviderLock, StoreLock};
use super::partial::FilePartial;
use super::place::StoreWarning;
use super::seal::Seal;
use super::space::{self, Need};
use super::temp::{self, TempFile};
use super::{artifact, blocks, chunk_map, import_space, lifecycle, refs};
use crate::cid::{Cid, Digest};
use crate::envelope::Envelope;
use crate::import::{self, ImportMode, ImportOptions, ScanError};
use crate::index::{ArtifactIndex, ChunkIndex};
use crate::keys::SigningKey;
use crate::name::Name;

/// The maximum length of the identity key file, in bytes.
const MAX_KEY_LEN: usize = 4 << 10;

/// A store in a folder. Several processes may share it.
#[derive(Clone, Debug)]
pub struct FileStore {
    backend: Arc<dyn Backend>,
    layout: Layout,
}

impl FileStore {
    /// Opens the store at `path`, or creates a store if the folder is empty or does not exist. A store on a read-only
    /// file system can be opened, but writing to it fails.
    ///
    /// # Errors
    /// [`StoreError::NotAStore`], [`StoreError::NotAFolder`], [`StoreError::NotAStoreFolder`],
    /// [`StoreError::UnknownFormat`], [`StoreError::NewerFormat`], [`StoreError::OlderFormat`],
    /// [`StoreError::NoLocks`], or an error from the operating system.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = absolute(path.as_ref())?;
        Self::with_backend(&path, Arc::new(Confined::new(vec![path.clone()])))
    }

    /// Opens the store at `path` only for reading. The files that are written meanwhile (locks, the identity key,
    /// remembered peers, the chunk map and seals) are in the folder `state`, which is created if it does not exist.
    ///
    /// # Errors
    /// The errors of [`FileStore::open`], [`StoreError::NoStore`], or an error that says why `state` cannot be used.
    pub fn open_with_state(path: impl AsRef<Path>, state: impl AsRef<Path>) -> Result<Self, StoreError> {
        let (path, state) = (absolute(path.as_ref())?, absolute(state.as_ref())?);
        let backend = Confined::new(vec![path.clone(), state.clone()]);
        Self::with_backend_and_state(&path, &state, Arc::new(backend))
    }

    /// Opens the store like [`FileStore::open`], but uses `backend` as the file system.
    ///
    /// # Errors
    /// The errors of [`FileStore::open`].
    pub fn with_backend(path: impl AsRef<Path>, backend: Arc<dyn Backend>) -> Result<Self, StoreError> {
        let layout = Layout::open(&*backend, &absolute(path.as_ref())?)?;
        temp::clean(&*backend, &layout.tmp());
        Ok(Self { backend, layout })
    }

    /// Opens the store like [`FileStore::open_with_state`], but uses `backend` as the file system.
    ///
    /// # Errors
    /// The errors of [`FileStore::open_with_state`].
    pub fn with_backend_and_state(
        path: impl AsRef<Path>,
        state: impl AsRef<Path>,
        backend: Arc<dyn Backend>,
    ) -> Result<Self, StoreError> {
        let layout = Layout::open_with_state(&*backend, &absolute(path.as_ref())?, &absolute(state.as_ref())?)?;
        temp::clean(&*backend, &layout.tmp());
        Ok(Self { backend, layout })
    }

    /// Returns the properties of the store's place that make the store slower or less safe than usual. A program should
    /// print each of them once.
    pub fn warnings(&self) -> &[StoreWarning] {
        self.layout.place().warnings()
    }

    /// Returns the absolute path of the store's folder.
    pub fn path(&self) -> &Path {
        self.layout.root()
    }

    /// Locks the store for a running provider. The lock is held until the returned value is dropped.
    ///
    /// # Errors
    /// [`StoreError::ProviderRunning`] if another provider holds the lock.
    pub fn lock_provider(&self) -> Result<ProviderLock, StoreError> {
        ProviderLock::take(&*self.backend, &self.layout)
    }

    /// Returns the identity key of the node that uses this store. Generates and stores a key if the store has none.
    ///
    /// # Errors
    /// [`StoreError::Identity`] if the key cannot be generated or the file holds no key; [`StoreError::OtherOwner`] or
    /// [`StoreError::OpenToOthers`] if another user may know the key; or an error from the operating system.
    pub fn identity(&self) -> Result<SigningKey, StoreError> {
        if let Some(key) = self.read_identity()? {
            return Ok(key);
        }
        // The lock keeps two processes that start at the same time from generating two keys.
        let _lock = StoreLock::take(&*self.backend, &self.layout)?;
        if let Some(key) = self.read_identity()? {
            return Ok(key);
        }
        let path = self.layout.identity();
        let key = SigningKey::generate().map_err(|source| StoreError::Identity { path: path.clone(), source })?;
        temp::write_whole(&*self.backend, &self.layout.tmp(), key.to_pem().as_bytes(), true)?.persist(&path)?;
        Ok(key)
    }

    /// Returns the path of the file in which a provider keeps its remembered peers. The store itself neither reads nor
    /// writes that file.
    pub fn peers_file(&self) -> PathBuf {
        self.layout.peers()
    }

    fn read_identity(&self) -> Result<Option<SigningKey>, StoreError> {
        let path = self.layout.identity();
        let Some((pem, stat)) = temp::read_small_with_stat(&*self.backend, &path, MAX_KEY_LEN)? else {
            return Ok(None);
        };
        if !self.layout.place().is_trusted_user(stat.owner) {
            let user = rustix::process::geteuid().as_raw();
            return Err(StoreError::OtherOwner { path, owner: stat.owner, user });
        }
        if stat.mode & 0o077 != 0 {
            return Err(StoreError::OpenToOthers { path, mode: stat.mode });
        }
        let key = SigningKey::from_pem(&String::from_utf8_lossy(&pem));
        key.map(Some).map_err(|source| StoreError::Identity { path, source })
    }

    /// Returns an error if the store was opened only for reading.
    fn check_writable(&self) -> Result<(), StoreError> {
        if self.layout.has_state() { Err(StoreError::OnlyRead(self.path().to_owned())) } else { Ok(()) }
    }

    fn put_index(&self, index: &ArtifactIndex) -> Result<Cid, StoreError> {
        let encoded = index.encode();
        for (cid, bytes) in &encoded.blocks {
            self.put_block(cid, bytes)?;
        }
        Ok(encoded.root)
    }

    /// Imports `input` by reflink or by copy, so that the content is in a file inside the store.
    fn import_copy(
        &self,
        input: &InputFile,
        options: &ImportOptions,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Cid, StoreError> {
        let temp = TempFile::create(&*self.backend, &self.layout.tmp(), false)?;
        let index = if input.regular_file().is_some_and(|file| temp.file().clone_from_file(file).is_ok()) {
            let stat = temp.file().stat().map_err(|e| StoreError::read("read", temp.path(), e))?;
            let reader = FileReader::new(temp.file(), &stat);
            import::scan(reader, options.chunker, options.hash, None, progress)
                .map_err(|error| scan_failed(error, input, |error| input::failed("read", input.path(), error)))?
        } else {
            let copy = Copy::new(&*self.backend, (temp.file(), temp.path()), input, &options.chunker)?;
            let sink = |offset, bytes: &[u8]| copy.write(offset, bytes);
            let index = import::scan(input.reader(), options.chunker, options.hash, Some(&sink), progress)
                .map_err(|error| scan_failed(error, input, |error| copy.failed(error, input.len())))?;
            copy.finish(index.size())?;
            index
        };
        input.check_unchanged(index.size())?;
        temp::make_read_only(temp.file(), temp.path())?;
        temp.file().sync().map_err(|e| StoreError::write("sync", temp.path(), e))?;
        let cid = self.put_index(&index)?;
        self.install(temp, cid)?;
        Ok(cid)
    }

    /// Moves a synced temporary file to the artifact's path, unless an undamaged file already has this path.
    fn install(&self, temp: TempFile<'_>, cid: Cid) -> Result<(), StoreError> {
        let target = self.layout.artifact(&cid);
        let _lock = StoreLock::take(&*self.backend, &self.layout)?;
        match artifact::open(&*self.backend, &self.layout, &cid) {
            Ok(Some(artifact)) if artifact.path().as_ref() == Some(&target) => {
                return Seal::renew(&*self.backend, &self.layout, &cid);
            }
            Ok(_) | Err(StoreError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
        let file = temp.persist(&target)?;
        // The file is sealed after it was renamed, because renaming changes the state in the seal.
        let stat = file.stat().map_err(|e| StoreError::read("read", &target, e))?;
        // A failure is ignored, because a file without a seal is only hashed again when it is opened the next time.
        let _ = Seal::owned(stat).write(&*self.backend, &self.layout, &cid);
        self.layout.place().note_right(&cid, stat);
        Ok(())
    }

    /// Imports `input` by reference, unless the store has the artifact already.
    fn import_reference(
        &self,
        input: &InputFile,
        options: &ImportOptions,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Cid, StoreError> {
        let index = import::scan(input.reader(), options.chunker, options.hash, None, progress)
            .map_err(|error| scan_failed(error, input, |error| input::failed("read", input.path(), error)))?;
        input.check_unchanged(index.size())?;
        let cid = self.put_index(&index)?;
        let _lock = StoreLock::take(&*self.backend, &self.layout)?;
        match artifact::open(&*self.backend, &self.layout, &cid) {
            Ok(Some(_)) => return Seal::renew(&*self.backend, &self.layout, &cid).map(|()| cid),
            Ok(None) | Err(StoreError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
        self.remove_damaged(&cid)?;
        // The seal names the file itself. A link that is changed later does not lead the store to another file.
        let path = std::fs::canonicalize(input.path()).map_err(|e| input::failed("find", input.path(), e))?;
        Seal::reference(input.stat(), &path).write(&*self.backend, &self.layout, &cid)?;
        Ok(cid)
    }

    /// Removes an artifact's damaged file inside the store, if there is one. Otherwise, the store would open it instead
    /// of the file that was imported by reference.
    fn remove_damaged(&self, cid: &Cid) -> Result<(), StoreError> {
        let path = self.layout.artifact(cid);
        match self.backend.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::write("remove", &path, error)),
            _ => Ok(()),
        }
    }
}

impl Store for FileStore {
    fn folder(&self) -> Option<&Path> {
        Some(self.layout.root())
    }

    fn put_block(&self, cid: &Cid, bytes: &[u8]) -> Result<(), StoreError> {
        self.check_writable()?;
        // A manifest needs artifacts that the store may have already. The lock keeps them from being removed as orphans
        // by a process that has looked for manifests before.
        let is_envelope = lifecycle::scan::is_envelope(bytes);
        let _lock = is_envelope.then(|| StoreLock::take(&*self.backend, &self.layout)).transpose()?;
        blocks::put(&*self.backend, &self.layout, cid, bytes)
    }

    fn block(&self, cid: &Cid) -> Result<Option<Vec<u8>>, StoreError> {
        blocks::read(&*self.backend, &self.layout, cid)
    }

    fn artifact(&self, cid: &Cid) -> Result<Option<Arc<dyn Artifact>>, StoreError> {
        Ok(artifact::open(&*self.backend, &self.layout, cid)?.map(|artifact| Arc::new(artifact) as Arc<dyn Artifact>))
    }

    fn set_aside(&self, cid: &Cid) -> Result<Option<PathBuf>, StoreError> {
        lifecycle::set_aside::set_aside(&*self.backend, &self.layout, cid)
    }

    fn files(&self, artifact: &Cid) -> Result<Vec<PathBuf>, StoreError> {
        artifact::files(&*self.backend, &self.layout, artifact)
    }

    fn partial(&self, cid: &Cid, index: Arc<ArtifactIndex>) -> Result<Arc<dyn Partial>, StoreError> {
        self.check_writable()?;
        let actual = self.put_index(&index)?;
        if actual != *cid {
            return Err(StoreError::OtherIndex { cid: *cid, actual });
        }
        Ok(Arc::new(FilePartial::open(self.backend.clone(), self.layout.clone(), *cid, index)?))
    }

    fn import(
        &self,
        path: &Path,
        options: &ImportOptions,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Arc<dyn Artifact>, StoreError> {
        self.check_writable()?;
        let input = InputFile::open(path)?;
        input.check_importable(&options.chunker, options.mode == ImportMode::Reference)?;
        let cid = match options.mode {
            ImportMode::Copy => self.import_copy(&input, options, progress)?,
            ImportMode::Reference => self.import_reference(&input, options, progress)?,
        };
        let gone = || StoreError::read("open", &self.layout.artifact(&cid), io::ErrorKind::NotFound.into());
        self.artifact(&cid)?.ok_or_else(gone)
    }

    fn needed_to_fetch(&self, cid: &Cid, index: &ArtifactIndex) -> Need {
        let mut need = Need::default();
        // A damaged artifact is fetched again, and is replaced only when the new file is complete.
        if !matches!(self.artifact(cid), Ok(Some(_))) {
            let part = self.backend.stat(&self.layout.part(cid)).unwrap_or_default();
            let data = (index.size() - index.repeats().zero_bytes()).saturating_sub(part.allocated);
            need.add_artifact(index.size(), data, &index.chunker());
            // The bitmap of the stored chunks.
            need.add_file(u64::from(index.len()) / 8 + 1, u64::from(index.len()) / 8 + 1);
        }
        need
    }

    fn check_space(&self, need: &Need) -> Result<(), StoreError> {
        space::check(&*self.backend, self.layout.root(), need)
    }

    fn check_import(&self, sources: &[ImportSource<'_>], options: &ImportOptions) -> Result<(), StoreError> {
        import_space::check(&*self.backend, &self.layout, sources, options)
    }

    fn lock_name(&self, name: &Name) -> Result<NameLock, StoreError> {
        NameLock::take(&*self.backend, &self.layout, name)
    }

    fn set_ref(&self, name: &Name, pointer: &Envelope) -> Result<(), StoreError> {
        self.check_writable()?;
        let target = refs::accept(name, pointer)?;
        let _lock = StoreLock::take(&*self.backend, &self.layout)?;
        lifecycle::references::check(&*self.backend, &self.layout, name, &target.manifest)?;
        refs::compare_and_set(&*self.backend, &self.layout, name, pointer, &target)
    }

    fn pointer(&self, name: &Name) -> Result<Option<Envelope>, StoreError> {
        refs::read(&*self.backend, &self.layout, name)
    }

    fn names(&self) -> Result<Vec<Name>, StoreError> {
        refs::names(&*self.backend, &self.layout)
    }

    fn find_chunks(&self, digests: &[Digest]) -> Result<Vec<Option<(Cid, ChunkIndex)>>, StoreError> {
        chunk_map::find(&*self.backend, &self.layout, digests)
    }
}

fn absolute(path: &Path) -> Result<PathBuf, StoreError> {
    std::path::absolute(path).map_err(|e| StoreError::read("find", path, e))
}

/// Converts a [`ScanError`] into a [`StoreError`] that names the file. `write_failed` makes the error for a failed write.
fn scan_failed(error: ScanError, input: &InputFile, write_failed: impl FnOnce(io::Error) -> StoreError) -> StoreError {
    match error {
        ScanError::Read(error) => input::failed("read", input.path(), error),
        ScanError::Write(error) => write_failed(error),
        ScanError::Index(error) => StoreError::NoIndex { path: input.path().to_owned(), source: error },
    }
}
