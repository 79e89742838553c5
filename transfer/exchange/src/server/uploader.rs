//! The driver of the [`UploadQueue`]: reads chunks from the disk and hands them to the streams, in the order in which
//! the queue says whose turn it is.

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

/// Commands that may wait for the uploader.
const COMMAND_QUEUE: usize = 1024;
/// Transfers of one peer that have not been answered to the end: those that may wait in the queue, and as many whose
/// end the peer has yet to take in.
const MAX_OPEN_PER_PEER: usize = 1024;

/// One stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StreamKey(u64);

/// A request for chunks, checked against what is there.
pub(super) struct Transfer {
    pub(super) peer: PeerId,
    pub(super) stream: StreamKey,
    pub(super) request: RequestId,
    pub(super) artifact: Cid,
    pub(super) content: Content,
    pub(super) ranges: Vec<ChunkRange>,
    pub(super) replies: Replies,
    /// Ends the stream.
    pub(super) stop: CancellationToken,
    /// Until it is dropped the stream is not idle.
    #[expect(dead_code, reason = "held for its drop")]
    pub(super) waiting: Waiting,
}

enum Command {
    Push(Box<Transfer>, oneshot::Sender<Result<(), Refusal>>),
    Cancel(StreamKey, RequestId),
    Closed(StreamKey),
}

/// Tells the uploader, when the last of its owners drops it, that a job's last frame has been written or never will be.
struct Completion {
    job: JobId,
    done: mpsc::Sender<JobId>,
}

impl Drop for Completion {
    fn drop(&mut self) {
        // There is room for every job in flight, so this fails only when the uploader is gone.
        let _ = self.done.try_send(self.job);
    }
}

/// Gives commands to the task that owns the queue.
#[derive(Clone)]
pub(super) struct Uploader {
    commands: mpsc::Sender<Command>,
    next_stream: Arc<AtomicU64>,
}

impl Uploader {
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
            answers: JoinSet::new(),
            done,
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(work.run(receiver, finished)));
        Self { commands, next_stream: Arc::default() }
    }

    /// A key for a new stream.
    pub(super) fn stream_key(&self) -> StreamKey {
        StreamKey(self.next_stream.fetch_add(1, Ordering::Relaxed))
    }

    /// Takes in a request, or says why not. Its own session then tells the peer, and waits while it does.
    pub(super) async fn push(&self, transfer: Transfer) -> Result<(), Refusal> {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Push(Box::new(transfer), reply)).await;
        // Without an uploader the server is gone and so is every session.
        answer.await.unwrap_or(Ok(()))
    }

    pub(super) async fn cancel(&self, stream: StreamKey, request: RequestId) {
        let _ = self.commands.send(Command::Cancel(stream, request)).await;
    }

    /// Forgets all requests of a stream. Called when it is dropped, so it must not wait.
    pub(super) fn stream_closed(&self, stream: StreamKey) {
        let commands = self.commands.clone();
        if let Err(mpsc::error::TrySendError::Full(command)) = commands.try_send(Command::Closed(stream)) {
            tokio::spawn(async move { commands.send(command).await });
        }
    }
}

/// A peer with open transfers.
struct Peer {
    key: PeerKey,
    transfers: usize,
}

/// A transfer until its last reply has been sent.
struct Open {
    transfer: Transfer,
    /// Runs of it that are being read and sent.
    under_way: usize,
    /// How it ends, once nothing more of it will be started. Said only after everything that is under way, so that a
    /// peer never gets a chunk of a request that has ended.
    end: Option<Reply>,
    /// The end is being said.
    is_ending: bool,
}

struct Work {
    catalog: Arc<Catalog>,
    queue: UploadQueue,
    transfers: BTreeMap<TransferKey, Open>,
    /// The keys of the transfers whose end is not being said.
    keys: BTreeMap<(StreamKey, RequestId), TransferKey>,
    next_transfer: u64,
    peers: BTreeMap<PeerId, Peer>,
    next_peer: u64,
    deliveries: JoinSet<(TransferKey, Result<(), Undelivered>)>,
    /// Last replies that are being sent.
    answers: JoinSet<TransferKey>,
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
                Some(Ok(key)) = self.answers.join_next() => { self.remove(key); }
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
                // A session that has ended tells its peer nothing.
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
            // An id is used once at a time.
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
        self.transfers.insert(key, Open { transfer, under_way: 0, end: None, is_ending: false });
        Ok(())
    }

    /// Reads a run of chunks and passes it to its stream.
    fn start(&mut self, job: Job) {
        // Dropped at the latest when the delivery ends, so that the queue hears of every job.
        let guard = Arc::new(Completion { job: job.id, done: self.done.clone() });
        let Some(open) = self.transfers.get_mut(&job.transfer) else { return };
        open.under_way += 1;
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

    /// Ends the stream of a peer that does not take in what others wait for. That ends the job.
    fn evict(&mut self, eviction: Eviction) {
        // A stream that is gone has ended already.
        if let Some(Open { transfer, .. }) = self.transfers.get(&eviction.transfer) {
            tracing::debug!(peer = %transfer.peer, "slow stream ended: others wait for its place");
            transfer.stop.cancel();
        }
    }

    fn handle_delivered(&mut self, key: TransferKey, result: Result<(), Undelivered>) {
        let Some(open) = self.transfers.get_mut(&key) else { return };
        open.under_way -= 1;
        match result {
            Ok(()) => self.end_if_over(key),
            Err(Undelivered::Unreadable(error)) => {
                if let Some(error) = error {
                    self.catalog.report(&open.transfer.artifact, &error);
                }
                open.end = None;
                self.end(key, Reply::Refused(Refusal::Missing));
            }
            // Its session says so too, which forgets its transfers.
            Err(Undelivered::Closed) => {}
        }
    }

    /// Starts nothing more of a transfer, and says `end` when what is under way has been sent.
    fn end(&mut self, key: TransferKey, end: Reply) {
        self.queue.cancel(key);
        if let Some(open) = self.transfers.get_mut(&key) {
            open.end.get_or_insert(end);
        }
        self.end_if_over(key);
    }

    /// Says how a transfer ends, without holding up the queue. The transfer counts until that has been said.
    fn end_if_over(&mut self, key: TransferKey) {
        let Some(open) = self.transfers.get_mut(&key) else { return };
        if open.under_way > 0 || open.is_ending {
            return;
        }
        let Some(end) = open.end.take() else { return };
        open.is_ending = true;
        let Transfer { stream, request, replies, stop, .. } = &open.transfer;
        // As soon as the peer hears of the end it may use the id again.
        self.keys.remove(&(*stream, *request));
        let (request, replies, stop) = (*request, replies.clone(), stop.clone());
        self.answers.spawn(async move {
            // A stream that has ended needs no answer.
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

/// Why a run was not handed to its stream.
enum Undelivered {
    /// The stream is gone.
    Closed,
    /// The disk does not have what it should; without an error, the reader panicked.
    Unreadable(Option<StoreError>),
}

/// One run of adjacent chunks on its way to a stream.
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
