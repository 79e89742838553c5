//! What can go wrong when a release is published.

use crate::cid::Cid;
use crate::envelope::EnvelopeError;
use crate::failure::{Fails, Failure};
use crate::manifest::FileName;
use crate::name::Name;
use crate::store::StoreError;
use crate::trust::TrustError;

/// Why a release was not published. The name points to what it pointed to before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The release makes no sense, or the store's pointer record cannot be read.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Clients with the publisher's trust root would refuse the manifest.
    #[error(transparent)]
    Manifest(TrustError),
    /// Clients with the publisher's trust root would refuse the pointer record: no key that was given may sign it.
    #[error(transparent)]
    Pointer(TrustError),
    /// The store has this version already, or a later one.
    #[error("version {version} of {name} is not above version {held}, which the store has")]
    NotNewer {
        /// What the release is of.
        name: Name,
        /// The version it has.
        version: u64,
        /// The version in the store.
        held: u64,
    },
    /// An artifact of a manifest that was signed elsewhere is not in the store, or is another one there.
    #[error("{filename} ({cid}) is not in the store")]
    NotImported {
        /// What the manifest calls it.
        filename: FileName,
        /// Its CID.
        cid: Cid,
    },
    /// A file cannot be read, or the store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Fails for PublishError {
    fn failure(&self) -> Failure {
        match self {
            Self::Envelope(error) => error.failure(),
            Self::Manifest(error) | Self::Pointer(error) => error.failure(),
            Self::NotNewer { .. } | Self::NotImported { .. } => Failure::Input,
            Self::Store(error) => error.failure(),
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotNewer { .. } => Some("clients never go back: give a higher version to the older content as well"),
            _ => None,
        }
    }
}
