//! The driver of the [`UploadQueue`]: reads chunks from the disk and passes them to the streams, in the order that the
//! queue decides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use libp2p::PeerId;
use phase_core::store::StoreError;
use phase_core::{ChunkIndex, ChunkRange, Cid};
use phase_protocol::PeerKey;
use phase_protocol::upload::{self, Eviction, Job, JobId, TransferKey, UploadQueue};
use phase_protocol::wire::{Refusal, Reply, RequestId};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time;
use tokio_util::sync::CancellationToken;

use crate::buffers::Buffers;
use crate::catalog::Content;
use crate::server::Catalog;
use crate::server::replies::{Closed, Guard, Replies};
use crate::server::sessions::Waiting;

/// The length of the queue of commands to the uploader.
const COMMAND_QUEUE: usize = 1024;
/// The limit on the open transfers of one peer. A transfer is open until its last reply has been sent. The limit is
/// twice as high as the default limit of the upload queue, because last replies wait until the peer reads them.
const MAX_OPEN_PER_PEER: usize = 1024;

/// Identifies a stream within one uploader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StreamKey(u64);

/// A request for chunks. The chunks of all `ranges` are in `content`.
pub(super) struct Transfer {
    pub(super) peer: PeerId,
    pub(super) stream: StreamKey,
    pub(super) request: RequestId,
    pub(super) artifact: Cid,
    pub(super) content: Content,
    pub(super) ranges: Vec<ChunkRange>,
    pub(super) replies: Replies,
    /// Cancelling this token ends the stream.
    pub(super) stop: CancellationToken,
    /// Counts this request for chunks as open until it is dropped. A session with such a request becomes idle later.
    #[expect(dead_code, reason = "held for its drop")]
    pub(super) waiting: Waiting,
}

enum Command {
    Push(Box<Transfer>, oneshot::Sender<Result<(), Refusal>>),
    Cancel(StreamKey, RequestId),
    Closed(StreamKey),
}

/// A guard that reports the end of a job to the uploader when it is dropped. All frames of the job share it, so it is
/// dropped when the last frame has left this process or its stream has ended.
struct Completion {
    job: JobId,
    done: mpsc::Sender<JobId>,
}

impl Drop for Completion {
    fn drop(&mut self) {
        // The channel has a place for each open job, so sending fails only if the uploader has stopped.
        let _ = self.done.try_send(self.job);
    }
}

/// The uploader: the task that owns the upload queue and sends the chunks. This handle sends commands to the task.
#[derive(Clone)]
pub(super) struct Uploader {
    commands: mpsc::Sender<Command>,
    next_stream: Arc<AtomicU64>,
}

impl Uploader {
    /// Starts the task that owns the upload queue. The task ends when `stop` is cancelled or all handles are dropped.
    pub(super) fn start(config: upload::Config, catalog: Arc<Catalog>, stop: &CancellationToken) -> Self {
        let (commands, receiver) = mpsc::channel(COMMAND_QUEUE);
        let (done, finished) = mpsc::channel(config.max_jobs);
        let work = Work {
            catalog,
            queue: UploadQueue::new(config),
            transfers: BTreeMap::new(),
            keys: BTreeMap::new(),
            next_transfer: 0,
            peers: BTreeMap::new(),
            next_peer: 0,
            deliveries: JoinSet::new(),
            last_replies: JoinSet::new(),
            done,
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(work.run(receiver, finished)));
        Self { commands, next_stream: Arc::default() }
    }

    /// Returns a key for a new stream.
    pub(super) fn stream_key(&self) -> StreamKey {
        StreamKey(self.next_stream.fetch_add(1, Ordering::Relaxed))
    }

    /// Queues a transfer.
    ///
    /// # Errors
    /// The refusal that the session has to send to the peer.
    pub(super) async fn push(&self, transfer: Transfer) -> Result<(), Refusal> {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Push(Box::new(transfer), reply)).await;
        // No answer means that the uploader has stopped. The server and all its sessions end too, so no refusal is
        // needed.
        answer.await.unwrap_or(Ok(()))
    }

    /// Ends a transfer with `Done`, which follows the chunks of jobs that have already started.
    pub(super) async fn cancel(&self, stream: StreamKey, request: RequestId) {
        let _ = self.commands.send(Command::Cancel(stream, request)).await;
    }

    /// Removes all transfers of a closed stream. Does not wait, because it is called from `drop`.
    pub(super) fn stream_closed(&self, stream: StreamKey) {
        let commands = self.commands.clone();
        if let Err(mpsc::error::TrySendError::Full(command)) = commands.try_send(Command::Closed(stream)) {
            tokio::spawn(async move { commands.send(command).await });
        }
    }
}

