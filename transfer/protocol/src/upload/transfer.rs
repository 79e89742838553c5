//! What is left of a transfer.

use std::collections::VecDeque;
use std::sync::Arc;

use phase_core::{ArtifactIndex, ChunkIndex, ChunkRange};

use crate::peer::PeerKey;

/// What is left of a transfer: always something.
pub(super) struct Transfer {
    pub(super) peer: PeerKey,
    /// Its place among the transfers of its peer.
    pub(super) number: u64,
    pub(super) index: Arc<ArtifactIndex>,
    ranges: VecDeque<ChunkRange>,
    /// The bytes of `ranges`.
    bytes: u64,
}

impl Transfer {
    /// `None` if there is no chunk in `ranges`, or one that the artifact does not have.
    pub(super) fn new(peer: PeerKey, number: u64, index: Arc<ArtifactIndex>, ranges: Vec<ChunkRange>) -> Option<Self> {
        let is_possible = |range: &ChunkRange| range.start < range.end && range.end <= index.len();
        if ranges.is_empty() || !ranges.iter().all(is_possible) {
            return None;
        }
        let bytes = ranges.iter().map(|range| bytes_of(&index, *range)).sum();
        Some(Self { peer, number, index, ranges: ranges.into(), bytes })
    }

    /// How much is left.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next chunk.
    pub(super) fn first(&self) -> ChunkIndex {
        ChunkIndex(self.ranges[0].start)
    }

    /// The next chunks, as many as have `most` bytes, but at least one; and how many bytes they have.
    pub(super) fn next_run(&self, most: u64) -> (ChunkRange, u64) {
        let range = self.ranges[0];
        let mut bytes = 0;
        let fits = range.iter().take_while(|chunk| {
            bytes += self.index.chunk(*chunk).map_or(0, |chunk| u64::from(chunk.len));
            bytes <= most
        });
        let count = u32::try_from(fits.count()).expect("not more than the range has").max(1);
        let run = ChunkRange { start: range.start, end: range.start + count };
        (run, bytes_of(&self.index, run))
    }

    /// Takes `run` off the front; returns whether nothing is left.
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

fn bytes_of(index: &ArtifactIndex, run: ChunkRange) -> u64 {
    index.byte_range(run).map_or(0, |range| range.len())
}
