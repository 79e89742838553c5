//! The entries of a folder that cannot be published.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::manifest::FileNameError;

/// The maximum number of refused entries that an error lists.
const MAX_LISTED: usize = 20;
/// The maximum number of folders in one another. A file below so many folders has no permitted name.
pub(super) const MAX_DEPTH: usize = 512;

/// The reason why an entry of a folder cannot be published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The name is not UTF-8.
    #[error("its name is not UTF-8")]
    NotText,
    /// The name is not permitted in a release.
    #[error("its name is not permitted in a release ({0})")]
    Name(FileNameError),
    /// The entry is neither a regular file nor a folder.
    #[error("it is {0}")]
    Kind(&'static str),
    /// A symbolic link leads to nothing.
    #[error("it is a symbolic link that leads to nothing")]
    DanglingLink,
    /// A symbolic link leads to a folder.
    #[error("it is a symbolic link to a folder")]
    LinkToFolder,
    /// A symbolic link leads out of the folder.
    #[error("it is a symbolic link that leads out of the folder, to {}", .0.display())]
    LinkOut(PathBuf),
    /// The file or folder cannot be read.
    #[error("it cannot be read ({0})")]
    Unreadable(io::Error),
    /// There are too many folders in one another.
    #[error("it is below more than {MAX_DEPTH} folders")]
    TooDeep,
}

/// The entries of a folder that cannot be published: the first of them, and their number.
#[derive(Debug, Default)]
pub struct Refused {
    listed: Vec<(PathBuf, Refusal)>,
    count: usize,
}

impl Refused {
    /// Returns the number of entries that cannot be published.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns the first entries that cannot be published, at most 20, with the reasons. The paths are relative to the
    /// folder.
    pub fn listed(&self) -> &[(PathBuf, Refusal)] {
        &self.listed
    }

    pub(super) fn add(&mut self, path: PathBuf, refusal: Refusal) {
        self.count += 1;
        if self.listed.len() < MAX_LISTED {
            self.listed.push((path, refusal));
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (path, refusal)) in self.listed.iter().enumerate() {
            let separator = if number == 0 { "" } else { "; " };
            // The name is quoted, because it may contain any character.
            write!(f, "{separator}{path:?}: {refusal}")?;
        }
        match self.count - self.listed.len() {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}
