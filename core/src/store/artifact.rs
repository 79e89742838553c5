//! Complete artifacts on disk: files inside the store, and files outside it that were imported by reference.
//!
//! Invariant: the file of a [`FileArtifact`] was verified when it had the state `stat`. If the file now has another
//! state, `read_at` fails.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::backend::{Backend, BackendFile, FileStat, OpenMode};
use super::blocks;
use super::damage::Damage;
use super::error::{StoreError, is_temporary};
use super::interface::Artifact;
use super::layout::Layout;
use super::os::OsFile;
use super::seal::Seal;
use crate::cid::{Cid, Codec};
use crate::index::{ArtifactIndex, ChunkIndex, IndexDecoder};

/// A complete artifact whose file was verified.
#[derive(Debug)]
pub(crate) struct FileArtifact {
    cid: Cid,
    index: Arc<ArtifactIndex>,
    file: Box<dyn BackendFile>,
    stat: FileStat,
    path: PathBuf,
}

impl Artifact for FileArtifact {
    fn cid(&self) -> Cid {
        self.cid
    }

    fn index(&self) -> &Arc<ArtifactIndex> {
        &self.index
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        check_bounds(self.cid, self.index.size(), offset, buf.len())?;
        match self.file.read_exact_at(buf, offset) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(changed(&self.path)),
            other => other.map_err(|e| StoreError::read("read", &self.path, e))?,
        }
        // The state is checked after the read, so that a change during the read is detected.
        let now = self.file.stat().map_err(|e| StoreError::read("read", &self.path, e))?;
        let removed = now.links == 0;
        if removed || !now.same_content(&self.stat) { Err(changed(&self.path)) } else { Ok(()) }
    }

    fn path(&self) -> Option<PathBuf> {
        Some(self.path.clone())
    }
}

/// Opens a complete artifact. Returns `None` if the store does not have it.
pub(crate) fn open(backend: &dyn Backend, layout: &Layout, cid: &Cid) -> Result<Option<FileArtifact>, StoreError> {
    if cid.codec() != Codec::DagCbor {
        return Ok(None);
    }
    let path = layout.artifact(cid);
    match backend.open(&path, OpenMode::Read) {
        Ok(file) => open_owned(backend, layout, cid, file, path).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => open_reference(backend, layout, cid),
        Err(error) => Err(StoreError::read("open", &path, error)),
    }
}

/// Opens an artifact's file inside the store that the caller has just verified. `verified` is the state that the file
/// had then. Returns `None` if the file now has another state. The file is not hashed again.
pub(crate) fn open_verified(
    backend: &dyn Backend,
    layout: &Layout,
    cid: &Cid,
    index: Arc<ArtifactIndex>,
    verified: FileStat,
) -> Result<Option<FileArtifact>, StoreError> {
    let path = layout.artifact(cid);
    let file = backend.open(&path, OpenMode::Read).map_err(|e| StoreError::read("open", &path, e))?;
    let stat = file.stat().map_err(|e| StoreError::read("read", &path, e))?;
    Ok(stat.same_content(&verified).then(|| FileArtifact { cid: *cid, index, file, stat, path }))
}

/// Opens an artifact's file inside the store. If the file does not match its seal, the file is verified again and gets
/// a new seal.
fn open_owned(
    backend: &dyn Backend,
    layout: &Layout,
    cid: &Cid,
    file: Box<dyn BackendFile>,
    path: PathBuf,
) -> Result<FileArtifact, StoreError> {
    let index = load_index(backend, layout, cid)?;
    let stat = file.stat().map_err(|e| StoreError::read("read", &path, e))?;
    let sealed = Seal::read(backend, layout, cid)?.is_some_and(|seal| seal.path().is_none() && seal.holds(stat));
    if !sealed || stat.len != index.size() {
        verify(&*file, &index, &path)?;
        let after = file.stat().map_err(|e| StoreError::read("read", &path, e))?;
        if !after.same_content(&stat) {
            return Err(changed(&path));
        }
        // A failure is ignored, because a file without a seal is only hashed again when it is opened the next time.
        let _ = Seal::owned(stat).write(backend, layout, cid);
    }
    Ok(FileArtifact { cid: *cid, index, file, stat, path })
}

