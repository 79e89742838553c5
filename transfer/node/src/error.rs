//! The errors of starting a node, connecting to a peer and opening a stream.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use libp2p::core::transport::TransportError;
use libp2p::swarm::DialError;
use libp2p::tls::certificate::GenError;
use libp2p::{Multiaddr, noise};
use phase_core::{Cause, Fails, Failure};

/// How long a caller waits for a connection to a peer, over all addresses of the peer. After this time, the caller gets
/// [`ConnectError::Timeout`].
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An error from starting a node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The node cannot listen on an address.
    #[error("cannot listen on {address}: {source}; choose another address or stop the program that uses it")]
    Listen {
        /// The address on which the node cannot listen.
        address: Multiaddr,
        /// The error from listening on the address.
        #[source]
        source: ListenError,
    },
    /// The transports cannot be set up.
    #[error("cannot set up the transports: {0}")]
    Transport(#[source] SecurityError),
}

impl Fails for NodeError {
    fn failure(&self) -> Failure {
        Failure::Network
    }
}

/// An error from listening on an address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The operating system refused the address. The message names only the innermost cause.
    #[error("{}", root_cause(.0))]
    Io(io::Error),
    /// No transport listens on addresses of this kind.
    #[error("no transport can listen on {0}")]
    NotSupported(Multiaddr),
    /// The listener closed without an error.
    #[error("the listener was closed")]
    Closed,
}

impl From<TransportError<io::Error>> for ListenError {
    fn from(error: TransportError<io::Error>) -> Self {
        match error {
            TransportError::MultiaddrNotSupported(address) => Self::NotSupported(address),
            TransportError::Other(error) => Self::Io(error),
        }
    }
}

/// An error from using the key of a node for encrypted connections.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecurityError {
    /// No TLS certificate can be made from the key.
    #[error("{0}")]
    Tls(GenError),
    /// Noise does not accept the key.
    #[error("{0}")]
    Noise(noise::Error),
}

/// An error from connecting to a peer, or from opening a stream to it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No address of the peer is known.
    #[error("no address known")]
    NoAddress,
    /// The dial failed at every address.
    #[error("cannot be reached: {0}")]
    Unreachable(#[source] DialFailure),
    /// No connection was established in time.
    #[error("no answer within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    /// The stream could not be opened.
    #[error("no transfer stream: {0}")]
    Stream(#[source] StreamError),
    /// The node has been stopped.
    #[error("the node has been stopped")]
    Stopped,
}

impl Fails for ConnectError {
    fn failure(&self) -> Failure {
        Failure::Network
    }
}

impl ConnectError {
    /// Returns why the peer is not connected. If all dials failed, each dialled address has its own cause.
    pub fn causes(&self) -> Vec<Cause> {
        match self {
            Self::Unreachable(failure) => failure.causes(),
            error => vec![Cause::new(error)],
        }
    }

    /// Converts the error of a failed dial.
    pub(crate) fn of_dial(error: DialError) -> Self {
        match error {
            DialError::NoAddresses => Self::NoAddress,
            error => Self::Unreachable(DialFailure(Arc::new(error))),
        }
    }
}

/// An error from dialling a peer. The message names each address with its innermost cause.
#[derive(Clone, Debug)]
pub struct DialFailure(Arc<DialError>);

impl DialFailure {
    /// Returns the underlying error of libp2p.
    pub fn dial_error(&self) -> &DialError {
        &self.0
    }

    /// Returns the innermost cause at each address that was dialled.
    pub fn causes(&self) -> Vec<Cause> {
        match &*self.0 {
            DialError::Transport(tried) => {
                tried.iter().map(|(address, error)| Cause::at(address, root_cause(error))).collect()
            }
            DialError::WrongPeerId { obtained, address } => {
                vec![Cause::at(address, format_args!("the peer there is {obtained}"))]
            }
            error => vec![Cause::new(root_cause(error))],
        }
    }
}

impl fmt::Display for DialFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.causes().iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }
}

/// `source` returns `None`, because the message already contains the causes of libp2p's error.
impl std::error::Error for DialFailure {}

/// An error from opening a stream to a connected peer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The peer is no longer connected.
    #[error("not connected")]
    NotConnected,
    /// The peer did not answer in time.
    #[error("timed out")]
    Timeout,
    /// The peer does not accept transfer streams.
    #[error("the peer does not serve content")]
    NotServed,
    /// The connection failed. The message names only the innermost cause.
    #[error("{}", root_cause(.0))]
    Io(Arc<io::Error>),
}

/// libp2p's message if the setup of a connection takes too long.
const TIMEOUT: &str = "Timeout has been reached";

/// Returns the message of the innermost cause, because libp2p wraps errors such as "connection refused" in several
/// other errors. The message begins in lower case. It has no full stop and no error number.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let text = causes.map(ToString::to_string).filter(|text| !text.is_empty()).last().unwrap_or_default();
    if text == TIMEOUT {
        return "timed out".to_owned();
    }
    let text = text.split_once(" (os error ").map_or(text.as_str(), |(message, _)| message).trim_end_matches('.');
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        // The first letter of an abbreviation such as TLS stays.
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
            format!("{}{}", first.to_lowercase(), &text[first.len_utf8()..])
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_cause_is_a_plain_phrase() {
        for (text, expected) in [
            ("Connection refused (os error 111)", "connection refused"),
            ("Timeout has been reached", "timed out"),
            ("Handshake with the remote timed out.", "handshake with the remote timed out"),
            ("TLS is not supported", "TLS is not supported"),
            ("", ""),
        ] {
            assert_eq!(root_cause(&io::Error::other(text)), expected);
        }
    }
}
