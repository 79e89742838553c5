//! The chunks of an artifact that need not be fetched: chunks of zeros, and chunks that are equal to an earlier chunk.
//!
//! Two chunks are equal if they have the same digest and the same length. Chunks of zeros form no group of equal chunks,
//! because their bytes are known without any chunk.

use super::entry::ChunkEntry;
use super::range::{ChunkIndex, ChunkRange};
use crate::chunker::ChunkerParams;
use crate::cid::{Digest, HashAlgorithm};

/// The number of zeros that are hashed with one call.
const ZEROS_LEN: usize = 64 << 10;
static ZEROS: [u8; ZEROS_LEN] = [0; ZEROS_LEN];

/// The chunks of one artifact that are zeros or repeat an earlier chunk.
///
/// Needs 16 bytes of memory for each repeated chunk, and 8 bytes for each run of chunks of zeros.
#[derive(Clone, Debug, Default)]
pub struct Repeats {
    /// The maximal ranges of chunks of zeros, in ascending order.
    zeros: Vec<ChunkRange>,
    zero_bytes: u64,
    /// The pairs of the first chunk of a group of equal chunks and a later chunk of the group, in ascending order.
    by_first: Vec<(u32, u32)>,
    /// The same pairs with the later chunk in front, in ascending order.
    by_later: Vec<(u32, u32)>,
    copied_bytes: u64,
}

impl Repeats {
    /// Finds the repeats of an index. Takes about a second for each two million chunks.
    pub(super) fn of(chunker: ChunkerParams, hash: HashAlgorithm, entries: &[ChunkEntry]) -> Self {
        let key = |position: u32| {
            let ChunkEntry { digest, len } = entries[position as usize];
            (digest, len)
        };
        // Most comparisons are decided by the first bytes of the digests, which are next to the positions in memory.
        let prefix = |entry: &ChunkEntry| {
            let bytes = entry.digest.as_bytes().first_chunk().expect("a digest has 32 bytes");
            u64::from_be_bytes(*bytes)
        };
        let mut sorted: Vec<(u64, u32)> = entries.iter().map(prefix).zip(0u32..).collect();
        sorted.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| (key(a.1), a.1).cmp(&(key(b.1), b.1))));
        let sorted: Vec<_> = sorted.into_iter().map(|(_, position)| position).collect();
        let groups = || sorted.chunk_by(|a, b| key(*a) == key(*b));
        // Runs of zeros give equal chunks. Only the last chunk and chunks of limit length are tested although they occur
        // once, because a digest of zeros for the length of every chunk would take too long.
        let may_be_zeros = |group: &[u32]| {
            let len = entries[group[0] as usize].len;
            let last = entries.len() - 1;
            group.len() > 1 || group[0] as usize == last || len == chunker.max() || len == chunker.min()
        };
        let candidates = groups().filter(|group| may_be_zeros(group)).map(|group| entries[group[0] as usize]);
        let zero = ZeroDigests::of(hash, candidates.map(|entry| entry.len).collect());
        let mut repeats = Self::default();
        let mut zeros = Vec::new();
        for group in groups() {
            let (first, later) = (group[0], &group[1..]);
            let entry = &entries[first as usize];
            if may_be_zeros(group) && zero.is_zeros(entry) {
                zeros.extend(group);
            } else {
                repeats.copied_bytes += later.len() as u64 * u64::from(entry.len);
                repeats.by_first.extend(later.iter().map(|position| (first, *position)));
            }
        }
        zeros.sort_unstable();
        zeros.into_iter().for_each(|position| repeats.add_zeros(position, entries[position as usize].len));
        repeats.by_first.sort_unstable();
        repeats.by_later = repeats.by_first.iter().map(|(first, later)| (*later, *first)).collect();
        repeats.by_later.sort_unstable();
        repeats.by_first.shrink_to_fit();
        repeats
    }

    fn add_zeros(&mut self, position: u32, len: u32) {
        self.zero_bytes += u64::from(len);
        match self.zeros.last_mut().filter(|last| last.end == position) {
            Some(last) => last.end += 1,
            None => self.zeros.push(ChunkRange { start: position, end: position + 1 }),
        }
    }

    /// Returns whether the artifact has neither chunks of zeros nor equal chunks.
    pub fn is_empty(&self) -> bool {
        self.zeros.is_empty() && self.by_first.is_empty()
    }

    /// Returns whether the artifact has equal chunks that are not zeros.
    pub fn has_copies(&self) -> bool {
        !self.by_first.is_empty()
    }

    /// Returns the maximal ranges of chunks of zeros, in ascending order.
    pub fn zeros(&self) -> &[ChunkRange] {
        &self.zeros
    }

    /// Returns whether a chunk consists of zeros.
    pub fn is_zeros(&self, chunk: ChunkIndex) -> bool {
        let after = self.zeros.partition_point(|range| range.start <= chunk.0);
        after.checked_sub(1).is_some_and(|position| self.zeros[position].contains(chunk))
    }

    /// Returns the length of all chunks of zeros, in bytes.
    pub fn zero_bytes(&self) -> u64 {
        self.zero_bytes
    }

    /// Returns the length of all chunks that are equal to an earlier chunk and are not zeros, in bytes.
    pub fn copied_bytes(&self) -> u64 {
        self.copied_bytes
    }

    /// Returns the first chunk that is equal to `chunk`, which may be `chunk` itself. A chunk of zeros is returned
    /// unchanged.
    pub fn first(&self, chunk: ChunkIndex) -> ChunkIndex {
        let found = self.by_later.binary_search_by_key(&chunk.0, |(later, _)| *later);
        found.map_or(chunk, |position| ChunkIndex(self.by_later[position].1))
    }

    /// Returns the chunks that are equal to `first` and come after it, in ascending order. Returns none if `first` is
    /// not the first chunk of its group.
    pub fn copies(&self, first: ChunkIndex) -> impl ExactSizeIterator<Item = ChunkIndex> + '_ {
        let start = self.by_first.partition_point(|(of, _)| *of < first.0);
        let len = self.by_first[start..].partition_point(|(of, _)| *of == first.0);
        self.by_first[start..][..len].iter().map(|(_, later)| ChunkIndex(*later))
    }

    /// Returns all chunks that are equal to `chunk`, including `chunk`, in ascending order.
    pub fn equal(&self, chunk: ChunkIndex) -> impl Iterator<Item = ChunkIndex> + '_ {
        let first = self.first(chunk);
        std::iter::once(first).chain(self.copies(first))
    }

    /// Returns the first chunk of each group of equal chunks, in ascending order.
    pub fn groups(&self) -> impl Iterator<Item = ChunkIndex> + '_ {
        self.by_first.chunk_by(|a, b| a.0 == b.0).map(|group| ChunkIndex(group[0].0))
    }

    /// Returns each chunk that is equal to an earlier one, with the first chunk of its group. The pairs are in the
    /// ascending order of the later chunks.
    pub fn later_and_first(&self) -> impl ExactSizeIterator<Item = (ChunkIndex, ChunkIndex)> + '_ {
        self.by_later.iter().map(|(later, first)| (ChunkIndex(*later), ChunkIndex(*first)))
    }
}

