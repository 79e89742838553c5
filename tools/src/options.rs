//! The options that several commands share.

use std::path::{Path, PathBuf};

use clap::Args;
use phase_cli::{self as cli, Fault};
use phase_core::Failure;
use phase_core::store::FileStore;

/// The heading of the output options in `--help`.
const OUTPUT: &str = "Output options";

/// The options that every command has.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Print the result as JSON on standard output, and errors as JSON on standard error
    #[arg(long, global = true, display_order = 900, help_heading = OUTPUT)]
    pub(crate) json: bool,
    /// Print no progress and no remarks
    #[arg(short, long, global = true, display_order = 901, help_heading = OUTPUT)]
    pub(crate) quiet: bool,
    /// Log events to standard error, and list every peer and address in errors; -vv logs details. RUST_LOG overrides
    /// the level of the log
    #[arg(short, long, global = true, display_order = 902, action = clap::ArgAction::Count, help_heading = OUTPUT)]
    pub(crate) verbose: u8,
}

/// The option that names the store.
#[derive(Debug, Args)]
pub(crate) struct StoreArgs {
    /// The folder of the store. Default: ~/.local/share/phase
    #[arg(long, value_name = "DIR", env = "PHASE_STORE")]
    store: Option<PathBuf>,
}

impl StoreArgs {
    /// Opens the store, and creates it if it does not exist.
    pub(crate) fn open(&self) -> Result<FileStore, Fault> {
        open(self.path()?)
    }

    /// Opens an existing store.
    ///
    /// # Errors
    /// If there is no store, or it cannot be opened.
    pub(crate) fn open_existing(&self) -> Result<FileStore, Fault> {
        let path = self.path()?;
        if !is_store(&path) {
            return Err(missing(&path));
        }
        open(path)
    }

    /// Opens the store if it exists. Returns `None` if the default store does not exist. Fails if a store that the user
    /// named does not exist.
    pub(crate) fn open_if_there(&self) -> Result<Option<FileStore>, Fault> {
        match self.path() {
            Ok(path) if is_store(&path) => open(path).map(Some),
            Ok(path) if self.store.is_some() => Err(missing(&path)),
            _ => Ok(None),
        }
    }

    pub(crate) fn path(&self) -> Result<PathBuf, Fault> {
        if let Some(path) = &self.store {
            return Ok(path.clone());
        }
        let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute());
        let data = variable("XDG_DATA_HOME").or_else(|| Some(variable("HOME")?.join(".local/share")));
        let unknown = || {
            Fault::new(Failure::Usage, "no store is named and HOME is not set")
                .hint("name one with --store or PHASE_STORE")
        };
        Ok(data.ok_or_else(unknown)?.join("phase"))
    }
}

fn open(path: PathBuf) -> Result<FileStore, Fault> {
    let store = FileStore::open(path)?;
    cli::warn_of_store(store.warnings());
    Ok(store)
}

fn is_store(path: &Path) -> bool {
    path.join("format").exists()
}

fn missing(path: &Path) -> Fault {
    Fault::new(Failure::Store, format!("there is no store at {}", path.display()))
        .hint("name the folder of a store with --store or PHASE_STORE")
}

/// The option that names the file to write.
#[derive(Debug, Args)]
pub(crate) struct OutputFile {
    /// The file to write; an existing file is never overwritten
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    pub(crate) path: PathBuf,
}
