//! Streams whose flush ends when their bytes have been passed to the socket.
//!
//! A flush of a plain yamux stream ends earlier, while the bytes may still wait in yamux, in [`WriteBehind`] or in TLS.
//! The later end lets a node with a slow uplink send to few peers at a time, instead of a little to each.
//!
//! Later writes of other streams do not delay a flush for long, because the connection passes bytes on in the order in
//! which it accepted them. At most a known number of bytes is buffered between the connection and the socket. So all
//! accepted bytes have left, except at most the last bytes up to this number.
//!
//! A flush may end early by up to 176 KiB. The frames that the connection has not accepted yet wait in yamux, which
//! takes frames from its streams in turn. So up to 176 KiB of frames of other streams may overtake the frames of a
//! stream.
//!
//! Invariant: the bytes promised to streams never exceed the bytes that the connection will accept, because each write
//! of a stream becomes one frame.
//!
//! [`WriteBehind`]: crate::transport::batched::WriteBehind

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::StreamMuxer;
use libp2p::core::muxing::StreamMuxerEvent;

/// The length of the header that yamux puts before each write of a stream, in bytes.
const FRAME_HEADER: u64 = 12;

/// The outflow of one connection: how many bytes it has accepted from its streams, and how many it has passed to the
/// socket. Clones share these counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outflow(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    /// The number of bytes that the connection has accepted from yamux, headers included.
    accepted: u64,
    /// The number of accepted bytes that have been passed to the socket, in the order in which they were accepted.
    flushed: u64,
    /// A lower bound of the value that `accepted` will have when the connection has accepted all bytes that its streams
    /// have written so far.
    promised: u64,
    /// Whether the connection is closed.
    is_closed: bool,
    /// Tasks that wait for `flushed`, each with the value that `flushed` must reach.
    waiting: Vec<(u64, Waker)>,
}

impl Counts {
    /// Raises `flushed` to `until` and wakes the tasks that wait for this value.
    fn flush(&mut self, until: u64) {
        if until > self.flushed {
            self.flushed = until;
            // Only tasks whose bytes have left are woken. A woken task polls its stream, and this makes the connection
            // flush again. So waking all tasks would cause an endless loop.
            self.waiting.extract_if(.., |(at, _)| *at <= until).for_each(|(_, waker)| waker.wake());
        }
    }
}

impl Outflow {
    /// Notes that the connection has accepted `bytes` bytes.
    pub(crate) fn accept(&self, bytes: usize) {
        self.lock().accepted += bytes as u64;
    }

    /// Notes that all accepted bytes have been passed to the socket.
    pub(crate) fn flushed(&self) {
        let mut counts = self.lock();
        let all = counts.accepted;
        counts.flush(all);
    }

    /// Notes that all accepted bytes have been passed to the socket, except at most the last `left` bytes.
    pub(crate) fn passed(&self, left: usize) {
        let mut counts = self.lock();
        let gone = counts.accepted.saturating_sub(left as u64);
        counts.flush(gone);
    }

    /// Notes that the connection is closed, which ends the wait of every task.
    pub(crate) fn close(&self) {
        let mut counts = self.lock();
        counts.is_closed = true;
        counts.waiting.drain(..).for_each(|(_, waker)| waker.wake());
    }

    /// Runs `write`, which writes to a stream. Returns the number of written bytes, and the value that `flushed` must
    /// reach before these bytes have left. Holds the lock during the write, because the connection must not accept the
    /// bytes before they are added to `promised`. Otherwise they would be counted twice, and the flush would never end.
    fn promise(&self, write: impl FnOnce() -> Poll<io::Result<usize>>) -> Poll<io::Result<(usize, u64)>> {
        let mut counts = self.lock();
        let written = ready!(write())?;
        counts.promised = counts.promised.max(counts.accepted) + FRAME_HEADER + written as u64;
        Poll::Ready(Ok((written, counts.promised)))
    }

