//! Keys in files: written whole or not at all, never over another file; secrets readable by their
//! owner alone.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ed25519_dalek::pkcs8::spki::der::zeroize::Zeroizing;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::ed25519::{KeyError, PublicKey, SigningKey};
use crate::failure::{Fails, Failure};

/// The most bytes of a key file that are read. A key takes about 120.
pub const MAX_KEY_FILE_LEN: u64 = 4096;

const SECRET_MODE: u32 = 0o600;
const PUBLIC_MODE: u32 = 0o644;

impl SigningKey {
    /// Writes the key to a new file with mode 0600.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`] if there is a file already, [`KeyFileError::Write`].
    pub fn save(&self, path: &Path) -> Result<(), KeyFileError> {
        save(path, self.to_pem().as_bytes(), SECRET_MODE)
    }

    /// Reads a key that [`save`](Self::save) or OpenSSL wrote.
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
    /// [`KeyFileError::Exists`] if there is a file already, [`KeyFileError::Write`].
    pub fn save(&self, path: &Path) -> Result<(), KeyFileError> {
        save(path, self.to_pem().as_bytes(), PUBLIC_MODE)
    }

    /// Reads a key that [`save`](Self::save) or OpenSSL wrote.
    ///
    /// # Errors
    /// [`KeyFileError::Read`], [`KeyFileError::TooLarge`], [`KeyFileError::Parse`].
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        load(path, Self::from_pem)
    }
}

fn load<K>(path: &Path, parse: fn(&str) -> Result<K, KeyError>) -> Result<K, KeyFileError> {
    let failed = |source| KeyFileError::Read { path: path.to_owned(), source };
    // Room for all of it from the beginning, so that no piece of a secret is left behind by growing.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_KEY_FILE_LEN as usize + 1));
    File::open(path).and_then(|file| file.take(MAX_KEY_FILE_LEN + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > MAX_KEY_FILE_LEN {
        return Err(KeyFileError::TooLarge { path: path.to_owned() });
    }
    // What is not text fails as text that is no key.
    parse(std::str::from_utf8(&bytes).unwrap_or_default())
        .map_err(|source| KeyFileError::Parse { path: path.to_owned(), source })
}

fn save(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeyFileError> {
    let temporary = temporary_beside(path).map_err(|source| KeyFileError::Write { path: path.to_owned(), source })?;
    let written = write_new(&temporary, bytes, mode).and_then(|()| move_into_place(&temporary, path));
    if written.is_err() {
        // The error to report is the first one; the name may not even exist.
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

/// Renames unless `path` exists, in one step, so that of two writers one fails.
fn move_into_place(temporary: &Path, path: &Path) -> io::Result<()> {
    match renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE) {
        // Some file systems cannot (NFS): a hard link is as exclusive.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            std::fs::hard_link(temporary, path)?;
            std::fs::remove_file(temporary)?;
        }
        renamed => renamed?,
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Why a key file was not read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file cannot be read.
    #[error("cannot read key file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file is too long for a key.
    #[error("{} is longer than {MAX_KEY_FILE_LEN} bytes and so is no key file", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file holds something else.
    #[error("cannot use key file {}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: KeyError,
    },
    /// There is such a file already.
    #[error("{} exists and a key is never overwritten: choose another name or move it away", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be written. Nothing is left at its name.
    #[error("cannot write key file {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
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
    fn keys_come_back_and_secrets_are_private() {
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
    fn no_file_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        std::fs::write(&path, "precious").unwrap();
        let error = SigningKey::generate().unwrap().save(&path).unwrap_err();
        assert!(matches!(error, KeyFileError::Exists { .. }), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        assert_eq!(folder.path().read_dir().unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn what_is_no_key_file_is_refused_by_name() {
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
    fn an_impossible_place_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().join("none/a.key"), PathBuf::from("/")] {
            let error = SigningKey::generate().unwrap().save(&path).unwrap_err();
            assert!(matches!(error, KeyFileError::Write { .. }), "{error:?}");
        }
    }
}
