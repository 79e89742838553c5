//! What passes between a [`NodeHandle`](super::NodeHandle) and the event loop: commands, and why they fail.

use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use tokio::sync::oneshot;

use super::bootstrap::BootstrapPeer;
use super::dht_command::DhtCommand;
use super::peers::Source;
use super::streams::Stream;

/// How long a dial may take, address by address, until the caller is told that it failed.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What the event loop can be asked to do.
pub(super) enum Command {
    Listening {
        reply: oneshot::Sender<Vec<Multiaddr>>,
    },
    External {
        reply: oneshot::Sender<Vec<Multiaddr>>,
    },
    Connect {
        peer: PeerId,
        addresses: Vec<Multiaddr>,
        reply: oneshot::Sender<Result<(), ConnectError>>,
    },
    OpenStream {
        peer: PeerId,
        reply: StreamReply,
    },
    /// Takes back all external addresses: the first step of a shutdown that withdraws.
    HideAddresses {
        reply: oneshot::Sender<()>,
    },
    /// Further first peers, for instance from a list that had to be fetched.
    Bootstrap {
        peers: Vec<BootstrapPeer>,
    },
    /// Somebody has told us of a peer.
    Discovered {
        peer: PeerId,
        addresses: Vec<Multiaddr>,
        source: Source,
    },
    Dht(DhtCommand),
    Stop,
}

/// Who wants a stream. Dropped without an answer when the connection ends.
pub(super) type StreamReply = oneshot::Sender<Result<Stream, ConnectError>>;

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

/// The innermost cause: libp2p wraps "connection refused" in several layers of its own words.
pub(super) fn root_cause(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).filter(|text| !text.is_empty()).last().unwrap_or_default()
}
