//! Dials to addresses that were configured without a peer id. A search can wait for the peer that answers such a dial.

use std::collections::BTreeMap;

use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::mpsc;

use crate::discovery::dht::query::FoundProvider;

/// The dials in progress to addresses without a peer id. Their number is bounded by the limit on pending outgoing
/// connections.
#[derive(Default)]
pub(crate) struct UnnamedDials(BTreeMap<ConnectionId, UnnamedDial>);

struct UnnamedDial {
    address: Multiaddr,
    /// The searches that wait for the peer that answers this dial.
    waiting: Vec<mpsc::Sender<FoundProvider>>,
}

impl UnnamedDials {
    /// Adds a dial to `address`, which has just begun.
    pub(crate) fn begin(&mut self, dial: ConnectionId, address: Multiaddr) {
        self.0.insert(dial, UnnamedDial { address, waiting: Vec::new() });
    }

    /// Lets `search` wait for the peer that answers at `address`. Returns `false`, without any effect, if `address` is
    /// not being dialled.
    pub(crate) fn wait(&mut self, address: &Multiaddr, search: &mpsc::Sender<FoundProvider>) -> bool {
        let open = self.0.values_mut().find(|dial| dial.address == *address);
        open.map(|dial| dial.waiting.push(search.clone())).is_some()
    }

    /// Ends a dial that `peer` has answered, and sends the peer to the waiting searches. Returns the dialled address,
    /// or `None` if this table does not contain the dial.
    pub(crate) fn succeed(&mut self, dial: ConnectionId, peer: PeerId) -> Option<Multiaddr> {
        let UnnamedDial { address, waiting } = self.0.remove(&dial)?;
        for search in waiting {
            // Sending fails if the search has ended. Then the result is not needed.
            let _ = search.try_send(FoundProvider { peer, addresses: vec![address.clone()] });
        }
        Some(address)
    }

    /// Removes a dial that has failed. A search that waited only for this dial ends.
    pub(crate) fn fail(&mut self, dial: ConnectionId) {
        self.0.remove(&dial);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_waiting_search_gets_the_peer_and_a_failed_dial_ends_its_wait() {
        let (address, peer): (Multiaddr, _) = ("/ip4/127.0.0.1/tcp/1".parse().unwrap(), PeerId::random());
        let (mut dials, dial) = (UnnamedDials::default(), ConnectionId::new_unchecked(1));
        let ((one, mut one_found), (other, mut other_found)) = (mpsc::channel(1), mpsc::channel(1));
        assert!(!dials.wait(&address, &one), "the address is not being dialled");
        dials.begin(dial, address.clone());
        assert!(dials.wait(&address, &one) && dials.wait(&address, &other));
        drop((one, other));
        assert_eq!(dials.succeed(dial, peer), Some(address.clone()));
        for found in [&mut one_found, &mut other_found] {
            assert_eq!(found.try_recv().unwrap(), FoundProvider { peer, addresses: vec![address.clone()] });
            assert_eq!(found.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
        }
        assert_eq!(dials.succeed(dial, peer), None);

        let (search, mut found) = mpsc::channel(1);
        dials.begin(dial, address.clone());
        assert!(dials.wait(&address, &search));
        drop(search);
        dials.fail(dial);
        assert_eq!(found.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
        assert!(dials.0.is_empty());
    }
}
