//! How often each chunk has been sent.

use std::collections::{BTreeMap, VecDeque};

use phase_core::{ArtifactIndex, ChunkIndex, ChunkRange, Digest};

/// The limit on artifacts whose counts are kept. Beyond it, the artifact that was added first is forgotten.
const MAX_REMEMBERED: usize = 64;
/// The limit on chunks whose counts are kept. Each count takes one byte of RAM. Beyond the limit, the artifact that was
/// added first is forgotten. The artifact that was added last is always kept.
const MAX_REMEMBERED_CHUNKS: usize = 1 << 20;

/// Counts how many times each chunk has been sent, for the most recently added artifacts.
#[derive(Default)]
pub(super) struct Sent {
    /// For each artifact, by its SHA-256, the number of times that each chunk has been sent. The number stops at 255.
    artifacts: BTreeMap<Digest, Vec<u8>>,
    /// The artifacts in the order in which they were first requested.
    order: VecDeque<Digest>,
    /// The total number of chunks of the artifacts in `artifacts`.
    chunks: usize,
}

impl Sent {
    /// Adds an artifact whose chunks have been sent 0 times. Has no effect if the artifact is known.
    pub(super) fn remember(&mut self, index: &ArtifactIndex) {
        if self.artifacts.contains_key(&index.sha256()) {
            return;
        }
        self.order.push_back(index.sha256());
        self.chunks += index.len() as usize;
        while self.order.len() > MAX_REMEMBERED || (self.chunks > MAX_REMEMBERED_CHUNKS && self.order.len() > 1) {
            let oldest = self.order.pop_front().and_then(|oldest| self.artifacts.remove(&oldest));
            self.chunks -= oldest.map_or(0, |times| times.len());
        }
        self.artifacts.insert(index.sha256(), vec![0; index.len() as usize]);
    }

    /// Adds one to the count of each chunk of `run`.
    pub(super) fn count(&mut self, index: &ArtifactIndex, run: ChunkRange) {
        let Some(times) = self.artifacts.get_mut(&index.sha256()) else { return };
        for chunk in run.iter() {
            if let Some(times) = times.get_mut(chunk.0 as usize) {
                *times = times.saturating_add(1);
            }
        }
    }

    /// Returns how many times a chunk has been sent, up to 255. Returns 0 if the artifact is forgotten.
    pub(super) fn times(&self, index: &ArtifactIndex, chunk: ChunkIndex) -> u8 {
        let times = self.artifacts.get(&index.sha256()).and_then(|times| times.get(chunk.0 as usize));
        times.copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use phase_core::index::ChunkEntry;
    use phase_core::{ChunkerParams, HashAlgorithm};

    use super::*;

    #[test]
    fn the_artifact_that_was_requested_first_is_forgotten_first() {
        let mut sent = Sent::default();
        let index = |n: u8| {
            let chunks = vec![ChunkEntry { digest: Digest::new([0; 32]), len: 1 }];
            ArtifactIndex::new(ChunkerParams::default(), HashAlgorithm::Blake3, Digest::new([n; 32]), chunks).unwrap()
        };
        for n in 0..=u8::MAX {
            sent.remember(&index(n));
            sent.count(&index(n), ChunkRange { start: 0, end: 1 });
        }
        assert_eq!((sent.artifacts.len(), sent.order.len()), (MAX_REMEMBERED, MAX_REMEMBERED));
        assert_eq!((sent.times(&index(0), ChunkIndex(0)), sent.times(&index(255), ChunkIndex(0))), (0, 1));
    }
}