/// The digests of zeros, for some lengths.
struct ZeroDigests {
    /// The lengths in ascending order, each with the digest of as many zeros.
    by_len: Vec<(u32, Digest)>,
}

impl ZeroDigests {
    /// Computes the digests. No more bytes are hashed than the longest chunk has, because the hash state of a short run
    /// of zeros is continued for the longer ones.
    fn of(hash: HashAlgorithm, mut lens: Vec<u32>) -> Self {
        lens.sort_unstable();
        lens.dedup();
        let mut state = ZeroState::new(hash);
        let mut hashed = 0;
        let digest = |len: u32| {
            state.add_zeros((len - hashed) as usize);
            hashed = len;
            (len, state.digest())
        };
        Self { by_len: lens.into_iter().map(digest).collect() }
    }

    fn is_zeros(&self, entry: &ChunkEntry) -> bool {
        let found = self.by_len.binary_search_by_key(&entry.len, |(len, _)| *len);
        found.is_ok_and(|position| self.by_len[position].1 == entry.digest)
    }
}

/// The state of a hash function that has only hashed zeros.
enum ZeroState {
    Blake3(Box<blake3::Hasher>),
    Sha2_256(sha2::Sha256),
}

impl ZeroState {
    fn new(hash: HashAlgorithm) -> Self {
        match hash {
            HashAlgorithm::Blake3 => Self::Blake3(Box::default()),
            HashAlgorithm::Sha2_256 => Self::Sha2_256(sha2::Sha256::default()),
        }
    }

