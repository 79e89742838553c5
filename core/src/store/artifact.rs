//! Complete artifacts on disk: files inside the store, and files outside it that were imported by reference.
//!
//! Invariant: the file of a [`FileArtifact`] was verified when it had the state `stat`. If the file now has another
//! state, `read_at` fails. A file that another user or any program may write to at any time is not trusted: each of its
//! chunks is hashed after it was read, because a write through a memory mapping need not change the state at once.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::backend::{Backend, BackendFile, FileStat, OpenMode};
use super::confined::open_outside;
use super::damage::Damage;
use super::errno::is_link;
use super::error::StoreError;
use super::interface::Artifact;
use super::layout::Layout;
use super::seal::{Seal, Seals};
use super::{blocks, temp};
use crate::cid::{Cid, Codec};
use crate::index::{ArtifactIndex, ChunkIndex, ChunkRange, IndexDecoder};

/// A complete artifact whose file was verified.
#[derive(Debug)]
pub(crate) struct FileArtifact {
    cid: Cid,
    index: Arc<ArtifactIndex>,
    file: Box<dyn BackendFile>,
    stat: FileStat,
    path: PathBuf,
    /// Whether only this user or root can have written to the file.
    is_trusted: bool,
    /// Whether the file is inside the store, so that only the store removes it.
    is_owned: bool,
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
        if now.same_content(&self.stat) || (self.is_owned && is_same_but_removed(&self.stat, &now)) {
            Ok(())
        } else {
            Err(changed(&self.path))
        }
    }

    fn read_chunks(&self, run: ChunkRange, buf: &mut [u8]) -> Result<(), StoreError> {
        let Some(range) = self.index.byte_range(run) else { return Ok(()) };
        self.read_at(range.start, buf)?;
        if self.is_trusted {
            return Ok(());
        }
        for position in run.iter() {
            let Some(chunk) = self.index.chunk(position) else { continue };
            let start = (chunk.offset - range.start) as usize;
            if self.index.hash().digest(&buf[start..start + chunk.len as usize]) != chunk.digest {
                return Err(changed(&self.path));
            }
        }
        Ok(())
    }

    fn path(&self) -> Option<PathBuf> {
        Some(self.path.clone())
    }

    fn is_removed(&self) -> bool {
        self.file.stat().is_ok_and(|now| now.links == 0)
    }
}

/// Returns whether a file lost its last name since it had the state `before`, and was not written. A file without a name
/// cannot be opened any more, so its content stays what was verified, and transfers of a release that was removed can
/// end. Removing a file changes its change time, so that time cannot be compared.
fn is_same_but_removed(before: &FileStat, now: &FileStat) -> bool {
    let key = |stat: &FileStat| (stat.len, stat.mtime_ns, stat.inode);
    now.links == 0 && key(before) == key(now)
}

/// Opens a complete artifact. Returns `None` if the store does not have it.
pub(crate) fn open(backend: &dyn Backend, layout: &Layout, cid: &Cid) -> Result<Option<FileArtifact>, StoreError> {
    if cid.codec() != Codec::DagCbor {
        return Ok(None);
    }
    let path = layout.artifact(cid);
    match temp::open_file(backend, &path)? {
        Some(file) => open_owned(backend, layout, cid, file, path).map(Some),
        None => open_reference(backend, layout, cid),
    }
}

/// Returns the files on which an artifact depends: its file inside the store, its seal and, if it was imported by
/// reference, the file outside the store.
pub(crate) fn files(backend: &dyn Backend, layout: &Layout, cid: &Cid) -> Result<Vec<PathBuf>, StoreError> {
    let reference = Seals::read(backend, layout, cid)?.reference().map(|(path, _)| path);
    Ok([layout.artifact(cid), layout.seal(cid)].into_iter().chain(reference).collect())
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
    if !stat.same_content(&verified) {
        return Ok(None);
    }
    layout.place().note_right(cid, stat);
    Ok(Some(FileArtifact {
        cid: *cid,
        index,
        file,
        stat,
        path,
        is_trusted: layout.place().trusts(stat.owner),
        is_owned: true,
    }))
}

/// Opens an artifact's file inside the store. If the file does not match its seal, or the seal is not trusted, the file
/// is verified again and gets a new seal.
fn open_owned(
    backend: &dyn Backend,
    layout: &Layout,
    cid: &Cid,
    file: Box<dyn BackendFile>,
    path: PathBuf,
) -> Result<FileArtifact, StoreError> {
    let index = load_index(backend, layout, cid)?;
    let stat = file.stat().map_err(|e| StoreError::read("read", &path, e))?;
    let place = layout.place();
    let is_trusted = place.trusts(stat.owner);
    let seals = Seals::read(backend, layout, cid)?;
    // The seals in the folder of the run-time files say what this user has hashed. The owner of the artifact does not matter.
    let is_sealed = (is_trusted || layout.has_state()) && seals.hold(place, stat, None);
    if stat.len != index.size() || !is_sealed {
        if stat.len != index.size() || !place.is_right(cid, &stat) {
            verify_again(&*file, &index, &path, layout, cid)?;
        }
        if is_trusted || layout.has_state() {
            // A failure is ignored, because a file without a seal is only hashed again when it is opened the next time.
            let _ = Seal::owned(stat).write(backend, layout, cid);
        }
    }
    Ok(FileArtifact { cid: *cid, index, file, stat, path, is_trusted, is_owned: true })
}

