//! Reads and writes small files that the user named. A file longer than the longest block is not read, and a file is
//! written completely or not at all.

use std::fs::{File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use phase_cli::{Fault, FileError};
use phase_core::{Failure, MAX_BLOCK_LEN};
use tempfile::{Builder, NamedTempFile};

/// The mode of written files, before the process's umask is applied.
const MODE: u32 = 0o666;

/// Reads a file. Fails if the file is longer than [`MAX_BLOCK_LEN`].
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    let too_long =
        || Fault::new(Failure::Input, format!("{} is longer than any envelope (at most 1 MiB)", path.display()));
    read_if_short(path)?.ok_or_else(too_long)
}

/// Reads a file. Returns `None` if the file is longer than [`MAX_BLOCK_LEN`].
pub(crate) fn read_if_short(path: &Path) -> Result<Option<Vec<u8>>, Fault> {
    let file = File::open(path).map_err(FileError::of("read", path))?;
    let mut bytes = Vec::new();
    file.take(MAX_BLOCK_LEN as u64 + 1).read_to_end(&mut bytes).map_err(FileError::of("read", path))?;
    Ok((bytes.len() <= MAX_BLOCK_LEN).then_some(bytes))
}

/// Fails if `path` exists. Called before long work whose result will be written to `path`, so that the error comes
/// before the work.
pub(crate) fn check_free(path: &Path) -> Result<(), Fault> {
    if path.symlink_metadata().is_ok() { Err(exists(path)) } else { Ok(()) }
}

/// Writes a new file. Fails if `path` exists.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    let file = write_beside(path, bytes)?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Err(exists(path)),
        Err(error) => Err(FileError::of("write", path)(error.error).into()),
    }
}

/// Replaces a file atomically.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    let file = write_beside(path, bytes)?;
    file.persist(path).map(drop).map_err(|error| FileError::of("write", path)(error.error).into())
}

/// Writes a temporary file into the folder of `path`, and calls fsync, so that the bytes are on disk before the file is
/// renamed to `path`.
fn write_beside(path: &Path, bytes: &[u8]) -> Result<NamedTempFile, Fault> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || {
        let mut file =
            Builder::new().prefix(".phase-").permissions(Permissions::from_mode(MODE)).tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        Ok(file)
    };
    write().map_err(|error| FileError::of("write", path)(error).into())
}

fn exists(path: &Path) -> Fault {
    Fault::new(Failure::Input, format!("{} exists and is not overwritten", path.display()))
        .hint("choose another name, or move the file away")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_never_replaces_another_and_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write_new(&path, b"first").unwrap();
        assert_eq!(write_new(&path, b"second").unwrap_err().failure(), Failure::Input);
        assert!(check_free(&path).is_err());
        assert_eq!(read(&path).unwrap(), b"first");
        replace(&path, b"third").unwrap();
        assert_eq!(read(&path).unwrap(), b"third");
        assert_eq!(folder.path().read_dir().unwrap().count(), 1, "a temporary file is left");
    }

    #[test]
    fn a_file_longer_than_the_longest_block_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        File::create(&path).unwrap().set_len(MAX_BLOCK_LEN as u64 + 1).unwrap();
        assert_eq!(read_if_short(&path).unwrap(), None);
        assert_eq!(read(&path).unwrap_err().failure(), Failure::Input);
    }
}
