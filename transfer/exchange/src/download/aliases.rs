//! Equal chunks in the announcements of peers.
//!
//! The scheduler knows only the first chunk of each group of equal chunks, because one chunk of a group is enough. A peer
//! may have another chunk of the group and not the first one, for instance if its version of Phase does not copy equal
//! chunks. So a peer counts as having the first chunk if it has any chunk of the group. A request for a chunk that the
//! peer lacks asks for an equal chunk that it has, which is an *alias*.

use std::collections::BTreeMap;

use phase_core::{ArtifactIndex, ChunkIndex, ChunkRange, ChunkSet};
use phase_protocol::scheduler::{ArtifactSlot, End, HaveUpdate};
use phase_protocol::wire::{MAX_RANGES, Refusal};
use phase_protocol::{PeerKey, RequestId};

/// The announcements of peers for artifacts with equal chunks, and the open requests that ask for aliases.
#[derive(Default)]
pub(super) struct Aliases {
    /// The chunks that each peer has announced. A peer that has announced a whole artifact has no entry.
    announced: BTreeMap<(ArtifactSlot, PeerKey), ChunkSet>,
    requests: BTreeMap<RequestId, Aliased>,
}

/// An open request that asks for aliases.
struct Aliased {
    peer: PeerKey,
    /// The aliases, each with the chunk that the scheduler has requested.
    chunks: BTreeMap<ChunkIndex, ChunkIndex>,
    /// Whether some of the requested chunks did not fit into the request.
    is_cut: bool,
}

impl Aliases {
    /// Converts an announcement of a peer for the scheduler: adds the first chunk of each group of which the peer has a
    /// chunk.
    pub(super) fn handle_have(
        &mut self,
        peer: PeerKey,
        slot: ArtifactSlot,
        index: &ArtifactIndex,
        update: HaveUpdate,
    ) -> HaveUpdate {
        let repeats = index.repeats();
        if !repeats.has_copies() {
            return update;
        }
        match update {
            HaveUpdate::Full => {
                self.announced.remove(&(slot, peer));
                HaveUpdate::Full
            }
            HaveUpdate::Set(set) if set.len() == index.len() => {
                let mut with_firsts = set.clone();
                repeats.later_and_first().filter(|(later, _)| set.contains(*later)).for_each(|(_, first)| {
                    with_firsts.insert(first);
                });
                self.announced.insert((slot, peer), set);
                HaveUpdate::Set(with_firsts)
            }
            HaveUpdate::Set(set) => HaveUpdate::Set(set),
            HaveUpdate::Add(mut ranges) => {
                let set = self.announced.entry((slot, peer)).or_insert_with(|| ChunkSet::new(index.len()));
                let mut firsts = Vec::new();
                for range in &mut ranges {
                    range.end = range.end.min(index.len());
                    for chunk in range.iter().filter(|chunk| set.insert(*chunk)) {
                        let first = repeats.first(chunk);
                        if first != chunk {
                            firsts.push(ChunkRange { start: first.0, end: first.0 + 1 });
                        }
                    }
                }
                ranges.extend(firsts);
                HaveUpdate::Add(ranges)
            }
        }
    }

    /// Converts the ranges of a request for its peer: replaces chunks that the peer lacks by aliases.
    pub(super) fn request(
        &mut self,
        id: RequestId,
        peer: PeerKey,
        slot: ArtifactSlot,
        index: &ArtifactIndex,
        ranges: Vec<ChunkRange>,
    ) -> Vec<ChunkRange> {
        let Some(set) = self.announced.get(&(slot, peer)) else { return ranges };
        if ranges.iter().all(|range| set.contains_range(*range)) {
            return ranges;
        }
        let repeats = index.repeats();
        // Chunks of different groups have different aliases, so no chunk is asked for twice.
        let mut asked: Vec<_> = ranges
            .iter()
            .flat_map(ChunkRange::iter)
            .map(|chunk| {
                let has_alias = !set.contains(chunk) && repeats.first(chunk) == chunk;
                let alias = repeats.copies(chunk).find(|copy| has_alias && set.contains(*copy));
                (alias.unwrap_or(chunk), chunk)
            })
            .collect();
        asked.sort_unstable();
        let mut ranges: Vec<ChunkRange> = Vec::new();
        let (mut chunks, mut is_cut) = (BTreeMap::new(), false);
        for (alias, chunk) in asked {
            let is_full = ranges.len() == MAX_RANGES;
            match ranges.last_mut().filter(|last| last.end == alias.0) {
                Some(last) => last.end += 1,
                None if is_full => {
                    is_cut = true;
                    break;
                }
                None => ranges.push(ChunkRange { start: alias.0, end: alias.0 + 1 }),
            }
            chunks.insert(alias, chunk);
        }
        self.requests.insert(id, Aliased { peer, chunks, is_cut });
        ranges
    }

    /// Returns the chunk that the scheduler has requested, for a chunk that arrived for a request.
    pub(super) fn requested(&self, id: RequestId, chunk: ChunkIndex) -> ChunkIndex {
        self.requests.get(&id).and_then(|request| request.chunks.get(&chunk)).copied().unwrap_or(chunk)
    }

    /// Forgets a request that its peer has ended, and returns its end for the scheduler. If requested chunks did not fit
    /// into the request, this is [`Refusal::Busy`], after which the scheduler requests them again. Otherwise it would take
    /// them for chunks that the peer lacks.
    pub(super) fn handle_end(&mut self, id: RequestId, end: End) -> End {
        let is_cut = self.requests.remove(&id).is_some_and(|request| request.is_cut);
        if is_cut && end == End::Done { End::Refused(Refusal::Busy { retry_after_ms: 1 }) } else { end }
    }

