//! Cuts a stream into chunks where its content says so: FastCDC 2020, normalization level 1, seed 0.
//!
//! The same bytes with the same [`ChunkerParams`] give the same chunks on every machine, however
//! the reads happen to be split: two publishers of one file get one artifact CID.

use std::io::{self, Read};
use std::ops::Range;

use fastcdc::v2020::{Normalization, cut, select_masks};
use serde::{Deserialize, Serialize};

/// The most bytes one chunk may have anywhere: what a peer must be ready to buffer.
pub const MAX_CHUNK_LEN: u32 = 1 << 20;
/// The fewest bytes a chunk other than the last may have. The algorithm takes no less; it also
/// bounds the length of an index by the size of its artifact.
pub const MIN_CHUNK_LEN: u32 = 64;
/// How many bytes a [`Segment`] holds at least, so that handing one over costs little per byte.
/// At most one chunk of it is copied into the next segment.
pub const SEGMENT_LEN: usize = 2 << 20;

/// The smallest average that the algorithm takes.
const MIN_AVERAGE: u32 = 256;
/// The smallest maximum that the algorithm takes.
const MIN_MAXIMUM: u32 = 1024;

/// Sizes of the chunks in bytes. They are part of the index, so a reader never guesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "UncheckedParams")]
pub struct ChunkerParams {
    min: u32,
    avg: u32,
    max: u32,
}

impl ChunkerParams {
    /// Parameters from their parts, in bytes.
    ///
    /// # Errors
    /// Unless all are even and [`MIN_CHUNK_LEN`] ≤ `min` ≤ `avg` ≤ `max` ≤ [`MAX_CHUNK_LEN`], with an
    /// average of at least 256 and a maximum of at least 1024. (Even, because the algorithm looks at
    /// two bytes at a time.)
    pub const fn new(min: u32, avg: u32, max: u32) -> Result<Self, ChunkerError> {
        let ordered = MIN_CHUNK_LEN <= min && min <= avg && avg <= max && max <= MAX_CHUNK_LEN;
        let even = min.is_multiple_of(2) && avg.is_multiple_of(2) && max.is_multiple_of(2);
        if !ordered || !even || avg < MIN_AVERAGE || max < MIN_MAXIMUM {
            return Err(ChunkerError { min, avg, max });
        }
        Ok(Self { min, avg, max })
    }

    /// The fewest bytes of a chunk other than the last.
    pub const fn min(&self) -> u32 {
        self.min
    }

    /// The length that chunks are aimed at.
    pub const fn avg(&self) -> u32 {
        self.avg
    }

    /// The most bytes of a chunk.
    pub const fn max(&self) -> u32 {
        self.max
    }
}

impl Default for ChunkerParams {
    /// 32 KiB, 128 KiB and 512 KiB.
    fn default() -> Self {
        Self { min: 32 << 10, avg: 128 << 10, max: 512 << 10 }
    }
}

/// [`ChunkerParams`] as they come from outside.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UncheckedParams {
    min: u32,
    avg: u32,
    max: u32,
}

impl TryFrom<UncheckedParams> for ChunkerParams {
    type Error = ChunkerError;

    fn try_from(params: UncheckedParams) -> Result<Self, ChunkerError> {
        Self::new(params.min, params.avg, params.max)
    }
}

/// Chunk sizes that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "chunk sizes {min}, {avg}, {max} (least, average, most) cannot be used: they must be even and ascending, \
     with 64 <= least, 256 <= average, 1024 <= most <= 1048576"
)]
pub struct ChunkerError {
    min: u32,
    avg: u32,
    max: u32,
}

/// Finds cut points in memory.
#[derive(Clone, Debug)]
pub struct Cutter {
    params: ChunkerParams,
    mask_s: u64,
    mask_l: u64,
}

impl Cutter {
    /// A cutter for chunks of these sizes.
    pub fn new(params: ChunkerParams) -> Self {
        let (mask_s, mask_l) = select_masks(params.avg as usize, Normalization::Level1);
        Self { params, mask_s, mask_l }
    }

    /// The length of the first chunk of `bytes`, which must either reach to the end of the artifact
    /// or be at least [`ChunkerParams::max`] long. 0 only if `bytes` is empty.
    pub fn cut(&self, bytes: &[u8]) -> usize {
        let ChunkerParams { min, avg, max } = self.params;
        let (mask_s, mask_l) = (self.mask_s, self.mask_l);
        cut(bytes, min as usize, avg as usize, max as usize, mask_s, mask_l, mask_s << 1, mask_l << 1).1
    }
}

