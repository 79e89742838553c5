//! The transfer stream of a client to one peer: sends requests, receives replies.
//!
//! A link runs two tasks, one that writes and one that reads, so that neither direction blocks the other. It checks
//! that every reply belongs to an open request, and closes itself if the peer sends any other reply.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::AsyncReadExt as _;
use libp2p::{Multiaddr, PeerId};
use phase_core::{ChunkIndex, ChunkRange, ChunkSet, Cid, Name};
use phase_node::{ConnectError, NodeHandle, Scope, Stream, believable};
use phase_protocol::wire::{self, Refusal, Reply, ReplyHeader, Request, RequestHeader, WireError};
use phase_protocol::{HaveUpdate, RequestId};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::buffers::{Buffer, Buffers};
use crate::counted::Counted;
use crate::framing::{self, OutFrame};

/// The length of the queue of requests that wait for the writing task. If the queue is full, the peer does not read its
/// requests, so further requests fail with [`LinkError::Backlog`].
const REQUEST_QUEUE: usize = 512;
/// The limit on the open requests of one link, subscriptions included. A cancelled request stays open until its last
/// reply.
const MAX_PENDING: usize = 4096;
/// How long a peer may take to answer a call. A call is a request with exactly one reply.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// An event that a link reports to a download.
pub(super) enum LinkEvent {
    /// A chunk arrived. The download must check that the chunk was requested, and verify it.
    Chunk { id: RequestId, index: ChunkIndex, bytes: Buffer },
    /// The peer has sent all chunks of a request.
    Done { id: RequestId },
    /// The peer refused a request for chunks.
    Refused { id: RequestId, refusal: Refusal },
    /// The peer reported which chunks of an artifact it has.
    Have { artifact: Cid, update: HaveUpdate },
    /// The peer ended or refused the have updates for an artifact. The peer may gain more chunks of the artifact later.
    HaveEnded { artifact: Cid },
    /// The link is closed. [`PeerLink::closed`] returns the reason.
    Closed,
}

/// The unverified reply to a request for the current release of a name.
#[derive(Clone, Debug)]
pub struct HeadAnswer {
    /// The encoded envelope of the pointer record.
    pub pointer: Vec<u8>,
    /// The encoded envelope of the manifest.
    pub envelope: Vec<u8>,
}

/// The reply to a call, with its payload.
struct CallAnswer {
    body: Reply,
    payload: Buffer,
}

/// An open request. The variants differ in the replies that they permit.
enum Pending {
    /// A call. The peer sends exactly one reply, which is passed to the caller.
    Call(oneshot::Sender<Result<CallAnswer, LinkError>>),
    /// A request for chunks. The peer sends any number of chunks, then `Done` or a refusal.
    Chunks,
    /// A `Have` request. The peer refuses it, or sends the list of its chunks. After the list it sends have updates,
    /// and `Done` at the end.
    Have(Subscription),
}

/// A subscription to the have updates of the peer for one artifact.
struct Subscription {
    artifact: Cid,
    /// How many chunks the artifact has.
    chunks: u32,
    /// How many chunks the peer has not announced yet, or `None` before its first reply. A peer that announces more
    /// chunks than these breaks the protocol. Otherwise a hostile peer could cause much work with few bytes, by
    /// announcing the same millions of chunks again and again.
    missing: Option<u32>,
}

/// The open requests of a link.
struct Table {
    next: RequestId,
    pending: BTreeMap<RequestId, Pending>,
    /// The error with which the link was closed, or `None` if the link is open.
    closed: Option<LinkError>,
}

impl Default for Table {
    fn default() -> Self {
        Self { next: RequestId::FIRST_OF_LINK, pending: BTreeMap::new(), closed: None }
    }
}

impl Table {
    fn insert(&mut self, id: RequestId, pending: Pending) -> Result<(), LinkError> {
        if let Some(error) = &self.closed {
            return Err(error.clone());
        }
        if self.pending.len() >= MAX_PENDING {
            return Err(LinkError::Backlog);
        }
        self.pending.insert(id, pending);
        Ok(())
    }

    fn next_id(&mut self) -> RequestId {
        let id = self.next;
        self.next = id.next();
        id
    }

    fn close(&mut self, error: &LinkError) {
        self.closed.get_or_insert_with(|| error.clone());
        for pending in std::mem::take(&mut self.pending).into_values() {
            if let Pending::Call(reply) = pending {
                let _ = reply.send(Err(error.clone()));
            }
        }
    }
}

/// A link: the transfer stream to one peer, with the requests that are open on it. Dropping it closes the stream and
/// ends its tasks.
pub struct PeerLink {
    peer: PeerId,
    /// The scope of the peer's address. It decides which addresses of other peers are accepted from this peer.
    scope: Scope,
    requests: mpsc::Sender<OutFrame>,
    table: Arc<Mutex<Table>>,
    /// The number of bytes of replies received so far.
    received: Arc<AtomicU64>,
    stop: CancellationToken,
    _tasks: DropGuard,
}

