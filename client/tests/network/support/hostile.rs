//! A provider that keeps to the protocol until it plays its trick.

use std::sync::Arc;

use futures::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use phase_core::{ArtifactIndex, ChunkIndex, ChunkRange, ChunkSet, Cid, Store as _};
use phase_node::{Node, NodeHandle, PeerId};
use phase_protocol::wire::{self, Refusal, Reply, ReplyHeader, Request, RequestHeader, RequestId};
use tokio::sync::watch;

use super::world::{World, announce, start_node};

/// What a hostile provider does instead of what it should. About chunks if nothing else is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trick {
    /// Flips a bit of one chunk, once.
    FlipBit,
    /// Flips a bit of a chunk and closes the stream behind it.
    FlipBitAndClose,
    CloseMidChunk,
    StallAfterHeader,
    Refuse(Refusal),
    /// Announces a header of 4 GiB.
    OversizedHeader,
    /// Announces a payload beyond the cap.
    OversizedPayload,
    /// Sends a frame whose header is not DAG-CBOR.
    Malformed,
    /// Answers a request that was never made.
    UnknownRequest,
    /// Sends a chunk that exists and was not asked for.
    Unasked,
    /// Sends a chunk a second time.
    Twice,
    /// Says that it has more chunks than there are.
    WrongCount,
    /// Reports the same chunks as new again.
    RepeatedDelta,
    /// Sends other bytes than those of an index block.
    WrongBlock,
    /// Answers the name with a pointer and an envelope of its own.
    Head {
        pointer: Vec<u8>,
        envelope: Vec<u8>,
    },
    /// Answers the name with another kind of reply.
    HeadOfAnotherKind,
    /// Says once that it has nothing of the artifact, like a peer that has yet to begin.
    NotYet,
    /// Says once that it has none of the chunks yet, and then that it will tell no more.
    TellsNoMore,
    /// Ends the stream when asked about the name.
    CloseAtHead,
}

/// What to do after something was written.
enum Then {
    GoOn,
    Close,
    Hang,
}

/// A running hostile provider. Serves the first artifact of a release.
pub(crate) struct Hostile {
    pub(crate) peer: PeerId,
    struck: watch::Receiver<bool>,
    cut_off: watch::Receiver<bool>,
    node: Node,
}

impl Hostile {
    pub(crate) async fn start(world: &World, trick: Trick) -> Self {
        let node = start_node(world.bootstrap.clone()).await;
        let entry = &world.release.manifest.artifacts[0];
        let (told, struck) = watch::channel(false);
        let (ended, cut_off) = watch::channel(false);
        let actor = Arc::new(Actor {
            trick,
            pointer: world.release.pointer.encode(),
            envelope: world.release.envelope.encode(),
            cid: entry.cid,
            index: world.store.artifact(&entry.cid).unwrap().unwrap().index().clone(),
            blocks: world.store.clone(),
            bytes: world.files[entry.filename.as_str()].clone(),
            struck: told,
            cut_off: ended,
        });
        let mut incoming = node.handle().accept_streams().unwrap();
        tokio::spawn(async move {
            while let Some((_, stream)) = incoming.recv().await {
                tokio::spawn(actor.clone().serve(stream));
            }
        });
        announce(node.handle(), &world.release).await;
        Self { peer: node.handle().peer_id(), struck, cut_off, node }
    }

    pub(crate) fn handle(&self) -> &NodeHandle {
        self.node.handle()
    }

    /// Waits until the trick has been played.
    pub(crate) async fn struck(&self) {
        self.struck.clone().wait_for(|struck| *struck).await.unwrap();
    }

    /// Waits until the other side has ended the stream on which the trick was played.
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
    struck: watch::Sender<bool>,
    cut_off: watch::Sender<bool>,
}

impl Actor {
    async fn serve(self: Arc<Self>, stream: phase_node::Stream) {
        let (mut reader, mut writer) = stream.split();
        let (mut is_silent, mut was_here) = (false, false);
        while let Some(RequestHeader { id, body }) = read_request(&mut reader).await {
            if is_silent {
                continue;
            }
            let struck_before = *self.struck.borrow();
            let (frames, then) = self.answer(id, body);
            was_here |= !struck_before && *self.struck.borrow();
            let written = async {
                writer.write_all(&frames).await?;
                writer.flush().await
            };
            if written.await.is_err() {
                break;
            }
            match then {
                Then::GoOn => {}
                Then::Hang => is_silent = true,
                Then::Close => return,
            }
        }
        if was_here {
            self.cut_off.send_replace(true);
        }
    }

