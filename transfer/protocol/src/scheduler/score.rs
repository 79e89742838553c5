//! How much a peer has disappointed, of late.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::peer::PeerKey;

/// After so long, half of what a peer did is forgotten.
const HALF_LIFE: Duration = Duration::from_secs(120);
/// Below this nothing is remembered of a peer.
const FORGOTTEN: f64 = 0.05;
/// Peers that are remembered, those included that have gone: coming back makes nobody better. When there are more, the
/// one that did least is forgotten.
const MAX_REMEMBERED: usize = 1024;

/// Points against peers. They halve every two minutes.
#[derive(Default)]
pub(super) struct Scores {
    peers: BTreeMap<PeerKey, Score>,
}

struct Score {
    points: f64,
    at: Instant,
}

impl Score {
    fn points(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.at);
        self.points * (-age.as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2()
    }
}

impl Scores {
    /// The points against a peer; 0 if it has done nothing, or long ago.
    pub(super) fn points(&self, now: Instant, peer: PeerKey) -> f64 {
        self.peers.get(&peer).map_or(0.0, |score| score.points(now))
    }

    /// One more point against a peer. Returns all of them.
    pub(super) fn add(&mut self, now: Instant, peer: PeerKey) -> f64 {
        let points = self.points(now, peer) + 1.0;
        self.peers.insert(peer, Score { points, at: now });
        if self.peers.len() > MAX_REMEMBERED {
            self.peers.retain(|_, score| score.points(now) >= FORGOTTEN);
        }
        if self.peers.len() > MAX_REMEMBERED {
            let least = self.peers.iter().min_by(|one, other| one.1.points(now).total_cmp(&other.1.points(now)));
            let least = least.map(|(peer, _)| *peer);
            least.map(|peer| self.peers.remove(&peer));
        }
        points
    }

    /// The peer has delivered: half of what it did is forgotten.
    pub(super) fn forgive(&mut self, peer: PeerKey) {
        if let Some(score) = self.peers.get_mut(&peer) {
            score.points /= 2.0;
            if score.points < FORGOTTEN {
                self.peers.remove(&peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "time has to begin somewhere")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn points_add_up_and_decay() {
        let (mut scores, now) = (Scores::default(), start());
        let peer = PeerKey(1);
        assert_eq!(scores.points(now, peer), 0.0);
        assert_eq!(scores.add(now, peer), 1.0);
        assert_eq!(scores.add(now, peer), 2.0);
        assert!((scores.points(now + HALF_LIFE, peer) - 1.0).abs() < 1e-9);
        scores.forgive(peer);
        assert_eq!(scores.points(now, peer), 1.0);
        assert!(scores.points(now + 20 * HALF_LIFE, peer) < FORGOTTEN);
    }

    #[test]
    fn who_did_most_is_remembered() {
        let (mut scores, now) = (Scores::default(), start());
        scores.add(now, PeerKey(0));
        scores.add(now, PeerKey(0));
        for peer in 1..=2 * MAX_REMEMBERED as u64 {
            scores.add(now, PeerKey(peer));
        }
        assert_eq!(scores.peers.len(), MAX_REMEMBERED);
        assert_eq!(scores.points(now, PeerKey(0)), 2.0);
    }
}
