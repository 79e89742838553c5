//! Generates the input of the benches: bytes that do not compress and are the same in every run.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

/// The number of bytes that [`write_noise`] writes at a time.
const STEP: usize = 1 << 20;

/// Returns `len` bytes that do not compress: the extended output of BLAKE3 for a fixed input.
pub fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream().fill(&mut bytes);
    bytes
}

/// Writes a file that contains `len` bytes of [`noise`]. Uses little memory for any length.
///
/// # Errors
/// If the file cannot be written.
pub fn write_noise(path: &Path, len: u64) -> io::Result<()> {
    let (mut file, mut stream) = (File::create(path)?, stream());
    let mut buffer = vec![0; STEP];
    let mut rest = len;
    while rest > 0 {
        let step = rest.min(STEP as u64);
        let piece = &mut buffer[..step as usize];
        stream.fill(piece);
        file.write_all(piece)?;
        rest -= step;
    }
    Ok(())
}

/// Returns the BLAKE3 digest of a whole file.
///
/// # Errors
/// If the file cannot be read.
pub fn digest(path: &Path) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize())
}

fn stream() -> blake3::OutputReader {
    blake3::Hasher::new().update(b"phase benches").finalize_xof()
}
