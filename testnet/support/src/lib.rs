//! Helpers that the tests of several crates share. Other crates use this crate only as a dev-dependency. Among Phase's
//! crates, it depends only on `phase-core`.

pub mod gate;
#[cfg(target_os = "linux")]
pub mod netns;

mod time;

pub use time::{in_time, until};

/// Returns `len` random bytes, which do not compress. The same RNG seed gives the same bytes.
pub fn bytes(rng_seed: u64, len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(rng_seed);
    std::iter::repeat_with(|| random.u8(..)).take(len).collect()
}
