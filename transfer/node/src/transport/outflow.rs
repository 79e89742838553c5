//! Knows what of a connection's streams has left this process.
//!
//! A stream's own flush says nothing: what it writes waits in yamux, in front of TLS and in TLS, for as long as the line is
//! slower. Here a flush ends when everything that the stream has written before has been handed to the socket. Who sends to
//! many peers over one slow line can so send to few at a time, instead of a little to each.
//!
//! What others write afterwards does not hold a flush up for long: what the connection has accepted keeps its order, and what is
//! held between there and the socket is limited. So of all that was passed on everything but the last so many bytes has left.
//! Before that, yamux takes frames from its streams in turn: what a stream has waiting there (176 KiB at most) others may overtake,
//! and then a flush ends that much early.
//!
//! Invariant: what streams have promised is never more than what the connection accepts in the end, since each write of a stream
//! becomes one frame of it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::StreamMuxer;
use libp2p::core::muxing::StreamMuxerEvent;

/// What yamux puts before what a stream writes, in bytes.
const FRAME_HEADER: u64 = 12;

/// The bytes of one connection, counted where they leave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outflow(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    /// What the connection has taken from the streams, headers of its own included.
    accepted: u64,
    /// Up to where of `accepted` everything has been handed to the socket.
    flushed: u64,
    /// Where `accepted` will stand at least when it has everything that streams have written.
    promised: u64,
    /// The connection is gone.
    is_closed: bool,
    /// Tasks that wait until `flushed` stands somewhere, with the first place for which each of them does.
    waiting: Vec<(u64, Waker)>,
}

impl Counts {
    /// Everything up to here has been handed to the socket.
    fn flush(&mut self, until: u64) {
        if until > self.flushed {
            self.flushed = until;
            // Nobody else: a stream that looks again has the connection look again, which flushes, and so on.
            self.waiting.extract_if(.., |(at, _)| *at <= until).for_each(|(_, waker)| waker.wake());
        }
    }
}

impl Outflow {
    /// The connection has taken so many bytes.
    pub(crate) fn accept(&self, bytes: usize) {
        self.lock().accepted += bytes as u64;
    }

    /// All that was taken has been handed to the socket.
    pub(crate) fn flushed(&self) {
        let mut counts = self.lock();
        let all = counts.accepted;
        counts.flush(all);
    }

    /// All that was taken but the last `left` bytes has been handed to the socket: at least that.
    pub(crate) fn passed(&self, left: usize) {
        let mut counts = self.lock();
        let gone = counts.accepted.saturating_sub(left as u64);
        counts.flush(gone);
    }

    /// Nothing more will be handed to the socket.
    pub(crate) fn close(&self) {
        let mut counts = self.lock();
        counts.is_closed = true;
        counts.waiting.drain(..).for_each(|(_, waker)| waker.wake());
    }

    /// A stream writes. Also returns where `flushed` is when that has left. Meanwhile the connection takes nothing: what it took
    /// of this write before it is promised would be promised once more, and waited for in vain.
    fn promise(&self, write: impl FnOnce() -> Poll<io::Result<usize>>) -> Poll<io::Result<(usize, u64)>> {
        let mut counts = self.lock();
        let written = ready!(write())?;
        counts.promised = counts.promised.max(counts.accepted) + FRAME_HEADER + written as u64;
        Poll::Ready(Ok((written, counts.promised)))
    }

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
        self.0.lock().expect("no code panics while it counts")
    }
}

/// A muxer whose streams say when what they have written has left.
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

/// A stream whose flush ends when what was written before it was first asked for has been handed to the socket. So who asks,
/// writes on and asks again learns what has left without ever letting the line run dry. A flush that nobody waited for counts as
/// asked for, the reading half's of a stream that is being agreed upon too: the next one may then end early.
pub(crate) struct Substream<S> {
    inner: S,
    outflow: Outflow,
    /// Where the connection's count is when what was written has left.
    written: u64,
    /// Where it is when the flush ends that has been asked for.
    asked: Option<u64>,
}

impl<S> Substream<S> {
    fn new(inner: S, outflow: Outflow) -> Self {
        Self { inner, outflow, written: 0, asked: None }
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
        let until = *this.asked.get_or_insert(this.written);
        ready!(Pin::new(&mut this.inner).poll_flush(context))?;
        ready!(this.outflow.poll_flushed(until, context))?;
        this.asked = None;
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

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A stream that takes everything, on a connection that takes nothing by itself.
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
    fn a_flush_ends_when_the_connection_has_flushed_all_that_was_written() {
        let (mut stream, outflow) = stream();
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(woken.clone());
        assert!(flush(&mut stream, &waker).is_ready(), "nothing was written");
        write(&mut stream, 100);
        assert!(flush(&mut stream, &waker).is_pending());
        // All but the last byte.
        outflow.accept(111);
        outflow.flushed();
        assert!(flush(&mut stream, &waker).is_pending());
        assert_eq!(woken.0.load(Ordering::Relaxed), 0, "who has to wait on is not woken");
        outflow.accept(1);
        assert!(flush(&mut stream, &waker).is_pending(), "the connection holds it still");
        outflow.flushed();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(flush(&mut stream, &waker).is_ready());
    }

    #[test]
    fn what_is_written_after_a_flush_was_asked_for_is_the_next_one_s() {
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
    fn what_others_wrote_before_has_to_leave_first() {
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
    fn a_flush_ends_though_others_go_on_writing() {
        let (mut stream, outflow) = stream();
        let woken = Arc::<Woken>::default();
        write(&mut stream, 1000);
        outflow.accept(1012);
        assert!(flush(&mut stream, &Waker::from(woken.clone())).is_pending());
        // Others' frames come after it, and the connection always has some of them left.
        outflow.accept(500);
        outflow.passed(501);
        assert!(flush(&mut stream, &Waker::from(woken.clone())).is_pending(), "a byte of it may be left");
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        outflow.passed(500);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        outflow.passed(600);
        assert!(flush(&mut stream, Waker::noop()).is_ready(), "what has left stays so");
    }

    #[test]
    fn a_task_with_two_streams_is_woken_for_the_first_of_them() {
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
    fn what_is_promised_does_not_fall_behind_while_a_stream_always_has_something_waiting() {
        let (mut stream, outflow) = stream();
        // Eleven frames wait in yamux; from then on one leaves for each that is written.
        (0..11).for_each(|_| write(&mut stream, 16 << 10));
        for _ in 0..100_000 {
            outflow.accept((16 << 10) + 12);
            write(&mut stream, 16 << 10);
        }
        let counts = outflow.lock();
        assert_eq!(counts.promised - counts.accepted, 11 * ((16 << 10) + 12));
    }

    #[test]
    fn nobody_waits_for_a_connection_that_is_gone() {
        let (mut stream, outflow) = stream();
        let woken = Arc::<Woken>::default();
        write(&mut stream, 1);
        assert!(flush(&mut stream, &Waker::from(woken.clone())).is_pending());
        outflow.close();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(matches!(flush(&mut stream, Waker::noop()), Poll::Ready(Err(_))));
    }
}