/// A peer with open transfers, and their number.
struct Peer {
    key: PeerKey,
    transfers: usize,
}

/// A transfer whose last reply has not been sent.
struct Open {
    transfer: Transfer,
    /// Jobs of this transfer that are being read or sent.
    open_jobs: usize,
    /// The last reply of the transfer. Set when no more jobs of the transfer will start, and sent after all open jobs.
    /// So a peer never receives a chunk of a request that has ended.
    end: Option<Reply>,
    /// Whether the last reply is being sent.
    is_ending: bool,
}

/// The task that owns the upload queue.
struct Work {
    catalog: Arc<Catalog>,
    queue: UploadQueue,
    transfers: BTreeMap<TransferKey, Open>,
    /// The key of each open transfer. An entry is removed before the last reply of its transfer is sent.
    keys: BTreeMap<(StreamKey, RequestId), TransferKey>,
    next_transfer: u64,
    peers: BTreeMap<PeerId, Peer>,
    next_peer: u64,
    deliveries: JoinSet<(TransferKey, Result<(), Undelivered>)>,
    /// Tasks that send the last replies of transfers.
    last_replies: JoinSet<TransferKey>,
    done: mpsc::Sender<JobId>,
}

impl Work {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>, mut finished: mpsc::Receiver<JobId>) {
        loop {
            let timeout = self.queue.poll_timeout(now());
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.handle(command),
                    None => return,
                },
                Some(job) = finished.recv() => self.queue.complete(now(), job),
                Some(Ok((key, result))) = self.deliveries.join_next() => self.handle_delivered(key, result),
                Some(Ok(key)) = self.last_replies.join_next() => { self.remove(key); }
                () = sleep_until(timeout), if timeout.is_some() => {}
            }
            while let Some(job) = self.queue.pop(now()) {
                self.start(job);
            }
            while let Some(eviction) = self.queue.poll_eviction(now()) {
                self.evict(eviction);
            }
        }
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Push(transfer, reply) => {
                // Sending fails only if the session has ended. No answer is needed then.
                let _ = reply.send(self.push(*transfer));
            }
            Command::Cancel(stream, request) => {
                if let Some(key) = self.keys.get(&(stream, request)) {
                    self.end(*key, Reply::Done);
                }
            }
            Command::Closed(stream) => {
                let of_stream = self.keys.range((stream, RequestId(0))..=(stream, RequestId(u32::MAX)));
                for key in of_stream.map(|(_, key)| *key).collect::<Vec<_>>() {
                    self.queue.cancel(key);
                    self.remove(key);
                }
            }
        }
    }

    fn push(&mut self, transfer: Transfer) -> Result<(), Refusal> {
        let (key, id) = (TransferKey(self.next_transfer), (transfer.stream, transfer.request));
        if self.keys.contains_key(&id) {
            // A request id may not be used again before its request has ended.
            return Err(Refusal::Malformed);
        }
        let known = self.peers.get(&transfer.peer);
        if known.is_some_and(|peer| peer.transfers >= MAX_OPEN_PER_PEER) {
            return Err(self.queue.busy());
        }
        let peer = known.map_or(PeerKey(self.next_peer), |peer| peer.key);
        self.queue.push(now(), peer, key, transfer.content.index().clone(), transfer.ranges.clone())?;
        self.next_transfer += 1;
        self.next_peer += 1;
        self.peers.entry(transfer.peer).or_insert(Peer { key: peer, transfers: 0 }).transfers += 1;
        self.keys.insert(id, key);
        self.transfers.insert(key, Open { transfer, open_jobs: 0, end: None, is_ending: false });
        Ok(())
    }

    /// Starts a job: reads its run of chunks and passes them to the stream.
    fn start(&mut self, job: Job) {
        // The guard reports the end of the job to the queue when it is dropped. An early return of this function drops
        // it too.
        let guard = Arc::new(Completion { job: job.id, done: self.done.clone() });
        let Some(open) = self.transfers.get_mut(&job.transfer) else { return };
        open.open_jobs += 1;
        if job.last {
            open.end.get_or_insert(Reply::Done);
        }
        let Transfer { content, request, replies, stop, .. } = &open.transfer;
        let (content, replies, buffers) = (content.clone(), replies.clone(), self.catalog.buffers().clone());
        let delivery = Delivery { content, buffers, request: *request, replies, run: job.run, guard };
        let stop = stop.clone();
        self.deliveries.spawn(async move {
            let delivered = stop.run_until_cancelled(delivery.run()).await;
            (job.transfer, delivered.unwrap_or(Err(Undelivered::Closed)))
        });
    }

    /// Ends the stream of a peer that receives a job too slowly while other peers wait. The job ends with the stream.
    fn evict(&mut self, eviction: Eviction) {
        // If the transfer is unknown, its stream has already ended.
        if let Some(Open { transfer, .. }) = self.transfers.get(&eviction.transfer) {
            tracing::debug!(peer = %transfer.peer, "slow stream ended: other peers are waiting");
            transfer.stop.cancel();
        }
    }

    fn handle_delivered(&mut self, key: TransferKey, result: Result<(), Undelivered>) {
        let Some(open) = self.transfers.get_mut(&key) else { return };
        open.open_jobs -= 1;
        match result {
            Ok(()) => self.end_if_over(key),
            Err(Undelivered::Unreadable(error)) => {
                if let Some(error) = error {
                    self.catalog.report(&open.transfer.artifact, &error);
                }
                open.end = None;
                self.end(key, Reply::Refused(Refusal::Missing));
            }
            // The session sends `Command::Closed`, which removes all transfers of the stream.
            Err(Undelivered::Closed) => {}
        }
    }

    /// Ends a transfer: starts no further jobs, and sends `end` as the last reply after the open jobs.
    fn end(&mut self, key: TransferKey, end: Reply) {
        self.queue.cancel(key);
        if let Some(open) = self.transfers.get_mut(&key) {
            open.end.get_or_insert(end);
        }
        self.end_if_over(key);
    }

    /// Sends the last reply of a transfer if the transfer has no open jobs. A separate task sends the reply, so that
    /// the queue does not wait for the peer.
    fn end_if_over(&mut self, key: TransferKey) {
        let Some(open) = self.transfers.get_mut(&key) else { return };
        if open.open_jobs > 0 || open.is_ending {
            return;
        }
        let Some(end) = open.end.take() else { return };
        open.is_ending = true;
        let Transfer { stream, request, replies, stop, .. } = &open.transfer;
        // The key is removed now, because the peer may reuse the request id as soon as it receives the last reply.
        self.keys.remove(&(*stream, *request));
        let (request, replies, stop) = (*request, replies.clone(), stop.clone());
        self.last_replies.spawn(async move {
            // An error means that the stream has ended, so that no reply is needed.
            let _ = stop.run_until_cancelled(replies.reply(request, end)).await;
            key
        });
    }

    fn remove(&mut self, key: TransferKey) -> Option<Open> {
        let open = self.transfers.remove(&key)?;
        if !open.is_ending {
            self.keys.remove(&(open.transfer.stream, open.transfer.request));
        }
        if let Some(peer) = self.peers.get_mut(&open.transfer.peer) {
            peer.transfers -= 1;
            if peer.transfers == 0 {
                self.peers.remove(&open.transfer.peer);
            }
        }
        Some(open)
    }
}

