//! Targets, and the outputs that are prepared for them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::backend::OutputBackend;
use super::device::Device;
use super::error::HandoverError;
use super::folder::FolderOutput;
use super::stream::Stream;
use crate::cid::Cid;
use crate::index::ArtifactIndex;
use crate::manifest::{ArtifactEntry, FileName};
use crate::store::{Need, OsBackend, Store, StoreError, check_in};

/// The place that artifacts are handed over to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A folder, which gets the files of a release under their names. All of them become visible together.
    Folder(PathBuf),
    /// A file, which is replaced when the new content is complete. It takes one artifact.
    File(PathBuf),
    /// A block device or partition, which takes one artifact. It is opened exclusively, and read back at the end. Until
    /// then, it has a mixture of its old and its new content.
    Device(PathBuf),
    /// Standard output, which takes one artifact. Verified bytes are written in order. After an error, a part of them
    /// has been written.
    Stdout,
}

impl Target {
    /// Finds out what the target at `path` is: `-` is standard output, an existing file or block device is itself, and
    /// everything else is a folder.
    ///
    /// # Errors
    /// [`HandoverError::BadTarget`] for a character device, a pipe, a socket, or a device that does not exist.
    pub fn at(path: &Path) -> Result<Self, HandoverError> {
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        let bad = |kind| Err(HandoverError::BadTarget { path: path.to_owned(), kind });
        let meta = match std::fs::metadata(path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return match std::path::absolute(path) {
                    Ok(absolute) if absolute.starts_with("/dev") && !absolute.starts_with("/dev/shm") => {
                        bad("a device that does not exist")
                    }
                    _ => Ok(Self::Folder(path.to_owned())),
                };
            }
            Err(error) => return Err(HandoverError::io("open", path)(error)),
        };
        use std::os::unix::fs::FileTypeExt as _;
        let kind = meta.file_type();
        match () {
            () if kind.is_dir() => Ok(Self::Folder(path.to_owned())),
            () if kind.is_file() => Ok(Self::File(path.to_owned())),
            () if kind.is_block_device() => Ok(Self::Device(path.to_owned())),
            () if kind.is_char_device() => bad("a character device"),
            () => bad("a pipe or a socket"),
        }
    }

    /// Returns the target for one artifact at `path`: `-` is standard output, and everything else is a file, which may
    /// exist.
    ///
    /// # Errors
    /// [`HandoverError::BadTarget`] for everything that exists and is no regular file.
    pub fn file_at(path: &Path) -> Result<Self, HandoverError> {
        let bad = |kind| Err(HandoverError::BadTarget { path: path.to_owned(), kind });
        match Self::at(path)? {
            Self::Folder(folder) if folder.is_dir() => bad("a folder, which --output takes"),
            Self::Folder(file) | Self::File(file) => Ok(Self::File(file)),
            Self::Device(_) => bad("a block device, which --output takes"),
            Self::Stdout => Ok(Self::Stdout),
        }
    }

    /// Returns whether the target takes only one artifact.
    pub fn takes_one(&self) -> bool {
        !matches!(self, Self::Folder(_))
    }
}

/// An output that is prepared: its files are created, or its device is open. Nothing is visible before
/// [`Output::commit`]. Dropping the output removes its files.
#[derive(Debug)]
pub struct Output {
    pub(super) backend: Arc<dyn OutputBackend>,
    pub(super) kind: Kind,
    /// The artifacts, each with the names of its files. All names of one artifact have the same content.
    pub(super) artifacts: BTreeMap<Cid, Planned>,
}

/// An artifact of an output.
#[derive(Clone, Debug, Default)]
pub(super) struct Planned {
    pub(super) names: Vec<FileName>,
}

#[derive(Debug)]
pub(super) enum Kind {
    Files(FolderOutput),
    Device(Device),
    Stream(Stream),
}

impl Output {
    /// Prepares a target for the artifacts of `entries`. With `resume`, continues with the files that a crashed
    /// hand-over of the same artifacts left beside the target; [`InPlaceStore`](super::InPlaceStore) verifies them.
    ///
    /// # Errors
    /// [`HandoverError`] if the target cannot take the artifacts. Nothing has been overwritten.
    pub fn prepare(target: &Target, entries: &[ArtifactEntry], resume: bool) -> Result<Self, HandoverError> {
        Self::with_backend(target, entries, resume, Arc::new(OsBackend))
    }

