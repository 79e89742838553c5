//! The errors of a download.

use std::time::Duration;

use phase_core::store::StoreError;
use phase_core::{Fails, Failure};
use tokio::task::JoinError;

use crate::download::report::Report;

/// An error from a download. Chunks that were verified before the error stay in the store, and the next download
/// resumes from them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// The store failed.
    #[error("cannot store the fetched content")]
    Store(#[from] StoreError),
    /// No progress was made within the configured time.
    #[error("no verified chunk for {} s: {missing} of {total} chunks missing, connected peers: {peers}", waited.as_secs())]
    Stalled {
        /// The time since the last progress.
        waited: Duration,
        /// The number of missing chunks.
        missing: u64,
        /// The number of chunks of the download.
        total: u64,
        /// The number of peers that were connected at the end.
        peers: usize,
        /// The report of the failed download, with the bytes and chunks received from each peer.
        report: Box<Report>,
    },
    /// The caller cancelled the download.
    #[error("interrupted: verified chunks are kept, run again to resume")]
    Interrupted,
    /// A worker thread panicked.
    #[error("a worker failed")]
    Worker(#[source] JoinError),
}

impl Fails for DownloadError {
    fn failure(&self) -> Failure {
        match self {
            Self::Store(error) => error.failure(),
            Self::Stalled { .. } => Failure::Network,
            Self::Interrupted => Failure::Interrupted,
            Self::Worker(_) => Failure::Other,
        }
    }
}
