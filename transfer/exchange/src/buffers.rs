//! A pool of reusable buffers for chunk bytes. Reuse saves time, because the operating system fills the pages of every
//! new large allocation with zeros.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

/// Buffer lengths are rounded up to a multiple of this many bytes, so that one buffer suits chunks of many lengths.
const GRAIN: usize = 32 << 10;

/// A pool of buffers. Clones share it.
#[derive(Clone)]
pub(super) struct Buffers(Arc<Pool>);

struct Pool {
    /// The pool keeps at most this many bytes of unused buffers.
    keep: usize,
    free: Mutex<Free>,
}

/// The unused buffers of a pool, the most recently returned one last.
#[derive(Default)]
struct Free {
    buffers: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Buffers {
    /// Creates a pool that keeps at most `keep` bytes of unused buffers. The bytes in use are not limited here, so the
    /// caller must limit them.
    pub(super) fn new(keep: usize) -> Self {
        Self(Arc::new(Pool { keep, free: Mutex::default() }))
    }

    /// Returns a buffer of `len` bytes with arbitrary content. It goes back to the pool when it is dropped.
    pub(super) fn take(&self, len: usize) -> Buffer {
        let bytes = self.0.lock().take(len).unwrap_or_else(|| vec![0; len.next_multiple_of(GRAIN)]);
        Buffer { bytes, len, pool: self.0.clone() }
    }
}

impl Pool {
    fn lock(&self) -> std::sync::MutexGuard<'_, Free> {
        self.free.lock().expect("no code panics while it holds the buffer lock")
    }
}

impl Free {
    /// Removes the smallest buffer of at least `len` bytes. Among buffers of equal size, it takes the most recently
    /// returned one, because more of that buffer is in the processor's cache.
    fn take(&mut self, len: usize) -> Option<Vec<u8>> {
        let sufficient = self.buffers.iter().enumerate().rev().filter(|(_, bytes)| bytes.len() >= len);
        let (position, _) = sufficient.min_by_key(|(_, bytes)| bytes.len())?;
        let bytes = self.buffers.remove(position)?;
        self.bytes -= bytes.len();
        Some(bytes)
    }

    /// Adds a buffer. Then drops buffers, the least recently returned first, until at most `keep` bytes are left.
    fn put(&mut self, bytes: Vec<u8>, keep: usize) {
        self.bytes += bytes.len();
        self.buffers.push_back(bytes);
        while self.bytes > keep {
            let Some(oldest) = self.buffers.pop_front() else { return };
            self.bytes -= oldest.len();
        }
    }
}

/// The first `len` bytes of a pooled buffer, which goes back to its pool on drop.
pub(super) struct Buffer {
    /// The whole pooled buffer: fully initialised and at least `len` bytes long.
    bytes: Vec<u8>,
    len: usize,
    pool: Arc<Pool>,
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if !bytes.is_empty() {
            self.pool.lock().put(bytes, self.pool.keep);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_buffer_that_is_large_enough_is_reused_first() {
        let buffers = Buffers::new(1 << 20);
        let (mut small, large) = (buffers.take(1), buffers.take(GRAIN + 1));
        assert_eq!((small.len(), large.len()), (1, GRAIN + 1));
        small[0] = 7;
        drop((small, large));
        assert_eq!(buffers.take(GRAIN)[0], 7);
        assert_eq!((buffers.take(GRAIN).bytes.len(), buffers.take(2 * GRAIN).bytes.len()), (GRAIN, 2 * GRAIN));
        assert_eq!(buffers.0.lock().bytes, 3 * GRAIN);
    }

    #[test]
    fn the_pool_keeps_a_bounded_size_and_drops_the_oldest_buffer_first() {
        let buffers = Buffers::new(3 * GRAIN);
        let held: Vec<_> = [GRAIN, 2 * GRAIN, GRAIN].map(|len| buffers.take(len)).into();
        drop(held);
        let kept: Vec<_> = buffers.0.lock().buffers.iter().map(Vec::len).collect();
        assert_eq!(kept, [2 * GRAIN, GRAIN]);
        drop(buffers.take(4 * GRAIN));
        // The lock must be released before the next buffer is dropped, because dropping a buffer locks the pool too.
        let free = buffers.0.lock();
        assert_eq!((free.buffers.len(), free.bytes), (0, 0));
        drop(free);
        assert!(buffers.take(0).is_empty());
    }
}
