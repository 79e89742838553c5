//! The record store. Contains the node's own records and the records that it stores for peers.
//!
//! Invariant: own records and records of peers have separate limits, so peers cannot use the space for own records.
//! When the space for peers is full, a record of the subnet with the most records is evicted.
//!
//! Records of peers need at most this much memory: [`StoreLimits::values`] values of 8 KiB and
//! [`StoreLimits::providers`] provider records of about 1 KiB, by default 16 MiB for each of the two types. The number
//! of own records is the number of announcements, up to [`StoreLimits::own`] of each type.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use libp2p::PeerId;
use libp2p::kad::store::{Error, RecordStore, Result};
use libp2p::kad::{self, ProviderRecord, Record, RecordKey};
use tokio::time::Instant;

use crate::discovery::dht::config::StoreLimits;
use crate::discovery::dht::kademlia::providers::{Insertion, Providers};
use crate::discovery::dht::kademlia::shares::{Key, Shares};
use crate::discovery::dht::kademlia::validate::{self, Refusal};

/// libp2p's Kademlia with this record store.
pub(crate) type Kademlia = kad::Behaviour<Store>;

/// The number of stored records of each owner and type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StoreCounts {
    /// The number of values that this node has put.
    pub(crate) own_values: usize,
    /// The number of keys that this node provides.
    pub(crate) own_provided: usize,
    /// The number of values stored for peers.
    pub(crate) values: usize,
    /// The number of provider records stored for peers.
    pub(crate) providers: usize,
}

/// A value that is stored for a peer.
struct Value {
    record: Record,
    /// The peer that put the value. The value counts towards the share of this peer.
    from: PeerId,
}

/// The record store of a node.
pub(crate) struct Store {
    local: PeerId,
    limits: StoreLimits,
    /// How long after its last renewal a provider record becomes stale: three quarters of its lifetime. Honest
    /// providers renew their records after half of the lifetime.
    stale_after: Duration,
    own_values: BTreeMap<Key, Record>,
    own_provided: BTreeMap<Key, ProviderRecord>,
    /// Whether replies to peers omit this node's own provider records, to which Kademlia would add the listen addresses
    /// of this node.
    hidden: bool,
    values: BTreeMap<Key, Value>,
    value_shares: Shares,
    providers: BTreeMap<Key, Providers>,
    provider_shares: Shares,
}

impl Store {
    pub(crate) fn new(local: PeerId, limits: StoreLimits, provider_ttl: Duration) -> Self {
        Self {
            local,
            limits,
            stale_after: provider_ttl * 3 / 4,
            own_values: BTreeMap::new(),
            own_provided: BTreeMap::new(),
            hidden: false,
            values: BTreeMap::new(),
            value_shares: Shares::default(),
            providers: BTreeMap::new(),
            provider_shares: Shares::default(),
        }
    }

    pub(crate) fn counts(&self) -> StoreCounts {
        StoreCounts {
            own_values: self.own_values.len(),
            own_provided: self.own_provided.len(),
            values: self.values.len(),
            providers: self.provider_shares.total(),
        }
    }

    /// From now on, replies to peers omit this node's own provider records.
    pub(crate) fn hide(&mut self) {
        self.hidden = true;
    }

    /// Returns whether this node may announce the key with its addresses: it provides the key and does not hide its
    /// addresses. A provider record of any other key is sent without addresses, which withdraws the key.
    pub(crate) fn provides(&self, key: &RecordKey) -> bool {
        !self.hidden && self.own_provided.contains_key(key.as_ref())
    }

    /// Stores a valid value from the peer `from`, whose connection comes from `subnet`.
    pub(crate) fn keep_value(
        &mut self,
        record: Record,
        from: PeerId,
        subnet: Option<IpAddr>,
    ) -> std::result::Result<(), Refusal> {
        let key: Key = record.key.as_ref().into();
        if let Some(held) = self.values.get_mut(&key)
            && held.record.value == record.value
        {
            // A renewed value counts towards the share of the peer that put it first.
            held.record = record;
            return Ok(());
        }
        if let Some(held) = self.values.remove(&key) {
            self.value_shares.remove(&held.from, &key);
        } else if self.values.len() >= self.limits.values {
            let (_, evicted) = self.value_shares.record_to_evict_for(&from, subnet).ok_or(Refusal::Full)?;
            self.remove_value(&evicted);
        }
        self.value_shares.insert(from, subnet, key.clone());
        self.values.insert(key, Value { record, from });
        Ok(())
    }

