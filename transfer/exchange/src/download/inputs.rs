//! What a download needs from outside: the artifacts that it fetches, and links to peers.

use std::sync::Arc;

use libp2p::{Multiaddr, PeerId};
use phase_core::{ArtifactIndex, Cid};
use phase_node::{ConnectError, NodeHandle};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::buffers::Buffers;
use crate::catalog::Catalog;
use crate::download::report::Progress;
use crate::link::{LinkEvent, PeerLink};

/// Link events that may wait for the driver. With what its jobs hold (two times eight) and one for each link, these are the
/// chunks in our own buffers: 3 MiB at 128 KiB a chunk and one link. What else is in flight waits in the connections; all
/// together is at most [`scheduler::Config::max_inflight`].
const EVENT_QUEUE: usize = 8;
/// Bytes in buffers that are kept for the next chunks: as many as are in use.
const KEPT_BUFFERS: usize = 4 << 20;

/// An artifact to fetch. Each is wanted once.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its CID: the root of `index`.
    pub cid: Cid,
    /// How urgent it is: a lower number goes first.
    pub priority: u8,
    /// Its chunks. The index blocks are in the store already.
    pub index: Arc<ArtifactIndex>,
}

/// Opens links that report to one download.
#[derive(Clone)]
pub struct LinkOpener {
    node: NodeHandle,
    events: mpsc::Sender<(PeerId, LinkEvent)>,
    buffers: Buffers,
}

/// Where the links of one [`LinkOpener`] report to.
pub struct LinkEvents(pub(super) mpsc::Receiver<(PeerId, LinkEvent)>);

/// A channel between links and the download that will use them.
pub fn links(node: &NodeHandle) -> (LinkOpener, LinkEvents) {
    let (events, receiver) = mpsc::channel(EVENT_QUEUE);
    (LinkOpener { node: node.clone(), events, buffers: Buffers::new(KEPT_BUFFERS) }, LinkEvents(receiver))
}

impl LinkOpener {
    /// Connects to `peer` and opens a link.
    ///
    /// # Errors
    /// The peer cannot be reached, or opens no stream.
    pub async fn open(&self, peer: PeerId, addresses: Vec<Multiaddr>) -> Result<PeerLink, ConnectError> {
        PeerLink::open_with(&self.node, peer, addresses, Some(self.events.clone()), self.buffers.clone()).await
    }
}

/// What a download needs from outside.
pub struct Inputs {
    /// Where chunks are written to, and served from meanwhile.
    pub catalog: Arc<Catalog>,
    /// What to fetch.
    pub wanted: Vec<Wanted>,
    /// Links to peers as they are found.
    pub links: mpsc::Receiver<Arc<PeerLink>>,
    /// What these links report.
    pub events: LinkEvents,
    /// Told how far it is.
    pub progress: watch::Sender<Progress>,
    /// Ends the download early; what is verified stays.
    pub stop: CancellationToken,
}
