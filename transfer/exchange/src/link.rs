//! A requester's stream to one peer: requests out, replies in.
//!
//! A link runs two tasks, one that writes and one that reads, so that neither side can wait for the other. It checks
//! that every reply belongs to a request; a peer that answers what was not asked is cut off.

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

/// Requests that may wait for the writer. A peer that does not read this many is given up.
const REQUEST_QUEUE: usize = 512;
/// Requests that may await replies: subscriptions and cancelled transfers count.
const MAX_PENDING: usize = 4096;
/// How long a peer may take to answer a call.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// What a link reports to a download.
pub(super) enum LinkEvent {
    /// A chunk, not yet verified. Whether the peer owed it is for the download to say.
    Chunk { id: RequestId, index: ChunkIndex, bytes: Buffer },
    /// Nothing further for a request for chunks.
    Done { id: RequestId },
    /// The peer will not serve a request for chunks.
    Refused { id: RequestId, refusal: Refusal },
    /// What the peer has of an artifact.
    Have { artifact: Cid, update: HaveUpdate },
    /// The peer tells no more of what it has of an artifact, which is not all of it. It may have more later.
    HaveNoMore { artifact: Cid },
    /// The link is dead; [`PeerLink::closed`] says why.
    Closed,
}

/// The answer to a request for a name, unverified.
#[derive(Clone, Debug)]
pub struct HeadAnswer {
    /// The encoded envelope of the pointer record.
    pub pointer: Vec<u8>,
    /// The encoded envelope of the manifest.
    pub envelope: Vec<u8>,
}

/// The payload of a call's reply.
struct CallAnswer {
    body: Reply,
    payload: Buffer,
}

/// Which replies fit a request that the peer has not ended.
enum Pending {
    /// One reply, for the caller.
    Call(oneshot::Sender<Result<CallAnswer, LinkError>>),
    /// Chunks, then an end.
    Chunks,
    /// What the peer has, then what is added to it.
    Have(Subscription),
}

/// A subscription to what the peer has of an artifact.
struct Subscription {
    artifact: Cid,
    /// How many chunks the artifact has.
    chunks: u32,
    /// How many chunks the peer can still come to have, once it has said what it has. Bounds what its reports cost: a few
    /// bytes can speak of millions of chunks, again and again.
    untold: Option<u32>,
}

struct Table {
    next: RequestId,
    pending: BTreeMap<RequestId, Pending>,
    /// Set once the link is dead.
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

/// A transfer stream to one peer. Dropping it ends its tasks and closes the stream.
pub struct PeerLink {
    peer: PeerId,
    /// From where the peer is seen.
    scope: Scope,
    requests: mpsc::Sender<OutFrame>,
    table: Arc<Mutex<Table>>,
    /// Bytes of replies that have come.
    received: Arc<AtomicU64>,
    stop: CancellationToken,
    _tasks: DropGuard,
}

impl PeerLink {
    /// Connects to `peer` and opens a stream for calls.
    ///
    /// # Errors
    /// The peer cannot be reached, or opens no stream.
    pub async fn open(node: &NodeHandle, peer: PeerId, addresses: Vec<Multiaddr>) -> Result<Self, ConnectError> {
        Self::open_with(node, peer, addresses, None, Buffers::new(0)).await
    }

    /// Connects to `peer` and opens a stream whose transfers are reported to `events`, in some of `buffers`.
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

    /// How many bytes of replies have come, those of a reply included that is not complete.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// The peer at the other end.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// Whether the stream was still up when last heard of.
    pub fn is_open(&self) -> bool {
        self.closed().is_none()
    }

    /// Why the link is dead, if it is.
    pub fn closed(&self) -> Option<LinkError> {
        lock(&self.table).closed.clone()
    }

    /// Ends the link, and all that is under way on it with `error`. One that has ended already keeps its own error.
    pub(super) fn close(&self, error: &LinkError) {
        lock(&self.table).close(error);
        self.stop.cancel();
    }

    /// Asks for the current release of a name.
    ///
    /// # Errors
    /// [`LinkError::Refused`] if the peer does not know the name; otherwise the link has ended or the peer does not answer in time.
    pub async fn head(&self, name: &Name) -> Result<HeadAnswer, LinkError> {
        let CallAnswer { body, payload } = self.call(Request::Head { name: name.clone() }).await?;
        let Reply::Head { pointer_len } = body else { return Err(LinkError::Unexpected) };
        let (pointer, envelope) = payload.split_at_checked(pointer_len as usize).ok_or(LinkError::Unexpected)?;
        Ok(HeadAnswer { pointer: pointer.to_vec(), envelope: envelope.to_vec() })
    }

    /// Fetches a small block and verifies it. A peer that sends another one is cut off.
    ///
    /// # Errors
    /// [`LinkError::Refused`] if the peer does not have the block, [`LinkError::Corrupt`] if it sent another one; otherwise the link
    /// has ended or the peer does not answer in time.
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

    /// Asks which other peers have some of an artifact. Addresses that do not parse,
    /// or that it cannot be believed, are left out.
    ///
    /// # Errors
    /// [`LinkError::Refused`]; otherwise the link has ended or the peer does not answer in time.
    pub async fn peers(&self, artifact: &Cid) -> Result<Vec<(PeerId, Vec<Multiaddr>)>, LinkError> {
        let CallAnswer { body, .. } = self.call(Request::Peers { artifact: *artifact }).await?;
        let Reply::Peers { peers } = body else { return Err(LinkError::Unexpected) };
        let parsed = peers.into_iter().filter_map(|entry| {
            let addresses = entry.addrs.into_iter().filter_map(|a| Multiaddr::try_from(a.into_vec()).ok());
            Some((PeerId::from_bytes(&entry.peer).ok()?, believable(addresses, self.scope)))
        });
        Ok(parsed.collect())
    }

