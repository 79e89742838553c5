//! The layout of a store's folder, and the version of its format.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::backend::Backend;
use super::error::StoreError;
use super::place::Place;
use super::temp;
use crate::cid::Cid;
use crate::name::Name;

/// The store format that this version of Phase reads and writes.
const FORMAT: u32 = 1;
/// The text with which the file `format` begins.
const FORMAT_PREFIX: &str = "phase-store ";
/// The maximum length of the file `format`, in bytes. Later versions of Phase may write more text into this file.
const MAX_FORMAT_LEN: usize = 256;
/// The names that a folder may already contain when a store is created in it. A crash during an earlier creation can
/// leave such names, and file systems create `lost+found`.
const HARMLESS: [&str; 6] = ["tmp", "blocks", "artifacts", "refs", "store.lock", "lost+found"];

/// Returns the part of `path` that is a file, although a folder is needed: `path` itself or a folder above it.
fn file_in_path(backend: &dyn Backend, path: &Path) -> PathBuf {
    let is_no_folder =
        |part: &&Path| backend.read_dir(part).is_err_and(|error| error.kind() == io::ErrorKind::NotADirectory);
    path.ancestors().take_while(is_no_folder).last().unwrap_or(path).to_owned()
}

/// The paths of the files and folders in one store, and what is known about the place where they lie.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
    /// The folder of the files that are written while the store is only read: locks, keys, seals and the chunk map. This
    /// is the store's folder, unless the caller named another one.
    state: PathBuf,
    place: Arc<Place>,
}

/// The paths in a store whose place has not been examined yet.
struct Paths<'a> {
    root: &'a Path,
    state: &'a Path,
}

impl Layout {
    /// Opens the store at `root`, or creates a store if the folder is empty or does not exist.
    pub(crate) fn open(backend: &dyn Backend, root: &Path) -> Result<Self, StoreError> {
        let paths = Paths { root, state: root };
        let exists = paths.check(backend)?;
        if !exists {
            paths.check_empty(backend)?;
        }
        paths.create_folders(backend, exists)?;
        if !exists {
            paths.sync_ancestors(backend);
            // The file `format` is written last. If it exists after a crash, all folders of the store exist too.
            let text = format!("{FORMAT_PREFIX}{FORMAT}\n");
            temp::replace(backend, &root.join("tmp"), &root.join("format"), text.as_bytes())?;
        }
        paths.examine(backend)
    }

    /// Opens the store at `root` for reading, with the folder `state` for the files that are written meanwhile.
    pub(crate) fn open_with_state(backend: &dyn Backend, root: &Path, state: &Path) -> Result<Self, StoreError> {
        let paths = Paths { root, state };
        if !paths.check(backend)? {
            return Err(StoreError::NoStore(root.to_owned()));
        }
        paths.check_folders(backend)?;
        paths.create_state(backend)?;
        paths.examine(backend)
    }
}

