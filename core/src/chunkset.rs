//! A set of chunk positions of one artifact: which chunks somebody has.
//!
//! Invariant: bits past [`ChunkSet::len`] are zero, so that counting and comparing need no mask.

use std::fmt;

use crate::index::{ChunkIndex, ChunkRange};

/// Bits in one word of the bitmap.
const WORD_BITS: u32 = u64::BITS;

/// A subset of the positions `0..len`, kept as a bitmap.
///
/// A position past the end is a caller's mistake and panics; positions that come from a peer are
/// checked against [`ChunkSet::len`] first.
#[derive(Clone, PartialEq, Eq)]
pub struct ChunkSet {
    len: u32,
    count: u32,
    words: Vec<u64>,
}

impl ChunkSet {
    /// The empty subset of `0..len`.
    pub fn new(len: u32) -> Self {
        Self { len, count: 0, words: vec![0; len.div_ceil(WORD_BITS) as usize] }
    }

    /// All of `0..len`.
    pub fn full(len: u32) -> Self {
        let mut set = Self::new(len);
        set.words.fill(u64::MAX);
        if let (Some(last), spare @ 1..) = (set.words.last_mut(), len.next_multiple_of(WORD_BITS) - len) {
            *last >>= spare;
        }
        set.count = len;
        set
    }

    /// How many positions there are, in the set or not.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// How many positions are in the set.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether no position is in the set.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether every position is in the set.
    pub fn is_full(&self) -> bool {
        self.count == self.len
    }

    /// Whether `index` is in the set; false past the end.
    pub fn contains(&self, index: ChunkIndex) -> bool {
        index.0 < self.len && self.words[word(index.0)] & mask(index.0) != 0
    }

    /// Whether all chunks of `range` are in the set.
    pub fn contains_range(&self, range: ChunkRange) -> bool {
        range.end <= self.len && words(range).all(|(word, bits)| self.words[word] & bits == bits)
    }

    /// The runs of chunks that are in this set and not in `other`, ascending.
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

    /// Adds `index`; true if it was not there before.
    ///
    /// # Panics
    /// If `index` is not below [`ChunkSet::len`].
    pub fn insert(&mut self, index: ChunkIndex) -> bool {
        assert!(index.0 < self.len, "position {} of {}", index.0, self.len);
        let added = self.words[word(index.0)] & mask(index.0) == 0;
        self.words[word(index.0)] |= mask(index.0);
        self.count += u32::from(added);
        added
    }

    /// Adds every position of `range`.
    ///
    /// # Panics
    /// If `range` ends past [`ChunkSet::len`].
    pub fn insert_range(&mut self, range: ChunkRange) {
        assert!(range.end <= self.len, "range up to {} of {}", range.end, self.len);
        for (word, bits) in words(range) {
            self.count += (bits & !self.words[word]).count_ones();
            self.words[word] |= bits;
        }
    }

    /// Takes `index` out; true if it was there.
    pub fn remove(&mut self, index: ChunkIndex) -> bool {
        let removed = self.contains(index);
        if removed {
            self.words[word(index.0)] &= !mask(index.0);
            self.count -= 1;
        }
        removed
    }

    /// The positions in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = ChunkIndex> + '_ {
        self.scan(0).map(ChunkIndex)
    }

    /// The positions not in the set, ascending.
    pub fn iter_missing(&self) -> impl Iterator<Item = ChunkIndex> + '_ {
        self.scan(u64::MAX).take_while(|&position| position < self.len).map(ChunkIndex)
    }

    /// The longest runs of positions in the set, ascending.
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

    /// The length in bytes of the bitmap of a set over `len` positions.
    pub fn byte_len(len: u32) -> usize {
        len.div_ceil(8) as usize
    }

    /// The bitmap: position `i` is bit `i % 8`, counted from the lowest, of byte `i / 8`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.truncate(Self::byte_len(self.len));
        bytes
    }

    /// Reads the bitmap of a set over `len` positions.
    ///
    /// # Errors
    /// If the bitmap has another length, or bits past the end are set.
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

    /// The positions of the bits set in each word XOR `flip`; past the end as well when flipped.
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

/// The words that a range touches, and which of their bits it covers.
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

/// Why bytes are not the bitmap of a [`ChunkSet`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkSetError {
    /// Too short or too long for the number of chunks.
    #[error("bitmap of {found} bytes, expected {expected}")]
    Length {
        /// The length of what was given, in bytes.
        found: usize,
        /// The length it must have, in bytes.
        expected: usize,
    },
    /// A bit past the last chunk is set.
    #[error("bitmap sets bits past the last of {0} chunks")]
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
        fn behaves_like_a_set_of_numbers((len, model, other) in positions()) {
            let mut set = set_of(len, &model);
            prop_assert!(model.iter().all(|&position| !set.insert(ChunkIndex(position))), "each counts once");
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
        fn bitmap_survives_the_wire((len, model, _) in positions()) {
            let set = set_of(len, &model);
            prop_assert_eq!(ChunkSet::from_bytes(len, &set.to_bytes()), Ok(set));
        }

        #[test]
        fn any_bytes_give_a_set_or_an_error(len in 0u32..100, bytes in proptest::collection::vec(any::<u8>(), 0..14)) {
            if let Ok(set) = ChunkSet::from_bytes(len, &bytes) {
                prop_assert_eq!(set.to_bytes(), bytes);
                prop_assert!(set.count() <= len);
            }
        }
    }

    #[test]
    fn full_sets_have_every_position_and_no_more() {
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
    fn the_bitmap_has_this_form() {
        assert_eq!(set_of(10, &BTreeSet::from([0, 3, 9])).to_bytes(), [0b0000_1001, 0b0000_0010]);
        assert_eq!(ChunkSet::from_bytes(10, &[0]), Err(ChunkSetError::Length { found: 1, expected: 2 }));
        assert_eq!(ChunkSet::from_bytes(10, &[0, 4]), Err(ChunkSetError::SpareBits(10)));
    }
}
