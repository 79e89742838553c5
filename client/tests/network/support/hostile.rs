//! A hostile provider, which behaves like an honest provider until it uses its [`Trick`].

use std::sync::Arc;

use futures::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use phase_core::{ArtifactIndex, ChunkIndex, ChunkRange, ChunkSet, Cid, Store as _};
use phase_node::{Node, NodeHandle, PeerId};
use phase_protocol::wire::{self, Refusal, Reply, ReplyHeader, Request, RequestHeader, RequestId};
use tokio::sync::watch;

use super::world::{World, announce, start_node};

/// What a hostile provider does differently from an honest provider. It uses its trick when chunks are requested,
/// unless the name or doc of the trick says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trick {
    /// Flips a bit of the first requested chunk, and sends all later chunks correctly.
    FlipBit,
    /// Flips a bit of a chunk and closes the stream after the chunk.
    FlipBitAndClose,
    /// Closes the stream in the middle of a chunk.
    CloseMidChunk,
    /// Sends the header of a chunk, and then no bytes.
    StallAfterHeader,
    /// Refuses every request for chunks.
    Refuse(Refusal),
    /// Sends the length prefix of a header of 4 GiB.
    OversizedHeader,
    /// Sends a header whose payload length is one byte more than permitted.
    OversizedPayload,
    /// Sends a frame whose header is not DAG-CBOR.
    Malformed,
    /// Sends a reply with the id of a request that was never sent.
    UnknownRequest,
    /// Sends a chunk of the artifact that was not requested.
    UnrequestedChunk,
    /// Sends the same chunk twice.
    RepeatedChunk,
    /// Sends a `Have` reply with one chunk more than the artifact has.
    WrongCount,
    /// Sends the same have update twice.
    RepeatedHaveUpdate,
    /// Sends an index block with a flipped bit.
    WrongBlock,
    /// Answers a request for the release of a name with this pointer and envelope.
    Head { pointer: Vec<u8>, envelope: Vec<u8> },
    /// Answers a request for the release of a name with a reply of another kind.
    HeadOfAnotherKind,
    /// Replies once that it does not have the artifact, like a peer that has not begun to fetch it.
    LacksArtifactOnce,
    /// Sends one `Have` reply without any chunk, and ends its have updates. Answers later `Have` requests correctly.
    EndsHaveUpdatesOnce,
    /// Closes the stream after a request for the release of a name.
    CloseAtHead,
    /// Has of each group of equal chunks only the last one, and no chunk of zeros. Announces these chunks, and refuses
    /// requests for others. An honest provider never does so, but breaks no rule of the protocol.
    OnlyLastOfEqualChunks,
}

/// The action of the hostile provider after it has written an answer.
enum Then {
    Continue,
    Close,
    Hang,
}

/// A running hostile provider. It serves the first artifact of a release.
pub(crate) struct Hostile {
    pub(crate) peer: PeerId,
    played: watch::Receiver<bool>,
    cut_off: watch::Receiver<bool>,
    node: Node,
}

impl Hostile {
    pub(crate) async fn start(world: &World, trick: Trick) -> Self {
        let node = start_node(world.bootstrap.clone()).await;
        let entry = &world.release.manifest.artifacts[0];
        let (played_sender, played) = watch::channel(false);
        let (cut_off_sender, cut_off) = watch::channel(false);
        let actor = Arc::new(Actor {
            trick,
            pointer: world.release.pointer.encode(),
            envelope: world.release.envelope.encode(),
            cid: entry.cid,
            index: world.store.artifact(&entry.cid).unwrap().unwrap().index().clone(),
            blocks: world.store.clone(),
            bytes: world.files[entry.filename.as_str()].clone(),
            played: played_sender,
            cut_off: cut_off_sender,
        });
        let mut incoming = node.handle().accept_streams().unwrap();
        tokio::spawn(async move {
            while let Some((_, stream)) = incoming.recv().await {
                tokio::spawn(actor.clone().serve(stream));
            }
        });
        announce(node.handle(), &world.release).await;
        Self { peer: node.handle().peer_id(), played, cut_off, node }
    }

    pub(crate) fn handle(&self) -> &NodeHandle {
        self.node.handle()
    }

    /// Waits until the provider has used its trick.
    pub(crate) async fn played(&self) {
        self.played.clone().wait_for(|played| *played).await.unwrap();
    }

    /// Waits until the client has ended the stream on which the provider used its trick.
    pub(crate) async fn cut_off(&self) {
        self.cut_off.clone().wait_for(|cut_off| *cut_off).await.unwrap();
    }
}

