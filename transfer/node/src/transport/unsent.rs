//! Has the kernel take no more of a connection than it can soon send: what waits there cannot be put off for what is more
//! urgent, and nobody knows that it waits. The line is as busy as before, since what is on its way does not count.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures::{AsyncRead, AsyncWrite};
use libp2p::tcp;

/// What the kernel may hold and not have sent of a connection that is slow, or has yet to show that it is not, in bytes: a
/// dozen packets, so that it can go on until it is given more.
const LEAST: u32 = 16 << 10;
/// The same of the quickest connection. On loopback 16 KiB cost 7 % of the speed of a fetch, and half a MiB nothing.
const MOST: u32 = 1 << 20;
/// In between, it is what is sent in this time: about what it takes until whoever writes gets its turn.
const HELD: Duration = Duration::from_micros(1500);
/// After so many bytes it is looked at how long they took.
const WINDOW: u64 = 256 << 10;

/// A socket whose kernel buffer is short. Outside of Linux it is as long as it is.
pub(crate) struct LittleUnsent {
    socket: tcp::tokio::TcpStream,
    meter: Meter,
}

impl LittleUnsent {
    pub(crate) fn new(socket: tcp::tokio::TcpStream) -> Self {
        let this = Self { socket, meter: Meter::default() };
        this.limit(LEAST);
        this
    }

    fn limit(&self, bytes: u32) {
        #[cfg(target_os = "linux")]
        if let Err(error) = socket2::SockRef::from(&self.socket.0).set_tcp_notsent_lowat(bytes) {
            tracing::debug!(%error, "the kernel does not limit what it has not sent");
        }
        #[cfg(not(target_os = "linux"))]
        let _ = bytes;
    }
}

impl AsyncRead for LittleUnsent {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_read(context, into)
    }
}

impl AsyncWrite for LittleUnsent {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.socket).poll_write(context, from))?;
        this.count(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.socket).poll_write_vectored(context, from))?;
        this.count(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(context)
    }
}

impl LittleUnsent {
    fn count(&mut self, written: usize) {
        if let Some(limit) = self.meter.count(tokio::time::Instant::now().into_std(), written) {
            self.limit(limit);
        }
    }
}

/// How quick a connection is.
struct Meter {
    /// When the window began, and what has been written since.
    since: Option<Instant>,
    bytes: u64,
    limit: u32,
}

impl Default for Meter {
    fn default() -> Self {
        Self { since: None, bytes: 0, limit: LEAST }
    }
}

impl Meter {
    /// So many bytes have been written. Returns what the kernel may hold from now on, if that is something else.
    fn count(&mut self, now: Instant, written: usize) -> Option<u32> {
        let since = *self.since.get_or_insert(now);
        self.bytes += written as u64;
        if self.bytes < WINDOW {
            return None;
        }
        let time = now.saturating_duration_since(since).max(Duration::from_nanos(1));
        let held = self.bytes as f64 * HELD.as_secs_f64() / time.as_secs_f64();
        (self.since, self.bytes) = (Some(now), 0);
        // A power of two, so that it changes seldom. Twice as much at a time: after a pause what the network takes at once is
        // written as quickly as memory.
        let limit = 1 << (held.clamp(f64::from(LEAST), f64::from(MOST)) as u32).ilog2();
        let limit = limit.min(2 * self.limit);
        let is_new = limit != self.limit;
        self.limit = limit;
        is_new.then_some(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a meter says at last when so many bytes per second are written for a second.
    fn limit_at(rate: u64) -> u32 {
        let (mut meter, start) = (Meter::default(), tokio::time::Instant::now().into_std());
        let step = Duration::from_micros(100);
        for n in 0..10_000 {
            let _ = meter.count(start + n * step, usize::try_from(rate / 10_000).unwrap());
        }
        meter.limit
    }

    #[test]
    fn the_kernel_holds_what_it_sends_in_a_moment() {
        let limits = [500_000, 12_500_000, 125_000_000, 700_000_000, 50_000_000_000].map(limit_at);
        assert_eq!(limits.map(|limit| limit >> 10), [16, 16, 128, 1024, 1024]);
    }

    #[test]
    fn who_has_become_slow_is_held_short_again_and_nothing_is_said_twice() {
        let (mut meter, start) = (Meter::default(), tokio::time::Instant::now().into_std());
        let window = usize::try_from(WINDOW).unwrap();
        assert_eq!(meter.count(start, window - 1), None, "too little to tell");
        assert_eq!(meter.count(start, 1), Some(2 * LEAST), "one quick window may be a burst");
        for limit in [4, 8, 16, 32, 64].map(|times| times * LEAST) {
            assert_eq!(meter.count(start, window), Some(limit));
        }
        assert_eq!((meter.limit, meter.count(start, window)), (MOST, None));
        assert_eq!(meter.count(start + Duration::from_secs(1), window), Some(LEAST));
    }
}