/// A stretch of an artifact that is cut into whole chunks. Reused from one read to the next: after
/// the first few it allocates nothing.
#[derive(Debug, Default)]
pub struct Segment {
    /// What was read. Past the last cut stands the beginning of the next segment, then nothing of use.
    buffer: Vec<u8>,
    /// Where the first byte stands in the artifact.
    offset: u64,
    /// Where each chunk ends, relative to the segment.
    ends: Vec<usize>,
}

impl Segment {
    /// Where the segment begins in the artifact, in bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The bytes of all its chunks, one after the other.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len()]
    }

    /// How many bytes its chunks have together.
    pub fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Whether it has no chunks, which is so only before the first read and past the end.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The chunks in order.
    pub fn chunks(&self) -> impl ExactSizeIterator<Item = &[u8]> + '_ {
        (0..self.ends.len()).map(|position| &self.buffer[self.bounds(position)])
    }

    fn bounds(&self, position: usize) -> Range<usize> {
        let start = position.checked_sub(1).map_or(0, |previous| self.ends[previous]);
        start..self.ends[position]
    }
}

/// Cuts a stream into chunks, in bounded memory.
///
/// Hands out [`Segment`]s of [`SEGMENT_LEN`] bytes or more with several chunks each, so that another
/// thread can hash and write one while the next is read:
///
/// ```
/// use phase_core::chunker::{Chunker, ChunkerParams, Segment};
///
/// let file: &[u8] = &[7; 3_000_000];
/// let mut chunker = Chunker::new(file, ChunkerParams::default());
/// let mut segment = Segment::default();
/// let mut total = 0;
/// while chunker.read_segment(&mut segment)? {
///     total += segment.chunks().map(|chunk| chunk.len()).sum::<usize>();
/// }
/// assert_eq!(total, file.len());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Chunker<R> {
    source: R,
    cutter: Cutter,
    /// Where the next segment begins.
    offset: u64,
    /// The bytes read past the last cut: the beginning of the next segment.
    tail: Vec<u8>,
    at_end: bool,
}

impl<R: Read> Chunker<R> {
    /// Will cut what `source` yields from now on. It is read in large pieces: no `BufReader` is needed.
    pub fn new(source: R, params: ChunkerParams) -> Self {
        Self { source, cutter: Cutter::new(params), offset: 0, tail: Vec::new(), at_end: false }
    }

    /// How many bytes the segments so far had.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Gives the source back. Up to one segment more than was handed out has been read from it.
    pub fn into_inner(self) -> R {
        self.source
    }

    /// Fills `segment` with the next chunks; false if there are none left. What `segment` held before
    /// is lost, any segment will do.
    ///
    /// # Errors
    /// What the source reports. The stream cannot be continued then.
    pub fn read_segment(&mut self, segment: &mut Segment) -> io::Result<bool> {
        segment.offset = self.offset;
        segment.ends.clear();
        if segment.buffer.len() != self.capacity() {
            // Zeroed by the system, page by page as needed: a small file costs little.
            segment.buffer = vec![0; self.capacity()];
        }
        let filled = self.fill(&mut segment.buffer)?;
        self.cut_all(&segment.buffer[..filled], &mut segment.ends);
        self.tail.clear();
        self.tail.extend_from_slice(&segment.buffer[segment.len()..filled]);
        self.offset += segment.len() as u64;
        Ok(!segment.is_empty())
    }

