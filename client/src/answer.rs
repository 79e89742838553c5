//! The answers of peers during a resolve, and the errors that make an answer invalid.

use std::error::Error;
use std::sync::Arc;

use phase_core::envelope::EnvelopeError;
use phase_core::trust::TrustError;
use phase_core::{Cause, Cid};
use phase_node::{ConnectError, PeerId};
use phase_protocol::wire::Refusal;
use phase_transfer::LinkError;

/// The answer of one peer that a resolve asked for the newest release of a name.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The peer that was asked.
    pub peer: PeerId,
    /// The version of the release that the peer offers, or the error that makes its answer invalid.
    pub result: Result<u64, AnswerError>,
}

/// An error that makes the answer of a peer invalid. The error message includes the messages of its causes.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// The node cannot connect to the peer, or cannot open a stream to it.
    #[error("{0}")]
    Connect(ConnectError),
    /// The peer refused the request, or the stream failed.
    #[error("{0}")]
    Link(LinkError),
    /// The peer sent bytes that are not an envelope.
    #[error("{}", with_causes(&**.0))]
    Envelope(Arc<EnvelopeError>),
    /// The peer sent a manifest or a pointer that the trust root does not accept.
    #[error("{}", with_causes(&**.0))]
    Trust(Arc<TrustError>),
    /// The pointer in the answer does not lead to the manifest in the same answer.
    #[error("its pointer leads to another release than its manifest")]
    OtherRelease,
    /// Two different manifests of the name have the same version, and both have valid signatures.
    #[error("equivocation: the manifest {kept} is signed as version {version} too; report this to the publisher")]
    Equivocation {
        /// The version of both manifests.
        version: u64,
        /// The CID of the manifest that the client keeps. The client refuses the manifest in the answer.
        kept: Cid,
    },
}

impl AnswerError {
    /// Returns the causes of the error. If the node cannot connect to the peer, they are the causes at each address.
    /// Otherwise, the error itself is the only cause.
    pub fn causes(&self) -> Vec<Cause> {
        match self {
            Self::Connect(error) => error.causes(),
            error => vec![Cause::new(error)],
        }
    }

    /// Returns whether the peer replied that it does not serve the name.
    pub(crate) fn is_denial(&self) -> bool {
        matches!(self, Self::Link(LinkError::Refused(Refusal::NotFound)))
    }

    /// Returns whether the node could not connect to the peer. Such a peer may still have the release.
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

/// Returns the text of an error, followed by the texts of its causes.
fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
