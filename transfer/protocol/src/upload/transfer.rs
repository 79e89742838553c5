//! One transfer: the chunks of an accepted request that are not in a job yet.

use std::collections::VecDeque;
use std::sync::Arc;

use phase_core::{ArtifactIndex, ChunkIndex, ChunkRange};

use crate::peer::PeerKey;

/// The chunks of an accepted request that are not in a job yet. There is always at least one such chunk.
pub(super) struct Transfer {
    pub(super) peer: PeerKey,
    /// The number of the transfer. The transfers of a peer are ordered by their numbers.
    pub(super) number: u64,
    pub(super) index: Arc<ArtifactIndex>,
    ranges: VecDeque<ChunkRange>,
    /// The length of all chunks in `ranges`, in bytes.
    bytes: u64,
}

impl Transfer {
    /// Creates a transfer. Returns `None` if `ranges` is empty, or if a range is empty or not in the artifact.
    pub(super) fn new(peer: PeerKey, number: u64, index: Arc<ArtifactIndex>, ranges: Vec<ChunkRange>) -> Option<Self> {
        let is_possible = |range: &ChunkRange| range.start < range.end && range.end <= index.len();
        if ranges.is_empty() || !ranges.iter().all(is_possible) {
            return None;
        }
        let bytes = ranges.iter().map(|range| bytes_of(&index, *range)).sum();
        Some(Self { peer, number, index, ranges: ranges.into(), bytes })
    }

    /// Returns the length, in bytes, of all chunks that are not in a job yet.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the next chunk to send.
    pub(super) fn first(&self) -> ChunkIndex {
        ChunkIndex(self.ranges[0].start)
    }

    /// Returns the next chunks of the first range, and their length in bytes. The chunks have at most `most` bytes, but
    /// a single chunk is returned even if it is longer.
    pub(super) fn next_run(&self, most: u64) -> (ChunkRange, u64) {
        let range = self.ranges[0];
        let mut bytes = 0;
        let fits = range.iter().take_while(|chunk| {
            bytes += self.index.chunk(*chunk).map_or(0, |chunk| u64::from(chunk.len));
            bytes <= most
        });
        let count = u32::try_from(fits.count()).expect("a run has no more chunks than its range").max(1);
        let run = ChunkRange { start: range.start, end: range.start + count };
        (run, bytes_of(&self.index, run))
    }

    /// Removes `run` from the front of the ranges. Returns whether no chunk is left.
    pub(super) fn advance(&mut self, run: ChunkRange) -> bool {
        self.bytes -= bytes_of(&self.index, run);
        if let Some(first) = self.ranges.front_mut() {
            first.start = run.end;
            if first.start >= first.end {
                self.ranges.pop_front();
            }
        }
        self.ranges.is_empty()
    }
}

/// Returns the length of a run of chunks in bytes.
fn bytes_of(index: &ArtifactIndex, run: ChunkRange) -> u64 {
    index.byte_range(run).map_or(0, |range| range.len())
}
