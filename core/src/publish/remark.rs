//! Remarks: what a release does not carry over from the files that it was made of.

use std::collections::BTreeMap;
use std::fmt;

use crate::manifest::FileName;

/// The maximum number of examples in a remark.
const MAX_EXAMPLES: usize = 5;

/// What a release does not carry over from its files, or what may surprise its publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RemarkKind {
    /// Files that are executable, or have another special permission.
    Executable,
    /// Files that not every user of the publishing machine can read. Every client can read them.
    Private,
    /// Files that belong to another user than the one who publishes.
    Owner,
    /// Symbolic links. The release has a copy of the file to which the link leads.
    FollowedLink,
    /// Files with several names. The release has a copy for each name.
    HardLink,
    /// Folders without files.
    EmptyFolder,
    /// File names that differ only in upper and lower case.
    CaseTwins,
}

impl RemarkKind {
    /// Returns a name for machines, for instance `executable`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Executable => "executable",
            Self::Private => "private",
            Self::Owner => "owner",
            Self::FollowedLink => "followed-link",
            Self::HardLink => "hard-link",
            Self::EmptyFolder => "empty-folder",
            Self::CaseTwins => "case",
        }
    }

    /// Returns what there is, for one and for several, and what the release does with it.
    fn texts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Executable => ("executable file", "executable files", "permissions are not carried over"),
            Self::Private => (
                "file that not every user can read here",
                "files that not every user can read here",
                "every client can read them",
            ),
            Self::Owner => ("file of another user", "files of other users", "owners are not carried over"),
            Self::FollowedLink => {
                ("symbolic link", "symbolic links", "the release has a copy of the file to which each link leads")
            }
            Self::HardLink => {
                ("file with several hard links", "files with several hard links", "each name becomes a file of its own")
            }
            Self::EmptyFolder => ("empty folder", "empty folders", "folders without files are not carried over"),
            Self::CaseTwins => (
                "file name that differs from another only in upper and lower case",
                "file names that differ from others only in upper and lower case",
                "such files cannot be written to a file system that ignores case, such as vfat",
            ),
        }
    }
}

/// What a release does not carry over, with the number of files that it concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Remark {
    /// What is not carried over.
    pub kind: RemarkKind,
    /// The number of files or folders.
    pub count: u64,
    /// The first of them, as paths relative to the folder: at most five.
    pub examples: Vec<String>,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (one, several, effect) = self.kind.texts();
        let noun = if self.count == 1 { one } else { several };
        write!(f, "{} {noun}: {effect} ({}", self.count, self.examples.join(", "))?;
        match self.count - self.examples.len() as u64 {
            0 => f.write_str(")"),
            more => write!(f, " and {more} more)"),
        }
    }
}

/// Collects remarks while the files of a release are listed. Only a few examples of each kind are kept.
#[derive(Debug, Default)]
pub(super) struct Remarks(BTreeMap<RemarkKind, Remark>);

impl Remarks {
    pub(super) fn add(&mut self, kind: RemarkKind, path: &str) {
        let remark = self.0.entry(kind).or_insert_with(|| Remark { kind, count: 0, examples: Vec::new() });
        remark.count += 1;
        if remark.examples.len() < MAX_EXAMPLES {
            remark.examples.push(path.to_owned());
        }
    }

    pub(super) fn into_vec(self) -> Vec<Remark> {
        self.0.into_values().collect()
    }
}

/// Returns a remark if some of these names differ only in upper and lower case, so that they cannot be exported to
/// every file system.
pub fn case_twins<'a>(names: impl IntoIterator<Item = &'a FileName>) -> Option<Remark> {
    let mut seen = BTreeMap::new();
    let mut remarks = Remarks::default();
    for name in names {
        let name = name.as_str();
        // Two folders whose names differ only in case are the same folder there, which is no problem for their files.
        if seen.insert(name.to_lowercase(), name).is_some_and(|other| other != name) {
            remarks.add(RemarkKind::CaseTwins, name);
        }
    }
    remarks.into_vec().pop()
}