struct Actor {
    trick: Trick,
    pointer: Vec<u8>,
    envelope: Vec<u8>,
    cid: Cid,
    index: Arc<ArtifactIndex>,
    blocks: Arc<phase_core::FileStore>,
    bytes: Vec<u8>,
    played: watch::Sender<bool>,
    cut_off: watch::Sender<bool>,
}

impl Actor {
    async fn serve(self: Arc<Self>, stream: phase_node::Stream) {
        let (mut reader, mut writer) = stream.split();
        let (mut is_silent, mut played_here) = (false, false);
        while let Some(RequestHeader { id, body }) = read_request(&mut reader).await {
            if is_silent {
                continue;
            }
            let played_before = *self.played.borrow();
            let (frames, then) = self.answer(id, body);
            played_here |= !played_before && *self.played.borrow();
            let written = async {
                writer.write_all(&frames).await?;
                writer.flush().await
            };
            if written.await.is_err() {
                break;
            }
            match then {
                Then::Continue => {}
                Then::Hang => is_silent = true,
                Then::Close => return,
            }
        }
        if played_here {
            self.cut_off.send_replace(true);
        }
    }

    fn answer(&self, id: RequestId, request: Request) -> (Vec<u8>, Then) {
        match request {
            Request::Head { .. } => self.answer_head(id),
            Request::Block { cid } => (self.answer_block(id, cid), Then::Continue),
            Request::Have { artifact } if artifact == self.cid => (self.answer_have(id), Then::Continue),
            Request::Chunks { artifact, ranges } if artifact == self.cid => self.answer_chunks(id, &ranges),
            Request::Peers { .. } => (frame(id, Reply::Peers { peers: Vec::new() }, &[]), Then::Continue),
            Request::Cancel { .. } => (Vec::new(), Then::Continue),
            Request::Have { .. } | Request::Chunks { .. } => {
                (frame(id, Reply::Refused(Refusal::NotFound), &[]), Then::Continue)
            }
        }
    }

    fn answer_head(&self, id: RequestId) -> (Vec<u8>, Then) {
        let honest = (&self.pointer, &self.envelope);
        let (pointer, envelope) = match &self.trick {
            Trick::Head { pointer, envelope } => (pointer, envelope),
            Trick::HeadOfAnotherKind => return (frame(id, Reply::Block, &self.envelope), Then::Continue),
            Trick::CloseAtHead => return (Vec::new(), Then::Close),
            _ => honest,
        };
        let head = Reply::Head { pointer_len: u32::try_from(pointer.len()).unwrap() };
        (frame(id, head, &[pointer.as_slice(), envelope].concat()), Then::Continue)
    }

    fn answer_block(&self, id: RequestId, cid: Cid) -> Vec<u8> {
        let mut block = self.blocks.block(&cid).unwrap().unwrap();
        if self.trick == Trick::WrongBlock {
            block[0] ^= 1;
            self.played.send_replace(true);
        }
        frame(id, Reply::Block, &block)
    }

    fn answer_have(&self, id: RequestId) -> Vec<u8> {
        let chunks = self.index.len();
        let done = frame(id, Reply::Done, &[]);
        match self.trick {
            Trick::WrongCount => {
                self.played.send_replace(true);
                [frame(id, Reply::Have { chunks: chunks + 1, full: true }, &[]), done].concat()
            }
            Trick::RepeatedHaveUpdate => {
                self.played.send_replace(true);
                let have = frame(id, Reply::Have { chunks, full: false }, &ChunkSet::new(chunks).to_bytes());
                let delta = frame(id, Reply::HaveDelta { ranges: vec![ChunkRange::new(0, chunks).unwrap()] }, &[]);
                [have, delta.clone(), delta].concat()
            }
            Trick::LacksArtifactOnce if !*self.played.borrow() => {
                self.played.send_replace(true);
                frame(id, Reply::Refused(Refusal::NotFound), &[])
            }
            Trick::EndsHaveUpdatesOnce if !*self.played.borrow() => {
                self.played.send_replace(true);
                let none = ChunkSet::new(chunks).to_bytes();
                [frame(id, Reply::Have { chunks, full: false }, &none), done].concat()
            }
            Trick::OnlyLastOfEqualChunks => {
                let mut set = ChunkSet::new(chunks);
                (0..chunks).map(ChunkIndex).filter(|chunk| self.is_last_of_equal(*chunk)).for_each(|chunk| {
                    set.insert(chunk);
                });
                frame(id, Reply::Have { chunks, full: false }, &set.to_bytes())
            }
            _ => [frame(id, Reply::Have { chunks, full: true }, &[]), done].concat(),
        }
    }