    /// Asks for chunks under an id of the scheduler's.
    pub(super) fn request(&self, id: RequestId, artifact: Cid, ranges: Vec<ChunkRange>) -> Result<(), LinkError> {
        lock(&self.table).insert(id, Pending::Chunks)?;
        self.send(id, Request::Chunks { artifact, ranges })
    }

    /// Asks what the peer has of an artifact of `chunks` chunks, now and as it changes. Returns the id to cancel it with.
    pub(super) fn subscribe(&self, artifact: Cid, chunks: u32) -> Result<RequestId, LinkError> {
        let id = self.open_request(Pending::Have(Subscription { artifact, chunks, untold: None }))?;
        self.send(id, Request::Have { artifact })?;
        Ok(id)
    }

    /// Says that nothing further is wanted for a request. What is already under way still arrives, then `Done`.
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

    /// A request under an id of the link's own.
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

/// The task that reads.
struct Reading {
    peer: PeerId,
    reader: Counted<futures::io::ReadHalf<Stream>>,
    table: Arc<Mutex<Table>>,
    events: Option<mpsc::Sender<(PeerId, LinkEvent)>>,
    buffers: Buffers,
}

impl Reading {
    /// Reads until the stream ends or `stop` says so.
    async fn run(mut self, stop: CancellationToken) {
        let error = stop.run_until_cancelled(self.read()).await.unwrap_or(LinkError::Ended);
        let Self { peer, reader, table, events, .. } = self;
        drop(reader);
        lock(&table).close(&error);
        if let Some(events) = events {
            // Nobody to tell: the download has ended.
            let _ = events.send((peer, LinkEvent::Closed)).await;
        }
        // Nothing is read any more, so nothing need be asked.
        stop.cancel();
    }

    /// Reads until the stream ends, and says why it did.
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

    /// Finds what a reply answers. A call is answered at once, anything else becomes an event.
    fn translate(&self, header: ReplyHeader, payload: Buffer) -> Result<Option<LinkEvent>, LinkError> {
        let mut table = lock(&self.table);
        let Entry::Occupied(mut entry) = table.pending.entry(header.id) else { return Err(LinkError::Unexpected) };
        let ends = matches!(header.body, Reply::Done | Reply::Refused(_));
        let event = match entry.get_mut() {
            Pending::Call(_) => {
                if let Pending::Call(reply) = entry.remove() {
                    // Whoever called may have stopped waiting.
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
    let Subscription { artifact, chunks, untold } = subscription;
    let (artifact, chunks) = (*artifact, *chunks);
    let update = match (body, *untold) {
        (Reply::Have { chunks: told, full: true }, None) if told == chunks => {
            *untold = Some(0);
            HaveUpdate::Full
        }
        (Reply::Have { chunks: told, full: false }, None) if told == chunks => {
            let set = ChunkSet::from_bytes(chunks, payload).map_err(|_| LinkError::Unexpected)?;
            *untold = Some(chunks - set.count());
            HaveUpdate::Set(set)
        }
        (Reply::HaveDelta { ranges }, Some(left)) if ranges.iter().all(|range| range.end <= chunks) => {
            let added = ranges.iter().map(|range| u64::from(range.count())).sum::<u64>();
            let left = u64::from(left).checked_sub(added).ok_or(LinkError::Unexpected)?;
            *untold = Some(u32::try_from(left).expect("it was a u32 before it shrank"));
            HaveUpdate::Add(ranges)
        }
        // The subscription has ended early: what was told still holds, and more may come later.
        (Reply::Done, Some(1..)) | (Reply::Refused(_), None) => return Ok(LinkEvent::HaveNoMore { artifact }),
        (Reply::Done, _) => HaveUpdate::Add(Vec::new()),
        _ => return Err(LinkError::Unexpected),
    };
    Ok(LinkEvent::Have { artifact, update })
}

/// Why a link or a call on it failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The peer refused the call.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// A block that is not the one that was asked for.
    #[error("sent other bytes than those of {0}")]
    Corrupt(Cid),
    /// An answer that fits no question.
    #[error("sent an answer that nobody asked for")]
    Unexpected,
    /// A frame that breaks the protocol.
    #[error("violated the protocol: {0}")]
    Protocol(WireError),
    /// No answer in time.
    #[error("no answer within {} s", CALL_TIMEOUT.as_secs())]
    Timeout,
    /// The peer does not read its requests.
    #[error("does not read its requests")]
    Backlog,
    /// The stream failed.
    #[error("stream failed: {0}")]
    Io(Arc<io::Error>),
    /// The peer ended the stream.
    #[error("ended the stream")]
    Ended,
    /// We will have nothing more to do with the peer.
    #[error("cut off: {0}")]
    CutOff(String),
}

impl LinkError {
    /// Whether the peer did what no honest peer does.
    pub fn is_misbehaviour(&self) -> bool {
        matches!(self, Self::Corrupt(_) | Self::Unexpected | Self::Protocol(_) | Self::CutOff(_))
    }
}
