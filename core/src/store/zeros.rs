//! Runs of zeros, which become holes: bytes of a new file that are never written read as zeros and use no disk space.

use std::ops::Range;

/// The length of a block, in bytes. A block of zeros is not written. Common file systems allocate blocks of this length.
const BLOCK: usize = 4 << 10;
/// A block of zeros. Comparing with it is faster than a loop over the bytes.
static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// Returns the ranges of `bytes` that must be written to a new file at `offset`. The rest are whole blocks of zeros,
/// aligned in the file, and zeros at both ends of `bytes`.
pub(crate) fn data_ranges(offset: u64, bytes: &[u8]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        let in_block = (offset + start as u64) as usize % BLOCK;
        let end = bytes.len().min(start + BLOCK - in_block);
        if bytes[start..end] != ZEROS[..end - start] {
            match ranges.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => ranges.push(start..end),
            }
        }
        start = end;
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_aligned_blocks_with_data_are_written() {
        let ranges = |offset, bytes: &[u8]| -> Vec<(usize, usize)> {
            data_ranges(offset, bytes).into_iter().map(|range| (range.start, range.end)).collect()
        };
        let mut bytes = vec![0; 5 * BLOCK];
        assert_eq!(ranges(0, &bytes), []);
        bytes[2 * BLOCK + 7] = 1;
        assert_eq!(ranges(0, &bytes), [(2 * BLOCK, 3 * BLOCK)]);
        // At this offset, the bytes of one block are in two blocks of the file.
        assert_eq!(ranges(10, &bytes), [(2 * BLOCK - 10, 3 * BLOCK - 10)]);
        bytes[3 * BLOCK] = 1;
        bytes[5 * BLOCK - 1] = 1;
        assert_eq!(ranges(1 << 40, &bytes), [(2 * BLOCK, 5 * BLOCK)]);
        bytes[4 * BLOCK - 1] = 0;
        bytes[3 * BLOCK] = 0;
        assert_eq!(ranges(0, &bytes), [(2 * BLOCK, 3 * BLOCK), (4 * BLOCK, 5 * BLOCK)]);
        assert_eq!(ranges(0, &[]), []);
        assert_eq!(ranges(0, &[1; 3]), [(0, 3)]);
    }
}
