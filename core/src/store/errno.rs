//! What the error numbers of the operating system say about a file system or a path.

use std::io;

use rustix::io::Errno;

/// Returns whether an error says that the file system has no file locks.
pub(crate) fn has_no_locks(error: &io::Error) -> bool {
    // On Linux, `Errno::OPNOTSUPP` and `Errno::NOTSUP` are the same number.
    is_one_of(error, &[Errno::BADF, Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOSYS])
}

/// Returns whether an error says that the file system cannot sync folders.
pub(crate) fn cannot_sync_folders(error: &io::Error) -> bool {
    is_one_of(error, &[Errno::INVAL, Errno::OPNOTSUPP, Errno::BADF, Errno::NOSYS])
}

/// Returns whether an error says that a path contains a symbolic link, which is not followed.
pub(crate) fn is_link(error: &io::Error) -> bool {
    is_one_of(error, &[Errno::LOOP])
}

fn is_one_of(error: &io::Error, list: &[Errno]) -> bool {
    error.raw_os_error().is_some_and(|number| list.iter().any(|errno| errno.raw_os_error() == number))
}