    /// Prepares a target like [`Output::prepare`], but uses `backend` as the file system.
    ///
    /// # Errors
    /// The errors of [`Output::prepare`].
    pub fn with_backend(
        target: &Target,
        entries: &[ArtifactEntry],
        resume: bool,
        backend: Arc<dyn OutputBackend>,
    ) -> Result<Self, HandoverError> {
        let mut artifacts: BTreeMap<Cid, Planned> = BTreeMap::new();
        for entry in entries {
            artifacts.entry(entry.cid).or_default().names.push(entry.filename.clone());
        }
        let one = |path: &Path| match entries {
            [entry] => Ok(entry),
            _ => Err(HandoverError::NotOne { path: path.to_owned(), count: entries.len() }),
        };
        let kind = match target {
            Target::Folder(path) => {
                let names: BTreeSet<_> = entries.iter().map(|entry| entry.filename.clone()).collect();
                Kind::Files(FolderOutput::in_folder(&backend, path, names, resume)?)
            }
            Target::File(path) => {
                let name = one(path)?.filename.clone();
                Kind::Files(FolderOutput::one_file(&backend, path, name, resume)?)
            }
            Target::Device(path) => Kind::Device(Device::open(path, one(path)?)?),
            Target::Stdout => {
                one(Path::new("standard output"))?;
                Kind::Stream(Stream::stdout())
            }
        };
        Ok(Self { backend, kind, artifacts })
    }

    /// Makes the files visible, all or none. A device is synced and read back.
    ///
    /// # Errors
    /// [`HandoverError`] if a file cannot get its place, or if a device did not keep what was written.
    pub fn commit(&self) -> Result<(), HandoverError> {
        match &self.kind {
            Kind::Files(files) => files.commit(),
            Kind::Device(device) => device.commit(),
            Kind::Stream(stream) => stream.commit(),
        }
    }

    /// Keeps the files when this output is dropped before [`Output::commit`], so that the next hand-over to the same
    /// target can continue with them.
    pub fn keep(&self) {
        if let Kind::Files(files) = &self.kind {
            files.keep();
        }
    }

    /// Removes the files of an output that was not committed. Another thread that still writes to them fails.
    pub fn discard(&self) {
        if let Kind::Files(files) = &self.kind {
            files.discard();
        }
    }

    /// Returns the target's path, as messages show it.
    pub fn path(&self) -> &Path {
        match &self.kind {
            Kind::Files(files) => files.target(),
            Kind::Device(device) => device.path(),
            Kind::Stream(_) => Path::new("standard output"),
        }
    }

    /// Checks that the artifacts fit into the output when they are exported from `store`, which needs `missing` for what
    /// is fetched before. If both are on one file system, the sum must fit, unless copies share their data there.
    ///
    /// # Errors
    /// [`StoreError::DoesNotFit`].
    pub fn check_export<'a>(
        &self,
        store: &dyn Store,
        missing: Need,
        artifacts: impl Iterator<Item = (Cid, &'a ArtifactIndex)>,
    ) -> Result<(), StoreError> {
        let Kind::Files(files) = &self.kind else { return Ok(()) };
        let shares_data = store.folder().is_some_and(|folder| files.can_clone_from(&folder.join("format")));
        let is_same_disk = store.folder().is_some_and(|folder| files.is_on_disk_of(folder));
        let mut need = if is_same_disk { missing } else { Need::default() };
        for (cid, index) in artifacts {
            let data = if shares_data { 0 } else { index.size() - index.repeats().zero_bytes() };
            let names = self.artifacts.get(&cid).map_or(0, |planned| planned.names.len());
            (0..names).for_each(|_| need.add_file(index.size(), data));
        }
        // The files are created already.
        self.check_space(&Need { files: 0, ..need })
    }

    /// Checks that `need` fits into the file system of the output, so that a full disk is reported before the first
    /// byte. The size of a device was checked when it was opened.
    ///
    /// # Errors
    /// [`StoreError::DoesNotFit`].
    pub fn check_space(&self, need: &Need) -> Result<(), StoreError> {
        let Kind::Files(files) = &self.kind else { return Ok(()) };
        // If the free space is unknown, a later write reports a full disk instead.
        let Ok(space) = self.backend.space(&files.folder()) else { return Ok(()) };
        check_in(&space, files.target(), need)
    }
}
