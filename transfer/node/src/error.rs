//! Why a node does not start, and why there is no connection or stream to a peer.

use std::time::Duration;

use libp2p::Multiaddr;
use phase_core::{Fails, Failure};

/// How long a dial may take, address by address, until the caller is told that it failed.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a node could not be started.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// An address that cannot be listened on.
    #[error("cannot listen on {address}: {reason}; choose another address or stop what uses it")]
    Listen {
        /// The address.
        address: Multiaddr,
        /// What the system said.
        reason: String,
    },
    /// The encrypted transports cannot be set up.
    #[error("cannot set up the transports: {0}")]
    Transport(String),
}

impl Fails for NodeError {
    fn failure(&self) -> Failure {
        Failure::Network
    }
}

/// Why there is no connection or stream to a peer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// No address is known.
    #[error("no address known")]
    NoAddress,
    /// Every address failed.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// No answer in time.
    #[error("no answer within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    /// The connection is there, the stream is not.
    #[error("no transfer stream: {0}")]
    Stream(String),
    /// The node has been stopped.
    #[error("the node has been stopped")]
    Stopped,
}

impl Fails for ConnectError {
    fn failure(&self) -> Failure {
        Failure::Network
    }
}

/// The innermost cause: libp2p wraps "connection refused" in several layers of its own words.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).filter(|text| !text.is_empty()).last().unwrap_or_default()
}
