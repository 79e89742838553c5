//! Errors from reading a workspace.

use std::io;
use std::path::PathBuf;

/// An error from reading a workspace. A violated rule is not such an error, because the checks return violations as
/// values.
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
        /// The path of the source file.
        path: PathBuf,
        /// The error from the operating system.
        source: io::Error,
    },
    /// A source file is not Rust that `syn` can parse.
    #[error("cannot parse {path}: {source}")]
    Parse {
        /// The path of the source file.
        path: PathBuf,
        /// The error from `syn`.
        source: syn::Error,
    },
    /// The code declares a module with `mod name;`, but there is no file for this module.
    #[error("`mod {name};` in {declared_in} has no file: looked for {}", Paths(.candidates))]
    NoModuleFile {
        /// The module's name.
        name: String,
        /// The file that declares the module.
        declared_in: PathBuf,
        /// The paths at which the file of the module was searched.
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
