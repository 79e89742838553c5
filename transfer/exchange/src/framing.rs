//! Reads and writes wire frames on a libp2p stream. Every length is checked by [`wire`](phase_protocol::wire) before
//! memory is allocated for it.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use phase_protocol::wire::{self, ReplyHeader, RequestHeader, WireError};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::buffers::{Buffer, Buffers};

/// The time limits for writing to a stream.
#[derive(Clone, Copy)]
struct WriteTimeouts {
    /// The longest time that one write of [`WRITE_SIZE`] bytes may take. It is limited because all frames that wait for
    /// this write stay in memory.
    write: Duration,
    /// The longest time that one flush may take. A flush ends when the written bytes have left this process. It may
    /// take longer than a write, because many peers may share a slow uplink. For instance, the connections of sixty
    /// peers may each buffer half a MiB.
    flush: Duration,
}

const WRITE_TIMEOUTS: WriteTimeouts = WriteTimeouts { write: Duration::from_secs(30), flush: Duration::from_secs(300) };

/// Frames are written in parts of this many bytes. With a write timeout of 30 s, a peer must receive at least 2 KiB/s.
const WRITE_SIZE: usize = 64 << 10;

/// Up to this many bytes of queued frames are written before one flush. To flush several frames together costs less
/// processor time, because each flush wakes a task.
const FLUSH_BATCH: usize = 256 << 10;

/// The limit on bytes that have been written and not yet flushed. At this limit, no further frame is written.
const MAX_UNFLUSHED: usize = 1 << 20;

/// An error from reading a frame.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The stream failed, or ended within a frame.
    #[error("stream failed")]
    Io(#[from] io::Error),
    /// The peer sent a frame that breaks the protocol.
    #[error("protocol violated")]
    Wire(#[from] WireError),
}

/// Reads the next request. Returns `None` if the stream ended between two frames.
pub(super) async fn read_request<R: AsyncRead + Unpin>(reader: &mut R) -> Result<Option<RequestHeader>, FrameError> {
    let Some(header) = read_header(reader).await? else { return Ok(None) };
    Ok(Some(wire::decode_request(&header)?))
}

/// Reads the next reply, and its payload into a buffer from `buffers`. Returns `None` if the stream ended between two
/// frames.
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

/// A frame to be written, with a guard that is dropped afterwards.
pub(super) struct OutFrame<G = ()> {
    pub(super) header: Bytes,
    pub(super) payload: Bytes,
    /// A value that is dropped when the frame has left this process or its stream has ended.
    pub(super) guard: G,
}

/// Writes the frames from a channel until the channel closes, the stream fails, or one of the [`WRITE_TIMEOUTS`]
/// expires. Writing continues during a flush, until [`MAX_UNFLUSHED`] bytes are not flushed.
pub(super) async fn write_frames<W: AsyncWrite + Unpin, G>(
    writer: W,
    frames: mpsc::Receiver<OutFrame<G>>,
) -> io::Result<()> {
    write_within(WRITE_TIMEOUTS, writer, frames).await
}

/// Frames that have been written and not yet flushed.
struct Unflushed<G> {
    guards: Vec<G>,
    bytes: usize,
}

impl<G> Default for Unflushed<G> {
    fn default() -> Self {
        Self { guards: Vec::new(), bytes: 0 }
    }
}

impl<G> Unflushed<G> {
    async fn write<W: AsyncWrite + Unpin>(
        &mut self,
        timeouts: WriteTimeouts,
        writer: &mut W,
        frame: OutFrame<G>,
    ) -> io::Result<()> {
        let OutFrame { header, payload, guard } = frame;
        for part in header.chunks(WRITE_SIZE).chain(payload.chunks(WRITE_SIZE)) {
            within(timeouts.write, writer.write_all(part)).await?;
        }
        self.bytes += header.len() + payload.len();
        self.guards.push(guard);
        Ok(())
    }
}

async fn write_within<W: AsyncWrite + Unpin, G>(
    timeouts: WriteTimeouts,
    mut writer: W,
    mut frames: mpsc::Receiver<OutFrame<G>>,
) -> io::Result<()> {
    // The flush in progress covers the frames in `flushing`. The frames in `later` were written after that flush began.
    let (mut flushing, mut later) = (Unflushed::default(), Unflushed::default());
    let flush_timeout = tokio::time::sleep(timeouts.flush);
    tokio::pin!(flush_timeout);
    loop {
        if flushing.bytes == 0 {
            while later.bytes < FLUSH_BATCH
                && let Ok(frame) = frames.try_recv()
            {
                later.write(timeouts, &mut writer, frame).await?;
            }
            flushing = std::mem::take(&mut later);
            flush_timeout.as_mut().reset(Instant::now() + timeouts.flush);
        }
        let frame = tokio::select! {
            biased;
            flushed = writer.flush(), if flushing.bytes > 0 => {
                flushed?;
                flushing = Unflushed::default();
                continue;
            }
            frame = frames.recv(), if flushing.bytes + later.bytes < MAX_UNFLUSHED => frame,
            () = &mut flush_timeout, if flushing.bytes > 0 => return Err(io::ErrorKind::TimedOut.into()),
        };
        let Some(frame) = frame else { break };
        later.write(timeouts, &mut writer, frame).await?;
    }
    within(timeouts.write, writer.close()).await
}

async fn within(time: Duration, write: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    tokio::time::timeout(time, write).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::time::Sleep;

    use super::*;

    const SHORT: WriteTimeouts = WriteTimeouts { write: Duration::from_secs(1), flush: Duration::from_secs(1) };

    /// A writer that blocks for `pause` after each write. Its flush never completes.
    struct Slow {
        pause: Duration,
        until: Pin<Box<Sleep>>,
    }

    impl Slow {
        fn new(pause: Duration) -> Self {
            Self { pause, until: Box::pin(tokio::time::sleep(Duration::ZERO)) }
        }
    }

    impl AsyncWrite for Slow {
        fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
            std::task::ready!(self.until.as_mut().poll(context));
            let next = Instant::now() + self.pause;
            self.until.as_mut().reset(next);
            Poll::Ready(Ok(from.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Writes `count` frames with `payload` bytes each, and waits for `pause` after each frame.
    async fn write(writer: Slow, payload: usize, pause: Duration, count: usize) -> io::Result<()> {
        let (frames, queue) = mpsc::channel(1);
        tokio::spawn(async move {
            for _ in 0..count {
                let frame = OutFrame { header: vec![0; 9].into(), payload: vec![0; payload].into(), guard: () };
                if frames.send(frame).await.is_err() {
                    return;
                }
                tokio::time::sleep(pause).await;
            }
        });
        write_within(SHORT, writer, queue).await
    }

    #[tokio::test]
    async fn a_peer_that_keeps_accepting_bytes_may_be_slow() {
        // The frame takes nine writes: one for the header and eight for the payload. Together they take longer than the
        // timeout, which applies to each single write.
        write(Slow::new(SHORT.write / 4), 512 << 10, Duration::ZERO, 1).await.unwrap();
        let too_slow = write(Slow::new(SHORT.write * 600), 512 << 10, Duration::ZERO, 1).await;
        assert_eq!(too_slow.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_flush_that_never_completes_ends_the_stream_despite_new_frames() {
        let written = write(Slow::new(Duration::ZERO), 10, SHORT.flush / 4, 600);
        let written =
            tokio::time::timeout(SHORT.flush * 60, written).await.expect("the flush timeout ends the writing");
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
