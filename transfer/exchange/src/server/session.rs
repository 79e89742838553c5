//! A session, the serving end of one link: reads the requests of a peer and answers them.

use std::sync::Arc;

use futures::AsyncReadExt as _;
use libp2p::PeerId;
use phase_core::store::StoreError;
use phase_core::{ChunkRange, Cid, Name};
use phase_node::Stream;
use phase_protocol::wire::{self, PeerAddrs, Refusal, Reply, Request, RequestHeader, RequestId};
use serde_bytes::ByteBuf;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::catalog::{Catalog, Content};
use crate::framing::{self, FrameError};
use crate::server::replies::{Closed, Replies};
use crate::server::sessions::Activity;
use crate::server::shared::Shared;
use crate::server::subscriptions::Subscriptions;
use crate::server::uploader::{StreamKey, Transfer};

/// The limit on large replies of one stream that wait for the writing task. Large replies are blocks, releases and
/// bitmaps. The limit is small, because each reply may be 1 MiB long and there may be a thousand streams.
const MAX_BLOCKS: usize = 2;
/// The limit on the entries that one session adds to [`Interest`](crate::server::interest::Interest).
const MAX_INTERESTS: usize = 1024;

/// The serving end of one link.
pub(super) struct Session {
    peer: PeerId,
    shared: Shared,
    key: StreamKey,
    stop: CancellationToken,
    activity: Activity,
    subscriptions: Subscriptions,
    /// The artifacts that this session has added to the shared `interest`, one for each `Have` request. They are
    /// removed when the session ends.
    interests: Vec<Cid>,
    /// One permit for each large reply that may wait for the writing task, see [`MAX_BLOCKS`].
    blocks: Arc<Semaphore>,
}

impl Session {
    pub(super) fn new(peer: PeerId, shared: Shared, stop: CancellationToken, activity: Activity) -> Self {
        let key = shared.uploader.stream_key();
        let subscriptions = Subscriptions::new(shared.subscribers.clone());
        let blocks = Arc::new(Semaphore::new(MAX_BLOCKS));
        Self { peer, shared, key, stop, activity, subscriptions, interests: Vec::new(), blocks }
    }

