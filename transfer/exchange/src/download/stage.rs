//! How far each artifact of a download is.

use std::sync::Arc;

use phase_core::store::Partial;
use tokio::sync::watch;

/// How far an artifact is.
pub(super) enum Stage {
    Waiting,
    Opening,
    Active { partial: Arc<dyn Partial>, changed: watch::Sender<u64>, dirty: bool },
    Finishing,
    Complete,
}

impl Stage {
    /// How many of the artifact's `chunks` have not been verified.
    pub(super) fn missing(&self, chunks: u32) -> u64 {
        match self {
            Self::Waiting | Self::Opening => u64::from(chunks),
            Self::Active { partial, .. } => u64::from(chunks - partial.have().count()),
            Self::Finishing | Self::Complete => 0,
        }
    }

    /// What has been written to since the last checkpoint.
    pub(super) fn dirty(&self) -> Option<Arc<dyn Partial>> {
        match self {
            Self::Active { partial, dirty: true, .. } => Some(partial.clone()),
            _ => None,
        }
    }
}
