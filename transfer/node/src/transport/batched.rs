//! Wrappers of a connection that replace many small system calls by few large ones.
//!
//! ```text
//! yamux          writes 12 bytes, then up to 16 KiB, and flushes after each frame
//! WriteBehind    collects these writes and passes on up to 128 KiB at a time
//! TLS or Noise   encrypts; reads 4 KiB (rustls) or 8 KiB (Noise) at a time
//! ReadAhead      reads up to 128 KiB at a time, and answers the small reads
//! TCP            the socket
//! ```
//!
//! Without these wrappers, every frame is sent as two TLS records with two `send`s, and each record is received with
//! five `recv`s. These system calls take half of the time of a transfer on loopback. The wrappers copy all bytes once
//! more, but within the cache of the processor.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::{AsyncRead, AsyncWrite};

use crate::transport::outflow::Outflow;

/// The initial length of the read buffer, in bytes. It is enough for small messages, and doubles whenever a read fills
/// the buffer.
const READ_AHEAD_MIN: usize = 4 << 10;
/// The maximum length of the read buffer, in bytes. Each connection with much inbound traffic occupies this much
/// memory.
const READ_AHEAD_MAX: usize = 128 << 10;
/// The length of the write buffer, in bytes, which is eight TLS records. With half of this length, both the sender and
/// the receiver used 10 % more processor time.
const WRITE_BEHIND: usize = 128 << 10;

/// A reader that fills a buffer with large reads, and answers small reads from the buffer.
pub(crate) struct ReadAhead<S> {
    inner: S,
    /// The read buffer, whose bytes are all initialised.
    buffer: Vec<u8>,
    /// The bytes of `buffer` from `start` to `end` have been read from `inner` and not been returned yet.
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
                // The buffer grows because the last read filled it, or because there is no buffer yet.
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

/// A writer that collects small writes in a buffer, so that the frames of several streams are sent in one write.
/// Therefore the first poll of a flush sends nothing and only wakes the task again. The next poll passes the bytes on,
/// unless more bytes were written in between.
pub(crate) struct WriteBehind<S> {
    inner: S,
    /// The limit on the bytes that `inner` buffers before the socket accepts them.
    held: usize,
    outflow: Outflow,
    buffer: Vec<u8>,
    /// The number of bytes of `buffer` that have been passed to `inner`.
    passed: usize,
    /// Whether a flush was polled since the last write.
    flush_polled: bool,
}

impl<S> WriteBehind<S> {
    /// Wraps `inner`, which buffers at most `held` bytes before the socket accepts them.
    pub(crate) fn new(inner: S, held: usize) -> Self {
        Self { inner, held, outflow: Outflow::default(), buffer: Vec::new(), passed: 0, flush_polled: false }
    }

    /// Returns the counts of the bytes that were written to this writer and flushed.
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
    /// Passes the whole buffer to `inner`.
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
        // A full or partly passed buffer is passed on before new bytes are accepted. If `inner` blocks, new bytes are
        // accepted once half of the buffer has been passed on, because yamux does not read while its write is pending.
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
        // Only a write into the buffer resets `flush_polled`. A pending write does not, because it must not delay the
        // flush that it waits for.
        this.flush_polled = false;
        let taken = from.len().min(WRITE_BEHIND - this.buffer.len());
        this.buffer.extend_from_slice(&from[..taken]);
        this.outflow.accept(taken);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.buffer.is_empty() && this.passed == 0 && !this.flush_polled {
            this.flush_polled = true;
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

    /// A socket that keeps a list of the reads and writes on it.
    struct Socket {
        incoming: VecDeque<u8>,
        reads: Vec<usize>,
        /// The limit on the bytes that the socket accepts in one write, or 0 if the socket is blocked.
        takes: usize,
        /// How many more bytes the socket accepts before it blocks.
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

    /// Returns `len` pseudo-random bytes.
    fn noise(len: usize) -> Vec<u8> {
        (0..len).map(|n| (n * n % 251) as u8).collect()
    }

    /// A waker that counts how often it is woken.
    #[derive(Default)]
    struct Wakes(std::sync::atomic::AtomicUsize);

    impl futures::task::ArcWake for Wakes {
        fn wake_by_ref(wakes: &std::sync::Arc<Self>) {
            wakes.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn small_reads_become_few_large_ones_and_no_byte_is_lost() {
        let bytes = noise(1 << 20);
        let mut reader = ReadAhead::new(Socket { incoming: bytes.clone().into(), ..Socket::default() });
        let (mut all, mut part) = (Vec::new(), vec![0; 4096]);
        for len in (1..4096).cycle() {
            match reader.read(&mut part[..len]).await.unwrap() {
                0 => break,
                read => all.extend_from_slice(&part[..read]),
            }
        }
        assert!(all == bytes);
        let reads = &reader.inner.reads;
        assert_eq!(reads[..6], [4, 8, 16, 32, 64, 128].map(|kib| kib << 10), "the buffer grows while reads fill it");
        assert!(reads.len() < 20 && reader.buffer.len() == READ_AHEAD_MAX, "{reads:?}");
    }

    #[tokio::test]
    async fn the_read_buffer_stays_small_with_small_messages() {
        let mut reader = ReadAhead::new(Socket::default());
        for _ in 0..100 {
            reader.inner.incoming.extend(noise(1000));
            reader.read_exact(&mut [0; 1000]).await.unwrap();
        }
        assert_eq!(reader.buffer.len(), READ_AHEAD_MIN);
    }

    #[tokio::test]
    async fn small_writes_become_few_large_ones_and_no_byte_is_lost() {
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
    fn a_flush_waits_one_poll_for_further_writes_and_no_longer() {
        let wakes = std::sync::Arc::<Wakes>::default();
        let waker = futures::task::waker(wakes.clone());
        let mut context = Context::from_waker(&waker);
        let mut writer = WriteBehind::new(Socket { takes: usize::MAX, ..Socket::default() }, HELD);
        let mut pinned = Pin::new(&mut writer);
        let mut expected = 0;
        for _ in 0..3 {
            assert!(pinned.as_mut().poll_write(&mut context, b"frame").is_ready());
            assert!(pinned.as_mut().poll_flush(&mut context).is_pending());
            expected += 1;
            assert_eq!(wakes.0.load(std::sync::atomic::Ordering::SeqCst), expected, "the flush wakes its own task");
        }
        assert!(pinned.as_mut().poll_flush(&mut context).is_ready());
        assert!(pinned.as_mut().poll_flush(&mut context).is_ready());
        assert_eq!((writer.inner.writes.as_slice(), writer.inner.flushes), (&[15][..], 2));
    }

    #[test]
    fn a_write_is_accepted_once_half_of_the_buffer_has_been_passed_on() {
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
    fn a_blocked_socket_does_not_cause_a_busy_loop() {
        let wakes = std::sync::Arc::<Wakes>::default();
        let waker = futures::task::waker(wakes.clone());
        let mut context = Context::from_waker(&waker);
        let mut writer = WriteBehind::new(Socket::default(), HELD);
        let mut pinned = Pin::new(&mut writer);
        let bytes = noise(WRITE_BEHIND);
        assert!(matches!(pinned.as_mut().poll_write(&mut context, &bytes[1..]), Poll::Ready(Ok(_))));
        for _ in 0..5 {
            // Like yamux, the test first tries to write the next frame and then to flush.
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
