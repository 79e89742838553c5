//! What passes between a [`NodeHandle`](crate::NodeHandle) and the event loop.

use libp2p::{Multiaddr, PeerId};
use tokio::sync::{mpsc, oneshot};

use crate::discovery::dht::command::DhtCommand;
use crate::discovery::dht::query::FoundProvider;
use crate::discovery::first_peers::BootstrapPeer;
use crate::error::ConnectError;
use crate::peer::Source;
use crate::streams::StreamReply;

/// What the event loop can be asked to do.
pub(crate) enum Command {
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
    /// Tells the search of each given peer, as soon as it is known who that is.
    Given {
        search: mpsc::Sender<FoundProvider>,
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
