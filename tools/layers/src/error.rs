//! Why a workspace could not be checked.

use std::io;
use std::path::PathBuf;

/// Why a workspace could not be read. A broken rule is not an error: it is the result of a check.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayersError {
    /// `cargo metadata` could not be started.
    #[error("cannot run `cargo metadata`: {0}")]
    Cargo(#[source] io::Error),
    /// `cargo metadata` failed. The text is its standard error.
    #[error("`cargo metadata` failed: {0}")]
    Metadata(String),
    /// `cargo metadata` printed something other than its documented JSON.
    #[error("cannot understand the output of `cargo metadata`: {0}")]
    MetadataFormat(#[from] serde_json::Error),
    /// A source file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A source file is not Rust that `syn` can parse.
    #[error("cannot parse {path}: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What `syn` expected.
        source: syn::Error,
    },
    /// A `mod name;` has no file.
    #[error("`mod {name};` in {declared_in} has no file: looked for {}", Paths(.candidates))]
    NoModuleFile {
        /// The module's name.
        name: String,
        /// The file with the declaration.
        declared_in: PathBuf,
        /// Where its file could have been.
        candidates: Vec<PathBuf>,
    },
}

struct Paths<'a>(&'a [PathBuf]);

impl std::fmt::Display for Paths<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (position, path) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            write!(f, "{separator}{}", path.display())?;
        }
        Ok(())
    }
}