impl PeerLink {
    /// Connects to `peer` and opens a stream for calls.
    ///
    /// # Errors
    /// If the peer cannot be reached, or the stream cannot be opened.
    pub async fn open(node: &NodeHandle, peer: PeerId, addresses: Vec<Multiaddr>) -> Result<Self, ConnectError> {
        Self::open_with(node, peer, addresses, None, Buffers::new(0)).await
    }

    /// Connects to `peer` and opens a stream. The link sends its events to `events`. Without `events`, only calls are
    /// possible. Payloads are read into buffers from `buffers`.
    pub(super) async fn open_with(
        node: &NodeHandle,
        peer: PeerId,
        addresses: Vec<Multiaddr>,
        events: Option<mpsc::Sender<(PeerId, LinkEvent)>>,
        buffers: Buffers,
    ) -> Result<Self, ConnectError> {
        node.connect(peer, addresses).await?;
        let stream = node.open_stream(peer).await?;
        let (reader, writer) = stream.split();
        let (requests, queue) = mpsc::channel(REQUEST_QUEUE);
        let table = Arc::new(Mutex::new(Table::default()));
        let (reader, received) = Counted::new(reader);
        let stop = CancellationToken::new();
        let reading = Reading { peer, reader, table: table.clone(), events, buffers };
        tokio::spawn(reading.run(stop.clone()));
        tokio::spawn(stop.clone().run_until_cancelled_owned(framing::write_frames(writer, queue)));
        let scope = node.scope_of(&peer);
        Ok(Self { peer, scope, requests, table, received, stop: stop.clone(), _tasks: stop.drop_guard() })
    }

    /// Returns how many bytes of replies have been received, an incomplete reply included.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Returns the id of the peer.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// Returns whether the link is open, as far as this node knows.
    pub fn is_open(&self) -> bool {
        self.closed().is_none()
    }

    /// Returns the error with which the link was closed, or `None` if it is open.
    pub fn closed(&self) -> Option<LinkError> {
        lock(&self.table).closed.clone()
    }

    /// Closes the link. Its open calls fail with `error`. If the link is already closed, its error stays.
    pub(super) fn close(&self, error: &LinkError) {
        lock(&self.table).close(error);
        self.stop.cancel();
    }

    /// Requests the current release of a name. The reply is not verified.
    ///
    /// # Errors
    /// [`LinkError::Refused`] if the peer does not serve the name; [`LinkError::Unexpected`] if its reply does not fit
    /// this request. Other errors mean that the link is closed, too many requests are open, or no reply arrived within
    /// 10 s.
    pub async fn head(&self, name: &Name) -> Result<HeadAnswer, LinkError> {
        let CallAnswer { body, payload } = self.call(Request::Head { name: name.clone() }).await?;
        let Reply::Head { pointer_len } = body else { return Err(LinkError::Unexpected) };
        let (pointer, envelope) = payload.split_at_checked(pointer_len as usize).ok_or(LinkError::Unexpected)?;
        Ok(HeadAnswer { pointer: pointer.to_vec(), envelope: envelope.to_vec() })
    }

    /// Requests a block and verifies it. Closes the link if the block does not verify.
    ///
    /// # Errors
    /// [`LinkError::Refused`] if the peer does not have the block; [`LinkError::Corrupt`] if the block does not match
    /// the CID; [`LinkError::Unexpected`] if the reply does not fit this request. Other errors mean that the link is
    /// closed, too many requests are open, or no reply arrived within 10 s.
    pub async fn block(&self, cid: &Cid) -> Result<Vec<u8>, LinkError> {
        let CallAnswer { body, payload } = self.call(Request::Block { cid: *cid }).await?;
        let error = match body {
            Reply::Block if cid.verify(&payload).is_ok() => return Ok(payload.to_vec()),
            Reply::Block => LinkError::Corrupt(*cid),
            _ => LinkError::Unexpected,
        };
        self.close(&error);
        Err(error)
    }

    /// Asks the peer which peers fetch an artifact, and returns these peers with their addresses. Leaves out addresses
    /// that do not parse, and addresses that [`believable`] does not accept from this peer.
    ///
    /// # Errors
    /// [`LinkError::Refused`] if the peer refuses; [`LinkError::Unexpected`] if its reply does not fit this request.
    /// Other errors mean that the link is closed, too many requests are open, or no reply arrived within 10 s.
    pub async fn peers(&self, artifact: &Cid) -> Result<Vec<(PeerId, Vec<Multiaddr>)>, LinkError> {
        let CallAnswer { body, .. } = self.call(Request::Peers { artifact: *artifact }).await?;
        let Reply::Peers { peers } = body else { return Err(LinkError::Unexpected) };
        let parsed = peers.into_iter().filter_map(|entry| {
            let addresses = entry.addrs.into_iter().filter_map(|a| Multiaddr::try_from(a.into_vec()).ok());
            Some((PeerId::from_bytes(&entry.peer).ok()?, believable(addresses, self.scope)))
        });
        Ok(parsed.collect())
    }

