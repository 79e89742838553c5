//! Who answers at the addresses that were given without an identity.

use std::collections::BTreeMap;

use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::mpsc;

use crate::discovery::dht::query::FoundProvider;

/// The dials of such addresses that are under way. Holds an entry for each dial from its start to its end, so the limit on
/// outgoing connections bounds it.
#[derive(Default)]
pub(crate) struct Meetings(BTreeMap<ConnectionId, Meeting>);

struct Meeting {
    address: Multiaddr,
    /// Searches that are told who answers.
    waiting: Vec<mpsc::Sender<FoundProvider>>,
}

impl Meetings {
    /// A dial of `address` begins.
    pub(crate) fn begin(&mut self, dial: ConnectionId, address: Multiaddr) {
        self.0.insert(dial, Meeting { address, waiting: Vec::new() });
    }

    /// Tells `search` who answers at `address`. Returns whether that address is being dialled; otherwise nobody is told.
    pub(crate) fn wait(&mut self, address: &Multiaddr, search: &mpsc::Sender<FoundProvider>) -> bool {
        let meeting = self.0.values_mut().find(|meeting| meeting.address == *address);
        meeting.map(|meeting| meeting.waiting.push(search.clone())).is_some()
    }

    /// A dial has led to `peer`. Returns the address that was dialled, if the dial is one of these.
    pub(crate) fn succeed(&mut self, dial: ConnectionId, peer: PeerId) -> Option<Multiaddr> {
        let Meeting { address, waiting } = self.0.remove(&dial)?;
        for search in waiting {
            // A search that has ended wants to hear nothing.
            let _ = search.try_send(FoundProvider { peer, addresses: vec![address.clone()] });
        }
        Some(address)
    }

    /// A dial has failed. The searches that wait for it end when they wait for nothing else.
    pub(crate) fn fail(&mut self, dial: ConnectionId) {
        self.0.remove(&dial);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_wait_are_told_and_a_failed_dial_ends_the_wait() {
        let (address, peer): (Multiaddr, _) = ("/ip4/127.0.0.1/tcp/1".parse().unwrap(), PeerId::random());
        let (mut meetings, dial) = (Meetings::default(), ConnectionId::new_unchecked(1));
        let ((one, mut one_hears), (other, mut other_hears)) = (mpsc::channel(1), mpsc::channel(1));
        assert!(!meetings.wait(&address, &one), "nobody dials it");
        meetings.begin(dial, address.clone());
        assert!(meetings.wait(&address, &one) && meetings.wait(&address, &other));
        drop((one, other));
        assert_eq!(meetings.succeed(dial, peer), Some(address.clone()));
        for hears in [&mut one_hears, &mut other_hears] {
            assert_eq!(hears.try_recv().unwrap(), FoundProvider { peer, addresses: vec![address.clone()] });
            assert_eq!(hears.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
        }
        assert_eq!(meetings.succeed(dial, peer), None);

        let (search, mut hears) = mpsc::channel(1);
        meetings.begin(dial, address.clone());
        assert!(meetings.wait(&address, &search));
        drop(search);
        meetings.fail(dial);
        assert_eq!(hears.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
        assert!(meetings.0.is_empty());
    }
}