    /// Waits until `flushed` has reached `until`. Fails if the connection is closed earlier.
    fn poll_flushed(&self, until: u64, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut counts = self.lock();
        if counts.flushed >= until {
            return Poll::Ready(Ok(()));
        } else if counts.is_closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        match counts.waiting.iter_mut().find(|(_, waker)| waker.will_wake(context.waker())) {
            Some((first, _)) => *first = until.min(*first),
            None => counts.waiting.push((until, context.waker().clone())),
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().expect("no code panics while it holds the lock on the counts")
    }
}

/// A muxer whose streams are [`Substream`]s.
pub(crate) struct Muxer<M> {
    inner: M,
    outflow: Outflow,
}

impl<M> Muxer<M> {
    pub(crate) fn new(inner: M, outflow: Outflow) -> Self {
        Self { inner, outflow }
    }

    fn substream<S>(&self, inner: S) -> Substream<S> {
        Substream::new(inner, self.outflow.clone())
    }
}

impl<M: StreamMuxer + Unpin> StreamMuxer for Muxer<M>
where
    M::Substream: Unpin,
{
    type Substream = Substream<M::Substream>;
    type Error = M::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Self::Substream, M::Error>> {
        let stream = ready!(Pin::new(&mut self.inner).poll_inbound(context))?;
        Poll::Ready(Ok(self.substream(stream)))
    }

    fn poll_outbound(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Self::Substream, M::Error>> {
        let stream = ready!(Pin::new(&mut self.inner).poll_outbound(context))?;
        Poll::Ready(Ok(self.substream(stream)))
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), M::Error>> {
        Pin::new(&mut self.inner).poll_close(context)
    }

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, M::Error>> {
        Pin::new(&mut self.inner).poll(context)
    }
}

/// A stream whose flush waits only for the bytes that were written before the first poll of the flush. So a writer can
/// continue to write while it polls a flush, and the connection does not become idle.
///
/// A flush that was polled and not completed, for instance during protocol negotiation, stays in progress. The next
/// flush continues it, and may therefore end early.
pub(crate) struct Substream<S> {
    inner: S,
    outflow: Outflow,
    /// The value that `flushed` has when all bytes that this stream has written so far have left.
    written: u64,
    /// The value of `flushed` at which the flush in progress ends, or `None` if no flush is in progress.
    flush_until: Option<u64>,
}

impl<S> Substream<S> {
    fn new(inner: S, outflow: Outflow) -> Self {
        Self { inner, outflow, written: 0, flush_until: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Substream<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Substream<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let (taken, until) = ready!(this.outflow.promise(|| Pin::new(&mut this.inner).poll_write(context, from)))?;
        this.written = until;
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let until = *this.flush_until.get_or_insert(this.written);
        ready!(Pin::new(&mut this.inner).poll_flush(context))?;
        ready!(this.outflow.poll_flushed(until, context))?;
        this.flush_until = None;
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use futures::io::sink;

    use super::*;

    /// A waker that counts how often it is woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns a stream that accepts all writes, and the counts of its connection. There is no real connection, so the
    /// test itself must report to the counts which bytes the connection accepts.
    fn stream() -> (Substream<futures::io::Sink>, Outflow) {
        let outflow = Outflow::default();
        (Substream::new(sink(), outflow.clone()), outflow)
    }

    fn write(stream: &mut Substream<futures::io::Sink>, bytes: usize) {
        let mut context = Context::from_waker(Waker::noop());
        assert!(matches!(Pin::new(stream).poll_write(&mut context, &vec![0; bytes]), Poll::Ready(Ok(n)) if n == bytes));
    }

    fn flush(stream: &mut Substream<futures::io::Sink>, waker: &Waker) -> Poll<io::Result<()>> {
        Pin::new(stream).poll_flush(&mut Context::from_waker(waker))
    }

    #[test]
    fn a_flush_ends_when_the_connection_has_flushed_all_bytes_of_the_stream() {
        let (mut stream, outflow) = stream();
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(woken.clone());
        assert!(flush(&mut stream, &waker).is_ready(), "nothing was written");
        write(&mut stream, 100);
        assert!(flush(&mut stream, &waker).is_pending());
        // The frame has 112 bytes. The connection accepts all but the last byte.
        outflow.accept(111);
        outflow.flushed();
        assert!(flush(&mut stream, &waker).is_pending());
        assert_eq!(woken.0.load(Ordering::Relaxed), 0, "a task that still has to wait is not woken");
        outflow.accept(1);
        assert!(flush(&mut stream, &waker).is_pending(), "the connection has not flushed the last byte");
        outflow.flushed();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(flush(&mut stream, &waker).is_ready());
    }

    #[test]
    fn bytes_written_during_a_flush_belong_to_the_next_flush() {
        let (mut stream, outflow) = stream();
        write(&mut stream, 100);
        assert!(flush(&mut stream, Waker::noop()).is_pending());
        write(&mut stream, 50);
        outflow.accept(112);
        outflow.flushed();
        assert!(flush(&mut stream, Waker::noop()).is_ready());
        assert!(flush(&mut stream, Waker::noop()).is_pending());
        outflow.accept(62);
        outflow.flushed();
        assert!(flush(&mut stream, Waker::noop()).is_ready());
    }

    #[test]
    fn a_flush_waits_for_earlier_writes_of_other_streams() {
        let (mut one, outflow) = stream();
        let mut other = Substream::new(sink(), outflow.clone());
        write(&mut one, 1000);
        write(&mut other, 10);
        outflow.accept(1012);
        outflow.flushed();
        assert!(flush(&mut one, Waker::noop()).is_ready());
        assert!(flush(&mut other, Waker::noop()).is_pending());
        outflow.accept(22);
        outflow.flushed();
        assert!(flush(&mut other, Waker::noop()).is_ready());
    }

    #[test]
    fn a_flush_ends_although_other_streams_go_on_writing() {
        let (mut stream, outflow) = stream();
        let woken = Arc::<Woken>::default();
        write(&mut stream, 1000);
        outflow.accept(1012);
        assert!(flush(&mut stream, &Waker::from(woken.clone())).is_pending());
        // Other streams go on writing, so the connection never flushes all accepted bytes.
        outflow.accept(500);
        outflow.passed(501);
        assert!(flush(&mut stream, &Waker::from(woken.clone())).is_pending(), "a byte of the stream may be left");
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        outflow.passed(500);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        outflow.passed(600);
        assert!(flush(&mut stream, Waker::noop()).is_ready(), "bytes that have left stay counted");
    }

    #[test]
    fn a_task_that_waits_for_two_streams_is_woken_for_the_first() {
        let (mut one, outflow) = stream();
        let mut other = Substream::new(sink(), outflow.clone());
        let woken = Arc::<Woken>::default();
        write(&mut one, 10);
        write(&mut other, 1000);
        let waker = Waker::from(woken.clone());
        assert!(flush(&mut one, &waker).is_pending() && flush(&mut other, &waker).is_pending());
        outflow.accept(22);
        outflow.flushed();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn promised_bytes_stay_exact_while_a_stream_always_has_frames_waiting() {
        let (mut stream, outflow) = stream();
        // Eleven frames are written in advance. Then the connection accepts one frame for each frame that is written,
        // so that always eleven frames wait in yamux.
        (0..11).for_each(|_| write(&mut stream, 16 << 10));
        for _ in 0..100_000 {
            outflow.accept((16 << 10) + 12);
            write(&mut stream, 16 << 10);
        }
        let counts = outflow.lock();
        assert_eq!(counts.promised - counts.accepted, 11 * ((16 << 10) + 12));
    }

    #[test]
    fn a_closed_connection_ends_every_wait_for_it() {
        let (mut stream, outflow) = stream();
        let woken = Arc::<Woken>::default();
        write(&mut stream, 1);
        assert!(flush(&mut stream, &Waker::from(woken.clone())).is_pending());
        outflow.close();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(matches!(flush(&mut stream, Waker::noop()), Poll::Ready(Err(_))));
    }
}
