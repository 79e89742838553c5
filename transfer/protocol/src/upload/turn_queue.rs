//! Peers that wait for their turn, by how much they will have got with it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::peer::PeerKey;

/// Where a peer stands in a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The bytes that it will have got at most with its next turn: the least goes first.
    pub(super) turn: u64,
    /// By this those with the same are told apart: who came first goes first.
    pub(super) number: u64,
    /// Since when it has waited.
    pub(super) since: Instant,
}

/// How urgent a peer's turn is: the least goes first. Whoever is starved goes before everybody who is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// The number of its place.
    Starved(u64),
    /// What it will have got.
    Usual(u64),
}

/// Peers in the order in which they are served. All calls take time in the logarithm of their number.
///
/// Invariant: places with greater numbers were taken later.
#[derive(Default)]
pub(super) struct TurnQueue {
    /// By what they will have got, then by number.
    by_turn: BTreeMap<(u64, u64), PeerKey>,
    /// By number, that is by how long they have waited.
    by_number: BTreeMap<u64, (PeerKey, Instant)>,
}

impl TurnQueue {
    pub(super) fn enter(&mut self, peer: PeerKey, place: Place) {
        self.by_turn.insert((place.turn, place.number), peer);
        self.by_number.insert(place.number, (peer, place.since));
    }

    pub(super) fn leave(&mut self, place: Place) {
        self.by_turn.remove(&(place.turn, place.number));
        self.by_number.remove(&place.number);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_turn.is_empty()
    }

    /// Whose turn it is.
    pub(super) fn head(&self, now: Instant, starved_after: Duration) -> Option<(Urgency, PeerKey)> {
        let (number, (longest, since)) = self.by_number.first_key_value()?;
        if now.saturating_duration_since(*since) >= starved_after {
            return Some((Urgency::Starved(*number), *longest));
        }
        let ((turn, _), peer) = self.by_turn.first_key_value()?;
        Some((Urgency::Usual(*turn), *peer))
    }

    /// Peers in the order of their turns, as far as they will have got at most `lead` bytes more than the first.
    pub(super) fn first(&self, lead: u64) -> impl Iterator<Item = PeerKey> + '_ {
        let most = self.least().unwrap_or(0).saturating_add(lead);
        self.by_turn.range(..=(most, u64::MAX)).map(|(_, peer)| *peer)
    }

    /// The least that anybody here will have got.
    pub(super) fn least(&self) -> Option<u64> {
        Some(self.by_turn.first_key_value()?.0.0)
    }

    /// Since when that peer has waited that has done so for the longest.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        Some(self.by_number.first_key_value()?.1.1)
    }

    /// Whether a peer stands at a place.
    pub(super) fn has(&self, peer: PeerKey, place: Place) -> bool {
        self.by_turn.get(&(place.turn, place.number)) == Some(&peer)
            && self.by_number.get(&place.number) == Some(&(peer, place.since))
    }

    pub(super) fn len(&self) -> usize {
        assert_eq!(self.by_turn.len(), self.by_number.len(), "everybody in line is there twice");
        self.by_turn.len()
    }
}