/// Opens a file that was imported by reference. If the file does not match its seal, or the seal is not trusted, the
/// file is verified again and gets a new seal.
fn open_reference(backend: &dyn Backend, layout: &Layout, cid: &Cid) -> Result<Option<FileArtifact>, StoreError> {
    let seals = Seals::read(backend, layout, cid)?;
    let Some((path, importer)) = seals.reference() else { return Ok(None) };
    let index = load_index(backend, layout, cid)?;
    let file = open_outside(&path).map_err(|error| unreachable_reference(&path, error))?;
    let stat = file.stat().map_err(|e| StoreError::read("read", &path, e))?;
    let place = layout.place();
    // The seal of another user must not make this process read what that user cannot read.
    if !place.trusts(importer) && stat.owner != importer {
        let damage = Damage::ForeignReference { importer, owner: stat.owner };
        return Err(StoreError::damaged(&path, damage));
    }
    let is_sealed = seals.hold(place, stat, Some(&path));
    if stat.len != index.size() || !is_sealed {
        let is_known = stat.len == index.size() && place.is_right(cid, &stat);
        let verified = if is_known { Ok(()) } else { verify_again(&file, &index, &path, layout, cid) };
        match verified {
            Err(StoreError::Damaged { .. }) => return Err(StoreError::damaged(&path, Damage::ReferenceChanged)),
            other => other?,
        }
        if place.trusts(importer) || layout.has_state() {
            let _ = Seal::reference(stat, &path).write(backend, layout, cid);
        }
    }
    Ok(Some(FileArtifact { cid: *cid, index, file: Box::new(file), stat, path, is_trusted: false, is_owned: false }))
}

/// Makes the error for a file that was imported by reference and cannot be opened. An error that says nothing about the
/// file, such as too many open files, is no damage.
fn unreachable_reference(path: &Path, error: io::Error) -> StoreError {
    use io::ErrorKind as Kind;
    let is_gone = matches!(
        error.kind(),
        Kind::NotFound
            | Kind::NotADirectory
            | Kind::PermissionDenied
            | Kind::InvalidInput
            | Kind::StaleNetworkFileHandle
            | Kind::HostUnreachable
            | Kind::NotConnected
    );
    let is_broken = error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
    if is_gone || is_broken || is_link(&error) {
        StoreError::damaged(path, Damage::ReferenceGone(error))
    } else {
        StoreError::read("open", path, error)
    }
}

/// Verifies a file whose seal does not hold, and remembers the result. A file that was found wrong before is not hashed
/// again until its state changes.
fn verify_again(
    file: &dyn BackendFile,
    index: &ArtifactIndex,
    path: &Path,
    layout: &Layout,
    cid: &Cid,
) -> Result<(), StoreError> {
    let place = layout.place();
    let before = file.stat().map_err(|e| StoreError::read("read", path, e))?;
    if place.is_wrong(cid, &before) {
        return Err(changed(path));
    }
    let verified = verify(file, index, path);
    let after = file.stat().map_err(|e| StoreError::read("read", path, e))?;
    if !after.same_content(&before) {
        return Err(changed(path));
    }
    match &verified {
        Ok(()) => place.note_right(cid, before),
        Err(StoreError::Damaged { .. }) => place.note_wrong(cid, before),
        Err(_) => {}
    }
    verified
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
pub(crate) fn verify(file: &dyn BackendFile, index: &ArtifactIndex, path: &Path) -> Result<(), StoreError> {
    verify_with(file, index, path, &mut |_| {})
}

/// Verifies a whole file against the index. `progress` is called with the length of each verified chunk.
pub(crate) fn verify_with(
    file: &dyn BackendFile,
    index: &ArtifactIndex,
    path: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<(), StoreError> {
    let len = file.stat().map_err(|e| StoreError::read("read", path, e))?.len;
    if len != index.size() {
        return Err(StoreError::damaged(path, Damage::Length { len, expected: index.size() }));
    }
    let mut buf = vec![0; index.chunker().max() as usize];
    for (chunk, position) in index.chunks().zip(0..) {
        let bytes = &mut buf[..chunk.len as usize];
        match file.read_exact_at(bytes, chunk.offset) {
            // The file had its full length, and was cut while it was read.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(changed(path)),
            other => other.map_err(|e| StoreError::read("read", path, e))?,
        }
        if index.hash().digest(bytes) != chunk.digest {
            return Err(StoreError::damaged(path, Damage::Chunk(ChunkIndex(position))));
        }
        progress(chunk.len.into());
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
            let error = unreachable_reference(Path::new("/image"), errno.into());
            assert!(error.is_temporary() && matches!(error, StoreError::Io { .. }), "{error}");
        }
        let error = unreachable_reference(Path::new("/image"), Errno::NOENT.into());
        assert!(!error.is_temporary() && matches!(error, StoreError::Damaged { .. }), "{error}");
    }
}
