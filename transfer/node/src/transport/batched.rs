//! Few large system calls instead of many small ones.
//!
//! ```text
//! yamux    12 bytes, then up to 16 KiB, and a flush after each frame
//! WriteBehind   ──► up to 128 KiB at a time
//! TLS or Noise  records; reads 4 KiB (rustls) or 8 KiB (Noise) at a time
//! ReadAhead     ◄── up to 128 KiB at a time
//! TCP
//! ```
//!
//! Left alone, every frame is two TLS records and two `send`s, and each record takes five `recv`s: half of the time that a
//! transfer takes on loopback. What is copied once more in exchange stays in the cache of the processor.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::{AsyncRead, AsyncWrite};

use crate::transport::outflow::Outflow;

/// What is read ahead at first, in bytes: as much as small messages need. Doubles whenever a read fills it.
const READ_AHEAD_MIN: usize = 4 << 10;
/// The most that is read ahead, in bytes: what a connection that receives much may hold.
const READ_AHEAD_MAX: usize = 128 << 10;
/// The most that waits to be written, in bytes: eight TLS records. Half of it cost a tenth more processor time on both sides.
const WRITE_BEHIND: usize = 128 << 10;

/// Reads from a socket in large pieces, whatever is asked for.
pub(crate) struct ReadAhead<S> {
    inner: S,
    /// Initialised throughout.
    buffer: Vec<u8>,
    /// What of it has been read and not been asked for yet.
    start: usize,
    end: usize,
}

impl<S> ReadAhead<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, buffer: Vec::new(), start: 0, end: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.start == this.end {
            if into.len() >= READ_AHEAD_MAX {
                return Pin::new(&mut this.inner).poll_read(context, into);
            }
            if this.end == this.buffer.len() && this.end < READ_AHEAD_MAX {
                // The last read filled it, or there was none.
                this.buffer.resize((2 * this.end).max(READ_AHEAD_MIN), 0);
            }
            (this.start, this.end) = (0, 0);
            this.end = ready!(Pin::new(&mut this.inner).poll_read(context, &mut this.buffer))?;
        }
        let read = into.len().min(this.end - this.start);
        into[..read].copy_from_slice(&this.buffer[this.start..this.start + read]);
        this.start += read;
        Poll::Ready(Ok(read))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, from)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(context)
    }
}

/// Gathers what is written. A flush waits until the task that asks for it has had one more turn without writing: what other
/// tasks have ready until then leaves together with it.
pub(crate) struct WriteBehind<S> {
    inner: S,
    /// The most bytes that `inner` holds back until the socket takes them.
    held: usize,
    outflow: Outflow,
    buffer: Vec<u8>,
    /// How much of the buffer has been passed on.
    passed: usize,
    /// A flush was asked for since the last write.
    asked: bool,
}

impl<S> WriteBehind<S> {
    /// `held`: the most bytes that `inner` holds back until the socket takes them.
    pub(crate) fn new(inner: S, held: usize) -> Self {
        Self { inner, held, outflow: Outflow::default(), buffer: Vec::new(), passed: 0, asked: false }
    }

    /// What has been written to it, and what of that has been flushed.
    pub(crate) fn outflow(&self) -> Outflow {
        self.outflow.clone()
    }
}

impl<S> Drop for WriteBehind<S> {
    fn drop(&mut self) {
        self.outflow.close();
    }
}

