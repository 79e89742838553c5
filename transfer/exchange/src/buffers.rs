//! Buffers for chunks on their way, used again and again: a fresh one of such size comes from the operating system, which
//! fills it with zeros page by page.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

/// Lengths are rounded up to this, in bytes, so that a buffer suits chunks of many lengths.
const GRAIN: usize = 32 << 10;

/// A place that buffers come from and go back to. Clones share it.
#[derive(Clone)]
pub(super) struct Buffers(Arc<Shared>);

struct Shared {
    /// The most bytes that are kept without being in use.
    keep: usize,
    free: Mutex<Free>,
}

/// Buffers that are not in use, the one given back last at the end.
#[derive(Default)]
struct Free {
    buffers: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Buffers {
    /// Keeps at most `keep` bytes that are not in use. How much is in use is for those to bound who take.
    pub(super) fn new(keep: usize) -> Self {
        Self(Arc::new(Shared { keep, free: Mutex::default() }))
    }

    /// A buffer of `len` bytes with any content. It comes back when it is dropped.
    pub(super) fn take(&self, len: usize) -> Buffer {
        let bytes = self.0.lock().take(len).unwrap_or_else(|| vec![0; len.next_multiple_of(GRAIN)]);
        Buffer { bytes, len, home: self.0.clone() }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Free> {
        self.free.lock().expect("no code panics while it holds the buffers")
    }
}

impl Free {
    /// The smallest one that suffices; of those the one used last, as more of it is in the processor's cache.
    fn take(&mut self, len: usize) -> Option<Vec<u8>> {
        let sufficient = self.buffers.iter().enumerate().rev().filter(|(_, bytes)| bytes.len() >= len);
        let (position, _) = sufficient.min_by_key(|(_, bytes)| bytes.len())?;
        let bytes = self.buffers.remove(position)?;
        self.bytes -= bytes.len();
        Some(bytes)
    }

    /// Keeps a buffer, and drops the ones that have not been used for longest if they are too many.
    fn put(&mut self, bytes: Vec<u8>, keep: usize) {
        self.bytes += bytes.len();
        self.buffers.push_back(bytes);
        while self.bytes > keep {
            let Some(oldest) = self.buffers.pop_front() else { return };
            self.bytes -= oldest.len();
        }
    }
}

/// Some bytes in a buffer that goes back where it came from.
pub(super) struct Buffer {
    /// Initialised throughout, and at least `len` long.
    bytes: Vec<u8>,
    len: usize,
    home: Arc<Shared>,
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
            self.home.lock().put(bytes, self.home.keep);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_and_the_smallest_that_suffices_first() {
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
    fn no_more_is_kept_than_agreed_and_the_oldest_goes_first() {
        let buffers = Buffers::new(3 * GRAIN);
        let held: Vec<_> = [GRAIN, 2 * GRAIN, GRAIN].map(|len| buffers.take(len)).into();
        drop(held);
        let kept: Vec<_> = buffers.0.lock().buffers.iter().map(Vec::len).collect();
        assert_eq!(kept, [2 * GRAIN, GRAIN]);
        drop(buffers.take(4 * GRAIN));
        // One lock at a time.
        let free = buffers.0.lock();
        assert_eq!((free.buffers.len(), free.bytes), (0, 0));
        drop(free);
        assert!(buffers.take(0).is_empty());
    }
}
