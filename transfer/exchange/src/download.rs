//! The driver of the [`scheduler`]: links in, verified chunks in the store out.
//!
//! One task runs a fixed sequence: carry out the scheduler's actions, wait for the next thing that happens, tell the
//! scheduler. Hashing and disk writes run on blocking threads, a bounded number at a time; while they are behind,
//! nothing is taken from the links, so the peers are slowed down instead of memory filled.

mod driver;
mod jobs;
mod peers;
mod report;
mod stage;

use std::sync::Arc;
use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use phase_core::store::StoreError;
use phase_core::{ArtifactIndex, Cid, Fails, Failure};
use phase_node::{ConnectError, NodeHandle};
use phase_protocol::scheduler::{self, Order};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::buffers::Buffers;
use crate::catalog::Catalog;
use crate::link::{LinkEvent, PeerLink};

pub use report::{PeerReport, Progress, Report, Verdict};

/// Link events that may wait for the driver. With what its jobs hold (two times eight) and one for each link, these are the
/// chunks in our own buffers: 3 MiB at 128 KiB a chunk and one link. What else is in flight waits in the connections; all
/// together is at most [`scheduler::Config::max_inflight`].
const EVENT_QUEUE: usize = 8;
/// Bytes in buffers that are kept for the next chunks: as many as are in use.
const KEPT_BUFFERS: usize = 4 << 20;

/// How a download behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// Windows, limits and timeouts of the scheduler.
    pub scheduler: scheduler::Config,
    /// Artifacts fetched at a time. Default 64; each takes a file descriptor, and its index is held in memory.
    pub max_active: usize,
    /// How long to go on without a single verified chunk. Default 60 s.
    pub give_up_after: Duration,
    /// The time between two checkpoints: what a power cut can lose. Default 500 ms.
    pub checkpoint: Duration,
    /// In which order chunks are asked for. Default: the rarest first.
    pub order: Order,
    /// The seed of random choices. Default `None`: another one for each download, so that clients that start together do not
    /// all ask for the same.
    pub seed: Option<u64>,
}

impl Config {
    /// For a machine with little memory: 8 MiB on their way at a time, few artifacts open at once.
    pub fn small() -> Self {
        let scheduler = scheduler::Config {
            max_inflight: 8 << 20,
            max_window: 4 << 20,
            max_request: 512 << 10,
            ..scheduler::Config::default()
        };
        Self { scheduler, max_active: 16, ..Self::default() }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            // What is in flight may arrive faster than it can be written: then it waits in memory.
            scheduler: scheduler::Config { max_inflight: 12 << 20, ..scheduler::Config::default() },
            max_active: 64,
            give_up_after: Duration::from_secs(60),
            checkpoint: Duration::from_millis(500),
            order: Order::default(),
            seed: None,
        }
    }
}

/// An artifact to fetch.
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
pub struct LinkEvents(mpsc::Receiver<(PeerId, LinkEvent)>);

/// A channel between links and the download that will use them.
pub fn links(node: &NodeHandle) -> (LinkOpener, LinkEvents) {
    let (events, receiver) = mpsc::channel(EVENT_QUEUE);
    (LinkOpener { node: node.clone(), events, buffers: Buffers::new(KEPT_BUFFERS) }, LinkEvents(receiver))
}

impl LinkOpener {
    /// Connects to `peer` and opens a link.
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

/// Fetches everything wanted into the store.
///
/// # Errors
/// [`DownloadError`]. Whatever was verified until then is on disk and will not be fetched again.
pub async fn run(inputs: Inputs, config: Config) -> Result<Report, DownloadError> {
    driver::Driver::new(inputs, config).run().await
}

/// Why a download ended without everything.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The disk: what was verified before stays.
    #[error("cannot store what was fetched")]
    Store(#[from] StoreError),
    /// Nobody delivers.
    #[error("no verified chunk for {} s: {missing} of {total} chunks missing, {peers} peers connected", waited.as_secs())]
    Stalled {
        /// How long nothing came.
        waited: Duration,
        /// Chunks still missing.
        missing: u64,
        /// Chunks in all.
        total: u64,
        /// Peers connected at the end.
        peers: usize,
        /// What was fetched and from whom until then.
        report: Box<Report>,
    },
    /// Stopped by the caller.
    #[error("interrupted: what is verified stays, run again to resume")]
    Interrupted,
    /// A worker thread panicked.
    #[error("a worker failed: {0}")]
    Worker(String),
}

impl Fails for DownloadError {
    fn failure(&self) -> Failure {
        match self {
            Self::Store(error) => error.failure(),
            Self::Stalled { .. } => Failure::Network,
            Self::Interrupted => Failure::Interrupted,
            Self::Worker(_) => Failure::Other,
        }
    }
}
