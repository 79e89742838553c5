//! A chunk set, which says which chunks of an artifact a peer or the store has.
//!
//! Invariant: bits past [`ChunkSet::len`] are zero, so that counting and comparing need no mask.

use std::fmt;

use crate::index::{ChunkIndex, ChunkRange};

/// The number of bits in one word of the bitmap.
const WORD_BITS: u32 = u64::BITS;

/// A subset of the chunk indexes `0..len`, stored as a bitmap.
///
/// Inserting an index past the end panics. Callers must therefore check an index that a peer sent against
/// [`ChunkSet::len`].
#[derive(Clone, PartialEq, Eq)]
pub struct ChunkSet {
    len: u32,
    count: u32,
    words: Vec<u64>,
}

impl ChunkSet {
    /// Returns an empty set for an artifact with `len` chunks.
    pub fn new(len: u32) -> Self {
        Self { len, count: 0, words: vec![0; len.div_ceil(WORD_BITS) as usize] }
    }

    /// Returns the full set for an artifact with `len` chunks.
    pub fn full(len: u32) -> Self {
        let mut set = Self::new(len);
        set.words.fill(u64::MAX);
        if let (Some(last), spare @ 1..) = (set.words.last_mut(), len.next_multiple_of(WORD_BITS) - len) {
            *last >>= spare;
        }
        set.count = len;
        set
    }

    /// Returns the number of chunks of the artifact, including those that are not in the set.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Returns the number of chunks in the set.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Returns whether no chunk is in the set.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns whether every chunk is in the set.
    pub fn is_full(&self) -> bool {
        self.count == self.len
    }

    /// Returns whether `index` is in the set. An index past the end is never in the set.
    pub fn contains(&self, index: ChunkIndex) -> bool {
        index.0 < self.len && self.words[word(index.0)] & mask(index.0) != 0
    }

    /// Returns whether all chunks of `range` are in the set.
    pub fn contains_range(&self, range: ChunkRange) -> bool {
        range.end <= self.len && words(range).all(|(word, bits)| self.words[word] & bits == bits)
    }

