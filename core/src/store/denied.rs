//! The explanation of an error of missing permission: which file or folder is the reason, and what its owner and its
//! mode are.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use super::os::stat_of;

/// An error of missing permission, with the file or folder that is the reason.
#[derive(Debug, thiserror::Error)]
#[error(
    "{error}: {path} belongs to {owner} and has mode {mode:04o}, and this process runs as {user}; run this program as \
     the owner, or share the store with a group: `chgrp -R GROUP STORE; chmod -R g+rwX STORE; chmod g+s STORE`"
)]
struct Denied {
    error: io::Error,
    path: PathBuf,
    owner: User,
    mode: u32,
    user: User,
}

/// A user id. It is displayed as `root`, or as `user 1000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct User(pub(crate) u32);

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("root"),
            id => write!(f, "user {id}"),
        }
    }
}

/// Adds the file or folder that denies access to `path` to an error of missing permission. Every other error is
/// returned unchanged.
pub(crate) fn explain(path: &Path, error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::PermissionDenied || error.raw_os_error().is_none() {
        return error;
    }
    let Some((path, stat)) = reason(path) else { return error };
    let user = User(rustix::process::geteuid().as_raw());
    let (owner, mode) = (User(stat.owner), stat.mode);
    io::Error::new(io::ErrorKind::PermissionDenied, Denied { error, path, owner, mode, user })
}

/// Returns the file or folder that denies access to `path`, and its state: the folder below which nothing can be seen,
/// or `path` itself, or the folder in which `path` does not exist.
fn reason(path: &Path) -> Option<(PathBuf, super::backend::FileStat)> {
    let mut last = None;
    let mut parts: Vec<_> = path.ancestors().collect();
    parts.reverse();
    for part in parts {
        match std::fs::metadata(part) {
            Ok(meta) => last = Some((part.to_owned(), stat_of(&meta))),
            Err(_) => break,
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_error_of_missing_permission_is_explained() {
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        let path = folder.path().join("missing");
        let other = explain(&path, io::Error::from_raw_os_error(2));
        assert_eq!(other.raw_os_error(), Some(2));
        let denied = explain(&path, io::Error::from_raw_os_error(13));
        assert_eq!(denied.kind(), io::ErrorKind::PermissionDenied);
        let text = denied.to_string();
        for part in [&*folder.path().to_string_lossy(), "belongs to", "has mode 0", "this process runs as", "chgrp"] {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
    }
}
