//! Errors of the lab.

use std::io;
use std::path::{Path, PathBuf};

use phase_core::publish::FilesError;
use phase_core::{PublishError, StoreError};

/// An error from setting up, running or removing a network of containers.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A command is not installed, or this user may not run it.
    #[error("cannot run {program}: {source}; {hint}")]
    Missing {
        /// The command's name.
        program: String,
        /// The error from the operating system.
        source: io::Error,
        /// Advice for the user, such as which package to install.
        hint: &'static str,
    },
    /// A command exited with an error.
    #[error("{command}: {output}")]
    Failed {
        /// The command with its arguments.
        command: String,
        /// The output of the command, or its exit status if it printed nothing.
        output: String,
    },
    /// An operation of the lab on a file or folder failed.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// The operation that failed, as a verb: `create`, `copy`, `write`.
        action: &'static str,
        /// The file or folder that the operation was for.
        path: PathBuf,
        /// The error from the operating system.
        source: io::Error,
    },
    /// A program that the image needs is missing.
    #[error(
        "{} is not in {}: build the programs for the containers with testnet/docker/build-binaries FOLDER",
        program, folder.display()
    )]
    Program {
        /// The program's name.
        program: &'static str,
        /// The folder that should contain the program.
        folder: PathBuf,
    },
    /// Every subnet from which the lab chooses is in use. Contains Docker's error for the last subnet.
    #[error("cannot create a network: {0}; every range from 10.77.0.0/24 to 10.77.255.0/24 is in use")]
    Subnets(Box<LabError>),
    /// This machine lacks something that the scenario needs, such as root privileges. The text names it.
    #[error("{0}")]
    Needs(String),
    /// The store of the release cannot be opened or written.
    #[error("cannot publish the release")]
    Store(#[from] StoreError),
    /// A file that was generated for the release cannot be read.
    #[error("cannot publish the release")]
    Files(#[from] FilesError),
    /// The release cannot be published.
    #[error("cannot publish the release")]
    Publish(#[from] PublishError),
    /// A node failed before the clients were started.
    #[error("{node} {what}{detail}")]
    Setup {
        /// The node's name.
        node: String,
        /// What the node did, as a verb phrase such as `ended before it served`.
        what: &'static str,
        /// A colon and the last lines of the node's standard error; empty if there are none.
        detail: String,
    },
    /// A stage failed. The tested programs may be the cause, because this machine has everything that the scenario
    /// needs.
    #[error(transparent)]
    Stage(Box<LabError>),
    /// A signal stopped the run.
    #[error("interrupted")]
    Interrupted,
}

impl LabError {
    /// Wraps an error of a stage in [`LabError::Stage`]. Leaves [`LabError::Interrupted`] as it is, because a signal is
    /// not a failure of the stage.
    pub(crate) fn of_stage(self) -> Self {
        match self {
            Self::Interrupted => self,
            error => Self::Stage(Box::new(error)),
        }
    }
}

/// Returns a function for `map_err`. It turns an I/O error into a [`LabError::File`] with this operation and path.
pub(crate) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LabError {
    let path = path.to_owned();
    move |source| LabError::File { action, path, source }
}
