//! What is missing where something does not fit, and sizes in messages.

use std::fmt;

/// What is missing where something does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// The free space is too small.
    Bytes {
        /// The needed space, in bytes.
        needs: u64,
        /// The free space, in bytes.
        has: u64,
        /// Whether the file system keeps its files in RAM.
        is_in_ram: bool,
    },
    /// The free space was used up before an input of unknown length ended.
    Endless {
        /// The number of bytes that were read.
        read: u64,
        /// The free space at the beginning, in bytes.
        has: u64,
        /// Whether the file system keeps its files in RAM.
        is_in_ram: bool,
    },
    /// The file system can hold no more files, or too few.
    Files {
        /// The needed number of files, or `None` if it is not known.
        needs: Option<u64>,
        /// The number of files that can still be created.
        has: u64,
    },
    /// A file is longer than the file system, or the limit of the process, permits.
    Length {
        /// The length of the file, in bytes.
        needs: u64,
        /// The maximum length of a file, in bytes.
        max: u64,
    },
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Endless { read, has, is_in_ram } => {
                let ((what, next), read, has) = (next_step(is_in_ram), Size(read), Size(has));
                write!(f, "not enough {what}: the input has not ended after {read}, and {has} can be used; {next}")
            }
            Self::Bytes { needs, has, is_in_ram } => {
                let ((what, next), needs, has) = (next_step(is_in_ram), Size(needs), Size(has));
                write!(f, "not enough {what}: needs {needs}, and {has} can be used; {next}")
            }
            Self::Files { needs, has } => {
                f.write_str("the file system cannot hold enough files (it is out of inodes, not of bytes): ")?;
                if let Some(needs) = needs {
                    write!(f, "needs {needs} files, and ")?;
                }
                write!(f, "{has} can be created; remove files, or use another file system")
            }
            Self::Length { needs, max } => {
                let (needs, max) = (Size(needs), Size(max));
                write!(
                    f,
                    "a file of {needs} is longer than the file system or `ulimit -f` permits, which is {max}; \
                     raise the limit, or use another file system"
                )
            }
        }
    }
}

/// Returns what is missing, and what to do about it.
fn next_step(is_in_ram: bool) -> (&'static str, &'static str) {
    if is_in_ram {
        ("RAM", "use a machine with more RAM, or another place on a disk")
    } else {
        ("disk space", "free some space, or use another disk")
    }
}

/// Displays a number of bytes, for instance `1.2 GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        match units.into_iter().find(|(_, size)| self.0 >= *size) {
            Some((unit, size)) => write!(f, "{:.1} {unit}", self.0 as f64 / size as f64),
            None => write!(f, "{} bytes", self.0),
        }
    }
}
