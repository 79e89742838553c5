//! Small files of the user: read within a bound, written whole or not at all.

use std::fs::{File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use phase_cli::{Fault, FileError};
use phase_core::{Failure, MAX_BLOCK_LEN};
use tempfile::{Builder, NamedTempFile};

/// The mode of written files, less what the user's mask takes away.
const MODE: u32 = 0o666;

/// Reads a file that has at most the length of a block.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    let too_long = || Fault::new(Failure::Input, format!("{} is longer than any envelope (1 MiB)", path.display()));
    read_if_short(path)?.ok_or_else(too_long)
}

/// Reads a file; `None` if it is longer than a block.
pub(crate) fn read_if_short(path: &Path) -> Result<Option<Vec<u8>>, Fault> {
    let file = File::open(path).map_err(FileError::of("read", path))?;
    let mut bytes = Vec::new();
    file.take(MAX_BLOCK_LEN as u64 + 1).read_to_end(&mut bytes).map_err(FileError::of("read", path))?;
    Ok((bytes.len() <= MAX_BLOCK_LEN).then_some(bytes))
}

/// Fails if something is at `path` already: before long work whose result goes there.
pub(crate) fn check_free(path: &Path) -> Result<(), Fault> {
    if path.symlink_metadata().is_ok() { Err(exists(path)) } else { Ok(()) }
}

/// Writes a new file; never over another one.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    let file = write_beside(path, bytes)?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Err(exists(path)),
        Err(error) => Err(FileError::of("write", path)(error.error).into()),
    }
}

/// Replaces a file, at once and whole.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    let file = write_beside(path, bytes)?;
    file.persist(path).map(drop).map_err(|error| FileError::of("write", path)(error.error).into())
}

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
        .hint("choose another name, or move it away")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_files_never_replace_others_and_leave_nothing_behind() {
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
    fn reading_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        File::create(&path).unwrap().set_len(MAX_BLOCK_LEN as u64 + 1).unwrap();
        assert_eq!(read_if_short(&path).unwrap(), None);
        assert_eq!(read(&path).unwrap_err().failure(), Failure::Input);
    }
}
