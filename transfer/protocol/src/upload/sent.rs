//! What has been sent, and how often.

use std::collections::{BTreeMap, VecDeque};

use phase_core::{ArtifactIndex, ChunkIndex, ChunkRange, Digest};

/// Artifacts of which it is remembered what has been sent: the last ones that were asked for.
const MAX_REMEMBERED: usize = 64;
/// Chunks that these may have together, a single artifact excepted: as many bytes of memory.
const MAX_REMEMBERED_CHUNKS: usize = 1 << 20;

/// How many times each chunk of some artifacts has been sent.
#[derive(Default)]
pub(super) struct Sent {
    /// By the hash of the artifact.
    artifacts: BTreeMap<Digest, Vec<u8>>,
    /// In the order in which they were first asked for.
    order: VecDeque<Digest>,
    /// How many chunks they have.
    chunks: usize,
}

impl Sent {
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

    pub(super) fn count(&mut self, index: &ArtifactIndex, run: ChunkRange) {
        let Some(times) = self.artifacts.get_mut(&index.sha256()) else { return };
        for chunk in run.iter() {
            if let Some(times) = times.get_mut(chunk.0 as usize) {
                *times = times.saturating_add(1);
            }
        }
    }

    /// How many times a chunk has been sent; 0 if that is forgotten.
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
    fn what_has_been_sent_is_remembered_of_few_artifacts() {
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
