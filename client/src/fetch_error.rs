//! The error of a fetch.

use phase_core::index::IndexError;
use phase_core::store::StoreError;
use phase_core::{Attempt, Cid, Fails, Failure};
use phase_transfer::download::DownloadError;
use tokio::task::JoinError;

/// An error that ended a fetch before all selected artifacts were in the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The selection names an artifact that the release does not have.
    #[error("the release has no artifact {wanted:?}; it has {offered}")]
    NoSuchArtifact {
        /// The role or file name that was selected.
        wanted: String,
        /// The artifacts of the release, at most ten of them.
        offered: String,
    },
    /// No peer sent an index block in time.
    #[error("no peer sent the index of {filename} ({cid}): {}", match tried.len() {
        0 => "no peer has answered".to_owned(),
        1 => "1 peer answered with an error".to_owned(),
        more => format!("{more} peers answered with errors"),
    })]
    IndexMissing {
        /// The artifact's file name.
        filename: String,
        /// The CID of the missing index block.
        cid: Cid,
        /// The peers that answered, each with its error.
        tried: Vec<Attempt>,
    },
    /// The published index is malformed, contradicts itself, or describes more bytes than the size in the manifest.
    #[error("the index of {filename} is not valid")]
    Index {
        /// The artifact's file name.
        filename: String,
        /// The reason why the index is not valid.
        #[source]
        source: IndexError,
    },
    /// The published index is valid, but its size or SHA-256 differs from the manifest.
    #[error("the index of {filename} contradicts the manifest in its size or SHA-256; report it to the publisher")]
    Contradiction {
        /// The artifact's file name.
        filename: String,
    },
    /// The download failed or was interrupted.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// The store cannot be written.
    #[error("cannot write to the store")]
    Store(#[from] StoreError),
    /// The artifacts do not fit into the store, or where they are to be handed over.
    #[error("the release does not fit")]
    DoesNotFit(#[source] StoreError),
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
            Self::Store(error) | Self::DoesNotFit(error) => error.failure(),
            Self::Worker(_) => Failure::Other,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self.failure() {
            Failure::Network => Some("verified chunks are kept: run the same command again to resume"),
            _ => None,
        }
    }

    fn attempts(&self) -> Vec<Attempt> {
        match self {
            Self::IndexMissing { tried, .. } => tried.clone(),
            _ => Vec::new(),
        }
    }
}
