//! Why a fetch ends without everything.

use phase_core::index::IndexError;
use phase_core::store::StoreError;
use phase_core::{Cid, Fails, Failure};
use phase_transfer::download::DownloadError;
use tokio::task::JoinError;

/// Why a fetch ended without everything.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// An artifact that the release does not have.
    #[error("the release has no artifact {wanted:?}; it has {offered}")]
    NoSuchArtifact {
        /// What was asked for.
        wanted: String,
        /// Some of what there is.
        offered: String,
    },
    /// Nobody has an index block.
    #[error("nobody has the index of {filename} ({cid}); asked: {}", if tried.is_empty() { "no peer was found".to_owned() } else { tried.join("; ") })]
    IndexMissing {
        /// The artifact's file name.
        filename: String,
        /// The block.
        cid: Cid,
        /// Every peer that was asked and what it said.
        tried: Vec<String>,
    },
    /// A published index is not what the manifest says.
    #[error("the index of {filename} is not valid")]
    Index {
        /// The artifact's file name.
        filename: String,
        /// What is wrong.
        #[source]
        source: IndexError,
    },
    /// A published index is valid, but not of the artifact that the manifest describes.
    #[error("the index of {filename} has another size or SHA-256 than the manifest: tell the publisher")]
    Contradiction {
        /// The artifact's file name.
        filename: String,
    },
    /// The download.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// The store.
    #[error("cannot store what was fetched")]
    Store(#[from] StoreError),
    /// A task panicked.
    #[error("a worker failed")]
    Worker(#[source] JoinError),
}

impl Fails for FetchError {
    fn failure(&self) -> Failure {
        match self {
            Self::NoSuchArtifact { .. } => Failure::Input,
            Self::IndexMissing { .. } => Failure::Network,
            Self::Index { .. } | Self::Contradiction { .. } => Failure::Untrusted,
            Self::Download(error) => error.failure(),
            Self::Store(error) => error.failure(),
            Self::Worker(_) => Failure::Other,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self.failure() {
            Failure::Network => Some("what was verified is kept: run the same command again to resume"),
            _ => None,
        }
    }
}
