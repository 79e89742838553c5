//! Who has which chunks of one artifact.
//!
//! Invariants: `useful` is what a peer has of that which is missing here, so that finding something to ask it for takes
//! no search; `counts` says how many peers have each chunk, those left out that have all.

use std::collections::BTreeMap;

use phase_core::{ChunkIndex, ChunkRange, ChunkSet};

use crate::peer::PeerKey;
use crate::scheduler::HaveUpdate;

/// What one peer has.
struct Have {
    set: ChunkSet,
    useful: ChunkSet,
    /// Whether it counts: it had not said that it has all.
    counts: bool,
}

/// What all peers have of one artifact.
pub(super) struct Haves {
    peers: BTreeMap<PeerKey, Have>,
    counts: Vec<u32>,
}

impl Haves {
    pub(super) fn new(len: u32) -> Self {
        Self { peers: BTreeMap::new(), counts: vec![0; len as usize] }
    }

    pub(super) fn has(&self, peer: PeerKey, chunk: ChunkIndex) -> bool {
        self.peers.get(&peer).is_some_and(|have| have.set.contains(chunk))
    }

    /// What a peer can be asked for, if anything.
    pub(super) fn useful(&self, peer: PeerKey) -> Option<&ChunkSet> {
        self.peers.get(&peer).map(|have| &have.useful).filter(|useful| !useful.is_empty())
    }

    /// How many peers with a part of the artifact have a chunk.
    pub(super) fn count(&self, chunk: ChunkIndex) -> u32 {
        self.counts[chunk.0 as usize]
    }

    /// A peer has said what it has. What is beyond the end, or of another artifact, is passed over.
    pub(super) fn update(&mut self, peer: PeerKey, update: HaveUpdate, missing: &ChunkSet) {
        let len = missing.len();
        match update {
            HaveUpdate::Full => self.replace(peer, ChunkSet::full(len), missing),
            HaveUpdate::Set(set) if set.len() == len => self.replace(peer, set, missing),
            HaveUpdate::Set(_) => {}
            HaveUpdate::Add(ranges) => {
                let nothing = || Have { set: ChunkSet::new(len), useful: ChunkSet::new(len), counts: true };
                let have = self.peers.entry(peer).or_insert_with(nothing);
                let within = ranges.into_iter().map(|range| ChunkRange { end: range.end.min(len), ..range });
                for chunk in within.flat_map(|range| range.iter()).filter(|chunk| have.set.insert(*chunk)) {
                    self.counts[chunk.0 as usize] += u32::from(have.counts);
                    if missing.contains(chunk) {
                        have.useful.insert(chunk);
                    }
                }
            }
        }
    }

    /// A peer does not have a chunk after all.
    pub(super) fn withdraw(&mut self, peer: PeerKey, chunk: ChunkIndex) {
        let Some(have) = self.peers.get_mut(&peer) else { return };
        if !have.counts {
            have.counts = true;
            have.set.iter().for_each(|chunk| self.counts[chunk.0 as usize] += 1);
        }
        have.useful.remove(chunk);
        if have.set.remove(chunk) {
            self.counts[chunk.0 as usize] -= 1;
        }
    }

    pub(super) fn forget(&mut self, peer: PeerKey) {
        if let Some(have) = self.peers.remove(&peer).filter(|have| have.counts) {
            have.set.iter().for_each(|chunk| self.counts[chunk.0 as usize] -= 1);
        }
    }

    /// A chunk has become missing here, or is not any more.
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
        let counts = !set.is_full();
        if counts {
            set.iter().for_each(|chunk| self.counts[chunk.0 as usize] += 1);
        }
        let mut useful = ChunkSet::new(set.len());
        missing.iter().filter(|chunk| set.contains(*chunk)).for_each(|chunk| {
            useful.insert(chunk);
        });
        self.peers.insert(peer, Have { set, useful, counts });
    }

    /// Checks the invariants; for tests.
    pub(super) fn check(&self, missing: &ChunkSet) {
        for (peer, have) in &self.peers {
            let expected = missing.iter().filter(|chunk| have.set.contains(*chunk));
            assert!(have.useful.iter().eq(expected), "what is useful of {peer}");
        }
        for chunk in (0..missing.len()).map(ChunkIndex) {
            let count = self.peers.values().filter(|have| have.counts && have.set.contains(chunk)).count();
            assert_eq!(self.count(chunk) as usize, count, "peers that have {chunk}");
        }
    }
}
