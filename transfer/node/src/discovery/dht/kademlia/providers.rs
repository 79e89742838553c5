//! The provider records of one key. Their number is bounded.
//!
//! When the bound is reached, the first of these rules that applies decides which record a new provider replaces:
//! 1. An expired record is replaced.
//! 2. If the subnet with the most records has more than one, and more than the subnet of the new provider: its record
//!    that was renewed longest ago is replaced.
//! 3. In the subnet of the new provider, the record that was renewed longest ago is replaced if it is stale. If this
//!    subnet has no record, the rule applies to all records. A record is stale when an honest provider would have
//!    renewed it.
//!
//! If no rule applies, the new record is refused. So an attacker with many new identities cannot displace providers
//! that renew their records.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use libp2p::PeerId;
use libp2p::kad::ProviderRecord;
use tokio::time::Instant;

/// The result of [`Providers::insert`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Insertion {
    /// The record was added, or it renewed the earlier record of the same provider.
    Stored,
    /// The new record replaced the record of the provider with this peer id.
    Replaced(PeerId),
    /// The record was refused, because it may not replace any stored record.
    Refused,
}

/// A stored provider record.
struct Held {
    record: ProviderRecord,
    /// When the record was added or last renewed.
    refreshed: Instant,
    /// The subnet of the provider's connection. `None` for an IPv4 loopback address, or without an IP address, for
    /// instance with `/dns4/…`.
    subnet: Option<IpAddr>,
}

/// The provider records of one key, one for each provider.
#[derive(Default)]
pub(crate) struct Providers {
    held: Vec<Held>,
}

impl Providers {
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Returns the records that have not expired.
    pub(crate) fn current(&self, now: Instant) -> impl Iterator<Item = &ProviderRecord> {
        self.held.iter().map(|held| &held.record).filter(move |record| !record.is_expired(now.into_std()))
    }

    pub(crate) fn remove(&mut self, peer: &PeerId) {
        self.held.retain(|held| held.record.provider != *peer);
    }

    /// Removes the expired records. Returns the providers of the removed records.
    pub(crate) fn collect(&mut self, now: Instant) -> Vec<PeerId> {
        self.held
            .extract_if(.., |held| held.record.is_expired(now.into_std()))
            .map(|held| held.record.provider)
            .collect()
    }

    /// Adds or renews a record.
    ///
    /// `subnet` is the subnet of the provider's connection, because a hostile provider can invent the addresses in its
    /// record. `capacity` is the maximum number of stored records. A record is stale when more than `stale_after` has
    /// passed since its last renewal.
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        record: ProviderRecord,
        subnet: Option<IpAddr>,
        capacity: usize,
        stale_after: Duration,
    ) -> Insertion {
        let new = Held { record, refreshed: now, subnet };
        if let Some(held) = self.held.iter_mut().find(|held| held.record.provider == new.record.provider) {
            *held = new;
            return Insertion::Stored;
        }
        if self.held.len() < capacity {
            self.held.push(new);
            return Insertion::Stored;
        }
        let Some(index) = self.index_to_replace(now, new.subnet, stale_after) else { return Insertion::Refused };
        let replaced = std::mem::replace(&mut self.held[index], new);
        Insertion::Replaced(replaced.record.provider)
    }

    /// Returns the index of the record that a new provider in `subnet` replaces, or `None` if it may not replace any.
    /// The rules are in the documentation of this module.
    fn index_to_replace(&self, now: Instant, subnet: Option<IpAddr>, stale_after: Duration) -> Option<usize> {
        if let Some(expired) = self.held.iter().position(|held| held.record.is_expired(now.into_std())) {
            return Some(expired);
        }
        let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for subnet in self.held.iter().filter_map(|held| held.subnet) {
            *counts.entry(subnet).or_default() += 1;
        }
        let own_count = subnet.and_then(|subnet| counts.get(&subnet)).copied().unwrap_or(0);
        if let Some((crowded, count)) = counts.iter().max_by_key(|(_, count)| **count)
            && *count > own_count.max(1)
        {
            return self.stalest(|held| held.subnet == Some(*crowded));
        }
        let stalest = self.stalest(|held| own_count == 0 || held.subnet == subnet)?;
        (now.saturating_duration_since(self.held[stalest].refreshed) > stale_after).then_some(stalest)
    }

    /// Returns the index of the record that was renewed longest ago among those for which `matches` returns `true`.
    fn stalest(&self, matches: impl Fn(&Held) -> bool) -> Option<usize> {
        let matching = self.held.iter().enumerate().filter(|(_, held)| matches(held));
        matching.min_by_key(|(_, held)| held.refreshed).map(|(index, _)| index)
    }
}