    /// Returns the maximal ranges of chunks that are in this set and not in `other`, in ascending order.
    pub fn difference_ranges<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = ChunkRange> + 'a {
        let mut chunks = self.iter().filter(|index| !other.contains(*index)).map(|index| index.0).peekable();
        std::iter::from_fn(move || {
            let start = chunks.next()?;
            let mut end = start + 1;
            while chunks.next_if_eq(&end).is_some() {
                end += 1;
            }
            Some(ChunkRange { start, end })
        })
    }

    /// Adds `index`. Returns true if `index` was not in the set before.
    ///
    /// # Panics
    /// If `index` is [`ChunkSet::len`] or more.
    pub fn insert(&mut self, index: ChunkIndex) -> bool {
        assert!(index.0 < self.len, "chunk {} of {}", index.0, self.len);
        let added = self.words[word(index.0)] & mask(index.0) == 0;
        self.words[word(index.0)] |= mask(index.0);
        self.count += u32::from(added);
        added
    }

    /// Adds every chunk of `range`.
    ///
    /// # Panics
    /// If `range` ends past [`ChunkSet::len`].
    pub fn insert_range(&mut self, range: ChunkRange) {
        assert!(range.end <= self.len, "chunks up to {} of {}", range.end, self.len);
        for (word, bits) in words(range) {
            self.count += (bits & !self.words[word]).count_ones();
            self.words[word] |= bits;
        }
    }

    /// Removes `index`. Returns true if `index` was in the set.
    pub fn remove(&mut self, index: ChunkIndex) -> bool {
        let removed = self.contains(index);
        if removed {
            self.words[word(index.0)] &= !mask(index.0);
            self.count -= 1;
        }
        removed
    }

    /// Returns the chunk indexes in the set, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = ChunkIndex> + '_ {
        self.scan(0).map(ChunkIndex)
    }

    /// Returns the chunk indexes that are not in the set, in ascending order.
    pub fn iter_missing(&self) -> impl Iterator<Item = ChunkIndex> + '_ {
        self.scan(u64::MAX).take_while(|&position| position < self.len).map(ChunkIndex)
    }

    /// Returns the maximal ranges of chunks in the set, in ascending order.
    pub fn ranges(&self) -> impl Iterator<Item = ChunkRange> + '_ {
        let mut positions = self.scan(0).peekable();
        std::iter::from_fn(move || {
            let start = positions.next()?;
            let mut end = start + 1;
            while positions.next_if_eq(&end).is_some() {
                end += 1;
            }
            Some(ChunkRange { start, end })
        })
    }

    /// Returns the length, in bytes, of the bitmap of an artifact with `len` chunks.
    pub fn byte_len(len: u32) -> usize {
        len.div_ceil(8) as usize
    }

    /// Returns the bitmap. Chunk `i` is bit `i % 8` of byte `i / 8`, where bit 0 is the least significant bit.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.truncate(Self::byte_len(self.len));
        bytes
    }

    /// Decodes the bitmap of an artifact with `len` chunks.
    ///
    /// # Errors
    /// If the bitmap has the wrong length, or if bits past the end are set.
    pub fn from_bytes(len: u32, bytes: &[u8]) -> Result<Self, ChunkSetError> {
        let expected = Self::byte_len(len);
        if bytes.len() != expected {
            return Err(ChunkSetError::Length { found: bytes.len(), expected });
        }
        if let (Some(last), used @ 1..) = (bytes.last(), len % 8)
            && last >> used != 0
        {
            return Err(ChunkSetError::SpareBits(len));
        }
        let words: Vec<u64> = bytes.chunks(8).map(word_of).collect();
        let count = words.iter().map(|word| word.count_ones()).sum();
        Ok(Self { len, count, words })
    }

    /// Returns the positions of the bits that are set after each word is XORed with `flip`. If `flip` is not 0,
    /// positions past the end are returned too.
    fn scan(&self, flip: u64) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().zip((0u32..).step_by(WORD_BITS as usize)).flat_map(move |(word, base)| {
            let mut rest = word ^ flip;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros())?;
                rest &= rest - 1;
                Some(base + bit)
            })
        })
    }
}

impl fmt::Debug for ChunkSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkSet({} of {})", self.count, self.len)
    }
}

fn word(position: u32) -> usize {
    (position / WORD_BITS) as usize
}

fn mask(position: u32) -> u64 {
    1 << (position % WORD_BITS)
}

/// Returns the position of each bitmap word that overlaps `range`, with a mask of the bits inside `range`.
fn words(range: ChunkRange) -> impl Iterator<Item = (usize, u64)> {
    let ChunkRange { start, end } = range;
    let last = end.saturating_sub(1);
    let touched = if start < end { word(start)..word(last) + 1 } else { 0..0 };
    touched.map(move |at| {
        let from = if at == word(start) { u64::MAX << (start % WORD_BITS) } else { u64::MAX };
        let to = if at == word(last) { u64::MAX >> (WORD_BITS - 1 - last % WORD_BITS) } else { u64::MAX };
        (at, from & to)
    })
}