    /// Stores a valid provider record. The connection of its provider comes from `subnet`.
    pub(crate) fn keep_provider(
        &mut self,
        now: Instant,
        record: ProviderRecord,
        subnet: Option<IpAddr>,
    ) -> std::result::Result<(), Refusal> {
        let (key, peer): (Key, _) = (record.key.as_ref().into(), record.provider);
        let is_refresh = self.provider_shares.has(&peer, &key);
        let is_full = !is_refresh && self.provider_shares.total() >= self.limits.providers;
        let held = self.providers.entry(key.clone()).or_default();
        match held.insert(now, record, subnet, self.limits.providers_per_key, self.stale_after) {
            // The new record exceeds the limit of the table, so evict another record.
            Insertion::Stored if is_full => {
                let Some((other, evicted)) = self.provider_shares.record_to_evict_for(&peer, subnet) else {
                    self.remove_provider_of(&key, &peer);
                    return Err(Refusal::Full);
                };
                self.remove_provider_of(&evicted, &other);
            }
            Insertion::Stored => {}
            Insertion::Replaced(other) => self.provider_shares.remove(&other, &key),
            Insertion::Refused => return Err(Refusal::Full),
        }
        self.provider_shares.insert(peer, subnet, key);
        Ok(())
    }

    /// Removes the provider record of `peer` under `key`, if there is one.
    pub(crate) fn withdraw_provider(&mut self, key: &RecordKey, peer: &PeerId) {
        self.remove_provider_of(&key.as_ref().into(), peer);
    }

    /// Removes the expired values and provider records of peers.
    pub(crate) fn collect(&mut self, now: Instant) {
        let expired: Vec<_> =
            self.values.iter().filter(|(_, v)| v.record.is_expired(now.into_std())).map(|(k, _)| k.clone()).collect();
        for key in expired {
            self.remove_value(&key);
        }
        for (key, held) in &mut self.providers {
            for peer in held.collect(now) {
                self.provider_shares.remove(&peer, key);
            }
        }
        self.providers.retain(|_, held| !held.is_empty());
    }

    fn remove_value(&mut self, key: &Key) {
        if let Some(held) = self.values.remove(key) {
            self.value_shares.remove(&held.from, key);
        }
    }

    fn remove_provider_of(&mut self, key: &Key, peer: &PeerId) {
        let Some(held) = self.providers.get_mut(key) else { return };
        held.remove(peer);
        self.provider_shares.remove(peer, key);
        if held.is_empty() {
            self.providers.remove(key);
        }
    }
}

/// The interface for Kademlia, which adds only records of this node. Kademlia passes records from peers to this node as
/// events. [`validate`] checks these records before they are stored.
impl RecordStore for Store {
    type RecordsIter<'a> = std::vec::IntoIter<Cow<'a, Record>>;
    type ProvidedIter<'a> = std::vec::IntoIter<Cow<'a, ProviderRecord>>;

