//! Why a node does not start, and why there is no connection or stream to a peer.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use libp2p::core::transport::TransportError;
use libp2p::swarm::DialError;
use libp2p::tls::certificate::GenError;
use libp2p::{Multiaddr, noise};
use phase_core::{Fails, Failure};

/// How long a dial may take, address by address, until the caller is told that it failed.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a node could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// An address that cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another address or stop what uses it")]
    Listen {
        /// The address.
        address: Multiaddr,
        /// Why.
        #[source]
        source: ListenError,
    },
    /// The encrypted transports cannot be set up.
    #[error("cannot set up the transports: {0}")]
    Transport(#[source] SecurityError),
}

impl Fails for NodeError {
    fn failure(&self) -> Failure {
        Failure::Network
    }
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The system refuses it. The text is that of the innermost cause.
    #[error("{}", root_cause(.0))]
    Io(io::Error),
    /// No transport listens on addresses of this kind.
    #[error("Multiaddr is not supported: {0}")]
    NotSupported(Multiaddr),
    /// The listener has ended by itself.
    #[error("closed")]
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

/// Why a node's key cannot be used for encrypted connections.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecurityError {
    /// No certificate can be made of it for TLS.
    #[error("{0}")]
    Tls(GenError),
    /// Noise does not take it.
    #[error("{0}")]
    Noise(noise::Error),
}

/// Why there is no connection or stream to a peer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No address is known.
    #[error("no address known")]
    NoAddress,
    /// Every address failed.
    #[error("cannot be reached: {0}")]
    Unreachable(#[source] DialFailure),
    /// No answer in time.
    #[error("no answer within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    /// The connection is there, the stream is not.
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
    /// What a failed dial means to the caller.
    pub(crate) fn of_dial(error: DialError) -> Self {
        match error {
            DialError::NoAddresses => Self::NoAddress,
            error => Self::Unreachable(DialFailure(Arc::new(error))),
        }
    }
}

/// Why a peer could not be dialled. The text names each address with the innermost cause.
#[derive(Clone, Debug)]
pub struct DialFailure(Arc<DialError>);

impl DialFailure {
    /// What libp2p says about it.
    pub fn dial_error(&self) -> &DialError {
        &self.0
    }
}

impl fmt::Display for DialFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DialError::Transport(tried) = &*self.0 else { return self.0.fmt(f) };
        let tried = tried.iter().map(|(address, error)| format!("{address}: {}", root_cause(error)));
        f.write_str(&tried.collect::<Vec<_>>().join("; "))
    }
}

/// It has no source: its text says already what those of libp2p's error say in several layers.
impl std::error::Error for DialFailure {}

/// Why there is no stream to a connected peer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// There is no connection any more.
    #[error("not connected")]
    NotConnected,
    /// No answer in time.
    #[error("timed out")]
    Timeout,
    /// The peer takes no such streams.
    #[error("the peer does not serve")]
    NotServed,
    /// The connection failed. The text is that of the innermost cause.
    #[error("{}", root_cause(.0))]
    Io(Arc<io::Error>),
}

/// The innermost cause: libp2p wraps "connection refused" in several layers of its own words.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).filter(|text| !text.is_empty()).last().unwrap_or_default()
}
