//! Reads and writes wire frames on a libp2p stream. Every length is checked by [`wire`](phase_protocol::wire) before it is
//! allocated.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use phase_protocol::wire::{self, ReplyHeader, RequestHeader, WireError};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::buffers::{Buffer, Buffers};

/// How long writing may take.
#[derive(Clone, Copy)]
struct Patience {
    /// How long a peer may take in less than a [`PIECE`] of a frame: what waits behind it is held in memory.
    write: Duration,
    /// How long what has been written may take to leave this process. That is not the peer's doing alone: over a slow line
    /// sixty uploads may leave together, and half a MiB of each waits in the connections.
    flush: Duration,
}

const PATIENCE: Patience = Patience { write: Duration::from_secs(30), flush: Duration::from_secs(300) };

/// So 2 KiB/s are enough.
const PIECE: usize = 64 << 10;

/// What is there is written up to so many bytes before it is asked whether it has left: each answer wakes a task.
const FLUSHED_TOGETHER: usize = 256 << 10;

/// No frame is begun while this many bytes have been written and may not have left.
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
    /// Dropped when the frame has left this process, or its stream has ended.
    pub(super) guard: G,
}

/// Writes what arrives in `frames` until the channel closes, the stream fails, or [`PATIENCE`] is at its end.
/// Writes on while it waits for what has been written to leave, [`MAX_UNFLUSHED`] bytes at most.
pub(super) async fn write_frames<W: AsyncWrite + Unpin, G>(
    writer: W,
    frames: mpsc::Receiver<OutFrame<G>>,
) -> io::Result<()> {
    write_within(PATIENCE, writer, frames).await
}

/// Frames that have been written.
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
        patience: Patience,
        writer: &mut W,
        frame: OutFrame<G>,
    ) -> io::Result<()> {
        let OutFrame { header, payload, guard } = frame;
        for piece in header.chunks(PIECE).chain(payload.chunks(PIECE)) {
            within(patience.write, writer.write_all(piece)).await?;
        }
        self.bytes += header.len() + payload.len();
        self.guards.push(guard);
        Ok(())
    }
}

async fn write_within<W: AsyncWrite + Unpin, G>(
    patience: Patience,
    mut writer: W,
    mut frames: mpsc::Receiver<OutFrame<G>>,
) -> io::Result<()> {
    // What has been written and may not have left: of that, what the flush is about that has been asked for, and the rest.
    let (mut asked, mut rest) = (Unflushed::default(), Unflushed::default());
    let late = tokio::time::sleep(patience.flush);
    tokio::pin!(late);
    loop {
        if asked.bytes == 0 {
            while rest.bytes < FLUSHED_TOGETHER
                && let Ok(frame) = frames.try_recv()
            {
                rest.write(patience, &mut writer, frame).await?;
            }
            asked = std::mem::take(&mut rest);
            late.as_mut().reset(Instant::now() + patience.flush);
        }
        let frame = tokio::select! {
            biased;
            flushed = writer.flush(), if asked.bytes > 0 => {
                flushed?;
                asked = Unflushed::default();
                continue;
            }
            frame = frames.recv(), if asked.bytes + rest.bytes < MAX_UNFLUSHED => frame,
            () = &mut late, if asked.bytes > 0 => return Err(io::ErrorKind::TimedOut.into()),
        };
        let Some(frame) = frame else { break };
        rest.write(patience, &mut writer, frame).await?;
    }
    within(patience.write, writer.close()).await
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

    const SHORT: Patience = Patience { write: Duration::from_secs(1), flush: Duration::from_secs(1) };

    /// Takes a piece, then nothing for a while; what it takes never leaves.
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

    /// Writes frames, one whenever `pause` is over.
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
    async fn whoever_takes_in_a_little_in_time_may_take_its_time() {
        // Nine times.
        write(Slow::new(SHORT.write / 4), 512 << 10, Duration::ZERO, 1).await.unwrap();
        let too_slow = write(Slow::new(SHORT.write * 600), 512 << 10, Duration::ZERO, 1).await;
        assert_eq!(too_slow.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn what_never_leaves_ends_the_stream_however_many_frames_come() {
        let written = write(Slow::new(Duration::ZERO), 10, SHORT.flush / 4, 600);
        let written = tokio::time::timeout(SHORT.flush * 60, written).await.expect("it ends");
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
