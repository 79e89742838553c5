//! What the tests of several crates share. Only dev-dependencies name this crate, and it knows nothing above `phase-core`.

pub mod gate;
#[cfg(target_os = "linux")]
pub mod netns;

mod time;

pub use time::{in_time, until};

/// `len` bytes that do not compress. The same `seed` gives the same bytes.
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(len).collect()
}