impl<S: AsyncWrite + Unpin> WriteBehind<S> {
    /// Passes on everything that waits.
    fn poll_pass(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.passed < self.buffer.len() {
            match ready!(Pin::new(&mut self.inner).poll_write(context, &self.buffer[self.passed..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.passed += written,
            }
            self.outflow.passed(self.buffer.len() - self.passed + self.held);
        }
        self.buffer.clear();
        self.passed = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteBehind<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // What has been passed on in part goes on first. Half of it makes room: yamux does not read while it has to write, so
        // it must not wait for the last byte.
        if (this.buffer.len() == WRITE_BEHIND || this.passed > 0) && this.poll_pass(context)?.is_pending() {
            if this.passed < WRITE_BEHIND / 2 {
                return Poll::Pending;
            }
            this.buffer.drain(..this.passed);
            this.passed = 0;
        }
        if this.buffer.is_empty() && from.len() >= WRITE_BEHIND {
            let taken = ready!(Pin::new(&mut this.inner).poll_write(context, from))?;
            this.outflow.accept(taken);
            this.outflow.passed(this.held);
            return Poll::Ready(Ok(taken));
        }
        // Only now: a writer that has to wait must not put off the flush that it waits for.
        this.asked = false;
        let taken = from.len().min(WRITE_BEHIND - this.buffer.len());
        this.buffer.extend_from_slice(&from[..taken]);
        this.outflow.accept(taken);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.buffer.is_empty() && this.passed == 0 && !this.asked {
            this.asked = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(this.poll_pass(context))?;
        ready!(Pin::new(&mut this.inner).poll_flush(context))?;
        this.outflow.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_pass(context))?;
        Pin::new(&mut this.inner).poll_close(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteBehind<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_read(context, into)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use futures::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const HELD: usize = 1000;

    /// A socket that notes how it is used.
    struct Socket {
        incoming: VecDeque<u8>,
        reads: Vec<usize>,
        /// How many bytes it takes at a time; none: it is blocked.
        takes: usize,
        /// How many it takes until it is blocked.
        room: usize,
        written: Vec<u8>,
        writes: Vec<usize>,
        flushes: usize,
    }

    impl Default for Socket {
        fn default() -> Self {
            let (incoming, reads, written, writes) = Default::default();
            Self { incoming, reads, takes: 0, room: usize::MAX, written, writes, flushes: 0 }
        }
    }

    impl AsyncRead for Socket {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
            let read = into.len().min(self.incoming.len());
            for (to, from) in into.iter_mut().zip(self.incoming.drain(..read)) {
                *to = from;
            }
            self.reads.push(read);
            Poll::Ready(Ok(read))
        }
    }

    impl AsyncWrite for Socket {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
            let taken = from.len().min(self.takes).min(self.room);
            if taken == 0 {
                return Poll::Pending;
            }
            self.room -= taken;
            self.written.extend_from_slice(&from[..taken]);
            self.writes.push(taken);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.flushes += 1;
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn noise(len: usize) -> Vec<u8> {
        (0..len).map(|n| (n * n % 251) as u8).collect()
    }

    /// A waker that counts.
    #[derive(Default)]
    struct Wakes(std::sync::atomic::AtomicUsize);

    impl futures::task::ArcWake for Wakes {
        fn wake_by_ref(wakes: &std::sync::Arc<Self>) {
            wakes.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn small_reads_become_few_large_ones_and_nothing_is_lost() {
        let bytes = noise(1 << 20);
        let mut reader = ReadAhead::new(Socket { incoming: bytes.clone().into(), ..Socket::default() });
        let (mut all, mut piece) = (Vec::new(), vec![0; 4096]);
        for len in (1..4096).cycle() {
            match reader.read(&mut piece[..len]).await.unwrap() {
                0 => break,
                read => all.extend_from_slice(&piece[..read]),
            }
        }
        assert!(all == bytes);
        let reads = &reader.inner.reads;
        assert_eq!(reads[..6], [4, 8, 16, 32, 64, 128].map(|kib| kib << 10), "it grows while reads fill it");
        assert!(reads.len() < 20 && reader.buffer.len() == READ_AHEAD_MAX, "{reads:?}");
    }

    #[tokio::test]
    async fn who_receives_little_holds_little() {
        let mut reader = ReadAhead::new(Socket::default());
        for _ in 0..100 {
            reader.inner.incoming.extend(noise(1000));
            reader.read_exact(&mut [0; 1000]).await.unwrap();
        }
        assert_eq!(reader.buffer.len(), READ_AHEAD_MIN);
    }

    #[tokio::test]
    async fn small_writes_become_few_large_ones_and_nothing_is_lost() {
        let bytes = noise(1 << 20);
        let mut writer = WriteBehind::new(Socket { takes: usize::MAX, ..Socket::default() }, HELD);
        let mut left = &bytes[..];
        for len in [12, 16 << 10].into_iter().cycle() {
            let (now, rest) = left.split_at(len.min(left.len()));
            writer.write_all(now).await.unwrap();
            left = rest;
            if left.is_empty() {
                break;
            }
        }
        writer.flush().await.unwrap();
        assert!(writer.inner.written == bytes && writer.inner.flushes == 1);
        assert_eq!(writer.inner.writes, vec![WRITE_BEHIND; (1 << 20) / WRITE_BEHIND]);
    }

    #[test]
    fn a_flush_waits_one_turn_for_more_and_no_longer() {
        let wakes = std::sync::Arc::<Wakes>::default();
        let waker = futures::task::waker(wakes.clone());
        let mut context = Context::from_waker(&waker);
        let mut writer = WriteBehind::new(Socket { takes: usize::MAX, ..Socket::default() }, HELD);
        let mut pinned = Pin::new(&mut writer);
        let mut wanted = 0;
        for _ in 0..3 {
            assert!(pinned.as_mut().poll_write(&mut context, b"frame").is_ready());
            assert!(pinned.as_mut().poll_flush(&mut context).is_pending());
            wanted += 1;
            assert_eq!(wakes.0.load(std::sync::atomic::Ordering::SeqCst), wanted, "it comes back by itself");
        }
        assert!(pinned.as_mut().poll_flush(&mut context).is_ready());
        assert!(pinned.as_mut().poll_flush(&mut context).is_ready());
        assert_eq!((writer.inner.writes.as_slice(), writer.inner.flushes), (&[15][..], 2));
    }

    #[test]
    fn half_of_what_waits_makes_room_when_it_has_left() {
        let mut context = Context::from_waker(futures::task::noop_waker_ref());
        let mut writer =
            WriteBehind::new(Socket { room: WRITE_BEHIND / 2 - 1, takes: 1000, ..Socket::default() }, HELD);
        let bytes = noise(WRITE_BEHIND + 100);
        let (first, more) = bytes.split_at(WRITE_BEHIND);
        let mut pinned = Pin::new(&mut writer);
        assert!(matches!(pinned.as_mut().poll_write(&mut context, &first[1..]), Poll::Ready(Ok(_))));
        assert!(matches!(pinned.as_mut().poll_write(&mut context, &first[..1]), Poll::Ready(Ok(1))));
        assert!(pinned.as_mut().poll_write(&mut context, more).is_pending());
        pinned.inner.room = 1;
        assert!(matches!(pinned.as_mut().poll_write(&mut context, more), Poll::Ready(Ok(100))));
        pinned.inner.room = usize::MAX;
        assert!(pinned.as_mut().poll_close(&mut context).is_ready());
        assert!(writer.inner.written == [&first[1..], &first[..1], more].concat());
    }

    #[test]
    fn a_blocked_socket_is_not_asked_without_end() {
        let wakes = std::sync::Arc::<Wakes>::default();
        let waker = futures::task::waker(wakes.clone());
        let mut context = Context::from_waker(&waker);
        let mut writer = WriteBehind::new(Socket::default(), HELD);
        let mut pinned = Pin::new(&mut writer);
        let bytes = noise(WRITE_BEHIND);
        assert!(matches!(pinned.as_mut().poll_write(&mut context, &bytes[1..]), Poll::Ready(Ok(_))));
        for _ in 0..5 {
            // As yamux does: it tries to write the next frame, then to flush.
            let _ = pinned.as_mut().poll_write(&mut context, &bytes);
            assert!(pinned.as_mut().poll_flush(&mut context).is_pending());
        }
        assert_eq!(wakes.0.load(std::sync::atomic::Ordering::SeqCst), 1);
        pinned.inner.takes = 1000;
        let mut context = Context::from_waker(futures::task::noop_waker_ref());
        assert!(pinned.as_mut().poll_close(&mut context).is_ready());
        assert!(writer.inner.written[..WRITE_BEHIND - 1] == bytes[1..]);
    }
}