    /// Forgets a peer that has disconnected.
    pub(super) fn handle_peer_lost(&mut self, peer: PeerKey) {
        self.announced.retain(|(_, of), _| *of != peer);
        self.requests.retain(|_, request| request.peer != peer);
    }

    /// Forgets the announcements for an artifact that has all chunks. Open requests are kept until they end.
    pub(super) fn handle_complete(&mut self, slot: ArtifactSlot) {
        self.announced.retain(|(of, _), _| *of != slot);
    }
}

#[cfg(test)]
mod tests {
    use phase_core::index::ChunkEntry;
    use phase_core::{ChunkerParams, Digest, HashAlgorithm};

    use super::*;

    const SLOT: ArtifactSlot = ArtifactSlot(0);
    const PEER: PeerKey = PeerKey(1);
    const ID: RequestId = RequestId::FIRST_SCHEDULED;

    /// Returns an index in which chunks with the same number are equal.
    fn index(numbers: &[u8]) -> ArtifactIndex {
        let chunks = numbers.iter().map(|n| ChunkEntry { digest: Digest::new([*n; 32]), len: 100 }).collect();
        let chunker = ChunkerParams::new(64, 256, 1024).unwrap();
        ArtifactIndex::new(chunker, HashAlgorithm::Blake3, Digest::new([0; 32]), chunks).unwrap()
    }

    fn set(len: u32, chunks: &[u32]) -> ChunkSet {
        let mut set = ChunkSet::new(len);
        chunks.iter().for_each(|chunk| assert!(set.insert(ChunkIndex(*chunk))));
        set
    }

    fn range(start: u32, end: u32) -> ChunkRange {
        ChunkRange { start, end }
    }

    #[test]
    fn a_peer_that_has_only_a_repeat_is_asked_for_the_repeat() {
        let index = index(&[1, 2, 1, 3, 2]);
        let mut aliases = Aliases::default();
        let update = aliases.handle_have(PEER, SLOT, &index, HaveUpdate::Set(set(5, &[2, 3])));
        assert_eq!(update, HaveUpdate::Set(set(5, &[0, 2, 3])));
        let update = aliases.handle_have(PEER, SLOT, &index, HaveUpdate::Add(vec![range(4, 9)]));
        assert_eq!(update, HaveUpdate::Add(vec![range(4, 5), range(1, 2)]));
        assert_eq!(aliases.request(ID, PEER, SLOT, &index, vec![range(0, 2)]), [range(2, 3), range(4, 5)]);
        assert_eq!(aliases.requested(ID, ChunkIndex(2)), ChunkIndex(0));
        assert_eq!(aliases.requested(ID, ChunkIndex(4)), ChunkIndex(1));
        assert_eq!(aliases.handle_end(ID, End::Done), End::Done);
        assert_eq!(aliases.requested(ID, ChunkIndex(2)), ChunkIndex(2));
    }

    #[test]
    fn a_peer_that_has_the_requested_chunks_is_asked_for_them() {
        let index = index(&[1, 2, 1, 3]);
        let other = PeerKey(2);
        let mut aliases = Aliases::default();
        aliases.handle_have(PEER, SLOT, &index, HaveUpdate::Full);
        aliases.handle_have(other, SLOT, &index, HaveUpdate::Set(set(4, &[0, 1, 2])));
        for peer in [PEER, other] {
            assert_eq!(aliases.request(ID, peer, SLOT, &index, vec![range(0, 2)]), [range(0, 2)]);
        }
        // A peer that loses its part of an artifact and comes back announces its chunks anew.
        aliases.handle_peer_lost(other);
        aliases.handle_have(other, SLOT, &index, HaveUpdate::Set(set(4, &[2])));
        assert_eq!(aliases.request(ID, other, SLOT, &index, vec![range(0, 1)]), [range(2, 3)]);
        aliases.handle_complete(SLOT);
        assert!(aliases.announced.is_empty());
        assert_eq!(aliases.requested(ID, ChunkIndex(2)), ChunkIndex(0), "the request is still open");
        aliases.handle_peer_lost(other);
        assert!(aliases.requests.is_empty());
    }

    #[test]
    fn chunks_that_do_not_fit_into_a_request_are_requested_again() {
        // Groups of two chunks. The second chunks are not adjacent, so each needs a range of its own.
        let count = MAX_RANGES as u32 + 10;
        let numbers: Vec<u32> = (0..count).chain((0..count).flat_map(|n| [n, u32::MAX - n])).collect();
        let digest = |n: u32| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&n.to_le_bytes());
            Digest::new(bytes)
        };
        let chunks = numbers.iter().map(|n| ChunkEntry { digest: digest(*n), len: 100 }).collect();
        let chunker = ChunkerParams::new(64, 256, 1024).unwrap();
        let index = ArtifactIndex::new(chunker, HashAlgorithm::Blake3, digest(0), chunks).unwrap();
        let seconds: Vec<u32> = (0..count).map(|n| count + 2 * n).collect();
        let mut aliases = Aliases::default();
        aliases.handle_have(PEER, SLOT, &index, HaveUpdate::Set(set(index.len(), &seconds)));
        let asked = aliases.request(ID, PEER, SLOT, &index, vec![range(0, count)]);
        assert_eq!(asked.len(), MAX_RANGES);
        let end = aliases.handle_end(ID, End::Done);
        assert!(matches!(end, End::Refused(Refusal::Busy { .. })), "{end:?}");
        assert_eq!(aliases.handle_end(ID, End::Done), End::Done, "the request is forgotten");
    }
}