    /// Requests chunks, under a request id that the scheduler chose.
    pub(super) fn request(&self, id: RequestId, artifact: Cid, ranges: Vec<ChunkRange>) -> Result<(), LinkError> {
        lock(&self.table).insert(id, Pending::Chunks)?;
        self.send(id, Request::Chunks { artifact, ranges })
    }

    /// Subscribes to the have updates of the peer for an artifact of `chunks` chunks. Returns the request id, which
    /// [`cancel`](Self::cancel) needs.
    pub(super) fn subscribe(&self, artifact: Cid, chunks: u32) -> Result<RequestId, LinkError> {
        let id = self.open_request(Pending::Have(Subscription { artifact, chunks, missing: None }))?;
        self.send(id, Request::Have { artifact })?;
        Ok(id)
    }

    /// Cancels a request. Replies that the peer has already sent still arrive, followed by `Done`.
    pub(super) fn cancel(&self, request: RequestId) -> Result<(), LinkError> {
        let id = lock(&self.table).next_id();
        self.send(id, Request::Cancel { request })
    }

    async fn call(&self, request: Request) -> Result<CallAnswer, LinkError> {
        let (reply, answer) = oneshot::channel();
        let id = self.open_request(Pending::Call(reply))?;
        self.send(id, request)?;
        match tokio::time::timeout(CALL_TIMEOUT, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(LinkError::Ended),
            Err(_) => Err(LinkError::Timeout),
        }
    }

    /// Adds an open request under a request id that the link chooses.
    fn open_request(&self, pending: Pending) -> Result<RequestId, LinkError> {
        let mut table = lock(&self.table);
        let id = table.next_id();
        table.insert(id, pending)?;
        Ok(id)
    }

    fn send(&self, id: RequestId, body: Request) -> Result<(), LinkError> {
        let header = wire::encode_request(&RequestHeader { id, body });
        let frame = OutFrame { header, payload: Bytes::new(), guard: () };
        self.requests.try_send(frame).map_err(|error| {
            lock(&self.table).pending.remove(&id);
            match error {
                mpsc::error::TrySendError::Full(_) => LinkError::Backlog,
                mpsc::error::TrySendError::Closed(_) => LinkError::Ended,
            }
        })
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().expect("no code panics while it holds the table")
}

/// The reading task of a link.
struct Reading {
    peer: PeerId,
    reader: Counted<futures::io::ReadHalf<Stream>>,
    table: Arc<Mutex<Table>>,
    events: Option<mpsc::Sender<(PeerId, LinkEvent)>>,
    buffers: Buffers,
}

impl Reading {
    /// Reads replies until the stream ends or `stop` is cancelled, then closes the link.
    async fn run(mut self, stop: CancellationToken) {
        let error = stop.run_until_cancelled(self.read()).await.unwrap_or(LinkError::Ended);
        let Self { peer, reader, table, events, .. } = self;
        drop(reader);
        lock(&table).close(&error);
        if let Some(events) = events {
            // Sending fails only if the download has ended.
            let _ = events.send((peer, LinkEvent::Closed)).await;
        }
        // The writing task waits for this token, and ends too, because no reply can be read any more.
        stop.cancel();
    }

    /// Reads replies until the stream ends or fails, and returns the error with which to close the link.
    async fn read(&mut self) -> LinkError {
        loop {
            match framing::read_reply(&mut self.reader, &self.buffers).await {
                Ok(Some((header, payload))) => {
                    if let Err(error) = self.handle_reply(header, payload).await {
                        return error;
                    }
                }
                Ok(None) => return LinkError::Ended,
                Err(framing::FrameError::Io(error)) => return LinkError::Io(Arc::new(error)),
                Err(framing::FrameError::Wire(error)) => return LinkError::Protocol(error),
            }
        }
    }

    async fn handle_reply(&mut self, header: ReplyHeader, payload: Buffer) -> Result<(), LinkError> {
        match self.translate(header, payload)? {
            Some(event) => self.report(event).await,
            None => Ok(()),
        }
    }

