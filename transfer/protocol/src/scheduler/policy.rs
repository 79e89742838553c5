//! In which order missing chunks are asked for.

use std::fmt;
use std::str::FromStr;

use phase_core::{ChunkIndex, ChunkSet};

use crate::scheduler::ArtifactSlot;

/// Chunks that are ranked for one choice, give or take: it bounds the cost of a choice to some microseconds, whatever the
/// size of the artifact. Where there are fewer, all are ranked. In the simulator (64 MiB, 64 clients) 128 cost a fifth
/// more time than all 517, and 512 cost nothing.
const SAMPLE: u32 = 512;
/// Positions that are looked at to find them.
const SEARCH: u32 = 4096;

/// Ranks missing chunks; the lowest rank is asked for first.
pub trait Policy: Send {
    /// The rank of a chunk that `peers` peers with a part of the artifact have. Peers with all of it do not count: they
    /// make no chunk rarer than another.
    fn rank(&self, slot: ArtifactSlot, chunk: ChunkIndex, peers: u32) -> (u32, u64);

    /// Whether artifacts of the same priority are to be fetched in their order too. By default they are not.
    fn is_ordered(&self) -> bool {
        false
    }
}

/// The chunk that the fewest have goes first; among equals a random one, another one at every client, so that clients
/// that start together soon have something to give each other. (Were neighbours to have the same tie value, requests
/// would be longer; but clients would share less: up to half as slow again in the simulator.)
#[derive(Clone, Copy, Debug)]
pub struct RarestFirst {
    /// Where the random order comes from.
    pub seed: u64,
}

impl Policy for RarestFirst {
    fn rank(&self, slot: ArtifactSlot, chunk: ChunkIndex, peers: u32) -> (u32, u64) {
        let position = (u64::from(slot.0) << 32) | u64::from(chunk.0);
        (peers, mix(self.seed ^ mix(position)))
    }
}

/// From the beginning to the end, for content that is used while it arrives.
#[derive(Clone, Copy, Debug)]
pub struct Sequential;

impl Policy for Sequential {
    fn rank(&self, _: ArtifactSlot, chunk: ChunkIndex, _: u32) -> (u32, u64) {
        (0, u64::from(chunk.0))
    }

    fn is_ordered(&self) -> bool {
        true
    }
}

/// In a random order, another one at every client, whatever others have.
#[derive(Clone, Copy, Debug)]
pub struct Random {
    /// Where the order comes from.
    pub seed: u64,
}

impl Policy for Random {
    fn rank(&self, slot: ArtifactSlot, chunk: ChunkIndex, _: u32) -> (u32, u64) {
        RarestFirst { seed: self.seed }.rank(slot, chunk, 0)
    }
}

/// The policies there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// [`RarestFirst`]: what suits a swarm.
    #[default]
    RarestFirst,
    /// [`Sequential`]: what suits a reader.
    Sequential,
    /// [`Random`]: to compare with.
    Random,
}

impl Order {
    /// The policy, with `seed` for what is random in it.
    pub fn policy(self, seed: u64) -> Box<dyn Policy> {
        match self {
            Self::RarestFirst => Box::new(RarestFirst { seed }),
            Self::Sequential => Box::new(Sequential),
            Self::Random => Box::new(Random { seed }),
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RarestFirst => "rarest",
            Self::Sequential => "sequential",
            Self::Random => "random",
        })
    }
}

impl FromStr for Order {
    type Err = OrderError;

    fn from_str(text: &str) -> Result<Self, OrderError> {
        let orders = [Self::RarestFirst, Self::Sequential, Self::Random];
        orders.into_iter().find(|order| order.to_string() == text).ok_or_else(|| OrderError(text.to_owned()))
    }
}

/// A text that names no [`Order`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no order: rarest, sequential or random")]
pub struct OrderError(String);

/// The chunks of a set that are worth ranking: all of a small one; of a large one the first, and some from position
/// `start` on.
pub(super) fn sample(chunks: &ChunkSet, start: u32) -> impl Iterator<Item = ChunkIndex> + '_ {
    let (all, search) = if chunks.count() <= SAMPLE { (SAMPLE, 0) } else { (1, SEARCH.min(chunks.len())) };
    let start = start.checked_rem(chunks.len()).unwrap_or(0);
    let places = (start..chunks.len()).chain(0..start).take(search as usize).map(ChunkIndex);
    let found = places.filter(|chunk| chunks.contains(*chunk)).take(SAMPLE as usize);
    chunks.iter().take(all as usize).chain(found)
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every bit of the input changes half of the output.
fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_sample_is_all_of_few_and_some_of_many(
            len in 1u32..9000, every in 1u32..200, start in any::<u32>()
        ) {
            let mut chunks = ChunkSet::new(len);
            (0..len).filter(|position| position % every == 0).for_each(|position| {
                chunks.insert(ChunkIndex(position));
            });
            let sampled: Vec<_> = sample(&chunks, start).collect();
            prop_assert!(sampled.iter().all(|chunk| chunks.contains(*chunk)));
            prop_assert_eq!(sampled[0], ChunkIndex(0));
            if chunks.count() <= SAMPLE {
                prop_assert!(sampled.into_iter().eq(chunks.iter()));
            } else {
                prop_assert!(sampled.len() > 1 && sampled.len() <= SAMPLE as usize + 1);
            }
        }
    }
}