#[cfg(test)]
mod tests {
    use libp2p::kad::RecordKey;

    use super::*;
    use crate::address;

    fn insert(all: &mut Providers, now: Instant, record: ProviderRecord) -> Insertion {
        let subnet = record.addresses.first().and_then(address::subnet);
        all.insert(now, record, subnet, CAPACITY, STALE)
    }

    const CAPACITY: usize = 4;
    const STALE: Duration = Duration::from_secs(1800);

    fn record(ip: &str, expires: Option<Instant>) -> ProviderRecord {
        let addresses = vec![format!("/ip4/{ip}/tcp/1").parse().unwrap()];
        let record = ProviderRecord::new(RecordKey::new(&"key"), PeerId::random(), addresses);
        ProviderRecord { expires: expires.map(Instant::into_std), ..record }
    }

    /// Returns a full table, the time at which its last record was added, and the providers. The table has one record
    /// for each of `ips`. The records were added in this order, one second apart.
    fn full(ips: [&str; CAPACITY]) -> (Providers, Instant, Vec<PeerId>) {
        let (mut all, start) = (Providers::default(), Instant::now());
        let peers = ips.iter().enumerate().map(|(n, ip)| {
            let record = record(ip, None);
            let peer = record.provider;
            let at = start + Duration::from_secs(n as u64);
            assert_eq!(insert(&mut all, at, record), Insertion::Stored);
            peer
        });
        let peers = peers.collect();
        (all, start + Duration::from_secs(CAPACITY as u64 - 1), peers)
    }

    #[test]
    fn a_new_subnet_replaces_the_stalest_record_of_the_largest_subnet() {
        let (mut all, now, peers) = full(["9.9.9.9", "8.8.8.1", "8.8.8.2", "8.8.8.3"]);
        assert_eq!(insert(&mut all, now, record("7.7.7.7", None)), Insertion::Replaced(peers[1]));
        assert_eq!(insert(&mut all, now, record("6.6.6.6", None)), Insertion::Replaced(peers[2]));
        // Now each stored record is from a different subnet, so a new record may not replace any of them.
        assert_eq!(insert(&mut all, now, record("5.5.5.5", None)), Insertion::Refused);
        assert_eq!(insert(&mut all, now, record("8.8.8.4", None)), Insertion::Refused);
    }

    #[test]
    fn many_new_identities_do_not_displace_the_stored_providers() {
        for ip in ["8.8.8.8", "127.0.0.1"] {
            let (mut all, now, _) = full([ip; CAPACITY]);
            assert_eq!(insert(&mut all, now, record(ip, None)), Insertion::Refused, "{ip}");
        }
    }

    #[test]
    fn a_record_that_was_not_renewed_in_time_is_replaced() {
        let (mut all, now, peers) = full(["127.0.0.1"; CAPACITY]);
        let renewed = ProviderRecord { provider: peers[0], ..record("127.0.0.1", None) };
        let later = now + STALE;
        assert_eq!(insert(&mut all, later, renewed), Insertion::Stored);
        assert_eq!(insert(&mut all, later, record("127.0.0.1", None)), Insertion::Replaced(peers[1]));
        assert_eq!(all.current(later).count(), CAPACITY);
    }

    #[test]
    fn a_stale_record_of_the_same_subnet_is_replaced_before_any_other() {
        let (mut all, now, peers) = full(["9.9.9.9", "8.8.8.1", "7.7.7.7", "6.6.6.6"]);
        let later = now + 2 * STALE;
        assert_eq!(insert(&mut all, later, record("8.8.8.2", None)), Insertion::Replaced(peers[1]));
        assert_eq!(insert(&mut all, later, record("5.5.5.5", None)), Insertion::Replaced(peers[0]));
    }

    #[test]
    fn an_expired_record_is_replaced_first() {
        let (mut all, now, _) = full(["9.9.9.9", "8.8.8.1", "7.7.7.7", "6.6.6.6"]);
        let expiring = record("5.5.5.5", Some(now));
        let peer = expiring.provider;
        all.held[2] = Held { record: expiring, refreshed: now, subnet: None };
        assert_eq!(all.current(now).count(), CAPACITY - 1);
        assert_eq!(insert(&mut all, now, record("8.8.8.9", None)), Insertion::Replaced(peer));
        assert_eq!(all.collect(now), []);
    }
}