    fn answer(&self, id: RequestId, request: Request) -> (Vec<u8>, Then) {
        match request {
            Request::Head { .. } => self.answer_head(id),
            Request::Block { cid } => (self.answer_block(id, cid), Then::GoOn),
            Request::Have { artifact } if artifact == self.cid => (self.answer_have(id), Then::GoOn),
            Request::Chunks { artifact, ranges } if artifact == self.cid => self.answer_chunks(id, &ranges),
            Request::Peers { .. } => (frame(id, Reply::Peers { peers: Vec::new() }, &[]), Then::GoOn),
            Request::Cancel { .. } => (Vec::new(), Then::GoOn),
            Request::Have { .. } | Request::Chunks { .. } => {
                (frame(id, Reply::Refused(Refusal::NotFound), &[]), Then::GoOn)
            }
        }
    }

    fn answer_head(&self, id: RequestId) -> (Vec<u8>, Then) {
        let honest = (&self.pointer, &self.envelope);
        let (pointer, envelope) = match &self.trick {
            Trick::Head { pointer, envelope } => (pointer, envelope),
            Trick::HeadOfAnotherKind => return (frame(id, Reply::Block, &self.envelope), Then::GoOn),
            Trick::CloseAtHead => return (Vec::new(), Then::Close),
            _ => honest,
        };
        let head = Reply::Head { pointer_len: u32::try_from(pointer.len()).unwrap() };
        (frame(id, head, &[pointer.as_slice(), envelope].concat()), Then::GoOn)
    }

    fn answer_block(&self, id: RequestId, cid: Cid) -> Vec<u8> {
        let mut block = self.blocks.block(&cid).unwrap().unwrap();
        if self.trick == Trick::WrongBlock {
            block[0] ^= 1;
            self.struck.send_replace(true);
        }
        frame(id, Reply::Block, &block)
    }

    fn answer_have(&self, id: RequestId) -> Vec<u8> {
        let chunks = self.index.len();
        let done = frame(id, Reply::Done, &[]);
        match self.trick {
            Trick::WrongCount => {
                self.struck.send_replace(true);
                [frame(id, Reply::Have { chunks: chunks + 1, full: true }, &[]), done].concat()
            }
            Trick::RepeatedDelta => {
                self.struck.send_replace(true);
                let have = frame(id, Reply::Have { chunks, full: false }, &ChunkSet::new(chunks).to_bytes());
                let delta = frame(id, Reply::HaveDelta { ranges: vec![ChunkRange::new(0, chunks).unwrap()] }, &[]);
                [have, delta.clone(), delta].concat()
            }
            Trick::NotYet if !*self.struck.borrow() => {
                self.struck.send_replace(true);
                frame(id, Reply::Refused(Refusal::NotFound), &[])
            }
            Trick::TellsNoMore if !*self.struck.borrow() => {
                self.struck.send_replace(true);
                let none = ChunkSet::new(chunks).to_bytes();
                [frame(id, Reply::Have { chunks, full: false }, &none), done].concat()
            }
            _ => [frame(id, Reply::Have { chunks, full: true }, &[]), done].concat(),
        }
    }

    fn answer_chunks(&self, id: RequestId, ranges: &[ChunkRange]) -> (Vec<u8>, Then) {
        let asked: Vec<_> = ranges.iter().flat_map(|range| range.iter()).collect();
        let first = asked[0];
        let honest = asked.iter().flat_map(|chunk| self.chunk(id, *chunk)).chain(frame(id, Reply::Done, &[]));
        let (bytes, then) = match &self.trick {
            // One bit of one chunk in the whole run.
            Trick::FlipBit if !*self.struck.borrow() => {
                let (mut bytes, len) = (honest.collect::<Vec<_>>(), self.chunk(id, first).len());
                bytes[len - 1] ^= 0x10;
                (bytes, Then::GoOn)
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
            Trick::Refuse(refusal) => (frame(id, Reply::Refused(*refusal), &[]), Then::GoOn),
            Trick::OversizedHeader => (u32::MAX.to_be_bytes().to_vec(), Then::Hang),
            Trick::OversizedPayload => {
                let header = ReplyHeader {
                    id,
                    len: wire::MAX_PAYLOAD_LEN + 1,
                    body: Reply::Chunk { index: first, encoding: 0 },
                };
                (wire::encode_reply(&header).to_vec(), Then::Hang)
            }
            Trick::Malformed => (b"\0\0\0\x04junk".to_vec(), Then::GoOn),
            Trick::UnknownRequest => (frame(RequestId(id.0 + 1_000_000), Reply::Done, &[]), Then::GoOn),
            Trick::Unasked => {
                let other = (0..self.index.len()).map(ChunkIndex).find(|chunk| !asked.contains(chunk)).unwrap();
                (self.chunk(id, other), Then::GoOn)
            }
            Trick::Twice => ([self.chunk(id, first), self.chunk(id, first)].concat(), Then::GoOn),
            _ => return (honest.collect(), Then::GoOn),
        };
        self.struck.send_replace(true);
        (bytes, then)
    }

    /// A chunk as it should be sent.
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