fn word_of(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

/// An error from decoding the bitmap of a [`ChunkSet`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkSetError {
    /// The bitmap is too short or too long for the number of chunks.
    #[error("bitmap has {found} bytes, expected {expected}")]
    Length {
        /// The actual length of the bitmap, in bytes.
        found: usize,
        /// The required length of the bitmap, in bytes.
        expected: usize,
    },
    /// A bit past the last chunk is set.
    #[error("bitmap has bits set past the last chunk of an artifact with chunk count {0}")]
    SpareBits(u32),
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn set_of(len: u32, positions: &BTreeSet<u32>) -> ChunkSet {
        let mut set = ChunkSet::new(len);
        positions.iter().for_each(|&position| assert!(set.insert(ChunkIndex(position))));
        set
    }

    fn positions() -> impl Strategy<Value = (u32, BTreeSet<u32>, BTreeSet<u32>)> {
        (0u32..300).prop_flat_map(|len| {
            let some = proptest::collection::btree_set(0..len.max(1), 0..=len as usize);
            (Just(len), some.clone(), some)
        })
    }

    proptest! {
        #[test]
        fn a_chunk_set_behaves_like_a_set_of_numbers((len, model, other) in positions()) {
            let mut set = set_of(len, &model);
            prop_assert!(model.iter().all(|&position| !set.insert(ChunkIndex(position))), "each chunk is counted once");
            prop_assert_eq!(set.count() as usize, model.len());
            prop_assert_eq!(set.is_full(), model.len() == len as usize);
            prop_assert!((0..len + 70).all(|i| set.contains(ChunkIndex(i)) == model.contains(&i)));
            prop_assert!(set.iter().map(|i| i.0).eq(model.iter().copied()));
            prop_assert!(set.iter_missing().map(|i| i.0).eq((0..len).filter(|i| !model.contains(i))));
            let ranges: Vec<ChunkRange> = set.ranges().collect();
            prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
            prop_assert!(ranges.iter().flat_map(ChunkRange::iter).map(|i| i.0).eq(model.iter().copied()));

            for range in set.ranges() {
                let wider = ChunkRange { end: range.end + 1, ..range };
                prop_assert!(set.contains_range(range) && !set.contains_range(wider));
            }
            let mut rebuilt = ChunkSet::new(len);
            set.ranges().chain(set.ranges()).for_each(|range| rebuilt.insert_range(range));
            prop_assert_eq!(&rebuilt, &set);

            let mut rest = set.clone();
            for &position in &other {
                rest.remove(ChunkIndex(position));
            }
            prop_assert_eq!(rest, set_of(len, &model.difference(&other).copied().collect()));
        }

        #[test]
        fn a_decoded_bitmap_equals_the_encoded_set((len, model, _) in positions()) {
            let set = set_of(len, &model);
            prop_assert_eq!(ChunkSet::from_bytes(len, &set.to_bytes()), Ok(set));
        }

        #[test]
        fn decoding_any_bytes_returns_a_set_or_an_error(len in 0u32..100, bytes in proptest::collection::vec(any::<u8>(), 0..14)) {
            if let Ok(set) = ChunkSet::from_bytes(len, &bytes) {
                prop_assert_eq!(set.to_bytes(), bytes);
                prop_assert!(set.count() <= len);
            }
        }
    }

    #[test]
    fn a_full_set_has_every_chunk_and_no_more() {
        for len in [0, 1, 7, 8, 63, 64, 65, 128, 1000] {
            let set = ChunkSet::full(len);
            assert!(set.is_full() && set == set_of(len, &(0..len).collect()), "{len}");
        }
    }

    #[test]
    fn an_empty_range_is_in_every_set_and_adds_nothing() {
        for start in [0, 3, 63, 64, 128] {
            let mut set = ChunkSet::new(128);
            set.insert_range(ChunkRange { start, end: start });
            assert!(set.contains_range(ChunkRange { start, end: start }) && set.count() == 0, "{start}");
        }
    }

    #[test]
    fn the_bytes_of_a_bitmap_do_not_change() {
        assert_eq!(set_of(10, &BTreeSet::from([0, 3, 9])).to_bytes(), [0b0000_1001, 0b0000_0010]);
        assert_eq!(ChunkSet::from_bytes(10, &[0]), Err(ChunkSetError::Length { found: 1, expected: 2 }));
        assert_eq!(ChunkSet::from_bytes(10, &[0, 4]), Err(ChunkSetError::SpareBits(10)));
    }
}
