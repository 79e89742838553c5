//! The commands that a [`NodeHandle`](crate::NodeHandle) sends to the event loop.

use libp2p::{Multiaddr, PeerId};
use tokio::sync::{mpsc, oneshot};

use crate::discovery::bootstrap::BootstrapPeer;
use crate::discovery::dht::command::DhtCommand;
use crate::discovery::dht::query::FoundProvider;
use crate::error::ConnectError;
use crate::peer::Source;
use crate::streams::StreamReply;

/// A command to the event loop.
pub(crate) enum Command {
    /// Returns the listen addresses.
    Listening { reply: oneshot::Sender<Vec<Multiaddr>> },
    /// Returns the external addresses.
    External { reply: oneshot::Sender<Vec<Multiaddr>> },
    /// Dials a peer unless it is connected, and replies when the peer is connected or cannot be reached.
    Connect { peer: PeerId, addresses: Vec<Multiaddr>, reply: oneshot::Sender<Result<(), ConnectError>> },
    /// Sends each configured peer to `search`, as soon as its peer id is known.
    FindConfigured { search: mpsc::Sender<FoundProvider> },
    /// Opens a transfer stream to a connected peer.
    OpenStream { peer: PeerId, reply: StreamReply },
    /// Removes all external addresses. This is the first step of a shutdown that withdraws announcements.
    HideAddresses { reply: oneshot::Sender<()> },
    /// Adds bootstrap peers to the dial schedule, for instance from a list that had to be fetched.
    Bootstrap { peers: Vec<BootstrapPeer> },
    /// Adds a discovered peer to the peer table.
    Discovered { peer: PeerId, addresses: Vec<Multiaddr>, source: Source },
    /// Passes a command to the DHT.
    Dht(DhtCommand),
    /// Ends the event loop.
    Stop,
}
