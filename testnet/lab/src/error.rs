//! What can go wrong with a network of containers.

use std::io;
use std::path::{Path, PathBuf};

use phase_core::publish::FilesError;
use phase_core::{PublishError, StoreError};

/// Something could not be set up, run or removed.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A command is not installed, or may not be run.
    #[error("cannot run {program}: {source}; {hint}")]
    Missing {
        /// The command.
        program: String,
        /// What the system said.
        source: io::Error,
        /// What to do about it.
        hint: &'static str,
    },
    /// A command failed.
    #[error("{command}: {output}")]
    Failed {
        /// The command with its arguments.
        command: String,
        /// What it said.
        output: String,
    },
    /// A file or folder.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was attempted.
        action: &'static str,
        /// On which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Programs for the image are missing.
    #[error(
        "{} is not in {}: build the programs that containers run with testnet/docker/build-binaries FOLDER",
        program, folder.display()
    )]
    Program {
        /// Which one.
        program: &'static str,
        /// Where it should be.
        folder: PathBuf,
    },
    /// No range of addresses is free. What Docker said of the last that was tried.
    #[error("cannot make a network: {0}; every range from 10.77.0.0/24 to 10.77.255.0/24 is in use")]
    Subnets(Box<LabError>),
    /// A scenario needs something that is not there.
    #[error("{0}")]
    Needs(String),
    /// The store of a release.
    #[error("cannot publish")]
    Store(#[from] StoreError),
    /// A file of a release that was made up is gone.
    #[error("cannot publish")]
    Files(#[from] FilesError),
    /// The release.
    #[error("cannot publish")]
    Publish(#[from] PublishError),
    /// A node does not do what it should before the clients begin.
    #[error("{node} {what}{said}")]
    Setup {
        /// Which.
        node: String,
        /// What it does not do.
        what: &'static str,
        /// Its last words.
        said: String,
    },
    /// A distribution could not be set up or followed: the machine has what it needs.
    #[error(transparent)]
    Stage(Box<LabError>),
    /// A signal ended it.
    #[error("interrupted")]
    Interrupted,
}

impl LabError {
    /// The same error, as one of a distribution. An interruption is none.
    pub(crate) fn of_stage(self) -> Self {
        match self {
            Self::Interrupted => self,
            error => Self::Stage(Box::new(error)),
        }
    }
}

/// Makes an error of what the system said when an action on a file or folder failed.
pub(crate) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LabError {
    let path = path.to_owned();
    move |source| LabError::File { action, path, source }
}
