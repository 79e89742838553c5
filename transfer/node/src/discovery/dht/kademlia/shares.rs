//! Whose records fill a table of limited room, and who gives way when it is full.
//!
//! Identities cost nothing, addresses do: the room is shared among subnets first, then among the peers of each. A peer whose
//! subnet says nothing, on loopback for instance, stands for itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use libp2p::PeerId;

/// A record key that several tables share.
pub(crate) type Key = Arc<[u8]>;

/// Those who share one share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Subnet(IpAddr),
    Peer(PeerId),
}

impl Group {
    fn of(peer: PeerId, subnet: Option<IpAddr>) -> Self {
        subnet.map_or(Self::Peer(peer), Self::Subnet)
    }
}

/// What one peer has.
struct Share {
    group: Group,
    keys: BTreeSet<Key>,
}

/// The keys that each peer has a record under.
#[derive(Default)]
pub(crate) struct Shares {
    peers: BTreeMap<PeerId, Share>,
    /// Records of each group.
    groups: BTreeMap<Group, usize>,
    total: usize,
}

impl Shares {
    /// Records of all peers together.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    pub(crate) fn has(&self, peer: &PeerId, key: &Key) -> bool {
        self.peers.get(peer).is_some_and(|share| share.keys.contains(key))
    }

    /// `subnet`: where the peer is seen. As long as it has any record, it counts to where it was seen first.
    pub(crate) fn insert(&mut self, peer: PeerId, subnet: Option<IpAddr>, key: Key) {
        let new = || Share { group: Group::of(peer, subnet), keys: BTreeSet::new() };
        let share = self.peers.entry(peer).or_insert_with(new);
        if share.keys.insert(key) {
            *self.groups.entry(share.group).or_default() += 1;
            self.total += 1;
        }
    }

    pub(crate) fn remove(&mut self, peer: &PeerId, key: &Key) {
        let Some(share) = self.peers.get_mut(peer) else { return };
        if !share.keys.remove(key) {
            return;
        }
        self.total -= 1;
        let group = share.group;
        if share.keys.is_empty() {
            self.peers.remove(peer);
        }
        if let Some(count) = self.groups.get_mut(&group) {
            *count -= 1;
            if *count == 0 {
                self.groups.remove(&group);
            }
        }
    }

    /// A record of the group that has the most, if that still has as many as the group of `peer` afterwards; within a group,
    /// of the peer that has the most, by the same rule: so nobody is pushed out by somebody who has more.
    pub(crate) fn who_gives_way_to(&self, peer: &PeerId, subnet: Option<IpAddr>) -> Option<(PeerId, Key)> {
        let share = self.peers.get(peer);
        let own = share.map_or(Group::of(*peer, subnet), |share| share.group);
        let (most, count) = self.groups.iter().max_by_key(|(_, count)| **count)?;
        let is_outside = *count > self.groups.get(&own).copied().unwrap_or_default() + 1;
        let group = if is_outside { *most } else { own };
        let members = self.peers.iter().filter(|(_, share)| share.group == group);
        let (victim, theirs) = members.max_by_key(|(_, share)| share.keys.len())?;
        let ours = share.map_or(0, |share| share.keys.len());
        let gives_way = is_outside || theirs.keys.len() > ours + 1;
        gives_way.then(|| (*victim, theirs.keys.first().expect("none is empty").clone()))
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
            shares.insert(greedy, None, key(n));
            shares.insert(greedy, None, key(n));
        }
        assert_eq!(shares.total(), 10);
        assert_eq!(shares.who_gives_way_to(&greedy, None), None);
        let mut moved = 0;
        while let Some((peer, victim)) = shares.who_gives_way_to(&other, None) {
            assert_eq!(peer, greedy);
            shares.remove(&peer, &victim);
            shares.insert(other, None, key(100 + moved));
            moved += 1;
        }
        assert_eq!((moved, shares.total()), (5, 10));
        shares.remove(&other, &key(0));
        assert_eq!(shares.total(), 10);
    }

    #[test]
    fn many_identities_in_one_subnet_have_one_share() {
        let (mut shares, honest) = (Shares::default(), PeerId::random());
        let [theirs, its] = ["198.51.100.0", "203.0.113.0"].map(|net| Some(net.parse().unwrap()));
        for n in 0..10 {
            shares.insert(PeerId::random(), theirs, key(n));
        }
        // None of them has more than one, and one of them more is none too many for the others.
        assert_eq!(shares.who_gives_way_to(&PeerId::random(), theirs), None);
        let mut moved = 0;
        while let Some((peer, victim)) = shares.who_gives_way_to(&honest, its) {
            shares.remove(&peer, &victim);
            shares.insert(honest, its, key(100 + moved));
            moved += 1;
        }
        assert_eq!((moved, shares.total()), (5, 10));
        // And they cannot take it back.
        assert_eq!(shares.who_gives_way_to(&PeerId::random(), theirs), None);
    }
}
