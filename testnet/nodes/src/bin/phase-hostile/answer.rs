//! What it answers on one stream: the truth about releases, and harm where chunks are asked for.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::io::{ReadHalf, WriteHalf};
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use phase_core::store::StoreError;
use phase_core::{ChunkIndex, ChunkRange, Cid, Name};
use phase_node::Stream;
use phase_protocol::wire::{
    self, MAX_PAYLOAD_LEN, Refusal, Reply, ReplyHeader, Request, RequestHeader, RequestId, WireError,
};
use phase_scenario::Harm;
use phase_transfer::catalog::{Catalog, Content};

/// What drips at a time, and how often: enough that something always comes, too little to be of use.
const DROP: usize = 64;
const DRIP_INTERVAL: Duration = Duration::from_millis(250);
/// What follows a header that announces too much.
const FLOOD: usize = 64 << 10;
/// A length that no header may have.
const UNREADABLE: u32 = u32::MAX;

/// Why a stream has ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error(transparent)]
    Gone(#[from] io::Error),
    #[error("a request cannot be read")]
    Wire(#[from] WireError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Answers one stream.
pub(crate) struct Answerer {
    harm: Harm,
    catalog: Arc<Catalog>,
    /// Chunks that were asked for and spoilt, on all streams.
    deeds: Arc<AtomicU64>,
}

impl Answerer {
    pub(crate) fn new(harm: Harm, catalog: Arc<Catalog>, deeds: Arc<AtomicU64>) -> Self {
        Self { harm, catalog, deeds }
    }

    /// Until the other side has enough of it.
    pub(crate) async fn run(self, stream: Stream) -> Result<(), Broken> {
        let (mut reader, mut writer) = stream.split();
        loop {
            let RequestHeader { id, body } = read_request(&mut reader).await?;
            match body {
                Request::Head { name } => self.head(&mut writer, id, &name).await?,
                Request::Block { cid } => match self.catalog.block(&cid)? {
                    Some(block) => reply(&mut writer, id, Reply::Block, &block).await?,
                    None => refuse(&mut writer, id, Refusal::NotFound).await?,
                },
                Request::Have { artifact } => match self.catalog.content(&artifact)? {
                    Some(content) => {
                        let chunks = content.index().len();
                        reply(&mut writer, id, Reply::Have { chunks, full: true }, &[]).await?;
                    }
                    None => refuse(&mut writer, id, Refusal::NotFound).await?,
                },
                Request::Peers { .. } => reply(&mut writer, id, Reply::Peers { peers: Vec::new() }, &[]).await?,
                Request::Chunks { artifact, ranges } => self.harm(&mut writer, id, &artifact, &ranges).await?,
                // Whoever stalls does not even say that a request has ended.
                Request::Cancel { .. } if self.harm == Harm::Stall => {}
                Request::Cancel { request } => reply(&mut writer, request, Reply::Done, &[]).await?,
            }
        }
    }

    async fn head(&self, writer: &mut WriteHalf<Stream>, id: RequestId, name: &Name) -> Result<(), Broken> {
        let Some((pointer, manifest)) = self.catalog.head(name)? else {
            return refuse(writer, id, Refusal::NotFound).await;
        };
        let pointer = pointer.encode();
        let body = Reply::Head { pointer_len: pointer.len() as u32 };
        reply(writer, id, body, &[pointer, manifest].concat()).await
    }

    async fn harm(
        &self,
        writer: &mut WriteHalf<Stream>,
        id: RequestId,
        artifact: &Cid,
        ranges: &[ChunkRange],
    ) -> Result<(), Broken> {
        let Some(content) = self.catalog.content(artifact)? else {
            return refuse(writer, id, Refusal::NotFound).await;
        };
        let chunks = ranges.iter().flat_map(|range| range.start..range.end).map(ChunkIndex);
        match self.harm {
            Harm::Stall => self.note(),
            Harm::Lie => {
                self.note();
                refuse(writer, id, Refusal::Missing).await?;
            }
            Harm::Oversize => {
                self.note();
                oversize(writer, id, self.deeds.load(Ordering::Relaxed)).await?;
            }
            Harm::Corrupt | Harm::Drip => {
                for chunk in chunks {
                    let Some(bytes) = read(&content, chunk)? else { continue };
                    self.note();
                    match self.harm {
                        Harm::Corrupt => corrupt(writer, id, chunk, bytes).await?,
                        _ => drip(writer, id, chunk, &bytes).await?,
                    }
                }
                reply(writer, id, Reply::Done, &[]).await?;
            }
        }
        Ok(())
    }

    fn note(&self) {
        self.deeds.fetch_add(1, Ordering::Relaxed);
    }
}

/// The bytes of a chunk, as they are. `None` if there is no such chunk.
fn read(content: &Content, chunk: ChunkIndex) -> Result<Option<Vec<u8>>, Broken> {
    let Content::Whole(artifact) = content else { return Ok(None) };
    let run = ChunkRange { start: chunk.0, end: chunk.0.saturating_add(1) };
    let Some(place) = artifact.index().byte_range(run) else { return Ok(None) };
    let mut bytes = vec![0; place.len() as usize];
    artifact.read_at(place.start, &mut bytes)?;
    Ok(Some(bytes))
}

/// The chunk with one bit changed.
async fn corrupt(
    writer: &mut WriteHalf<Stream>,
    id: RequestId,
    index: ChunkIndex,
    mut bytes: Vec<u8>,
) -> Result<(), Broken> {
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    reply(writer, id, Reply::Chunk { index, encoding: 0 }, &bytes).await
}

/// The chunk, so slowly that nobody can wait for it.
async fn drip(writer: &mut WriteHalf<Stream>, id: RequestId, index: ChunkIndex, bytes: &[u8]) -> Result<(), Broken> {
    let header = ReplyHeader { id, len: bytes.len() as u32, body: Reply::Chunk { index, encoding: 0 } };
    write(writer, &wire::encode_reply(&header)).await?;
    for drop in bytes.chunks(DROP) {
        write(writer, drop).await?;
        tokio::time::sleep(DRIP_INTERVAL).await;
    }
    Ok(())
}

/// A header that announces a payload, or in turns a header, of more than is permitted, and bytes without end.
async fn oversize(writer: &mut WriteHalf<Stream>, id: RequestId, turn: u64) -> Result<(), Broken> {
    if turn.is_multiple_of(2) {
        write(writer, &UNREADABLE.to_be_bytes()).await?;
    } else {
        let body = Reply::Chunk { index: ChunkIndex(0), encoding: 0 };
        write(writer, &wire::encode_reply(&ReplyHeader { id, len: MAX_PAYLOAD_LEN + 1, body })).await?;
    }
    loop {
        write(writer, &[0x5a; FLOOD]).await?;
    }
}

async fn reply(writer: &mut WriteHalf<Stream>, id: RequestId, body: Reply, payload: &[u8]) -> Result<(), Broken> {
    let header = wire::encode_reply(&ReplyHeader { id, len: payload.len() as u32, body });
    writer.write_all(&header).await?;
    write(writer, payload).await
}

async fn refuse(writer: &mut WriteHalf<Stream>, id: RequestId, refusal: Refusal) -> Result<(), Broken> {
    reply(writer, id, Reply::Refused(refusal), &[]).await
}

async fn write(writer: &mut WriteHalf<Stream>, bytes: &[u8]) -> Result<(), Broken> {
    writer.write_all(bytes).await?;
    Ok(writer.flush().await?)
}

async fn read_request(reader: &mut ReadHalf<Stream>) -> Result<RequestHeader, Broken> {
    let mut prefix = [0; 4];
    reader.read_exact(&mut prefix).await?;
    let mut header = vec![0; wire::header_len(prefix)?];
    reader.read_exact(&mut header).await?;
    Ok(wire::decode_request(&header)?)
}
