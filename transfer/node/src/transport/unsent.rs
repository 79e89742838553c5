//! Limits the bytes of a connection that wait unsent in the kernel.
//!
//! Without the limit, urgent bytes would wait for many bytes in the kernel, and this process could not know for how
//! many. The limit does not make the connection slower, because bytes that are sent and not yet acknowledged do not
//! count.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures::{AsyncRead, AsyncWrite};
use libp2p::tcp;

/// The limit for a connection that is slow or has not been measured yet, in bytes. It is about eleven packets, so that
/// the kernel can go on sending until the process writes more.
const MIN_LIMIT: u32 = 16 << 10;
/// The limit for the fastest connection, in bytes. On loopback, a limit of 512 KiB did not slow a fetch down, but a
/// limit of 16 KiB made it 7 % slower.
const MAX_LIMIT: u32 = 1 << 20;
/// The time in which a connection sends the bytes of its limit, unless [`MIN_LIMIT`] or [`MAX_LIMIT`] applies. It is
/// about the delay until a writing task runs again.
const LIMIT_TIME: Duration = Duration::from_micros(1500);
/// The number of bytes over which the speed of a connection is measured.
const MEASURED_BYTES: u64 = 256 << 10;

/// A socket that limits its unsent bytes in the kernel. There is no limit on systems other than Linux.
pub(crate) struct UnsentLimited {
    socket: tcp::tokio::TcpStream,
    meter: Meter,
}

impl UnsentLimited {
    pub(crate) fn new(socket: tcp::tokio::TcpStream) -> Self {
        let this = Self { socket, meter: Meter::default() };
        this.limit(MIN_LIMIT);
        this
    }

    /// Sets the limit of unsent bytes in the kernel.
    fn limit(&self, bytes: u32) {
        #[cfg(target_os = "linux")]
        if let Err(error) = socket2::SockRef::from(&self.socket.0).set_tcp_notsent_lowat(bytes) {
            tracing::debug!(%error, "cannot limit the unsent bytes in the kernel");
        }
        #[cfg(not(target_os = "linux"))]
        let _ = bytes;
    }
}

impl AsyncRead for UnsentLimited {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_read(context, into)
    }
}

impl AsyncWrite for UnsentLimited {
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

impl UnsentLimited {
    fn count(&mut self, written: usize) {
        if let Some(limit) = self.meter.count(tokio::time::Instant::now().into_std(), written) {
            self.limit(limit);
        }
    }
}

/// Measures the speed of a connection and derives the limit of unsent bytes from it.
struct Meter {
    /// The start of the measurement in progress.
    since: Option<Instant>,
    /// Bytes written since the start of the measurement.
    bytes: u64,
    limit: u32,
}

impl Default for Meter {
    fn default() -> Self {
        Self { since: None, bytes: 0, limit: MIN_LIMIT }
    }
}

impl Meter {
    /// Counts written bytes. Returns the new limit if it changes.
    fn count(&mut self, now: Instant, written: usize) -> Option<u32> {
        let since = *self.since.get_or_insert(now);
        self.bytes += written as u64;
        if self.bytes < MEASURED_BYTES {
            return None;
        }
        let time = now.saturating_duration_since(since).max(Duration::from_nanos(1));
        let held = self.bytes as f64 * LIMIT_TIME.as_secs_f64() / time.as_secs_f64();
        (self.since, self.bytes) = (Some(now), 0);
        // The limit is a power of two, so that it changes rarely. One measurement at most doubles the limit, because it
        // may be too high. For instance, after a time without writes, the buffers of the network accept a burst at
        // once.
        let limit = 1 << (held.clamp(f64::from(MIN_LIMIT), f64::from(MAX_LIMIT)) as u32).ilog2();
        let limit = limit.min(2 * self.limit);
        let is_new = limit != self.limit;
        self.limit = limit;
        is_new.then_some(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the limit after `rate` bytes per second have been written for one second.
    fn limit_at(rate: u64) -> u32 {
        let (mut meter, start) = (Meter::default(), tokio::time::Instant::now().into_std());
        let step = Duration::from_micros(100);
        for n in 0..10_000 {
            let _ = meter.count(start + n * step, usize::try_from(rate / 10_000).unwrap());
        }
        meter.limit
    }

    #[test]
    fn the_limit_follows_the_speed_of_the_connection() {
        let limits = [500_000, 12_500_000, 125_000_000, 700_000_000, 50_000_000_000].map(limit_at);
        assert_eq!(limits.map(|limit| limit >> 10), [16, 16, 128, 1024, 1024]);
    }

    #[test]
    fn the_limit_rises_step_by_step_and_falls_at_once() {
        let (mut meter, start) = (Meter::default(), tokio::time::Instant::now().into_std());
        let window = usize::try_from(MEASURED_BYTES).unwrap();
        assert_eq!(meter.count(start, window - 1), None, "too few bytes to measure");
        assert_eq!(meter.count(start, 1), Some(2 * MIN_LIMIT), "one fast measurement may be a burst");
        for limit in [4, 8, 16, 32, 64].map(|times| times * MIN_LIMIT) {
            assert_eq!(meter.count(start, window), Some(limit));
        }
        assert_eq!((meter.limit, meter.count(start, window)), (MAX_LIMIT, None));
        assert_eq!(meter.count(start + Duration::from_secs(1), window), Some(MIN_LIMIT));
    }
}
