//! What one peer said when it was asked for a name.

use std::error::Error;
use std::sync::Arc;

use phase_core::Cid;
use phase_core::envelope::EnvelopeError;
use phase_core::trust::TrustError;
use phase_node::{ConnectError, PeerId};
use phase_protocol::wire::Refusal;
use phase_transfer::LinkError;

/// What one peer said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The peer.
    pub peer: PeerId,
    /// The version it offered, or why its answer does not count.
    pub result: Result<u64, AnswerError>,
}

/// Why the answer of a peer does not count. The text includes the causes.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// There is no connection to the peer, or no stream.
    #[error("{0}")]
    Connect(ConnectError),
    /// The peer refused the question, or the stream failed.
    #[error("{0}")]
    Link(LinkError),
    /// It sent bytes that are no envelope.
    #[error("{}", with_causes(&**.0))]
    Envelope(Arc<EnvelopeError>),
    /// It sent a manifest or a pointer that the trust root does not accept.
    #[error("{}", with_causes(&**.0))]
    Trust(Arc<TrustError>),
    /// The pointer that it sent is not the one of the manifest that it sent.
    #[error("its pointer leads to another release than the one it sent")]
    OtherRelease,
    /// Two different manifests of one version are validly signed.
    #[error("equivocation: version {version} is signed twice, this and {kept}; tell the publisher")]
    Equivocation {
        /// The version.
        version: u64,
        /// The CID of the manifest that is kept.
        kept: Cid,
    },
}

impl AnswerError {
    /// Whether the peer says that it does not know the name.
    pub(crate) fn is_denial(&self) -> bool {
        matches!(self, Self::Link(LinkError::Refused(Refusal::NotFound)))
    }

    /// Whether there was no connection, so that nothing is known of what the peer has.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Connect(error) if !matches!(error, ConnectError::Stream(_)))
    }
}

impl From<ConnectError> for AnswerError {
    fn from(error: ConnectError) -> Self {
        Self::Connect(error)
    }
}

impl From<LinkError> for AnswerError {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

impl From<EnvelopeError> for AnswerError {
    fn from(error: EnvelopeError) -> Self {
        Self::Envelope(Arc::new(error))
    }
}

impl From<TrustError> for AnswerError {
    fn from(error: TrustError) -> Self {
        Self::Trust(Arc::new(error))
    }
}

/// The text of an error, and after it those of its causes.
fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
