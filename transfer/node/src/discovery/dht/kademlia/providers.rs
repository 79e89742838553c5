//! The provider records of one key, of which only so many are kept.
//!
//! When there is no room, a newcomer replaces, in this order:
//! 1. a record whose time is over;
//! 2. the stalest record of the subnet that has most of them, if the newcomer comes from one that has fewer;
//! 3. the stalest record of its own subnet, or of all if none is from there, provided that it is stale: an honest provider would have
//!    renewed it.
//!
//! Otherwise it is refused: whoever is there and keeps saying so is not pushed out by a crowd of new names.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use libp2p::PeerId;
use libp2p::kad::ProviderRecord;
use tokio::time::Instant;

/// Who made room for a newcomer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Replaced {
    /// There was room.
    Nobody,
    /// The record of this provider has gone.
    Somebody(PeerId),
    /// Nobody gave way.
    Refused,
}

struct Held {
    record: ProviderRecord,
    refreshed: Instant,
    /// `None` within this machine, where there are no subnets to tell apart.
    subnet: Option<IpAddr>,
}

/// Provider records of one key, one for each provider.
#[derive(Default)]
pub(crate) struct Providers {
    held: Vec<Held>,
}

impl Providers {
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The records whose time is not over.
    pub(crate) fn current(&self, now: Instant) -> impl Iterator<Item = &ProviderRecord> {
        self.held.iter().map(|held| &held.record).filter(move |record| !record.is_expired(now.into_std()))
    }

    pub(crate) fn remove(&mut self, peer: &PeerId) {
        self.held.retain(|held| held.record.provider != *peer);
    }

    /// Removes the records whose time is over; returns whose they were.
    pub(crate) fn collect(&mut self, now: Instant) -> Vec<PeerId> {
        self.held
            .extract_if(.., |held| held.record.is_expired(now.into_std()))
            .map(|held| held.record.provider)
            .collect()
    }

    /// Adds or renews a record. `subnet`: where its provider is seen, whatever it says. `room`: how many are kept. `stale_after`: how long after its last renewal a record may
    /// be replaced.
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        record: ProviderRecord,
        subnet: Option<IpAddr>,
        room: usize,
        stale_after: Duration,
    ) -> Replaced {
        let new = Held { record, refreshed: now, subnet };
        if let Some(held) = self.held.iter_mut().find(|held| held.record.provider == new.record.provider) {
            *held = new;
            return Replaced::Nobody;
        }
        if self.held.len() < room {
            self.held.push(new);
            return Replaced::Nobody;
        }
        let Some(victim) = self.victim(now, new.subnet, stale_after) else { return Replaced::Refused };
        let gone = std::mem::replace(&mut self.held[victim], new);
        Replaced::Somebody(gone.record.provider)
    }

    /// Who gives way to a newcomer from `subnet`.
    fn victim(&self, now: Instant, subnet: Option<IpAddr>, stale_after: Duration) -> Option<usize> {
        if let Some(expired) = self.held.iter().position(|held| held.record.is_expired(now.into_std())) {
            return Some(expired);
        }
        let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for held in self.held.iter().filter_map(|held| held.subnet) {
            *counts.entry(held).or_default() += 1;
        }
        let of_newcomer = subnet.and_then(|subnet| counts.get(&subnet)).copied().unwrap_or(0);
        if let Some((crowded, count)) = counts.iter().max_by_key(|(_, count)| **count)
            && *count > of_newcomer.max(1)
        {
            return self.stalest(|held| held.subnet == Some(*crowded));
        }
        let stalest = self.stalest(|held| of_newcomer == 0 || held.subnet == subnet)?;
        (now.saturating_duration_since(self.held[stalest].refreshed) > stale_after).then_some(stalest)
    }

    fn stalest(&self, which: impl Fn(&Held) -> bool) -> Option<usize> {
        let those = self.held.iter().enumerate().filter(|(_, held)| which(held));
        those.min_by_key(|(_, held)| held.refreshed).map(|(index, _)| index)
    }
}

#[cfg(test)]
mod tests {
    use libp2p::kad::RecordKey;