/// Opens a file that was imported by reference. The file is refused if it does not match its seal.
fn open_reference(backend: &dyn Backend, layout: &Layout, cid: &Cid) -> Result<Option<FileArtifact>, StoreError> {
    let Some(seal) = Seal::read(backend, layout, cid)? else { return Ok(None) };
    let Some(path) = seal.path() else { return Ok(None) };
    let index = load_index(backend, layout, cid)?;
    let file = OsFile::from(File::open(&path).map_err(|e| not_opened(&path, e))?);
    let stat = file.stat().map_err(|e| StoreError::read("read", &path, e))?;
    if !seal.holds(stat) || stat.len != index.size() {
        return Err(StoreError::damaged(&path, Damage::ReferenceChanged));
    }
    Ok(Some(FileArtifact { cid: *cid, index, file: Box::new(file), stat, path }))
}

/// Makes the error for a file that was imported by reference and cannot be opened. Only a lasting error is damage.
fn not_opened(path: &Path, error: io::Error) -> StoreError {
    match is_temporary(&error) {
        true => StoreError::read("open", path, error),
        false => StoreError::damaged(path, Damage::ReferenceGone(error)),
    }
}

/// Reads the index of an artifact from the index blocks in the store.
pub(crate) fn load_index(backend: &dyn Backend, layout: &Layout, cid: &Cid) -> Result<Arc<ArtifactIndex>, StoreError> {
    let bad = |source| StoreError::BadIndex { cid: *cid, source };
    // No maximum size is needed, because the index was checked when its blocks were stored.
    let mut decoder = IndexDecoder::new(*cid, u64::MAX);
    loop {
        let wanted = decoder.wanted();
        if wanted.is_empty() {
            return decoder.finish().map(Arc::new).map_err(bad);
        }
        for block in wanted {
            let missing = || StoreError::damaged(&layout.block(&block), Damage::NoIndexBlock);
            let bytes = blocks::read(backend, layout, &block)?.ok_or_else(missing)?;
            decoder.handle_block(&block, &bytes).map_err(bad)?;
        }
    }
}

/// Verifies a whole file against the index.
fn verify(file: &dyn BackendFile, index: &ArtifactIndex, path: &Path) -> Result<(), StoreError> {
    let len = file.stat().map_err(|e| StoreError::read("read", path, e))?.len;
    if len != index.size() {
        return Err(StoreError::damaged(path, Damage::Length { len, expected: index.size() }));
    }
    let mut buf = vec![0; index.chunker().max() as usize];
    for (chunk, position) in index.chunks().zip(0..) {
        let bytes = &mut buf[..chunk.len as usize];
        file.read_exact_at(bytes, chunk.offset).map_err(|e| StoreError::read("read", path, e))?;
        if index.hash().digest(bytes) != chunk.digest {
            return Err(StoreError::damaged(path, Damage::Chunk(ChunkIndex(position))));
        }
    }
    Ok(())
}

/// Checks that `len` bytes from `start` are inside the artifact.
pub(crate) fn check_bounds(cid: Cid, size: u64, start: u64, len: usize) -> Result<(), StoreError> {
    let end = start.saturating_add(len as u64);
    if end > size { Err(StoreError::NotThere { cid, start, end }) } else { Ok(()) }
}

fn changed(path: &Path) -> StoreError {
    StoreError::damaged(path, Damage::Changed)
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn a_reference_that_cannot_be_opened_for_lack_of_descriptors_is_not_damaged() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM] {
            let error = not_opened(Path::new("/image"), errno.into());
            assert!(error.is_temporary() && matches!(error, StoreError::Io { .. }), "{error}");
        }
        let error = not_opened(Path::new("/image"), Errno::NOENT.into());
        assert!(!error.is_temporary() && matches!(error, StoreError::Damaged { .. }), "{error}");
    }
}
