//! A reader that counts bytes as they arrive. The count shows that a slow peer still sends, even if no chunk is
//! complete yet.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use futures::AsyncRead;

/// A reader that counts the bytes read from `inner`.
pub(super) struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R> Counted<R> {
    /// Returns a reader on `inner`, and its counter. The counter can be read while the reader is in use.
    pub(super) fn new(inner: R) -> (Self, Arc<AtomicU64>) {
        let count = Arc::<AtomicU64>::default();
        (Self { inner, count: count.clone() }, count)
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Counted<R> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = ready!(Pin::new(&mut self.inner).poll_read(context, into))?;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Poll::Ready(Ok(read))
    }
}
