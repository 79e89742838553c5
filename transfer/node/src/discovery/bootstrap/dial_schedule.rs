//! Decides when a node dials its bootstrap peers and configured peers: once at the start, and again with exponential
//! backoff while the node has not joined the network.
//!
//! A node has joined when it is connected to a DHT server or, without the DHT, to any peer.

use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::discovery::bootstrap::source::BootstrapPeer;
use crate::peer::Source;

/// The wait between the first and the second dial of the scheduled peers. Each later wait is twice as long, up to
/// [`WAIT_MAX`].
const WAIT_MIN: Duration = Duration::from_secs(1);
/// The maximum wait between two dials of the scheduled peers.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// The maximum number of peers in the schedule. The node dials all scheduled peers together.
pub(crate) const MAX_PEERS: usize = 128;

/// The bootstrap peers and configured peers, and the time of their next dial. The node dials all of these peers
/// together. Does no I/O.
pub(crate) struct DialSchedule {
    /// The scheduled peers. The peer that was added last is the first.
    peers: Vec<ScheduledPeer>,
    due_at: Instant,
    backoff: Backoff,
}

struct ScheduledPeer {
    peer: BootstrapPeer,
    source: Source,
    /// The peer that last answered at the scheduled address. Always `None` for an address that was added with a peer
    /// id.
    answered_by: Option<PeerId>,
}

impl DialSchedule {
    pub(crate) fn new(now: Instant) -> Self {
        Self { peers: Vec::new(), due_at: now, backoff: Backoff::new(WAIT_MIN, WAIT_MAX) }
    }

    /// Adds the peers in `more` that are not in the schedule yet. If a peer is added, the next dial of all scheduled
    /// peers is due at once.
    ///
    /// `source` is [`Source::Configured`] for configured peers and [`Source::Bootstrap`] for bootstrap peers.
    pub(crate) fn add(&mut self, now: Instant, source: Source, more: Vec<BootstrapPeer>) {
        for peer in more {
            if self.peers.iter().any(|known| known.peer == peer) {
                continue;
            }
            // A full schedule drops its oldest bootstrap peer, because newer peers are more likely to be running. If it
            // has no bootstrap peer, it drops its oldest configured peer.
            self.peers.insert(0, ScheduledPeer { peer, source, answered_by: None });
            self.due_at = now;
            if self.peers.len() > MAX_PEERS {
                let oldest = self.peers.iter().rposition(|scheduled| scheduled.source != Source::Configured);
                self.peers.remove(oldest.unwrap_or(MAX_PEERS));
            }
        }
    }

    /// Returns the source of the scheduled peer with this address, or `None` if no scheduled peer has this address.
    pub(crate) fn source_of(&self, address: &Multiaddr) -> Option<Source> {
        self.peers.iter().find(|scheduled| scheduled.peer.address == *address).map(|scheduled| scheduled.source)
    }

    /// Returns the peer id, if it is known, and the address of each configured peer.
    pub(crate) fn configured_peers(&self) -> impl Iterator<Item = (Option<PeerId>, &Multiaddr)> {
        let configured = self.peers.iter().filter(|scheduled| scheduled.source == Source::Configured);
        configured.map(|scheduled| (scheduled.peer.peer.or(scheduled.answered_by), &scheduled.peer.address))
    }

    /// Remembers that `peer` answered at `address`. Has no effect on an address that was added with a peer id.
    pub(crate) fn note_answer(&mut self, address: &Multiaddr, peer: PeerId) {
        let unnamed = self.peers.iter_mut().filter(|scheduled| scheduled.peer.peer.is_none());
        let at_address = unnamed.filter(|scheduled| scheduled.peer.address == *address);
        at_address.for_each(|scheduled| scheduled.answered_by = Some(peer));
    }

    /// If the next dial is due, returns all peers and schedules the dial after it. Otherwise returns no peers.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<(Option<PeerId>, Multiaddr)> {
        if now < self.due_at {
            return Vec::new();
        }
        self.due_at = now + self.backoff.next_wait();
        self.peers.iter().map(|scheduled| (scheduled.peer.peer, scheduled.peer.address.clone())).collect()
    }

    /// Makes the next dial due at once. To be called when the node is no longer joined, because it has lost its last
    /// connection.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.due_at = self.due_at.min(now);
    }

    /// Resets the backoff to [`WAIT_MIN`]. To be called when the node has joined the network.
    pub(crate) fn joined(&mut self) {
        self.backoff.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bootstrap_peers_are_redialled_with_growing_waits_and_never_given_up() {
        let start = Instant::now();
        let peer: BootstrapPeer = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        let mut schedule = DialSchedule::new(start);
        schedule.add(start, Source::Configured, vec![peer.clone()]);
        let dialled: Vec<_> = (0..300).filter(|s| !schedule.due(start + Duration::from_secs(*s)).is_empty()).collect();
        assert_eq!(dialled, [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]);
        schedule.joined();
        let lost = start + Duration::from_secs(301);
        schedule.hurry(lost);
        assert_eq!(schedule.due(lost).len(), 1);
        assert_eq!(schedule.due(lost + Duration::from_secs(1)).len(), 1);
        schedule.add(lost, Source::Bootstrap, vec![peer, "/ip4/127.0.0.1/tcp/2".parse().unwrap()]);
        assert_eq!(schedule.due(lost + Duration::from_secs(1)).len(), 2);
    }

    #[test]
    fn the_peer_id_of_a_configured_address_is_known_once_a_peer_answers() {
        let (start, named, answering) = (Instant::now(), PeerId::random(), PeerId::random());
        let address = |port: u16| format!("/ip4/127.0.0.1/tcp/{port}").parse::<Multiaddr>().unwrap();
        let mut schedule = DialSchedule::new(start);
        let configured =
            [(Some(named), 1), (None, 2)].map(|(peer, port)| BootstrapPeer { peer, address: address(port) });
        schedule.add(start, Source::Configured, configured.into());
        schedule.add(start, Source::Bootstrap, vec![BootstrapPeer { peer: None, address: address(3) }]);
        assert_eq!(schedule.configured_peers().collect::<Vec<_>>(), [(None, &address(2)), (Some(named), &address(1))]);
        (1..=3).for_each(|port| schedule.note_answer(&address(port), answering));
        assert_eq!(
            schedule.configured_peers().collect::<Vec<_>>(),
            [(Some(answering), &address(2)), (Some(named), &address(1))]
        );
    }
}