    fn add_zeros(&mut self, mut len: usize) {
        while len > 0 {
            let piece = &ZEROS[..len.min(ZEROS_LEN)];
            match self {
                Self::Blake3(state) => drop(state.update(piece)),
                Self::Sha2_256(state) => sha2::Digest::update(state, piece),
            }
            len -= piece.len();
        }
    }

    fn digest(&self) -> Digest {
        match self {
            Self::Blake3(state) => Digest::new(*state.finalize().as_bytes()),
            Self::Sha2_256(state) => Digest::new(sha2::Digest::finalize(state.clone()).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::index::ArtifactIndex;

    fn index(hash: HashAlgorithm, chunks: &[Vec<u8>]) -> ArtifactIndex {
        let entry = |chunk: &Vec<u8>| ChunkEntry { digest: hash.digest(chunk), len: chunk.len() as u32 };
        let chunker = ChunkerParams::new(64, 256, 1 << 20).unwrap();
        let chunks = chunks.iter().map(entry).collect();
        ArtifactIndex::new(chunker, hash, Digest::new([0; 32]), chunks).unwrap()
    }

    #[test]
    fn zeros_of_every_length_and_hash_function_are_found() {
        for hash in [HashAlgorithm::Blake3, HashAlgorithm::Sha2_256] {
            let lens = [64, 1 << 20, 65, 99_999, 3 * ZEROS_LEN];
            // Each length occurs twice, except for the minimum, the maximum and the last one.
            let lens = [&lens[..], &lens[2..], &[1]].concat();
            let chunks: Vec<_> = lens.into_iter().map(|len| vec![0; len]).collect();
            let index = index(hash, &chunks);
            let repeats = index.repeats();
            assert_eq!(repeats.zeros(), [ChunkRange { start: 0, end: 9 }]);
            assert_eq!((repeats.zero_bytes(), repeats.copied_bytes()), (index.size(), 0));
            assert!(repeats.is_zeros(ChunkIndex(8)) && !repeats.is_zeros(ChunkIndex(9)) && !repeats.has_copies());
        }
    }

    #[test]
    fn chunks_with_one_digest_and_two_lengths_are_not_equal() {
        let digest = Digest::new([7; 32]);
        let chunks = [100, 101, 100].map(|len| ChunkEntry { digest, len }).to_vec();
        let chunker = ChunkerParams::new(64, 256, 1024).unwrap();
        let index = ArtifactIndex::new(chunker, HashAlgorithm::Blake3, digest, chunks).unwrap();
        let pairs: Vec<_> = index.repeats().later_and_first().collect();
        assert_eq!(pairs, [(ChunkIndex(2), ChunkIndex(0))]);
    }

    #[test]
    fn an_empty_artifact_has_no_repeats() {
        assert!(index(HashAlgorithm::Blake3, &[]).repeats().is_empty());
    }

    proptest! {
        #[test]
        fn repeats_are_those_that_a_comparison_of_all_chunks_finds(
            kinds in proptest::collection::vec((0u8..5, 64usize..67), 0..60)
        ) {
            let chunks: Vec<_> = kinds.iter().map(|(byte, len)| vec![*byte; *len]).collect();
            let index = index(HashAlgorithm::Blake3, &chunks);
            let repeats = index.repeats();
            let mut saved = 0;
            for (position, chunk) in chunks.iter().enumerate() {
                let at = ChunkIndex(position as u32);
                let equal: Vec<_> =
                    (0..).zip(&chunks).filter(|(_, other)| *other == chunk).map(|(n, _)| ChunkIndex(n)).collect();
                // Zeros that occur once are found at the end, and if they have the minimum or maximum length.
                let is_tested = equal.len() > 1 || position + 1 == chunks.len() || chunk.len() == 64;
                let is_zeros = is_tested && chunk.iter().all(|byte| *byte == 0);
                prop_assert_eq!(repeats.is_zeros(at), is_zeros);
                let expected = if is_zeros { vec![at] } else { equal };
                prop_assert_eq!(repeats.first(at), expected[0]);
                prop_assert_eq!(repeats.equal(at).collect::<Vec<_>>(), expected.clone());
                saved += if is_zeros || expected[0] != at { chunk.len() as u64 } else { 0 };
            }
            prop_assert_eq!(repeats.zero_bytes() + repeats.copied_bytes(), saved);
            let firsts: Vec<_> = repeats.groups().collect();
            prop_assert!(firsts.iter().all(|first| repeats.copies(*first).len() > 0 && repeats.first(*first) == *first));
        }
    }
}