    /// Finds the open request to which a reply belongs. If the request is a call, sends the reply to its caller and
    /// returns `None`. Otherwise returns the reply as an event.
    fn translate(&self, header: ReplyHeader, payload: Buffer) -> Result<Option<LinkEvent>, LinkError> {
        let mut table = lock(&self.table);
        let Entry::Occupied(mut entry) = table.pending.entry(header.id) else { return Err(LinkError::Unexpected) };
        let ends = matches!(header.body, Reply::Done | Reply::Refused(_));
        let event = match entry.get_mut() {
            Pending::Call(_) => {
                if let Pending::Call(reply) = entry.remove() {
                    // Sending fails only if the caller has stopped waiting.
                    let _ = reply.send(call_answer(header.body, payload));
                }
                return Ok(None);
            }
            Pending::Chunks => chunks_event(header.id, header.body, payload)?,
            Pending::Have(subscription) => have_event(subscription, header.body, &payload)?,
        };
        if ends {
            entry.remove();
        }
        Ok(Some(event))
    }

    async fn report(&self, event: LinkEvent) -> Result<(), LinkError> {
        match &self.events {
            Some(events) => events.send((self.peer, event)).await.map_err(|_| LinkError::Ended),
            None => Err(LinkError::Unexpected),
        }
    }
}

fn call_answer(body: Reply, payload: Buffer) -> Result<CallAnswer, LinkError> {
    match body {
        Reply::Refused(refusal) => Err(LinkError::Refused(refusal)),
        body => Ok(CallAnswer { body, payload }),
    }
}

fn chunks_event(id: RequestId, body: Reply, bytes: Buffer) -> Result<LinkEvent, LinkError> {
    match body {
        Reply::Chunk { index, encoding: 0 } => Ok(LinkEvent::Chunk { id, index, bytes }),
        Reply::Done => Ok(LinkEvent::Done { id }),
        Reply::Refused(refusal) => Ok(LinkEvent::Refused { id, refusal }),
        _ => Err(LinkError::Unexpected),
    }
}

fn have_event(subscription: &mut Subscription, body: Reply, payload: &[u8]) -> Result<LinkEvent, LinkError> {
    let Subscription { artifact, chunks, missing } = subscription;
    let (artifact, chunks) = (*artifact, *chunks);
    let update = match (body, *missing) {
        (Reply::Have { chunks: announced, full: true }, None) if announced == chunks => {
            *missing = Some(0);
            HaveUpdate::Full
        }
        (Reply::Have { chunks: announced, full: false }, None) if announced == chunks => {
            let set = ChunkSet::from_bytes(chunks, payload).map_err(|_| LinkError::Unexpected)?;
            *missing = Some(chunks - set.count());
            HaveUpdate::Set(set)
        }
        (Reply::HaveDelta { ranges }, Some(left)) if ranges.iter().all(|range| range.end <= chunks) => {
            let added = ranges.iter().map(|range| u64::from(range.count())).sum::<u64>();
            let left = u64::from(left).checked_sub(added).ok_or(LinkError::Unexpected)?;
            *missing = Some(u32::try_from(left).expect("the rest of a u32 is a u32"));
            HaveUpdate::Add(ranges)
        }
        // The peer refused the subscription, or ended the subscription although it does not have all chunks. The peer
        // may gain more chunks later.
        (Reply::Done, Some(1..)) | (Reply::Refused(_), None) => return Ok(LinkEvent::HaveEnded { artifact }),
        (Reply::Done, _) => HaveUpdate::Add(Vec::new()),
        _ => return Err(LinkError::Unexpected),
    };
    Ok(LinkEvent::Have { artifact, update })
}

/// An error of a link, or of a call on it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The peer refused the call.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The peer sent a block whose bytes do not match the requested CID.
    #[error("sent bytes that do not match {0}")]
    Corrupt(Cid),
    /// The peer sent a reply that does not fit an open request.
    #[error("sent an unexpected reply")]
    Unexpected,
    /// The peer sent a frame that breaks the protocol.
    #[error("violated the protocol: {0}")]
    Protocol(WireError),
    /// The peer did not reply to a call in time.
    #[error("no answer within {} s", CALL_TIMEOUT.as_secs())]
    Timeout,
    /// Too many requests are open, because the peer does not read or answer them.
    #[error("too many open requests: the peer does not read or answer them")]
    Backlog,
    /// The stream failed.
    #[error("stream failed: {0}")]
    Io(Arc<io::Error>),
    /// The peer ended the stream.
    #[error("ended the stream")]
    Ended,
    /// This node banned the peer and closed the link. Contains the reason for the ban.
    #[error("banned: {0}")]
    Banned(String),
}

impl LinkError {
    /// Returns true if an honest peer never causes this error.
    pub fn is_misbehaviour(&self) -> bool {
        matches!(self, Self::Corrupt(_) | Self::Unexpected | Self::Protocol(_) | Self::Banned(_))
    }
}
