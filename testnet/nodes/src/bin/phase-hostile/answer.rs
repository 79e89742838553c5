//! Answers the requests on one stream. Requests about releases get honest answers, chunk requests get harmful ones.

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
use phase_scenario::HostileKind;
use phase_transfer::catalog::{Catalog, Content};

/// The number of bytes that [`HostileKind::Drip`] sends at a time. With [`DRIP_INTERVAL`] the rate is too low to be
/// useful.
const DRIP_LEN: usize = 64;
/// The time between two parts of a chunk from [`HostileKind::Drip`]. It is short, so that the request never counts as
/// stalled.
const DRIP_INTERVAL: Duration = Duration::from_millis(250);
/// The number of bytes that [`HostileKind::Oversize`] writes at a time, after a header that announces too many bytes.
const FLOOD: usize = 64 << 10;
/// A header length that the protocol does not permit.
const FORBIDDEN_HEADER_LEN: u32 = u32::MAX;

/// An error that ends a stream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("cannot read a request")]
    Wire(#[from] WireError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Answers the requests of one stream.
pub(crate) struct Answerer {
    harm: HostileKind,
    catalog: Arc<Catalog>,
    /// The number of harmful answers on all streams so far. Counts chunks for `corrupt` and `drip`, and requests for
    /// the other kinds.
    harmful_answers: Arc<AtomicU64>,
}

impl Answerer {
    pub(crate) fn new(harm: HostileKind, catalog: Arc<Catalog>, harmful_answers: Arc<AtomicU64>) -> Self {
        Self { harm, catalog, harmful_answers }
    }

    /// Answers requests until the peer closes the stream or an operation fails.
    pub(crate) async fn run(self, stream: Stream) -> Result<(), StreamError> {
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
                // A node that stalls does not confirm the cancellation.
                Request::Cancel { .. } if self.harm == HostileKind::Stall => {}
                Request::Cancel { request } => reply(&mut writer, request, Reply::Done, &[]).await?,
            }
        }
    }

    async fn head(&self, writer: &mut WriteHalf<Stream>, id: RequestId, name: &Name) -> Result<(), StreamError> {
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
    ) -> Result<(), StreamError> {
        let Some(content) = self.catalog.content(artifact)? else {
            return refuse(writer, id, Refusal::NotFound).await;
        };
        let chunks = ranges.iter().flat_map(|range| range.start..range.end).map(ChunkIndex);
        match self.harm {
            HostileKind::Stall => self.count_harm(),
            HostileKind::Lie => {
                self.count_harm();
                refuse(writer, id, Refusal::Missing).await?;
            }
            HostileKind::Oversize => {
                self.count_harm();
                oversize(writer, id, self.harmful_answers.load(Ordering::Relaxed)).await?;
            }
            HostileKind::Corrupt | HostileKind::Drip => {
                for chunk in chunks {
                    let Some(bytes) = read(&content, chunk)? else { continue };
                    self.count_harm();
                    match self.harm {
                        HostileKind::Corrupt => corrupt(writer, id, chunk, bytes).await?,
                        _ => drip(writer, id, chunk, &bytes).await?,
                    }
                }
                reply(writer, id, Reply::Done, &[]).await?;
            }
        }
        Ok(())
    }

    fn count_harm(&self) {
        self.harmful_answers.fetch_add(1, Ordering::Relaxed);
    }
}

/// Returns the true bytes of a chunk. `None` if the artifact is partial or has no such chunk.
fn read(content: &Content, chunk: ChunkIndex) -> Result<Option<Vec<u8>>, StreamError> {
    let Content::Whole(artifact) = content else { return Ok(None) };
    let run = ChunkRange { start: chunk.0, end: chunk.0.saturating_add(1) };
    let Some(place) = artifact.index().byte_range(run) else { return Ok(None) };
    let mut bytes = vec![0; place.len() as usize];
    artifact.read_at(place.start, &mut bytes)?;
    Ok(Some(bytes))
}

/// Sends a chunk with one bit changed.
async fn corrupt(
    writer: &mut WriteHalf<Stream>,
    id: RequestId,
    index: ChunkIndex,
    mut bytes: Vec<u8>,
) -> Result<(), StreamError> {
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    reply(writer, id, Reply::Chunk { index, encoding: 0 }, &bytes).await
}

/// Sends a chunk at 256 bytes per second, which is too slow for any client.
async fn drip(
    writer: &mut WriteHalf<Stream>,
    id: RequestId,
    index: ChunkIndex,
    bytes: &[u8],
) -> Result<(), StreamError> {
    let header = ReplyHeader { id, len: bytes.len() as u32, body: Reply::Chunk { index, encoding: 0 } };
    write(writer, &wire::encode_reply(&header)).await?;
    for drop in bytes.chunks(DRIP_LEN) {
        write(writer, drop).await?;
        tokio::time::sleep(DRIP_INTERVAL).await;
    }
    Ok(())
}

/// Sends a header that breaks a limit. If `turn` is even, the header itself is too long. If `turn` is odd, the header
/// announces a payload that is too long. Then writes bytes until the peer closes the stream.
async fn oversize(writer: &mut WriteHalf<Stream>, id: RequestId, turn: u64) -> Result<(), StreamError> {
    if turn.is_multiple_of(2) {
        write(writer, &FORBIDDEN_HEADER_LEN.to_be_bytes()).await?;
    } else {
        let body = Reply::Chunk { index: ChunkIndex(0), encoding: 0 };
        write(writer, &wire::encode_reply(&ReplyHeader { id, len: MAX_PAYLOAD_LEN + 1, body })).await?;
    }
    loop {
        write(writer, &[0x5a; FLOOD]).await?;
    }
}

async fn reply(writer: &mut WriteHalf<Stream>, id: RequestId, body: Reply, payload: &[u8]) -> Result<(), StreamError> {
    let header = wire::encode_reply(&ReplyHeader { id, len: payload.len() as u32, body });
    writer.write_all(&header).await?;
    write(writer, payload).await
}

async fn refuse(writer: &mut WriteHalf<Stream>, id: RequestId, refusal: Refusal) -> Result<(), StreamError> {
    reply(writer, id, Reply::Refused(refusal), &[]).await
}

async fn write(writer: &mut WriteHalf<Stream>, bytes: &[u8]) -> Result<(), StreamError> {
    writer.write_all(bytes).await?;
    Ok(writer.flush().await?)
}

async fn read_request(reader: &mut ReadHalf<Stream>) -> Result<RequestHeader, StreamError> {
    let mut prefix = [0; 4];
    reader.read_exact(&mut prefix).await?;
    let mut header = vec![0; wire::header_len(prefix)?];
    reader.read_exact(&mut header).await?;
    Ok(wire::decode_request(&header)?)
}
