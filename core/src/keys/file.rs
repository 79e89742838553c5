//! Key files. A key file appears under its name only when it is complete, and never replaces another file. Only its
//! owner can read the file of a secret key.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ed25519_dalek::pkcs8::spki::der::zeroize::Zeroizing;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::ed25519::{KeyError, PublicKey, SigningKey};
use crate::failure::{Fails, Failure};

/// The maximum length of a key file, in bytes. A key file has about 120 bytes.
pub const MAX_KEY_FILE_LEN: u64 = 4096;

const SECRET_MODE: u32 = 0o600;
const PUBLIC_MODE: u32 = 0o644;

impl SigningKey {
    /// Writes the key to a new file with mode 0600.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`] if the file exists already, [`KeyFileError::Write`] if the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), KeyFileError> {
        save(path, self.to_pem().as_bytes(), SECRET_MODE)
    }

    /// Reads a key file that [`save`](Self::save) or OpenSSL wrote.
    ///
    /// # Errors
    /// [`KeyFileError::Read`], [`KeyFileError::TooLarge`], [`KeyFileError::Parse`].
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        load(path, Self::from_pem)
    }
}

impl PublicKey {
    /// Writes the key to a new file with mode 0644.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`] if the file exists already, [`KeyFileError::Write`] if the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), KeyFileError> {
        save(path, self.to_pem().as_bytes(), PUBLIC_MODE)
    }

    /// Reads a key file that [`save`](Self::save) or OpenSSL wrote.
    ///
    /// # Errors
    /// [`KeyFileError::Read`], [`KeyFileError::TooLarge`], [`KeyFileError::Parse`].
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        load(path, Self::from_pem)
    }
}

fn load<K>(path: &Path, parse: fn(&str) -> Result<K, KeyError>) -> Result<K, KeyFileError> {
    let failed = |source| KeyFileError::Read { path: path.to_owned(), source };
    // The full capacity is allocated at once, because a growing vector would leave copies of the secret in freed
    // memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_KEY_FILE_LEN as usize + 1));
    File::open(path).and_then(|file| file.take(MAX_KEY_FILE_LEN + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > MAX_KEY_FILE_LEN {
        return Err(KeyFileError::TooLarge { path: path.to_owned() });
    }
    // Bytes that are not UTF-8 are parsed as an empty text, so that `parse` returns its usual error.
    parse(std::str::from_utf8(&bytes).unwrap_or_default())
        .map_err(|source| KeyFileError::Parse { path: path.to_owned(), source })
}

fn save(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeyFileError> {
    let temporary = temporary_beside(path).map_err(|source| KeyFileError::Write { path: path.to_owned(), source })?;
    let written = write_new(&temporary, bytes, mode).and_then(|()| move_into_place(&temporary, path));
    if written.is_err() {
        // A failure is ignored, because the temporary file may not exist, and the error in `written` is reported.
        let _ = std::fs::remove_file(&temporary);
    }
    written.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => KeyFileError::Exists { path: path.to_owned() },
        _ => KeyFileError::Write { path: path.to_owned(), source },
    })
}

fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{:08x}", getrandom::u32().map_err(io::Error::other)?));
    Ok(path.with_file_name(temporary))
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Renames `temporary` to `path` atomically, and fails if `path` exists. Of two concurrent writers, one therefore
/// fails.
fn move_into_place(temporary: &Path, path: &Path) -> io::Result<()> {
    match renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE) {
        // Some file systems, such as NFS, do not support `NOREPLACE`. Making a hard link fails if `path` exists.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            std::fs::hard_link(temporary, path)?;
            std::fs::remove_file(temporary)?;
        }
        renamed => renamed?,
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// An error from reading or writing a key file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file cannot be read.
    #[error("cannot read key file {}", path.display())]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// The error from the operating system.
        #[source]
        source: io::Error,
    },
    /// The file is too long for a key.
    #[error("{} is not a key file: it is longer than {MAX_KEY_FILE_LEN} bytes", path.display())]
    TooLarge {
        /// The path of the file.
        path: PathBuf,
    },
    /// The file does not contain a key of the expected kind.
    #[error("cannot parse key file {}", path.display())]
    Parse {
        /// The path of the file.
        path: PathBuf,
        /// The error from parsing the key.
        #[source]
        source: KeyError,
    },
    /// The file exists already.
    #[error("{} exists and a key file is never overwritten: choose another name or move the file", path.display())]
    Exists {
        /// The path of the file.
        path: PathBuf,
    },
    /// The file cannot be written. No incomplete file is left at `path`.
    #[error("cannot write key file {}", path.display())]
    Write {
        /// The path of the file.
        path: PathBuf,
        /// The error from the operating system.
        #[source]
        source: io::Error,
    },
}

impl Fails for KeyFileError {
    fn failure(&self) -> Failure {
        Failure::Input
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_loaded_key_equals_the_saved_key_and_secret_files_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let (secret, public) = (folder.path().join("a.key"), folder.path().join("a.pub"));
        let key = SigningKey::generate().unwrap();
        key.save(&secret).unwrap();
        key.public().save(&public).unwrap();
        assert_eq!(SigningKey::load(&secret).unwrap().id(), key.id());
        assert_eq!(PublicKey::load(&public).unwrap(), key.public());
        assert_eq!(secret.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(folder.path().read_dir().unwrap().count(), 2, "no temporary file is left");
    }

    #[test]
    fn saving_a_key_never_overwrites_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        std::fs::write(&path, "precious").unwrap();
        let error = SigningKey::generate().unwrap().save(&path).unwrap_err();
        assert!(matches!(error, KeyFileError::Exists { .. }), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        assert_eq!(folder.path().read_dir().unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn the_error_for_a_file_that_is_not_a_key_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        let refused = |expected: fn(&KeyFileError) -> bool| {
            let error = SigningKey::load(&path).unwrap_err();
            assert!(expected(&error) && error.to_string().contains("a.key"), "{error:?}");
        };
        refused(|error| matches!(error, KeyFileError::Read { .. }));
        std::fs::write(&path, SigningKey::generate().unwrap().public().to_pem()).unwrap();
        refused(|error| matches!(error, KeyFileError::Parse { source: KeyError::SecretPem, .. }));
        std::fs::write(&path, [0xff; 100]).unwrap();
        refused(|error| matches!(error, KeyFileError::Parse { .. }));
        std::fs::write(&path, " ".repeat(5000)).unwrap();
        refused(|error| matches!(error, KeyFileError::TooLarge { .. }));
    }

    #[test]
    fn saving_to_an_unusable_path_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().join("none/a.key"), PathBuf::from("/")] {
            let error = SigningKey::generate().unwrap().save(&path).unwrap_err();
            assert!(matches!(error, KeyFileError::Write { .. }), "{error:?}");
        }
    }
}
