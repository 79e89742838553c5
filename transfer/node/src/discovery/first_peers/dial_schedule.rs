//! When the first peers are dialled: at the start, and again, less and less often, while there is nobody to ask.

use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::discovery::first_peers::source::BootstrapPeer;
use crate::peer::Source;

/// How long to wait before they are dialled again; doubles up to the maximum.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// The longest wait between dials.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Peers that are dialled; more add nothing but dials.
pub(crate) const MAX_PEERS: usize = 128;

/// The first peers and when they are due to be dialled. Does no I/O.
pub(crate) struct DialSchedule {
    peers: Vec<FirstPeer>,
    due_at: Instant,
    backoff: Backoff,
}

struct FirstPeer {
    peer: BootstrapPeer,
    source: Source,
    /// Who answered last at an address that came without an identity.
    met: Option<PeerId>,
}

impl DialSchedule {
    pub(crate) fn new(now: Instant) -> Self {
        Self { peers: Vec::new(), due_at: now, backoff: Backoff::new(WAIT_MIN, WAIT_MAX) }
    }

    /// Adds some, for what `source` says; they are due at once, and the others with them.
    pub(crate) fn add(&mut self, now: Instant, source: Source, more: Vec<BootstrapPeer>) {
        for peer in more {
            if self.peers.iter().any(|known| known.peer == peer) {
                continue;
            }
            // The newest are the most likely to be there: dead ones must not keep them out.
            self.peers.insert(0, FirstPeer { peer, source, met: None });
            self.due_at = now;
            if self.peers.len() > MAX_PEERS {
                let oldest = self.peers.iter().rposition(|first| first.source != Source::Given);
                self.peers.remove(oldest.unwrap_or(MAX_PEERS));
            }
        }
    }

    /// What the one that is said to be at that address is for, if there is one.
    pub(crate) fn source_of(&self, address: &Multiaddr) -> Option<Source> {
        self.peers.iter().find(|first| first.peer.address == *address).map(|first| first.source)
    }

    /// Those that are to be asked directly: who each is, as far as that is known, and its address.
    pub(crate) fn given(&self) -> impl Iterator<Item = (Option<PeerId>, &Multiaddr)> {
        let given = self.peers.iter().filter(|first| first.source == Source::Given);
        given.map(|first| (first.peer.peer.or(first.met), &first.peer.address))
    }

    /// `peer` has answered at `address`.
    pub(crate) fn met(&mut self, address: &Multiaddr, peer: PeerId) {
        let unnamed = self.peers.iter_mut().filter(|first| first.peer.peer.is_none());
        unnamed.filter(|first| first.peer.address == *address).for_each(|first| first.met = Some(peer));
    }

    /// Those to be dialled now, if it is time.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<(Option<PeerId>, Multiaddr)> {
        if now < self.due_at {
            return Vec::new();
        }
        self.due_at = now + self.backoff.next_wait();
        self.peers.iter().map(|first| (first.peer.peer, first.peer.address.clone())).collect()
    }

    /// The last connection that mattered is gone: all are due.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.due_at = self.due_at.min(now);
    }

    /// Somebody answered: when he is gone, the waits begin anew.
    pub(crate) fn joined(&mut self) {
        self.backoff.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_dialled_less_and_less_often_for_ever() {
        let start = Instant::now();
        let peer: BootstrapPeer = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        let mut first = DialSchedule::new(start);
        first.add(start, Source::Given, vec![peer.clone()]);
        let dialled: Vec<_> = (0..300).filter(|s| !first.due(start + Duration::from_secs(*s)).is_empty()).collect();
        assert_eq!(dialled, [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]);
        first.joined();
        let lost = start + Duration::from_secs(301);
        first.hurry(lost);
        assert_eq!(first.due(lost).len(), 1);
        assert_eq!(first.due(lost + Duration::from_secs(1)).len(), 1);
        first.add(lost, Source::Bootstrap, vec![peer, "/ip4/127.0.0.1/tcp/2".parse().unwrap()]);
        assert_eq!(first.due(lost + Duration::from_secs(1)).len(), 2);
    }

    #[test]
    fn a_given_peer_without_an_identity_is_known_once_it_has_been_met() {
        let (start, named, met) = (Instant::now(), PeerId::random(), PeerId::random());
        let address = |port: u16| format!("/ip4/127.0.0.1/tcp/{port}").parse::<Multiaddr>().unwrap();
        let mut first = DialSchedule::new(start);
        let given = [(Some(named), 1), (None, 2)].map(|(peer, port)| BootstrapPeer { peer, address: address(port) });
        first.add(start, Source::Given, given.into());
        first.add(start, Source::Bootstrap, vec![BootstrapPeer { peer: None, address: address(3) }]);
        assert_eq!(first.given().collect::<Vec<_>>(), [(None, &address(2)), (Some(named), &address(1))]);
        (1..=3).for_each(|port| first.met(&address(port), met));
        assert_eq!(first.given().collect::<Vec<_>>(), [(Some(met), &address(2)), (Some(named), &address(1))]);
    }
}