    use super::*;
    use crate::address;

    fn insert(all: &mut Providers, now: Instant, record: ProviderRecord) -> Replaced {
        let subnet = record.addresses.first().and_then(address::subnet);
        all.insert(now, record, subnet, ROOM, STALE)
    }

    const ROOM: usize = 4;
    const STALE: Duration = Duration::from_secs(1800);

    fn record(ip: &str, expires: Option<Instant>) -> ProviderRecord {
        let addresses = vec![format!("/ip4/{ip}/tcp/1").parse().unwrap()];
        let record = ProviderRecord::new(RecordKey::new(&"key"), PeerId::random(), addresses);
        ProviderRecord { expires: expires.map(Instant::into_std), ..record }
    }

    /// Full of records from `ips`, a second apart; returns them, when the last came, and whose they are.
    fn full(ips: [&str; ROOM]) -> (Providers, Instant, Vec<PeerId>) {
        let (mut all, start) = (Providers::default(), Instant::now());
        let peers = ips.iter().enumerate().map(|(n, ip)| {
            let record = record(ip, None);
            let peer = record.provider;
            let at = start + Duration::from_secs(n as u64);
            assert_eq!(insert(&mut all, at, record), Replaced::Nobody);
            peer
        });
        let peers = peers.collect();
        (all, start + Duration::from_secs(ROOM as u64 - 1), peers)
    }

    #[test]
    fn a_newcomer_from_elsewhere_replaces_the_stalest_of_a_crowded_subnet() {
        let (mut all, now, peers) = full(["9.9.9.9", "8.8.8.1", "8.8.8.2", "8.8.8.3"]);
        assert_eq!(insert(&mut all, now, record("7.7.7.7", None)), Replaced::Somebody(peers[1]));
        assert_eq!(insert(&mut all, now, record("6.6.6.6", None)), Replaced::Somebody(peers[2]));
        // Now each is from elsewhere.
        assert_eq!(insert(&mut all, now, record("5.5.5.5", None)), Replaced::Refused);
        assert_eq!(insert(&mut all, now, record("8.8.8.4", None)), Replaced::Refused);
    }

    #[test]
    fn a_crowd_does_not_push_out_those_who_are_there() {
        for ip in ["8.8.8.8", "127.0.0.1"] {
            let (mut all, now, _) = full([ip; ROOM]);
            assert_eq!(insert(&mut all, now, record(ip, None)), Replaced::Refused, "{ip}");
        }
    }

    #[test]
    fn what_was_not_renewed_in_time_gives_way() {
        let (mut all, now, peers) = full(["127.0.0.1"; ROOM]);
        let renewed = ProviderRecord { provider: peers[0], ..record("127.0.0.1", None) };
        let later = now + STALE;
        assert_eq!(insert(&mut all, later, renewed), Replaced::Nobody);
        assert_eq!(insert(&mut all, later, record("127.0.0.1", None)), Replaced::Somebody(peers[1]));
        assert_eq!(all.current(later).count(), ROOM);
    }

    #[test]
    fn a_stale_record_of_another_subnet_is_left_alone() {
        let (mut all, now, peers) = full(["9.9.9.9", "8.8.8.1", "7.7.7.7", "6.6.6.6"]);
        let later = now + 2 * STALE;
        assert_eq!(insert(&mut all, later, record("8.8.8.2", None)), Replaced::Somebody(peers[1]));
        assert_eq!(insert(&mut all, later, record("5.5.5.5", None)), Replaced::Somebody(peers[0]));
    }

    #[test]
    fn what_has_expired_goes_first() {
        let (mut all, now, _) = full(["9.9.9.9", "8.8.8.1", "7.7.7.7", "6.6.6.6"]);
        let expiring = record("5.5.5.5", Some(now));
        let peer = expiring.provider;
        all.held[2] = Held { record: expiring, refreshed: now, subnet: None };
        assert_eq!(all.current(now).count(), ROOM - 1);
        assert_eq!(insert(&mut all, now, record("8.8.8.9", None)), Replaced::Somebody(peer));
        assert_eq!(all.collect(now), []);
    }
}
