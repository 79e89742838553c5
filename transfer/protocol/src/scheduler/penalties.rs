//! Penalty points of peers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::peer::PeerKey;

/// The time in which penalty points halve.
const HALF_LIFE: Duration = Duration::from_secs(120);
/// The number of penalty points below which a peer may be forgotten.
const FORGOTTEN: f64 = 0.05;
/// The maximum number of peers whose penalty points are kept. Disconnected peers are included, so that a peer does not
/// lose its points by connecting again. Beyond this limit, the peer with the fewest points is forgotten.
const MAX_REMEMBERED: usize = 1024;

/// The penalty points of all peers. Points halve every [`HALF_LIFE`].
#[derive(Default)]
pub(super) struct Penalties {
    peers: BTreeMap<PeerKey, Penalty>,
}

struct Penalty {
    /// The penalty points that the peer had at the time `at`.
    points: f64,
    at: Instant,
}

impl Penalty {
    fn points(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.at);
        self.points * (-age.as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2()
    }
}

impl Penalties {
    /// Returns the penalty points of a peer at `now`; 0 if the peer has none or is forgotten.
    pub(super) fn points(&self, now: Instant, peer: PeerKey) -> f64 {
        self.peers.get(&peer).map_or(0.0, |penalty| penalty.points(now))
    }

    /// Adds one penalty point to a peer. Returns the new number of its points.
    pub(super) fn add(&mut self, now: Instant, peer: PeerKey) -> f64 {
        let points = self.points(now, peer) + 1.0;
        self.peers.insert(peer, Penalty { points, at: now });
        if self.peers.len() > MAX_REMEMBERED {
            self.peers.retain(|_, penalty| penalty.points(now) >= FORGOTTEN);
        }
        if self.peers.len() > MAX_REMEMBERED {
            let least = self.peers.iter().min_by(|one, other| one.1.points(now).total_cmp(&other.1.points(now)));
            let least = least.map(|(peer, _)| *peer);
            least.map(|peer| self.peers.remove(&peer));
        }
        points
    }

    /// Halves the penalty points of a peer, because it has delivered a chunk.
    pub(super) fn forgive(&mut self, peer: PeerKey) {
        if let Some(penalty) = self.peers.get_mut(&peer) {
            penalty.points /= 2.0;
            if penalty.points < FORGOTTEN {
                self.peers.remove(&peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a start time: an `Instant` cannot be made from a number")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn points_add_up_and_decay() {
        let (mut penalties, now) = (Penalties::default(), start());
        let peer = PeerKey(1);
        assert_eq!(penalties.points(now, peer), 0.0);
        assert_eq!(penalties.add(now, peer), 1.0);
        assert_eq!(penalties.add(now, peer), 2.0);
        assert!((penalties.points(now + HALF_LIFE, peer) - 1.0).abs() < 1e-9);
        penalties.forgive(peer);
        assert_eq!(penalties.points(now, peer), 1.0);
        assert!(penalties.points(now + 20 * HALF_LIFE, peer) < FORGOTTEN);
    }

    #[test]
    fn the_peer_with_the_most_points_is_kept() {
        let (mut penalties, now) = (Penalties::default(), start());
        penalties.add(now, PeerKey(0));
        penalties.add(now, PeerKey(0));
        for peer in 1..=2 * MAX_REMEMBERED as u64 {
            penalties.add(now, PeerKey(peer));
        }
        assert_eq!(penalties.peers.len(), MAX_REMEMBERED);
        assert_eq!(penalties.points(now, PeerKey(0)), 2.0);
    }
}
