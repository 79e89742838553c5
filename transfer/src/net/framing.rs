//! Reads and writes wire frames on a libp2p stream. Every length is checked by [`wire`](crate::wire) before it is
//! allocated.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::StreamProtocol;
use tokio::sync::mpsc;

use super::buffers::{Buffer, Buffers};
use crate::wire::{self, ReplyHeader, RequestHeader, WireError};

/// The transfer protocol.
pub(super) const PROTOCOL: StreamProtocol = StreamProtocol::new("/phase/transfer/1.0.0");

/// How long a peer may take nothing in of a frame: what waits behind it is held in memory. At a MiB per frame this
/// permits 35 KiB/s.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// The most bytes that are written before a flush: as many as a frame may have.
const MAX_UNFLUSHED: usize = 1 << 20;

/// Why reading a frame failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The stream failed, or ended within a frame.
    #[error("stream failed")]
    Io(#[from] io::Error),
    /// The peer does not keep to the protocol.
    #[error("protocol violated")]
    Wire(#[from] WireError),
}

/// The next request; `None` at a clean end.
pub(super) async fn read_request<R: AsyncRead + Unpin>(reader: &mut R) -> Result<Option<RequestHeader>, FrameError> {
    let Some(header) = read_header(reader).await? else { return Ok(None) };
    Ok(Some(wire::decode_request(&header)?))
}

/// The next reply and its payload, in one of `buffers`; `None` at a clean end.
pub(super) async fn read_reply<R: AsyncRead + Unpin>(
    reader: &mut R,
    buffers: &Buffers,
) -> Result<Option<(ReplyHeader, Buffer)>, FrameError> {
    let Some(header) = read_header(reader).await? else { return Ok(None) };
    let header = wire::decode_reply(&header)?;
    let mut payload = buffers.take(header.len as usize);
    reader.read_exact(&mut payload).await?;
    Ok(Some((header, payload)))
}

async fn read_header<R: AsyncRead + Unpin>(reader: &mut R) -> Result<Option<Vec<u8>>, FrameError> {
    let mut prefix = [0; 4];
    let read = reader.read(&mut prefix).await?;
    if read == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut prefix[read..]).await?;
    let mut header = vec![0; wire::header_len(prefix)?];
    reader.read_exact(&mut header).await?;
    Ok(Some(header))
}

/// A frame to be written, and something to drop once it has been.
pub(super) struct OutFrame<G = ()> {
    pub(super) header: Bytes,
    pub(super) payload: Bytes,
    /// Dropped when the frame has left this process, or never will.
    pub(super) guard: G,
}

/// Writes what arrives in `frames` until the channel closes, the stream fails, or the peer takes in nothing for
/// [`WRITE_TIMEOUT`]. Flushes when there is nothing more to write, at the latest after [`MAX_UNFLUSHED`] bytes.
pub(super) async fn write_frames<W: AsyncWrite + Unpin, G>(
    mut writer: W,
    mut frames: mpsc::Receiver<OutFrame<G>>,
) -> io::Result<()> {
    // Guards of what has been written and not been flushed, and how many bytes that is.
    let (mut guards, mut unflushed) = (Vec::new(), 0);
    loop {
        let frame = tokio::select! {
            biased;
            frame = frames.recv(), if unflushed < MAX_UNFLUSHED => frame,
            flushed = in_time(writer.flush()), if !guards.is_empty() => {
                flushed?;
                guards.clear();
                unflushed = 0;
                continue;
            }
        };
        let Some(OutFrame { header, payload, guard }) = frame else { break };
        in_time(writer.write_all(&header)).await?;
        in_time(writer.write_all(&payload)).await?;
        guards.push(guard);
        unflushed += header.len() + payload.len();
    }
    in_time(writer.close()).await
}

async fn in_time(write: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    tokio::time::timeout(WRITE_TIMEOUT, write).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
