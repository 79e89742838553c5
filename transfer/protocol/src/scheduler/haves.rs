//! The chunks of one artifact that each peer has.
//!
//! Invariants:
//! - the `useful` chunks of a peer are the missing chunks that the peer has. No search is needed to choose one of them;
//! - `counts` holds the number of peers that have each chunk. Peers that announced the whole artifact are not counted.

use std::collections::BTreeMap;

use phase_core::{ChunkIndex, ChunkRange, ChunkSet};

use crate::peer::PeerKey;
use crate::scheduler::HaveUpdate;

/// The chunks of one artifact that one peer has.
struct Have {
    /// All chunks that the peer has.
    set: ChunkSet,
    /// The missing chunks that the peer has.
    useful: ChunkSet,
    /// Whether [`Haves::counts`] includes this peer. A peer that announced the whole artifact at once is not counted
    /// until it turns out to lack a chunk.
    is_counted: bool,
}

/// The chunks of one artifact that each peer has.
pub(super) struct Haves {
    peers: BTreeMap<PeerKey, Have>,
    /// For each chunk, by chunk index, the number of peers that have the chunk. Only peers with [`Have::is_counted`]
    /// are counted: those that announced a part of the artifact, not the whole artifact.
    counts: Vec<u32>,
}

impl Haves {
    pub(super) fn new(len: u32) -> Self {
        Self { peers: BTreeMap::new(), counts: vec![0; len as usize] }
    }

    pub(super) fn has(&self, peer: PeerKey, chunk: ChunkIndex) -> bool {
        self.peers.get(&peer).is_some_and(|have| have.set.contains(chunk))
    }

    /// Returns the missing chunks that a peer has; `None` if there are none.
    pub(super) fn useful(&self, peer: PeerKey) -> Option<&ChunkSet> {
        self.peers.get(&peer).map(|have| &have.useful).filter(|useful| !useful.is_empty())
    }

    /// Returns how many peers have a chunk. Peers that announced the whole artifact are not counted.
    pub(super) fn count(&self, chunk: ChunkIndex) -> u32 {
        self.counts[chunk.0 as usize]
    }

    /// Handles an announcement of the chunks that a peer has. Chunks beyond the end of the artifact are ignored. A
    /// chunk set whose length is not the number of chunks of the artifact is ignored too.
    pub(super) fn update(&mut self, peer: PeerKey, update: HaveUpdate, missing: &ChunkSet) {
        let len = missing.len();
        match update {
            HaveUpdate::Full => self.replace(peer, ChunkSet::full(len), missing),
            HaveUpdate::Set(set) if set.len() == len => self.replace(peer, set, missing),
            HaveUpdate::Set(_) => {}
            HaveUpdate::Add(ranges) => {
                let nothing = || Have { set: ChunkSet::new(len), useful: ChunkSet::new(len), is_counted: true };
                let have = self.peers.entry(peer).or_insert_with(nothing);
                let within = ranges.into_iter().map(|range| ChunkRange { end: range.end.min(len), ..range });
                for chunk in within.flat_map(|range| range.iter()).filter(|chunk| have.set.insert(*chunk)) {
                    self.counts[chunk.0 as usize] += u32::from(have.is_counted);
                    if missing.contains(chunk) {
                        have.useful.insert(chunk);
                    }
                }
            }
        }
    }

    /// Notes that a peer lacks a chunk that it announced. A peer that announced the whole artifact is counted from now
    /// on, because it lacks a chunk.
    pub(super) fn remove_chunk(&mut self, peer: PeerKey, chunk: ChunkIndex) {
        let Some(have) = self.peers.get_mut(&peer) else { return };
        if !have.is_counted {
            have.is_counted = true;
            have.set.iter().for_each(|chunk| self.counts[chunk.0 as usize] += 1);
        }
        have.useful.remove(chunk);
        if have.set.remove(chunk) {
            self.counts[chunk.0 as usize] -= 1;
        }
    }

    /// Removes a peer, and subtracts its chunks from the counts.
    pub(super) fn forget(&mut self, peer: PeerKey) {
        if let Some(have) = self.peers.remove(&peer).filter(|have| have.is_counted) {
            have.set.iter().for_each(|chunk| self.counts[chunk.0 as usize] -= 1);
        }
    }

    /// Updates the `useful` chunks of all peers after a chunk has become missing or has ceased to be missing.
    pub(super) fn set_missing(&mut self, chunk: ChunkIndex, missing: bool) {
        for have in self.peers.values_mut() {
            if !missing {
                have.useful.remove(chunk);
            } else if have.set.contains(chunk) {
                have.useful.insert(chunk);
            }
        }
    }

    fn replace(&mut self, peer: PeerKey, set: ChunkSet, missing: &ChunkSet) {
        self.forget(peer);
        let is_counted = !set.is_full();
        if is_counted {
            set.iter().for_each(|chunk| self.counts[chunk.0 as usize] += 1);
        }
        let mut useful = ChunkSet::new(set.len());
        missing.iter().filter(|chunk| set.contains(*chunk)).for_each(|chunk| {
            useful.insert(chunk);
        });
        self.peers.insert(peer, Have { set, useful, is_counted });
    }

    /// Asserts the invariants. `missing` holds the missing chunks of the artifact.
    pub(super) fn check(&self, missing: &ChunkSet) {
        for (peer, have) in &self.peers {
            let expected = missing.iter().filter(|chunk| have.set.contains(*chunk));
            assert!(have.useful.iter().eq(expected), "missing chunks that {peer} has");
        }
        for chunk in (0..missing.len()).map(ChunkIndex) {
            let count = self.peers.values().filter(|have| have.is_counted && have.set.contains(chunk)).count();
            assert_eq!(self.count(chunk) as usize, count, "number of peers that have chunk {chunk}");
        }
    }
}
