//! Whose records fill a table of limited room, and who gives way when it is full.

use std::collections::{BTreeMap, BTreeSet};

use libp2p::PeerId;

use super::store::Key;

/// The keys that each peer has a record under.
#[derive(Default)]
pub(super) struct Shares {
    keys: BTreeMap<PeerId, BTreeSet<Key>>,
    total: usize,
}

impl Shares {
    /// Records of all peers together.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    pub(super) fn has(&self, peer: &PeerId, key: &Key) -> bool {
        self.keys.get(peer).is_some_and(|keys| keys.contains(key))
    }

    pub(super) fn insert(&mut self, peer: PeerId, key: Key) {
        self.total += usize::from(self.keys.entry(peer).or_default().insert(key));
    }

    pub(super) fn remove(&mut self, peer: &PeerId, key: &Key) {
        if let Some(keys) = self.keys.get_mut(peer) {
            self.total -= usize::from(keys.remove(key));
            if keys.is_empty() {
                self.keys.remove(peer);
            }
        }
    }

    /// A record of the peer that has the most, if that peer still has as many as `peer` afterwards: so
    /// nobody is pushed out by somebody who has more.
    pub(super) fn who_gives_way_to(&self, peer: &PeerId) -> Option<(PeerId, Key)> {
        let (most, keys) = self.keys.iter().max_by_key(|(_, keys)| keys.len())?;
        let own = self.keys.get(peer).map_or(0, BTreeSet::len);
        (keys.len() > own + 1).then(|| (*most, keys.first().expect("none is empty").clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> Key {
        n.to_be_bytes().as_slice().into()
    }

    #[test]
    fn the_one_with_most_gives_way_until_all_have_the_same() {
        let (mut shares, greedy, other) = (Shares::default(), PeerId::random(), PeerId::random());
        for n in 0..10 {
            shares.insert(greedy, key(n));
            shares.insert(greedy, key(n));
        }
        assert_eq!(shares.total(), 10);
        assert_eq!(shares.who_gives_way_to(&greedy), None);
        let mut moved = 0;
        while let Some((peer, victim)) = shares.who_gives_way_to(&other) {
            assert_eq!(peer, greedy);
            shares.remove(&peer, &victim);
            shares.insert(other, key(100 + moved));
            moved += 1;
        }
        assert_eq!((moved, shares.total()), (5, 10));
        shares.remove(&other, &key(0));
        assert_eq!(shares.total(), 10);
    }
}
