//! Why a download ended without everything.

use std::time::Duration;

use phase_core::store::StoreError;
use phase_core::{Fails, Failure};
use tokio::task::JoinError;

use crate::download::report::Report;

/// Why a download ended without everything.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// The disk: what was verified before stays.
    #[error("cannot store what was fetched")]
    Store(#[from] StoreError),
    /// Nobody delivers.
    #[error("no verified chunk for {} s: {missing} of {total} chunks missing, {peers} peers connected", waited.as_secs())]
    Stalled {
        /// How long nothing came.
        waited: Duration,
        /// Chunks still missing.
        missing: u64,
        /// Chunks in all.
        total: u64,
        /// Peers connected at the end.
        peers: usize,
        /// What was fetched and from whom until then.
        report: Box<Report>,
    },
    /// Stopped by the caller.
    #[error("interrupted: what is verified stays, run again to resume")]
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
