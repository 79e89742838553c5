//! Fair shares of a table with a bounded number of records. Counts the records of each peer, and chooses the record
//! that is evicted when the table is full.
//!
//! An attacker gets new identities for free, but pays for IP addresses. So the table is shared among subnets first, and
//! then among the peers of each subnet. A peer without a subnet, for example on loopback, counts as a separate subnet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use libp2p::PeerId;

/// The key of a record. Reference-counted, because several tables contain the same key.
pub(crate) type Key = Arc<[u8]>;

/// The peers that have one share of the table together: all peers of one subnet, or one peer without a subnet.
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

/// The group of one peer, and the keys of its records.
struct Share {
    group: Group,
    keys: BTreeSet<Key>,
}

/// The keys under which each peer has a record in the table.
#[derive(Default)]
pub(crate) struct Shares {
    peers: BTreeMap<PeerId, Share>,
    /// The number of records of each group.
    groups: BTreeMap<Group, usize>,
    total: usize,
}

impl Shares {
    /// Returns the total number of records.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// Returns whether a peer has a record under `key`.
    pub(crate) fn has(&self, peer: &PeerId, key: &Key) -> bool {
        self.peers.get(peer).is_some_and(|share| share.keys.contains(key))
    }

    /// Adds a record of a peer that is connected from `subnet`. If the peer already has records, the new record counts
    /// towards the subnet of these records.
    pub(crate) fn insert(&mut self, peer: PeerId, subnet: Option<IpAddr>, key: Key) {
        let new = || Share { group: Group::of(peer, subnet), keys: BTreeSet::new() };
        let share = self.peers.entry(peer).or_insert_with(new);
        if share.keys.insert(key) {
            *self.groups.entry(share.group).or_default() += 1;
            self.total += 1;
        }
    }

    /// Removes the record of a peer under `key`, if there is one.
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

    /// Returns the record to evict so that `peer` can add a record. Returns `None` if no record may be evicted for
    /// `peer`. The largest group or peer is the one with the most records.
    ///
    /// - If the largest group has at least two more records than the group of `peer`, its largest peer loses a record.
    /// - Otherwise, if the largest peer in the group of `peer` has at least two more records than `peer`, it loses a
    ///   record.
    ///
    /// So no record is evicted for a larger group, or for a larger peer of the same group.
    pub(crate) fn record_to_evict_for(&self, peer: &PeerId, subnet: Option<IpAddr>) -> Option<(PeerId, Key)> {
        let share = self.peers.get(peer);
        let own = share.map_or(Group::of(*peer, subnet), |share| share.group);
        let (most, count) = self.groups.iter().max_by_key(|(_, count)| **count)?;
        let is_other_group = *count > self.groups.get(&own).copied().unwrap_or_default() + 1;
        let group = if is_other_group { *most } else { own };
        let members = self.peers.iter().filter(|(_, share)| share.group == group);
        let (largest, theirs) = members.max_by_key(|(_, share)| share.keys.len())?;
        let own_count = share.map_or(0, |share| share.keys.len());
        let is_evicted = is_other_group || theirs.keys.len() > own_count + 1;
        is_evicted.then(|| (*largest, theirs.keys.first().expect("a share has at least one key").clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> Key {
        n.to_be_bytes().as_slice().into()
    }

    #[test]
    fn records_of_the_largest_peer_are_evicted_until_the_shares_are_equal() {
        let (mut shares, greedy, other) = (Shares::default(), PeerId::random(), PeerId::random());
        for n in 0..10 {
            shares.insert(greedy, None, key(n));
            shares.insert(greedy, None, key(n));
        }
        assert_eq!(shares.total(), 10);
        assert_eq!(shares.record_to_evict_for(&greedy, None), None);
        let mut moved = 0;
        while let Some((peer, evicted)) = shares.record_to_evict_for(&other, None) {
            assert_eq!(peer, greedy);
            shares.remove(&peer, &evicted);
            shares.insert(other, None, key(100 + moved));
            moved += 1;
        }
        assert_eq!((moved, shares.total()), (5, 10));
        shares.remove(&other, &key(0));
        assert_eq!(shares.total(), 10);
    }

    #[test]
    fn many_identities_in_one_subnet_have_only_one_share() {
        let (mut shares, honest) = (Shares::default(), PeerId::random());
        let [theirs, its] = ["198.51.100.0", "203.0.113.0"].map(|net| Some(net.parse().unwrap()));
        for n in 0..10 {
            shares.insert(PeerId::random(), theirs, key(n));
        }
        // Each of these peers has one record. So no record is evicted for a new peer of their subnet.
        assert_eq!(shares.record_to_evict_for(&PeerId::random(), theirs), None);
        let mut moved = 0;
        while let Some((peer, evicted)) = shares.record_to_evict_for(&honest, its) {
            shares.remove(&peer, &evicted);
            shares.insert(honest, its, key(100 + moved));
            moved += 1;
        }
        assert_eq!((moved, shares.total()), (5, 10));
        // Now both subnets have five records. So no record of the honest peer is evicted for a new peer of the other
        // subnet.
        assert_eq!(shares.record_to_evict_for(&PeerId::random(), theirs), None);
    }
}
