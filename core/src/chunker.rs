//! The chunker, which cuts a stream into chunks at positions that depend on its content. The algorithm is FastCDC 2020
//! with normalization level 1 and unchanged gear tables.
//!
//! The same bytes with the same [`ChunkerParams`] give the same chunks on every machine, no matter how many bytes each
//! read returns. Two publishers of the same file therefore get the same artifact CID.

use std::io::{self, Read};
use std::ops::Range;

use fastcdc::v2020::{Normalization, cut, select_masks};
use serde::{Deserialize, Serialize};

/// The upper limit of the length of a chunk, in bytes. A peer must be able to buffer a chunk of this length.
pub const MAX_CHUNK_LEN: u32 = 1 << 20;
/// The lower limit of the length of a chunk, in bytes, except for the last chunk of an artifact. FastCDC accepts no
/// smaller value. The limit prevents an artifact from having a huge number of tiny chunks.
pub const MIN_CHUNK_LEN: u32 = 64;
/// The minimum length of a [`Segment`], in bytes, except for the last segment of a stream. A segment is large, so that
/// passing it to another thread costs little per byte.
pub const SEGMENT_LEN: usize = 2 << 20;

/// The smallest average chunk length that FastCDC accepts, in bytes.
const MIN_AVERAGE: u32 = 256;
/// The smallest maximum chunk length that FastCDC accepts, in bytes.
const MIN_MAXIMUM: u32 = 1024;

/// The minimum, average and maximum length of the chunks, in bytes. Each index contains the parameters with which its
/// artifact was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "UncheckedParams")]
pub struct ChunkerParams {
    min: u32,
    avg: u32,
    max: u32,
}

impl ChunkerParams {
    /// Makes parameters from lengths in bytes.
    ///
    /// # Errors
    /// [`ChunkerError`] unless all lengths are even, [`MIN_CHUNK_LEN`] ≤ `min` ≤ `avg` ≤ `max` ≤ [`MAX_CHUNK_LEN`],
    /// `avg` ≥ 256 and `max` ≥ 1024. Odd lengths are refused because the algorithm processes two bytes at a time.
    pub const fn new(min: u32, avg: u32, max: u32) -> Result<Self, ChunkerError> {
        let ordered = MIN_CHUNK_LEN <= min && min <= avg && avg <= max && max <= MAX_CHUNK_LEN;
        let even = min.is_multiple_of(2) && avg.is_multiple_of(2) && max.is_multiple_of(2);
        if !ordered || !even || avg < MIN_AVERAGE || max < MIN_MAXIMUM {
            return Err(ChunkerError { min, avg, max });
        }
        Ok(Self { min, avg, max })
    }

    /// Returns the minimum length of a chunk, in bytes. Only the last chunk may be shorter.
    pub const fn min(&self) -> u32 {
        self.min
    }

    /// Returns the intended average length of a chunk, in bytes.
    pub const fn avg(&self) -> u32 {
        self.avg
    }

    /// Returns the maximum length of a chunk, in bytes.
    pub const fn max(&self) -> u32 {
        self.max
    }
}

impl Default for ChunkerParams {
    /// Returns a minimum of 32 KiB, an average of 128 KiB and a maximum of 512 KiB.
    fn default() -> Self {
        Self { min: 32 << 10, avg: 128 << 10, max: 512 << 10 }
    }
}

/// [`ChunkerParams`] that were decoded and not checked yet.
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

/// The error for chunk lengths that the chunker cannot use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "chunk sizes {min}, {avg}, {max} (minimum, average, maximum) cannot be used: they must be even and ascending, \
     with 64 <= minimum, 256 <= average, 1024 <= maximum <= 1048576"
)]
pub struct ChunkerError {
    min: u32,
    avg: u32,
    max: u32,
}

/// A cutter, which finds the ends of chunks in a buffer.
#[derive(Clone, Debug)]
pub struct Cutter {
    params: ChunkerParams,
    mask_s: u64,
    mask_l: u64,
}

impl Cutter {
    /// Returns a cutter for chunks of these lengths.
    pub fn new(params: ChunkerParams) -> Self {
        let (mask_s, mask_l) = select_masks(params.avg as usize, Normalization::Level1);
        Self { params, mask_s, mask_l }
    }

    /// Returns the length of the first chunk of `bytes`, or 0 if `bytes` is empty. Unless `bytes` reaches to the end of
    /// the artifact, it must have at least [`ChunkerParams::max`] bytes.
    pub fn cut(&self, bytes: &[u8]) -> usize {
        let ChunkerParams { min, avg, max } = self.params;
        let (mask_s, mask_l) = (self.mask_s, self.mask_l);
        cut(bytes, min as usize, avg as usize, max as usize, mask_s, mask_l, mask_s << 1, mask_l << 1).1
    }
}

/// A run of whole chunks of an artifact. Pass the same segment to every call of [`Chunker::read_segment`], so that its
/// buffers are reused.
#[derive(Debug, Default)]
pub struct Segment {
    /// The bytes that were read. Bytes after the end of the last chunk do not belong to the segment.
    buffer: Vec<u8>,
    /// The position of the segment's first byte in the artifact.
    offset: u64,
    /// The exclusive end of each chunk, relative to the start of the segment.
    ends: Vec<usize>,
}