    /// Answers requests until the peer ends the stream, breaks the protocol or stops reading.
    pub(super) async fn run(mut self, stream: Stream) {
        let (mut reader, writer) = stream.split();
        let (replies, queue) = Replies::new(self.activity.clone());
        let stop = self.stop.clone();
        let writing = async move {
            if let Err(error) = framing::write_frames(writer, queue).await {
                tracing::debug!(%error, "stream ended");
                stop.cancel();
            }
        };
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(writing));
        loop {
            match framing::read_request(&mut reader).await {
                Ok(Some(request)) => {
                    self.activity.note(Instant::now());
                    if self.handle(request, &replies).await.is_err() {
                        break;
                    }
                }
                Ok(None) => break,
                Err(FrameError::Wire(error)) => {
                    tracing::warn!(peer = %self.peer, %error, "malformed request: stream closed");
                    break;
                }
                Err(FrameError::Io(error)) => {
                    tracing::debug!(peer = %self.peer, %error, "stream ended");
                    break;
                }
            }
        }
    }

    async fn handle(&mut self, request: RequestHeader, replies: &Replies) -> Result<(), Closed> {
        let id = request.id;
        match request.body {
            Request::Head { name } => self.answer_head(id, name, replies).await,
            Request::Block { cid } => self.answer_block(id, cid, replies).await,
            Request::Have { artifact } => self.answer_have(id, artifact, replies).await,
            Request::Chunks { artifact, ranges } => self.answer_chunks(id, artifact, ranges, replies).await,
            Request::Peers { artifact } => self.answer_peers(id, artifact, replies).await,
            Request::Cancel { request } => {
                if !self.subscriptions.cancel(request) {
                    self.shared.uploader.cancel(self.key, request).await;
                }
                Ok(())
            }
        }
    }

    async fn answer_head(&self, id: RequestId, name: Name, replies: &Replies) -> Result<(), Closed> {
        match self.look_up(move |catalog| catalog.head(&name)).await {
            Ok(Some((pointer, envelope))) => {
                let mut payload = pointer.encode();
                let pointer_len = u32::try_from(payload.len()).expect("a pointer is at most 8 KiB");
                payload.extend_from_slice(&envelope);
                if payload.len() > wire::MAX_PAYLOAD_LEN as usize {
                    return replies.refuse(id, Refusal::TooLarge).await;
                }
                self.send_block(id, Reply::Head { pointer_len }, payload, replies).await
            }
            Ok(None) => replies.refuse(id, Refusal::NotFound).await,
            Err(refusal) => replies.refuse(id, refusal).await,
        }
    }

    async fn answer_block(&self, id: RequestId, cid: Cid, replies: &Replies) -> Result<(), Closed> {
        match self.look_up(move |catalog| catalog.block(&cid)).await {
            Ok(Some(block)) => self.send_block(id, Reply::Block, block, replies).await,
            Ok(None) => replies.refuse(id, Refusal::NotFound).await,
            Err(refusal) => replies.refuse(id, refusal).await,
        }
    }

    async fn answer_have(&mut self, id: RequestId, artifact: Cid, replies: &Replies) -> Result<(), Closed> {
        let content = match self.content(artifact).await {
            Ok(content) => content,
            Err(refusal) => return replies.refuse(id, refusal).await,
        };
        // The peer is added to `interest` only now, after the artifact was found. Otherwise requests for unknown
        // artifacts could fill this table, whose length is limited.
        self.note_interest(artifact);
        let chunks = content.index().len();
        let Some(have) = content.have() else {
            replies.reply(id, Reply::Have { chunks, full: true }).await?;
            return replies.reply(id, Reply::Done).await;
        };
        let subscriber = match self.subscriptions.admit(id, artifact) {
            Ok(subscriber) => subscriber,
            Err(refusal) => return replies.refuse(id, refusal).await,
        };
        self.send_block(id, Reply::Have { chunks, full: false }, have.to_bytes(), replies).await?;
        let Some(subscriber) = subscriber else {
            // There are too many subscribers, so the peer gets only one bitmap. The peer has to subscribe again later.
            return replies.reply(id, Reply::Done).await;
        };
        self.subscriptions.start(id, subscriber, content, have, replies, &self.stop);
        Ok(())
    }

    async fn answer_chunks(
        &self,
        id: RequestId,
        artifact: Cid,
        ranges: Vec<ChunkRange>,
        replies: &Replies,
    ) -> Result<(), Closed> {
        let content = match self.content(artifact).await {
            Ok(content) => content,
            Err(refusal) => return replies.refuse(id, refusal).await,
        };
        if ranges.iter().any(|range| range.end > content.index().len()) {
            return replies.refuse(id, Refusal::Malformed).await;
        }
        if let Some(have) = content.have()
            && !ranges.iter().all(|range| have.contains_range(*range))
        {
            return replies.refuse(id, Refusal::Missing).await;
        }
        let transfer = Transfer {
            peer: self.peer,
            stream: self.key,
            request: id,
            artifact,
            content,
            ranges,
            replies: replies.clone(),
            stop: self.stop.clone(),
            waiting: self.activity.wait(),
        };
        match self.shared.uploader.push(transfer).await {
            Ok(()) => Ok(()),
            Err(refusal) => replies.refuse(id, refusal).await,
        }
    }

    async fn answer_peers(&self, id: RequestId, artifact: Cid, replies: &Replies) -> Result<(), Closed> {
        let peers = self.shared.interest.peers(&artifact, &self.peer, wire::MAX_PEERS);
        let known = self.shared.node.addresses_of(&peers);
        let peers = known.into_iter().map(|(peer, addresses)| PeerAddrs {
            peer: ByteBuf::from(peer.to_bytes()),
            addrs: addresses
                .iter()
                .map(|address| ByteBuf::from(address.to_vec()))
                .filter(|address| address.len() <= wire::MAX_ADDR_LEN)
                .take(wire::MAX_ADDRS)
                .collect(),
        });
        replies.reply(id, Reply::Peers { peers: peers.collect() }).await
    }

    /// Sends a reply with a large payload. Waits while [`MAX_BLOCKS`] such replies are queued.
    async fn send_block(&self, id: RequestId, body: Reply, bytes: Vec<u8>, replies: &Replies) -> Result<(), Closed> {
        let permit = self.blocks.clone().acquire_owned().await.expect("the semaphore is never closed");
        replies.send(id, body, bytes.into(), Some(Box::new(permit))).await
    }

    /// Notes that the peer fetches `artifact`.
    fn note_interest(&mut self, artifact: Cid) {
        if self.interests.len() < MAX_INTERESTS {
            self.shared.interest.add(artifact, self.peer);
            self.interests.push(artifact);
        }
    }

    /// Returns the content of an artifact, or the refusal to send to the peer.
    async fn content(&self, artifact: Cid) -> Result<Content, Refusal> {
        if let Some(content) = self.shared.catalog.open_content(&artifact) {
            return Ok(content);
        }
        self.look_up(move |catalog| catalog.content(&artifact)).await?.ok_or(Refusal::NotFound)
    }

    /// Queries the catalog on a blocking thread. If the store fails, returns [`Refusal::Missing`], which is the refusal
    /// for missing chunks.
    async fn look_up<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Catalog) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let catalog = self.shared.catalog.clone();
        match tokio::task::spawn_blocking(move || query(&catalog)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(Refusal::Missing),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for artifact in &self.interests {
            self.shared.interest.remove(artifact, &self.peer);
        }
        self.shared.uploader.stream_closed(self.key);
    }
}
