//! The positions of DHT keys and peers in Kademlia's key space, and the distances between these positions.

use phase_node::PeerId;
use sha2::{Digest as _, Sha256};

/// The number of bits of a position.
pub(super) const BITS: u32 = 256;

/// A position in the key space: the SHA-256 of the bytes of a DHT key or peer id, as in libp2p's specification of
/// Kademlia.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position([u8; 32]);

/// The distance between two positions: their XOR, as a number of 256 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Distance([u8; 32]);

impl Position {
    pub(super) fn of_key(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }

    pub(super) fn of_peer(peer: &PeerId) -> Self {
        Self::of_key(&peer.to_bytes())
    }

    pub(super) fn distance(&self, other: &Self) -> Distance {
        Distance(std::array::from_fn(|n| self.0[n] ^ other.0[n]))
    }
}

impl Distance {
    /// Returns the number of significant bits of the distance: 0 between equal positions, at most 256. Half of all
    /// nodes are at a distance of 256 bits, a quarter at 255, and so on.
    pub(super) fn bits(&self) -> u32 {
        let zeros = self.0.iter().take_while(|byte| **byte == 0).count();
        self.0.get(zeros).map_or(0, |byte| BITS - 8 * zeros as u32 - byte.leading_zeros())
    }

    /// Returns the distance as a fraction of the whole key space, 0 to 1.
    pub(super) fn fraction(&self) -> f64 {
        self.0.iter().rev().fold(0.0, |sum, byte| (sum + f64::from(*byte)) / 256.0)
    }

    /// Returns the first four bytes of the distance in hexadecimal, so that people can compare distances.
    pub(super) fn prefix(&self) -> String {
        self.0[..4].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Estimates the number of nodes in the DHT. `distances` are the distances from a random key to the nodes closest to
/// it, in ascending order. Returns `None` if `distances` is empty or all of them are zero.
///
/// The `i`-th closest of `N` nodes at random positions has the distance `i / (N + 1)` on average (order statistics of
/// the uniform distribution; E. Sohl, "A New Method for Estimating P2P Network Size", 2020). The slope that fits all
/// distances best by least squares is `Σ i·dᵢ / Σ i²`, so `N = Σ i² / Σ i·dᵢ - 1`.
pub(super) fn network_size(distances: &[Distance]) -> Option<f64> {
    let ranked = || (1..).map(f64::from).zip(distances);
    let squares: f64 = ranked().map(|(rank, _)| rank * rank).sum();
    let products: f64 = ranked().map(|(rank, distance)| rank * distance.fraction()).sum();
    (products > 0.0).then(|| (squares / products - 1.0).max(distances.len() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distance(first: &[u8]) -> Distance {
        let mut bytes = [0; 32];
        bytes[..first.len()].copy_from_slice(first);
        Distance(bytes)
    }

    #[test]
    fn a_distance_is_the_xor_of_two_positions_as_a_number() {
        let (one, other) = (Position::of_key(b"a"), Position::of_key(b"b"));
        assert_eq!(one.distance(&one).bits(), 0);
        assert_eq!(one.distance(&other), other.distance(&one));
        for (bytes, bits, fraction) in [
            (&[0x80][..], 256, 0.5),
            (&[0x40], 255, 0.25),
            (&[0x01], 249, 1.0 / 256.0),
            (&[0, 0x80], 248, 1.0 / 512.0),
            (&[0xc0], 256, 0.75),
        ] {
            assert_eq!((distance(bytes).bits(), distance(bytes).fraction()), (bits, fraction));
        }
        assert!(distance(&[1]) < distance(&[2]) && distance(&[0, 255]) < distance(&[1]));
        assert_eq!(distance(&[0xab, 0xcd, 0, 1]).prefix(), "abcd0001");
    }

    #[test]
    fn the_estimated_size_of_a_network_is_close_to_its_real_size() {
        for nodes in [40_u32, 1000, 20_000] {
            // The estimate from one key may be far off, but the mean of the estimates from many keys must be close.
            let estimate = |key: u32| {
                let key = Position::of_key(format!("key {nodes} {key}").as_bytes());
                let node = |n: u32| key.distance(&Position::of_key(&n.to_le_bytes()));
                let mut distances: Vec<_> = (0..nodes).map(node).collect();
                distances.sort();
                network_size(&distances[..20]).unwrap()
            };
            let mean = (0..16).map(estimate).sum::<f64>() / 16.0;
            assert!((mean / f64::from(nodes) - 1.0).abs() < 0.25, "{nodes} nodes, estimated {mean}");
        }
        assert_eq!(network_size(&[]), None);
    }
}