    /// Puts the tail and what follows it in the source into `buffer`; returns how many bytes.
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = self.tail.len();
        buffer[..filled].copy_from_slice(&self.tail);
        while filled < buffer.len() && !self.at_end {
            match self.source.read(&mut buffer[filled..]) {
                Ok(0) => self.at_end = true,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Notes the end of every chunk of `bytes` that is certain.
    fn cut_all(&self, bytes: &[u8], ends: &mut Vec<usize>) {
        let needed = if self.at_end { 1 } else { self.cutter.params.max as usize };
        let mut start = 0;
        while bytes.len() - start >= needed {
            start += self.cutter.cut(&bytes[start..]);
            ends.push(start);
        }
    }

    /// The most bytes a segment's buffer takes: a tail is always shorter than the largest chunk, so a
    /// segment that does not end the stream has at least [`SEGMENT_LEN`] bytes in chunks.
    fn capacity(&self) -> usize {
        SEGMENT_LEN + self.cutter.params.max as usize
    }
}

#[cfg(test)]
mod tests {
    use fastcdc::v2020::FastCDC;
    use proptest::prelude::*;

    use super::*;

    /// A source that returns few bytes at a time and is interrupted now and then.
    struct Trickle<'a> {
        rest: &'a [u8],
        step: usize,
    }

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.step = self.step.wrapping_mul(31).wrapping_add(7) % 50_000;
            if self.step % 5 == 4 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let len = buffer.len().min(self.step + 1);
            self.rest.read(&mut buffer[..len])
        }
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    fn stream<R: Read>(source: R, params: ChunkerParams) -> Vec<(u64, Vec<u8>)> {
        let mut chunker = Chunker::new(source, params);
        let (mut segment, mut chunks) = (Segment::default(), Vec::new());
        while chunker.read_segment(&mut segment).unwrap() {
            let mut offset = segment.offset();
            assert_eq!(segment.chunks().map(<[u8]>::len).sum::<usize>(), segment.bytes().len());
            for chunk in segment.chunks() {
                chunks.push((offset, chunk.to_vec()));
                offset += chunk.len() as u64;
            }
            assert_eq!(offset, chunker.offset());
        }
        assert!(segment.is_empty() && !chunker.read_segment(&mut segment).unwrap());
        chunks
    }

    fn in_memory(bytes: &[u8], params: ChunkerParams) -> Vec<(u64, Vec<u8>)> {
        let ChunkerParams { min, avg, max } = params;
        let cuts = FastCDC::new(bytes, min as usize, avg as usize, max as usize);
        cuts.map(|cut| (cut.offset as u64, bytes[cut.offset..cut.offset + cut.length].to_vec())).collect()
    }

    #[test]
    fn a_stream_is_cut_where_the_bytes_in_memory_are() {
        let params = ChunkerParams::default();
        for len in [0, 1, 63, 32_769, 512 << 10, SEGMENT_LEN, SEGMENT_LEN + (512 << 10), 9_876_543] {
            let bytes = noise(len);
            let expected = in_memory(&bytes, params);
            assert_eq!(stream(bytes.as_slice(), params), expected, "{len}");
            assert_eq!(stream(Trickle { rest: &bytes, step: len }, params), expected, "{len} in small reads");
        }
    }

    #[test]
    fn bytes_without_any_cut_point_give_the_largest_chunks() {
        let params = ChunkerParams::default();
        let chunks = stream([0; 3 << 20].as_slice(), params);
        assert_eq!(chunks.len(), 6);
        assert!(chunks.iter().all(|(_, chunk)| chunk.len() == params.max() as usize));
    }

    #[test]
    fn the_cut_points_stay_the_same_from_release_to_release() {
        let ends: Vec<u64> = stream(noise(700_000).as_slice(), ChunkerParams::default())
            .iter()
            .map(|(offset, chunk)| offset + chunk.len() as u64)
            .collect();
        assert_eq!(ends, [149_670, 531_215, 624_992, 700_000]);
    }

    #[test]
    fn an_error_of_the_source_is_passed_on() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::PermissionDenied.into())
            }
        }
        let result = Chunker::new(Broken, ChunkerParams::default()).read_segment(&mut Segment::default());
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn sizes_that_the_algorithm_cannot_use_are_refused() {
        for (min, avg, max) in [
            (62, 256, 1024),
            (64, 254, 1024),
            (64, 256, 1022),
            (512, 256, 1024),
            (64, 2048, 1024),
            (64, 256, (1 << 20) + 2),
            (65, 256, 1024),
            (64, 257, 1024),
            (64, 256, 1025),
        ] {
            assert!(ChunkerParams::new(min, avg, max).is_err(), "{min} {avg} {max}");
        }
        let default = ChunkerParams::default();
        assert_eq!(ChunkerParams::new(default.min, default.avg, default.max), Ok(default));
        assert!(ChunkerParams::new(64, 256, 1024).is_ok() && ChunkerParams::new(64, 1 << 20, 1 << 20).is_ok());
    }

    proptest! {
        #[test]
        fn any_sizes_and_bytes_give_the_same_chunks_as_in_memory(
            (min, more, most) in (32u32..2000, 0u32..2000, 0u32..2000),
            len in 0usize..60_000,
            step in 0usize..50_000,
        ) {
            let (min, avg) = (min * 2, (min + more).max(128) * 2);
            let params = ChunkerParams::new(min, avg, (avg + most * 2).max(1024)).unwrap();
            let bytes = noise(len);
            prop_assert_eq!(stream(Trickle { rest: &bytes, step }, params), in_memory(&bytes, params));
        }
    }
}
