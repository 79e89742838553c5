//! The layout of a store's folder, and the version of its format.

use std::io;
use std::path::{Path, PathBuf};

use super::backend::Backend;
use super::error::StoreError;
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

/// The paths of the files and folders in one store.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Opens the store at `root`, or creates a store if the folder is empty or does not exist.
    pub(crate) fn open(backend: &dyn Backend, root: &Path) -> Result<Self, StoreError> {
        let layout = Self { root: root.to_owned() };
        let format = match temp::read_small(backend, &layout.format(), MAX_FORMAT_LEN) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotADirectory => {
                let file = file_in_path(backend, root);
                return Err(StoreError::NotAFolder { path: layout.root, file });
            }
            other => other?,
        };
        match &format {
            Some(format) => layout.check_format(format)?,
            None => layout.check_empty(backend)?,
        }
        layout.create_folders(backend)?;
        if format.is_none() {
            layout.sync_ancestors(backend);
            // The file `format` is written last. If it exists after a crash, all folders of the store exist too.
            let text = format!("{FORMAT_PREFIX}{FORMAT}\n");
            temp::replace(backend, &layout.tmp(), &layout.format(), text.as_bytes())?;
        }
        Ok(layout)
    }

    fn check_format(&self, format: &[u8]) -> Result<(), StoreError> {
        let found = std::str::from_utf8(format)
            .ok()
            .and_then(|text| text.strip_prefix(FORMAT_PREFIX)?.lines().next()?.parse().ok())
            .ok_or_else(|| StoreError::UnknownFormat(self.format()))?;
        match found {
            FORMAT => Ok(()),
            _ => Err(StoreError::NewerFormat { path: self.root.clone(), found, known: FORMAT }),
        }
    }

    fn check_empty(&self, backend: &dyn Backend) -> Result<(), StoreError> {
        let present = match backend.read_dir(&self.root) {
            Ok(present) => present,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StoreError::read("open", &self.root, error)),
        };
        let harmless = present.iter().all(|name| HARMLESS.contains(&name.as_str()));
        if harmless { Ok(()) } else { Err(StoreError::NotAStore(self.root.clone())) }
    }

    fn create_folders(&self, backend: &dyn Backend) -> Result<(), StoreError> {
        for folder in [&self.root, &self.tmp(), &self.blocks(), &self.artifacts(), &self.refs()] {
            backend.create_dir(folder).map_err(|e| StoreError::write("create", folder, e))?;
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

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn format(&self) -> PathBuf {
        self.root.join("format")
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
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
        self.root.join("served")
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
        self.root.join("identity.key")
    }

    pub(crate) fn peers(&self) -> PathBuf {
        self.root.join("peers.toml")
    }

    pub(crate) fn provider_lock(&self) -> PathBuf {
        self.root.join("provider.lock")
    }

    pub(crate) fn store_lock(&self) -> PathBuf {
        self.root.join("store.lock")
    }

    pub(crate) fn chunk_map(&self) -> PathBuf {
        self.root.join("chunks.redb")
    }
}