fn now() -> Instant {
    time::Instant::now().into_std()
}

async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        time::sleep_until(at.into()).await;
    }
}

/// An error from passing a job to its stream.
enum Undelivered {
    /// The stream is closed.
    Closed,
    /// The chunks could not be read. The error is `None` if the reading thread panicked.
    Unreadable(Option<StoreError>),
}

/// A job that is being read and sent: one run of adjacent chunks.
struct Delivery {
    content: Content,
    buffers: Buffers,
    request: RequestId,
    replies: Replies,
    run: ChunkRange,
    guard: Arc<Completion>,
}

impl Delivery {
    async fn run(self) -> Result<(), Undelivered> {
        let (content, run, buffers) = (self.content.clone(), self.run, self.buffers);
        let read = tokio::task::spawn_blocking(move || content.read(run, &buffers)).await;
        let read = read.map_err(|_| Undelivered::Unreadable(None))?;
        let bytes = read.map_err(|error| Undelivered::Unreadable(Some(error)))?;
        let mut at = 0;
        for position in self.run.start..self.run.end {
            let index = ChunkIndex(position);
            let chunk = self.content.index().chunk(index).expect("the session has checked the range");
            let payload = bytes.slice(at..at + chunk.len as usize);
            at += chunk.len as usize;
            let body = Reply::Chunk { index, encoding: 0 };
            let guard = Some(Box::new(self.guard.clone()) as Guard);
            self.replies.send(self.request, body, payload, guard).await.map_err(|Closed| Undelivered::Closed)?;
        }
        Ok(())
    }
}