impl Segment {
    /// Returns the position of the segment in the artifact, in bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the bytes of all chunks of the segment, in order.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len()]
    }

    /// Returns the total length of the chunks, in bytes.
    pub fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Returns whether the segment has no chunks, which is true only before the first read and at the end of the
    /// stream.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns the bytes of each chunk, in order.
    pub fn chunks(&self) -> impl ExactSizeIterator<Item = &[u8]> + '_ {
        (0..self.ends.len()).map(|position| &self.buffer[self.range_of(position)])
    }

    fn range_of(&self, position: usize) -> Range<usize> {
        let start = position.checked_sub(1).map_or(0, |previous| self.ends[previous]);
        start..self.ends[position]
    }
}

/// A chunker, which cuts a stream into chunks with bounded memory.
///
/// The chunks are returned in [`Segment`]s of at least [`SEGMENT_LEN`] bytes (the last segment may be shorter). One
/// thread can then read a segment while another thread hashes and writes the previous segment:
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
    reader: R,
    cutter: Cutter,
    /// The position of the next segment in the artifact.
    offset: u64,
    /// The bytes that were read after the last returned chunk. The next segment begins with them.
    tail: Vec<u8>,
    at_end: bool,
}

impl<R: Read> Chunker<R> {
    /// Returns a chunker that reads from `reader`. A `BufReader` is not needed, because the chunker reads into a large
    /// buffer.
    pub fn new(reader: R, params: ChunkerParams) -> Self {
        Self { reader, cutter: Cutter::new(params), offset: 0, tail: Vec::new(), at_end: false }
    }

    /// Returns the total length of the segments returned so far, in bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the underlying reader. The chunker reads ahead, so up to [`ChunkerParams::max`] bytes after the last
    /// returned chunk were read and are lost.
    pub fn into_inner(self) -> R {
        self.reader
    }

    /// Replaces the content of `segment` with the next chunks. Returns false if the stream has no more chunks.
    ///
    /// # Errors
    /// The error from the reader. The chunker must not be used after an error.
    pub fn read_segment(&mut self, segment: &mut Segment) -> io::Result<bool> {
        segment.offset = self.offset;
        segment.ends.clear();
        if segment.buffer.len() != self.capacity() {
            // The operating system zeroes the buffer page by page on first use, so a small file costs only a few pages.
            segment.buffer = vec![0; self.capacity()];
        }
        let filled = self.fill(&mut segment.buffer)?;
        self.cut_all(&segment.buffer[..filled], &mut segment.ends);
        self.tail.clear();
        self.tail.extend_from_slice(&segment.buffer[segment.len()..filled]);
        self.offset += segment.len() as u64;
        Ok(!segment.is_empty())
    }

    /// Copies `self.tail` into `buffer`, fills the rest of `buffer` from the reader, and returns the total number of
    /// bytes written to `buffer`.
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = self.tail.len();
        buffer[..filled].copy_from_slice(&self.tail);
        while filled < buffer.len() && !self.at_end {
            match self.reader.read(&mut buffer[filled..]) {
                Ok(0) => self.at_end = true,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Appends to `ends` the exclusive end of each whole chunk in `bytes`. A chunk is left out if its end may depend on
    /// bytes of the stream that were not read yet.
    fn cut_all(&self, bytes: &[u8], ends: &mut Vec<usize>) {
        let needed = if self.at_end { 1 } else { self.cutter.params.max as usize };
        let mut start = 0;
        while bytes.len() - start >= needed {
            start += self.cutter.cut(&bytes[start..]);
            ends.push(start);
        }
    }

    /// Returns the length of a segment's buffer, in bytes: [`SEGMENT_LEN`] and the maximum length of a chunk. Less than
    /// one chunk is left over at the end of a full buffer, so the whole chunks have at least [`SEGMENT_LEN`] bytes.
    fn capacity(&self) -> usize {
        SEGMENT_LEN + self.cutter.params.max as usize
    }
}

#[cfg(test)]
mod tests {
    use fastcdc::v2020::FastCDC;
    use proptest::prelude::*;

    use super::*;

    /// A reader whose reads are short and sometimes fail with `Interrupted`.
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

    fn stream<R: Read>(reader: R, params: ChunkerParams) -> Vec<(u64, Vec<u8>)> {
        let mut chunker = Chunker::new(reader, params);
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
    fn a_stream_is_cut_into_the_same_chunks_as_a_buffer() {
        let params = ChunkerParams::default();
        for len in [0, 1, 63, 32_769, 512 << 10, SEGMENT_LEN, SEGMENT_LEN + (512 << 10), 9_876_543] {
            let bytes = noise(len);
            let expected = in_memory(&bytes, params);
            assert_eq!(stream(bytes.as_slice(), params), expected, "{len}");
            assert_eq!(stream(Trickle { rest: &bytes, step: len }, params), expected, "{len} in small reads");
        }
    }

    #[test]
    fn bytes_without_a_cut_point_give_chunks_of_maximum_length() {
        let params = ChunkerParams::default();
        let chunks = stream([0; 3 << 20].as_slice(), params);
        assert_eq!(chunks.len(), 6);
        assert!(chunks.iter().all(|(_, chunk)| chunk.len() == params.max() as usize));
    }

    #[test]
    fn the_chunks_of_given_bytes_never_change() {
        let ends: Vec<u64> = stream(noise(700_000).as_slice(), ChunkerParams::default())
            .iter()
            .map(|(offset, chunk)| offset + chunk.len() as u64)
            .collect();
        assert_eq!(ends, [149_670, 531_215, 624_992, 700_000]);
    }

    #[test]
    fn an_error_from_the_reader_is_returned() {
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
    fn chunk_lengths_that_the_algorithm_cannot_use_are_refused() {
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
        fn with_any_chunk_sizes_a_stream_is_cut_like_a_buffer(
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
