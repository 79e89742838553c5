//! The inputs of a download: the artifacts to fetch, and links to peers.

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

/// The length of the queue of link events for the driver. The queue is short, because most events hold a chunk in
/// memory. With one link and chunks of 128 KiB, a download holds at most 3 MiB: 8 chunks in this queue, 16 in its two
/// jobs, and 1 that is being received. The other inflight bytes wait in the buffers of the connection.
const EVENT_QUEUE: usize = 8;
/// At most this many bytes of unused buffers are kept for later chunks. This is about the size of the buffers in use.
const KEPT_BUFFERS: usize = 4 << 20;

/// An artifact to fetch. A download contains each artifact once.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The artifact CID, which is the CID of the root block of `index`.
    pub cid: Cid,
    /// The priority class. Artifacts with lower numbers are fetched first.
    pub priority: u8,
    /// The index of the artifact. Its index blocks are in the store already.
    pub index: Arc<ArtifactIndex>,
}

/// Opens links that send their events to one download.
#[derive(Clone)]
pub struct LinkOpener {
    node: NodeHandle,
    events: mpsc::Sender<(PeerId, LinkEvent)>,
    buffers: Buffers,
}

/// The receiver of the events of all links that one [`LinkOpener`] opened.
pub struct LinkEvents(pub(super) mpsc::Receiver<(PeerId, LinkEvent)>);

/// Creates a [`LinkOpener`] for one download, and the receiver of the events of its links.
pub fn links(node: &NodeHandle) -> (LinkOpener, LinkEvents) {
    let (events, receiver) = mpsc::channel(EVENT_QUEUE);
    (LinkOpener { node: node.clone(), events, buffers: Buffers::new(KEPT_BUFFERS) }, LinkEvents(receiver))
}

impl LinkOpener {
    /// Connects to `peer` and opens a link.
    ///
    /// # Errors
    /// If the peer cannot be reached, or the stream cannot be opened.
    pub async fn open(&self, peer: PeerId, addresses: Vec<Multiaddr>) -> Result<PeerLink, ConnectError> {
        PeerLink::open_with(&self.node, peer, addresses, Some(self.events.clone()), self.buffers.clone()).await
    }
}

/// What the caller passes to a download: a catalog, the artifacts to fetch, and links to peers.
pub struct Inputs {
    /// The catalog of the store to write to. During the download, the catalog also serves the partial artifacts to
    /// peers.
    pub catalog: Arc<Catalog>,
    /// The artifacts to fetch.
    pub wanted: Vec<Wanted>,
    /// New links to peers. Links may be added at any time during the download.
    pub links: mpsc::Receiver<Arc<PeerLink>>,
    /// The receiver of the events of these links. The function [`links()`] returns it together with the [`LinkOpener`].
    pub events: LinkEvents,
    /// The sender of the progress of the download.
    pub progress: watch::Sender<Progress>,
    /// Cancelling this token ends the download with [`Interrupted`](crate::download::DownloadError::Interrupted).
    /// Verified chunks are kept.
    pub stop: CancellationToken,
}