    fn is_last_of_equal(&self, chunk: ChunkIndex) -> bool {
        let repeats = self.index.repeats();
        !repeats.is_zeros(chunk) && repeats.equal(chunk).last() == Some(chunk)
    }

    fn answer_chunks(&self, id: RequestId, ranges: &[ChunkRange]) -> (Vec<u8>, Then) {
        let asked: Vec<_> = ranges.iter().flat_map(|range| range.iter()).collect();
        let first = asked[0];
        let honest = asked.iter().flat_map(|chunk| self.chunk(id, *chunk)).chain(frame(id, Reply::Done, &[]));
        let (bytes, then) = match &self.trick {
            // Flip only one bit in the whole test, so that the provider sends only one wrong chunk.
            Trick::FlipBit if !*self.played.borrow() => {
                let (mut bytes, len) = (honest.collect::<Vec<_>>(), self.chunk(id, first).len());
                bytes[len - 1] ^= 0x10;
                (bytes, Then::Continue)
            }
            Trick::FlipBitAndClose => {
                let mut bytes = self.chunk(id, first);
                *bytes.last_mut().unwrap() ^= 0x10;
                (bytes, Then::Close)
            }
            Trick::CloseMidChunk => {
                let chunk = self.chunk(id, first);
                (chunk[..chunk.len() / 2].to_vec(), Then::Close)
            }
            Trick::StallAfterHeader => {
                let (chunk, len) = (self.chunk(id, first), self.index.chunk(first).unwrap().len as usize);
                (chunk[..chunk.len() - len].to_vec(), Then::Hang)
            }
            Trick::OnlyLastOfEqualChunks if asked.iter().all(|chunk| self.is_last_of_equal(*chunk)) => {
                (honest.collect(), Then::Continue)
            }
            Trick::OnlyLastOfEqualChunks => (frame(id, Reply::Refused(Refusal::Missing), &[]), Then::Continue),
            Trick::Refuse(refusal) => (frame(id, Reply::Refused(*refusal), &[]), Then::Continue),
            Trick::OversizedHeader => (u32::MAX.to_be_bytes().to_vec(), Then::Hang),
            Trick::OversizedPayload => {
                let header = ReplyHeader {
                    id,
                    len: wire::MAX_PAYLOAD_LEN + 1,
                    body: Reply::Chunk { index: first, encoding: 0 },
                };
                (wire::encode_reply(&header).to_vec(), Then::Hang)
            }
            Trick::Malformed => (b"\0\0\0\x04junk".to_vec(), Then::Continue),
            Trick::UnknownRequest => (frame(RequestId(id.0 + 1_000_000), Reply::Done, &[]), Then::Continue),
            Trick::UnrequestedChunk => {
                let other = (0..self.index.len()).map(ChunkIndex).find(|chunk| !asked.contains(chunk)).unwrap();
                (self.chunk(id, other), Then::Continue)
            }
            Trick::RepeatedChunk => ([self.chunk(id, first), self.chunk(id, first)].concat(), Then::Continue),
            _ => return (honest.collect(), Then::Continue),
        };
        self.played.send_replace(true);
        (bytes, then)
    }

    /// Returns the correct frame with a chunk.
    fn chunk(&self, id: RequestId, index: ChunkIndex) -> Vec<u8> {
        let chunk = self.index.chunk(index).unwrap();
        let start = usize::try_from(chunk.offset).unwrap();
        frame(id, Reply::Chunk { index, encoding: 0 }, &self.bytes[start..start + chunk.len as usize])
    }
}

fn frame(id: RequestId, body: Reply, payload: &[u8]) -> Vec<u8> {
    let header = ReplyHeader { id, len: u32::try_from(payload.len()).unwrap(), body };
    [&wire::encode_reply(&header), payload].concat()
}

async fn read_request(reader: &mut (impl AsyncRead + Unpin)) -> Option<RequestHeader> {
    let mut prefix = [0; 4];
    reader.read_exact(&mut prefix).await.ok()?;
    let mut header = vec![0; wire::header_len(prefix).unwrap()];
    reader.read_exact(&mut header).await.ok()?;
    Some(wire::decode_request(&header).unwrap())
}
