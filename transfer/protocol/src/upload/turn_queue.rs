//! Peers that wait for their turn, in the order in which they are served.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::peer::PeerKey;

/// The rank of a peer in a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rank {
    /// The bytes that the peer has been served, plus the bytes of its next turn. The peer with the lowest sum is served
    /// first. Fair queueing calls this value the finish tag.
    pub(super) finish: u64,
    /// The number that decides between peers with the same `finish`. The peer with the lower number began to wait
    /// earlier and is served first.
    pub(super) number: u64,
    /// The time at which the peer began to wait for its next job.
    pub(super) since: Instant,
}

/// The urgency of a peer's turn. The lowest value is served first, so starved peers are served before all other peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// The peer has waited too long. The value is its [`Rank::number`], so the longest wait comes first.
    Starved(u64),
    /// The peer has not waited too long. The value is its [`Rank::finish`].
    Usual(u64),
}

/// Peers in the order in which they are served. Each operation takes logarithmic time in the number of peers.
///
/// Invariant: a peer whose rank has a greater number began to wait later.
#[derive(Default)]
pub(super) struct TurnQueue {
    /// The peers, ordered by [`Rank::finish`] and then by [`Rank::number`].
    by_finish: BTreeMap<(u64, u64), PeerKey>,
    /// The peers, ordered by [`Rank::number`], so that the peer with the longest wait comes first.
    by_number: BTreeMap<u64, (PeerKey, Instant)>,
}

impl TurnQueue {
    pub(super) fn enter(&mut self, peer: PeerKey, rank: Rank) {
        self.by_finish.insert((rank.finish, rank.number), peer);
        self.by_number.insert(rank.number, (peer, rank.since));
    }

    pub(super) fn leave(&mut self, rank: Rank) {
        self.by_finish.remove(&(rank.finish, rank.number));
        self.by_number.remove(&rank.number);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_finish.is_empty()
    }

    /// Returns the peer to serve next, and how urgent its turn is.
    pub(super) fn head(&self, now: Instant, starved_after: Duration) -> Option<(Urgency, PeerKey)> {
        let (number, (longest, since)) = self.by_number.first_key_value()?;
        if now.saturating_duration_since(*since) >= starved_after {
            return Some((Urgency::Starved(*number), *longest));
        }
        let ((finish, _), peer) = self.by_finish.first_key_value()?;
        Some((Urgency::Usual(*finish), *peer))
    }

    /// Returns the peers whose `finish` is at most `lead` bytes above the lowest `finish`, in the order of their ranks.
    pub(super) fn first(&self, lead: u64) -> impl Iterator<Item = PeerKey> + '_ {
        let most = self.least().unwrap_or(0).saturating_add(lead);
        self.by_finish.range(..=(most, u64::MAX)).map(|(_, peer)| *peer)
    }

    /// Returns the lowest `finish` of all peers in the queue.
    pub(super) fn least(&self) -> Option<u64> {
        Some(self.by_finish.first_key_value()?.0.0)
    }

    /// Returns the time at which the peer with the longest wait began to wait.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        Some(self.by_number.first_key_value()?.1.1)
    }

    /// Returns whether a peer is in the queue with this rank.
    pub(super) fn has(&self, peer: PeerKey, rank: Rank) -> bool {
        self.by_finish.get(&(rank.finish, rank.number)) == Some(&peer)
            && self.by_number.get(&rank.number) == Some(&(peer, rank.since))
    }

    pub(super) fn len(&self) -> usize {
        assert_eq!(self.by_finish.len(), self.by_number.len(), "both maps hold the same peers");
        self.by_finish.len()
    }
}
