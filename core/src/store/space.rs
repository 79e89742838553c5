//! Free space: what an operation needs of a file system, and the check that it fits before the first byte is written.

use std::path::Path;

use super::backend::{Backend, Space};
use super::error::StoreError;
use super::shortage::Shortage;
use crate::chunker::ChunkerParams;
use crate::index::MAX_BLOCK_LEN;

/// The length of a block of common file systems, in bytes. A file uses whole blocks.
const BLOCK_LEN: u64 = 4 << 10;
/// The upper limit of the space of one chunk in the index blocks, in bytes.
const INDEX_BYTES_PER_CHUNK: u64 = 48;

/// What an operation needs of the file system of a store. Add all files of the operation before the check, because files
/// that fit one by one may not fit together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// The disk space, in bytes. Holes need none.
    pub bytes: u64,
    /// The number of files that are created.
    pub files: u64,
    /// The length of the longest file, in bytes. Holes count.
    pub longest: u64,
}

impl Need {
    /// Adds what another operation needs.
    pub fn add(&mut self, other: &Self) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.files = self.files.saturating_add(other.files);
        self.longest = self.longest.max(other.longest);
    }

    /// Adds a file of `len` bytes, of which `data` bytes are not in holes.
    pub fn add_file(&mut self, len: u64, data: u64) {
        let data = data.min(len).checked_next_multiple_of(BLOCK_LEN).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(data);
        self.files = self.files.saturating_add(1);
        self.longest = self.longest.max(len);
    }

    /// Adds an artifact of `len` bytes, of which `data` bytes are not in holes: its file, its seal and its index blocks.
    /// The space for the index blocks is an estimate.
    pub fn add_artifact(&mut self, len: u64, data: u64, chunker: &ChunkerParams) {
        self.add_file(len, data);
        self.add_seal_and_index(len, data, chunker);
    }

    /// Adds the seal and the index blocks of an artifact whose file is not in the store.
    pub fn add_seal_and_index(&mut self, len: u64, data: u64, chunker: &ChunkerParams) {
        // A seal is shorter than one block of the file system.
        self.add_file(1, 1);
        // Holes give chunks of the maximum length.
        let chunks = data.min(len) / u64::from(chunker.avg()) + len / u64::from(chunker.max()) + 1;
        let index = chunks.saturating_mul(INDEX_BYTES_PER_CHUNK);
        let leaves = index / MAX_BLOCK_LEN as u64;
        self.add_file(index, index);
        self.files = self.files.saturating_add(leaves);
    }
}

/// Checks that `need` fits into the file system of `folder`, which must exist. If the file system does not tell its free
/// space, the check passes, and a later write reports a full disk instead.
pub(crate) fn check(backend: &dyn Backend, folder: &Path, need: &Need) -> Result<(), StoreError> {
    match backend.space(folder) {
        Ok(space) => check_in(&space, folder, need),
        Err(_) => Ok(()),
    }
}

/// Checks that `need` fits into `space`, which is the free space of `folder`.
pub(crate) fn check_in(space: &Space, folder: &Path, need: &Need) -> Result<(), StoreError> {
    let shortage = if need.longest > space.max_len {
        Shortage::Length { needs: need.longest, max: space.max_len }
    } else if let Some(has) = space.files.filter(|has| need.files > *has) {
        Shortage::Files { needs: Some(need.files), has }
    } else if need.bytes > space.bytes {
        Shortage::Bytes { needs: need.bytes, has: space.bytes, is_in_ram: space.is_in_ram }
    } else {
        return Ok(());
    };
    Err(StoreError::DoesNotFit { folder: folder.to_owned(), shortage })
}

/// Makes the error for a file or folder that could not be created. Some file systems have a limit on the number of
/// files, and report it like a full disk.
pub(crate) fn create_failed(backend: &dyn Backend, path: &Path, source: std::io::Error) -> StoreError {
    let error = StoreError::write("create", path, source);
    let folder = path.parent().unwrap_or(path);
    match (&error, backend.space(folder)) {
        (StoreError::NoSpace { .. }, Ok(Space { files: Some(0), .. })) => {
            StoreError::DoesNotFit { folder: folder.to_owned(), shortage: Shortage::Files { needs: None, has: 0 } }
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: Space = Space { bytes: 100 << 20, files: Some(30), max_len: 1 << 30, is_in_ram: false };

    fn check(space: Space, need: Need) -> Result<(), String> {
        check_in(&space, Path::new("/store"), &need).map_err(|error| error.to_string())
    }

    #[test]
    fn files_that_fit_one_by_one_and_not_together_are_refused_with_both_figures() {
        let mut need = Need::default();
        (0..3).for_each(|_| need.add_artifact(30 << 20, 30 << 20, &ChunkerParams::default()));
        assert_eq!(check(FREE, need), Ok(()));
        (0..2).for_each(|_| need.add_artifact(30 << 20, 30 << 20, &ChunkerParams::default()));
        let message = check(FREE, need).unwrap_err();
        assert!(
            message.contains("/store") && message.contains("needs 150.1 MiB, and 100.0 MiB can be used"),
            "{message}"
        );
        let message = check(Space { is_in_ram: true, ..FREE }, need).unwrap_err();
        assert!(message.contains("not enough RAM"), "{message}");
    }

    #[test]
    fn a_file_system_with_too_few_inodes_is_refused_as_such() {
        let mut need = Need::default();
        (0..100).for_each(|_| need.add_artifact(1, 1, &ChunkerParams::default()));
        let message = check(FREE, need).unwrap_err();
        assert!(message.contains("inodes") && message.contains("needs 300 files, and 30 can be created"), "{message}");
        assert_eq!(check(Space { files: None, ..FREE }, need), Ok(()));
    }

    #[test]
    fn holes_need_no_space_but_count_for_the_length_of_a_file() {
        let mut need = Need::default();
        need.add_file(1 << 30, 16 << 20);
        assert_eq!(check(FREE, need), Ok(()));
        need.add_file((1 << 30) + 1, 0);
        let message = check(FREE, need).unwrap_err();
        assert!(message.contains("ulimit -f") && message.contains("1.0 GiB"), "{message}");
        need.add_file(u64::MAX, u64::MAX);
        assert_eq!(need.bytes, u64::MAX);
    }
}