    /// Returns this node's own value of a key. If there is none, returns the value from a peer. The versions of the two
    /// values are not compared.
    fn get(&self, key: &RecordKey) -> Option<Cow<'_, Record>> {
        let now = Instant::now().into_std();
        let of_peer = self.values.get(key.as_ref()).map(|held| &held.record).filter(|record| !record.is_expired(now));
        self.own_values.get(key.as_ref()).or(of_peer).map(Cow::Borrowed)
    }

    fn put(&mut self, record: Record) -> Result<()> {
        let key: Key = record.key.as_ref().into();
        if record.value.len() > validate::MAX_VALUE_LEN {
            return Err(Error::ValueTooLarge);
        }
        if self.own_values.len() >= self.limits.own && !self.own_values.contains_key(&key) {
            return Err(Error::MaxRecords);
        }
        self.own_values.insert(key, record);
        Ok(())
    }

    fn remove(&mut self, key: &RecordKey) {
        self.own_values.remove(key.as_ref());
    }

    fn records(&self) -> Self::RecordsIter<'_> {
        let all = self.own_values.values().chain(self.values.values().map(|held| &held.record));
        all.map(Cow::Borrowed).collect::<Vec<_>>().into_iter()
    }

    fn add_provider(&mut self, record: ProviderRecord) -> Result<()> {
        let key: Key = record.key.as_ref().into();
        if self.own_provided.len() >= self.limits.own && !self.own_provided.contains_key(&key) {
            return Err(Error::MaxProvidedKeys);
        }
        self.own_provided.insert(key, record);
        Ok(())
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        let own = self.own_provided.get(key.as_ref()).filter(|_| !self.hidden).into_iter().cloned();
        let of_peers = self.providers.get(key.as_ref()).into_iter().flat_map(|held| held.current(Instant::now()));
        own.chain(of_peers.cloned()).collect()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        self.own_provided.values().map(Cow::Borrowed).collect::<Vec<_>>().into_iter()
    }

    fn remove_provider(&mut self, key: &RecordKey, peer: &PeerId) {
        if *peer == self.local {
            self.own_provided.remove(key.as_ref());
        } else {
            self.withdraw_provider(key, peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(3600);

    fn store(values: usize, providers: usize) -> Store {
        let limits = StoreLimits { own: 3, values, providers, providers_per_key: 2 };
        Store::new(PeerId::random(), limits, TTL)
    }

    fn value(key: &str, expires: Option<Instant>) -> Record {
        Record { expires: expires.map(Instant::into_std), ..Record::new(RecordKey::new(&key), vec![1]) }
    }

    fn provider(key: &str, peer: PeerId, now: Instant) -> ProviderRecord {
        let addresses = vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap()];
        ProviderRecord {
            expires: Some((now + TTL).into_std()),
            ..ProviderRecord::new(RecordKey::new(&key), peer, addresses)
        }
    }

    #[test]
    fn records_of_peers_never_use_the_space_for_own_records() {
        let (mut store, now) = (store(4, 4), Instant::now());
        for n in 0..100 {
            let _ = store.keep_value(value(&format!("v{n}"), None), PeerId::random(), None);
            let _ = store.keep_provider(now, provider(&format!("p{n}"), PeerId::random(), now), None);
        }
        let counts = store.counts();
        assert_eq!((counts.values, counts.providers), (4, 4));
        let own = store.local;
        for n in 0..3 {
            store.put(value(&format!("own{n}"), None)).unwrap();
            store.add_provider(ProviderRecord::new(RecordKey::new(&format!("own{n}")), own, Vec::new())).unwrap();
        }
        // A store that is full of own values still accepts a renewal, but no new value.
        store.put(value("own0", None)).unwrap();
        assert!(matches!(store.put(value("own3", None)), Err(Error::MaxRecords)));
        assert_eq!(store.counts(), StoreCounts { own_values: 3, own_provided: 3, ..counts });
        assert_eq!(store.provided().count(), 3);
    }

    #[test]
    fn a_full_store_evicts_a_record_of_the_peer_with_the_most_records() {
        let (mut store, now) = (store(4, 4), Instant::now());
        let (greedy, modest) = (PeerId::random(), PeerId::random());
        for n in 0..10 {
            let kept = store.keep_provider(now, provider(&format!("p{n}"), greedy, now), None);
            assert_eq!(kept.is_ok(), n < 4, "{n}: a peer evicts none of its own records");
            let kept = store.keep_value(value(&format!("v{n}"), None), greedy, None);
            assert_eq!(kept.is_ok(), n < 4);
        }
        for n in 0..2 {
            store.keep_provider(now, provider(&format!("m{n}"), modest, now), None).unwrap();
            store.keep_value(value(&format!("m{n}"), None), modest, None).unwrap();
        }
        assert_eq!(store.keep_provider(now, provider("m2", modest, now), None), Err(Refusal::Full));
        assert_eq!(store.keep_value(value("m2", None), modest, None), Err(Refusal::Full));
        assert_eq!(store.providers(&RecordKey::new(&"m1")).len(), 1);
        assert!(store.get(&RecordKey::new(&"m1")).is_some());
        assert_eq!((store.counts().values, store.counts().providers), (4, 4));
    }

    #[test]
    fn expired_records_are_removed_without_being_read() {
        let (mut store, now) = (store(4, 4), Instant::now());
        let soon = now + Duration::from_secs(1);
        store.keep_value(value("short", Some(soon)), PeerId::random(), None).unwrap();
        store.keep_value(value("long", Some(now + 2 * TTL)), PeerId::random(), None).unwrap();
        store.keep_provider(now, provider("key", PeerId::random(), now), None).unwrap();
        store.collect(soon);
        assert_eq!((store.counts().values, store.counts().providers), (1, 1));
        store.collect(now + TTL);
        assert_eq!((store.counts().values, store.counts().providers), (1, 0));
        assert!(store.providers.is_empty() && store.value_shares.total() == 1);
    }

    #[test]
    fn a_provider_is_listed_once_per_key_and_can_withdraw() {
        let (mut store, now, peer) = (store(4, 4), Instant::now(), PeerId::random());
        let key = RecordKey::new(&"key");
        for _ in 0..3 {
            store.keep_provider(now, provider("key", peer, now), None).unwrap();
        }
        assert_eq!(store.providers(&key).len(), 1);
        store.withdraw_provider(&key, &PeerId::random());
        assert_eq!(store.counts().providers, 1);
        store.withdraw_provider(&key, &peer);
        assert_eq!(store.providers(&key), []);
        assert_eq!(store.counts(), StoreCounts::default());
    }

    #[test]
    fn the_number_of_providers_of_a_key_is_bounded() {
        let (mut store, now) = (store(4, 4), Instant::now());
        let key = RecordKey::new(&"key");
        for _ in 0..2 {
            store.keep_provider(now, provider("key", PeerId::random(), now), None).unwrap();
        }
        assert_eq!(store.keep_provider(now, provider("key", PeerId::random(), now), None), Err(Refusal::Full));
        assert_eq!((store.providers(&key).len(), store.counts().providers), (2, 2));
    }
}