impl Paths<'_> {
    /// Checks the format of the store. Returns false if the folder has no file `format`.
    fn check(&self, backend: &dyn Backend) -> Result<bool, StoreError> {
        match temp::read_small(backend, &self.root.join("format"), MAX_FORMAT_LEN) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotADirectory => {
                let (path, file) = (self.root.to_owned(), file_in_path(backend, self.root));
                Err(StoreError::NotAFolder { path, file })
            }
            Err(error) => Err(error),
            Ok(None) => Ok(false),
            Ok(Some(format)) => self.check_format(&format).map(|()| true),
        }
    }

    fn examine(&self, backend: &dyn Backend) -> Result<Layout, StoreError> {
        // The folder of the seals is where the store trusts files, and the folder above could be replaced as a whole.
        let trusted = [self.root.to_owned(), self.root.join("artifacts")];
        let synced = if self.has_state() { self.state.to_owned() } else { self.root.join("refs") };
        let lock = self.state.join("store.lock");
        let place = Place::examine(backend, self.root, &trusted, &lock, &synced, self.has_state())?;
        Ok(Layout { root: self.root.to_owned(), state: self.state.to_owned(), place: Arc::new(place) })
    }

    fn has_state(&self) -> bool {
        self.root != self.state
    }

    fn folders(&self) -> [PathBuf; 4] {
        ["tmp", "blocks", "artifacts", "refs"].map(|name| self.root.join(name))
    }

    fn check_format(&self, format: &[u8]) -> Result<(), StoreError> {
        let found = std::str::from_utf8(format)
            .ok()
            .and_then(|text| text.strip_prefix(FORMAT_PREFIX)?.lines().next()?.parse().ok())
            .ok_or_else(|| StoreError::UnknownFormat(self.root.join("format")))?;
        let path = self.root.to_owned();
        match found {
            FORMAT => Ok(()),
            ..FORMAT => Err(StoreError::OlderFormat { path, found, known: FORMAT }),
            _ => Err(StoreError::NewerFormat { path, found, known: FORMAT }),
        }
    }

    fn check_empty(&self, backend: &dyn Backend) -> Result<(), StoreError> {
        let present = match backend.read_dir(self.root) {
            Ok(present) => present,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StoreError::read("open", self.root, error)),
        };
        let harmless = present.iter().all(|name| HARMLESS.contains(&name.as_str()));
        if harmless { Ok(()) } else { Err(StoreError::NotAStore(self.root.to_owned())) }
    }

    /// Checks that no folder of the store is a symbolic link or a file. Returns the folders that are missing.
    fn check_folders(&self, backend: &dyn Backend) -> Result<Vec<PathBuf>, StoreError> {
        let mut missing = Vec::new();
        for folder in self.folders() {
            match backend.stat(&folder) {
                Ok(stat) if stat.is_folder() => {}
                Ok(_) => return Err(StoreError::NotAStoreFolder(folder)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(folder),
                Err(error) => return Err(StoreError::read("open", &folder, error)),
            }
        }
        Ok(missing)
    }

    fn create_folders(&self, backend: &dyn Backend, exists: bool) -> Result<(), StoreError> {
        if !exists {
            backend.create_dir(self.root).map_err(|e| StoreError::write("create", self.root, e))?;
        }
        for folder in self.check_folders(backend)? {
            match backend.create_dir(&folder).map_err(|e| StoreError::write("create", &folder, e)) {
                // A store that can only be read needs no empty folders.
                Err(StoreError::ReadOnly { .. }) if exists => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Creates the folder of the run-time files, and checks that another user cannot change its files.
    fn create_state(&self, backend: &dyn Backend) -> Result<(), StoreError> {
        let path = || self.state.to_owned();
        if self.state.starts_with(self.root) || self.root.starts_with(self.state) {
            return Err(StoreError::StateInStore { path: path(), store: self.root.to_owned() });
        }
        if backend.stat(&self.state.join("format")).is_ok() {
            return Err(StoreError::StateIsStore(path()));
        }
        for folder in [path(), self.state.join("tmp"), self.state.join("seals")] {
            backend.create_dir(&folder).map_err(|e| StoreError::write("create", &folder, e))?;
        }
        let stat = backend.stat(&self.state.join("seals")).map_err(|e| StoreError::read("open", self.state, e))?;
        let user = rustix::process::geteuid().as_raw();
        if stat.owner != user && stat.owner != 0 {
            return Err(StoreError::OtherOwner { path: path(), owner: stat.owner, user });
        }
        if stat.mode & 0o002 != 0 {
            return Err(StoreError::OpenToOthers { path: self.state.join("seals"), mode: stat.mode });
        }
        Ok(())
    }

    /// Syncs all folders above the store's folder, because some may be new and must survive a power cut. Failures are
    /// ignored, because a folder that this user may not open is not new.
    fn sync_ancestors(&self, backend: &dyn Backend) {
        for ancestor in self.root.ancestors().skip(1) {
            let _ = backend.sync_dir(ancestor);
        }
    }
}

impl Layout {
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns whether the run-time files are in another folder than the store, which is then never written to.
    pub(crate) fn has_state(&self) -> bool {
        self.root != self.state
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.state.join("tmp")
    }

    pub(crate) fn blocks(&self) -> PathBuf {
        self.root.join("blocks")
    }

    pub(crate) fn block(&self, cid: &Cid) -> PathBuf {
        self.blocks().join(cid.to_string())
    }

    pub(crate) fn artifacts(&self) -> PathBuf {
        self.root.join("artifacts")
    }

    pub(crate) fn artifact(&self, cid: &Cid) -> PathBuf {
        self.artifacts().join(cid.to_string())
    }

    pub(crate) fn seal(&self, cid: &Cid) -> PathBuf {
        self.artifacts().join(format!("{cid}.seal"))
    }

    /// Returns the path of the seal that this process writes for an artifact.
    pub(crate) fn own_seal(&self, cid: &Cid) -> PathBuf {
        if self.has_state() { self.state.join("seals").join(format!("{cid}.seal")) } else { self.seal(cid) }
    }

    pub(crate) fn part(&self, cid: &Cid) -> PathBuf {
        self.artifacts().join(format!("{cid}.part"))
    }

    pub(crate) fn have(&self, cid: &Cid) -> PathBuf {
        self.artifacts().join(format!("{cid}.have"))
    }

    pub(crate) fn pins(&self) -> PathBuf {
        self.root.join("pins")
    }

    pub(crate) fn pin(&self, cid: &Cid) -> PathBuf {
        self.pins().join(cid.to_string())
    }

    pub(crate) fn served(&self) -> PathBuf {
        self.state.join("served")
    }

    pub(crate) fn damaged(&self) -> PathBuf {
        self.root.join("damaged")
    }

    pub(crate) fn refs(&self) -> PathBuf {
        self.root.join("refs")
    }

    pub(crate) fn ref_file(&self, name: &Name) -> PathBuf {
        self.refs().join(name.channel.as_str()).join(name.arch.as_str())
    }

    pub(crate) fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    /// Returns the path of the lock file of `name`. No label contains `+`, so names do not share lock files.
    pub(crate) fn name_lock(&self, name: &Name) -> PathBuf {
        self.locks().join(format!("{}+{}", name.channel, name.arch))
    }

    pub(crate) fn identity(&self) -> PathBuf {
        self.state.join("identity.key")
    }

    pub(crate) fn peers(&self) -> PathBuf {
        self.state.join("peers.toml")
    }

    pub(crate) fn provider_lock(&self) -> PathBuf {
        self.state.join("provider.lock")
    }

    pub(crate) fn store_lock(&self) -> PathBuf {
        self.state.join("store.lock")
    }

    pub(crate) fn chunk_map(&self) -> PathBuf {
        self.state.join("chunks.redb")
    }
}
