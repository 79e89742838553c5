//! Options that several commands have.

use std::path::{Path, PathBuf};

use clap::Args;
use phase_cli::Fault;
use phase_core::Failure;
use phase_core::store::FileStore;

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Print one JSON document on standard output, and errors as JSON
    #[arg(long, global = true, display_order = 900)]
    pub(crate) json: bool,
    /// No progress, no remarks
    #[arg(short, long, global = true, display_order = 901)]
    pub(crate) quiet: bool,
    /// Log what happens; twice: in detail. RUST_LOG overrides it
    #[arg(short, long, global = true, display_order = 902, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// Which store to use.
#[derive(Debug, Args)]
pub(crate) struct StoreArgs {
    /// The store's folder. Default: ~/.local/share/phase
    #[arg(long, value_name = "DIR", env = "PHASE_STORE")]
    store: Option<PathBuf>,
}

impl StoreArgs {
    /// Opens the store; makes one where there is none.
    pub(crate) fn open(&self) -> Result<FileStore, Fault> {
        Ok(FileStore::open(self.path()?)?)
    }

    /// Opens the store; it has to be there.
    pub(crate) fn open_existing(&self) -> Result<FileStore, Fault> {
        let path = self.path()?;
        if !is_store(&path) {
            let message = format!("there is no store at {}", path.display());
            return Err(Fault::new(Failure::Store, message).hint("give its folder with --store or PHASE_STORE"));
        }
        Ok(FileStore::open(path)?)
    }

    /// Opens the store if there is one.
    pub(crate) fn open_if_there(&self) -> Result<Option<FileStore>, Fault> {
        match self.path() {
            Ok(path) if is_store(&path) => Ok(Some(FileStore::open(path)?)),
            // A store that was named has to be there; the default one need not.
            Ok(path) if self.store.is_some() => {
                Err(Fault::new(Failure::Store, format!("there is no store at {}", path.display())))
            }
            _ => Ok(None),
        }
    }

    fn path(&self) -> Result<PathBuf, Fault> {
        if let Some(path) = &self.store {
            return Ok(path.clone());
        }
        let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute());
        let data = variable("XDG_DATA_HOME").or_else(|| Some(variable("HOME")?.join(".local/share")));
        let missing = || Fault::new(Failure::Usage, "no store: neither --store nor PHASE_STORE nor HOME is given");
        Ok(data.ok_or_else(missing)?.join("phase"))
    }
}

fn is_store(path: &Path) -> bool {
    path.join("format").exists()
}

/// Where a file is written to.
#[derive(Debug, Args)]
pub(crate) struct OutputFile {
    /// Where to write the result; an existing file is never overwritten
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    pub(crate) path: PathBuf,
}
