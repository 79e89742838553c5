//! What passes between a [`NodeHandle`](super::NodeHandle) and the event loop: commands, and why they fail.

use std::time::Duration;

use libp2p::{Multiaddr, PeerId, Stream};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// How long a dial may take, address by address, until the caller is told that it failed.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a DHT query may take before it is reported as timed out.
pub(super) const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

/// What the event loop can be asked to do.
pub(super) enum Command {
    Listening {
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
    Addresses {
        peers: Vec<PeerId>,
        reply: oneshot::Sender<Vec<(PeerId, Vec<Multiaddr>)>>,
    },
    FindProviders {
        key: Vec<u8>,
        found: mpsc::Sender<PeerId>,
        permit: OwnedSemaphorePermit,
    },
    FindValues {
        key: Vec<u8>,
        found: mpsc::Sender<Vec<u8>>,
        permit: OwnedSemaphorePermit,
    },
    Put {
        key: Vec<u8>,
        value: Vec<u8>,
        reply: QueryReply,
        permit: OwnedSemaphorePermit,
    },
    Provide {
        key: Vec<u8>,
        reply: QueryReply,
        permit: OwnedSemaphorePermit,
    },
    /// Stops providing. After `HideAddresses` this is announced, without addresses, which Phase nodes take as a
    /// withdrawal; before, an announcement would carry addresses and say the opposite.
    Withdraw {
        key: Vec<u8>,
        reply: QueryReply,
        permit: OwnedSemaphorePermit,
    },
    /// Takes back all external addresses: the first step of a shutdown that withdraws.
    HideAddresses {
        reply: oneshot::Sender<()>,
    },
    Stop,
}

/// Who wants a stream. Dropped without an answer when the connection ends.
pub(super) type StreamReply = oneshot::Sender<Result<Stream, ConnectError>>;

/// Where a query's outcome goes.
pub(super) type QueryReply = oneshot::Sender<Result<(), QueryError>>;

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

/// Why a DHT query failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum QueryError {
    /// Not finished in time.
    #[error("DHT query timeout after {} s", QUERY_TIMEOUT.as_secs())]
    Timeout,
    /// No DHT node took it.
    #[error("no DHT node accepted it")]
    NotStored,
    /// Our own store is full.
    #[error("the local record store is full")]
    Full,
    /// The node has been stopped.
    #[error("the node has been stopped")]
    Stopped,
}

/// The innermost cause: libp2p wraps "connection refused" in several layers of its own words.
pub(super) fn root_cause(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).filter(|text| !text.is_empty()).last().unwrap_or_default()
}
