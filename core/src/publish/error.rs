//! The errors of publishing.

use crate::cid::Cid;
use crate::envelope::EnvelopeError;
use crate::failure::{Fails, Failure};
use crate::manifest::FileName;
use crate::name::Name;
use crate::store::StoreError;
use crate::time::TrustedTime;
use crate::trust::TrustError;

/// An error from publishing a release. The name still points to the previous release, unless only the last step failed:
/// syncing the new ref.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The release is invalid, or the pointer record in the store cannot be read.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Clients with the publisher's trust root would refuse the manifest.
    #[error(transparent)]
    Manifest(TrustError),
    /// Clients with the publisher's trust root would refuse the pointer record, because none of the publisher's keys
    /// may sign it.
    #[error(transparent)]
    Pointer(TrustError),
    /// The store already has this version or a later one.
    #[error("version {version} of {name} is not above version {held}, which is in the store")]
    NotNewer {
        /// The name of the release.
        name: Name,
        /// The version of the release.
        version: u64,
        /// The version in the store.
        held: u64,
    },
    /// The version is `u64::MAX`, so the name could never be published again.
    #[error(
        "version {version} of {name} cannot be published: it is the highest version, and no release could follow it"
    )]
    LastVersion {
        /// The name of the release.
        name: Name,
        /// The version of the release.
        version: u64,
    },
    /// The clock is wrong, because it is before the time at which the trust root was issued.
    #[error(
        "this machine's clock says {now}, but the trust root was issued later, at {issued_at}: the clock is wrong, or \
         the root was made with a wrong clock; nothing was published"
    )]
    ClockBeforeRoot {
        /// The time of the clock.
        now: TrustedTime,
        /// The time at which the trust root was issued.
        issued_at: TrustedTime,
    },
    /// The store does not have an artifact of a manifest that was already signed, or the artifact in the store has
    /// another size or SHA-256 than the manifest states.
    #[error("{filename} ({cid}) is not in the store, or not with the size and SHA-256 that the manifest states")]
    NotImported {
        /// The file name in the manifest.
        filename: FileName,
        /// The artifact CID.
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
            Self::NotNewer { .. } | Self::LastVersion { .. } | Self::NotImported { .. } => Failure::Input,
            Self::ClockBeforeRoot { .. } => Failure::Untrusted,
            Self::Store(error) => error.failure(),
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotNewer { .. } => {
                Some("clients accept no older version: to publish older content again, give it a higher version")
            }
            Self::LastVersion { .. } => Some("give a lower version with --version, or none for the next one"),
            _ => None,
        }
    }
}
