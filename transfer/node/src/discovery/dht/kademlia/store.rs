//! The records a node holds: its own, and those it keeps for others.
//!
//! Invariant: what is our own never competes with what is others'. Strangers can fill the room for others, and find
//! that the subnet with most of it gives way; our own announcements do not notice.
//!
//! Memory: of others at most [`StoreLimits::values`] values of 8 KiB and [`StoreLimits::providers`] provider records of
//! about 1 KiB, by default 16 MiB each. Our own are as many as we announce.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use libp2p::PeerId;
use libp2p::kad::store::{Error, RecordStore, Result};
use libp2p::kad::{self, ProviderRecord, Record, RecordKey};
use tokio::time::Instant;

use crate::discovery::dht::config::StoreLimits;
use crate::discovery::dht::kademlia::providers::{Providers, Replaced};
use crate::discovery::dht::kademlia::shares::{Key, Shares};
use crate::discovery::dht::kademlia::validate::{self, Refusal};

/// libp2p's Kademlia with our store.
pub(crate) type Kademlia = kad::Behaviour<Store>;

/// How many records are held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StoreCounts {
    /// Our own values.
    pub(crate) own_values: usize,
    /// Keys we provide.
    pub(crate) own_provided: usize,
    /// Values of others.
    pub(crate) values: usize,
    /// Provider records of others.
    pub(crate) providers: usize,
}

/// A value of somebody else.
struct Value {
    record: Record,
    /// Who put it here.
    from: PeerId,
}

/// See the module's documentation.
pub(crate) struct Store {
    local: PeerId,
    limits: StoreLimits,
    /// Provider records that were not refreshed for this long are stale: three quarters of their life, half of which is when
    /// honest providers refresh them.
    stale_after: Duration,
    own_values: BTreeMap<Key, Record>,
    own_provided: BTreeMap<Key, ProviderRecord>,
    /// Nobody is told what we provide: Kademlia would add where we listen.
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

    /// From now on nobody is told what we provide.
    pub(crate) fn hide(&mut self) {
        self.hidden = true;
    }

    /// Whether others may be told that we provide it, and where. What is announced of anything else withdraws.
    pub(crate) fn provides(&self, key: &RecordKey) -> bool {
        !self.hidden && self.own_provided.contains_key(key.as_ref())
    }

    /// Keeps a value that was found valid for `from`, who is seen in `subnet`.
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
            // Whoever says again what others have said takes no share of theirs over.
            held.record = record;
            return Ok(());
        }
        if let Some(held) = self.values.remove(&key) {
            self.value_shares.remove(&held.from, &key);
        } else if self.values.len() >= self.limits.values {
            let victim = self.value_shares.who_gives_way_to(&from, subnet).ok_or(Refusal::Full)?;
            self.drop_value(&victim.1);
        }
        self.value_shares.insert(from, subnet, key.clone());
        self.values.insert(key, Value { record, from });
        Ok(())
    }

    /// Keeps a provider record that was found valid. `subnet`: where its provider is seen.
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
            // Only who takes room costs others theirs.
            Replaced::Nobody if is_full => {
                let Some((other, victim)) = self.provider_shares.who_gives_way_to(&peer, subnet) else {
                    self.drop_provider(&key, &peer);
                    return Err(Refusal::Full);
                };
                self.drop_provider(&victim, &other);
            }
            Replaced::Nobody => {}
            Replaced::Somebody(other) => self.provider_shares.remove(&other, &key),
            Replaced::Refused => return Err(Refusal::Full),
        }
        self.provider_shares.insert(peer, subnet, key);
        Ok(())
    }

    /// Forgets a provider record of somebody else.
    pub(crate) fn withdraw_provider(&mut self, key: &RecordKey, peer: &PeerId) {
        self.drop_provider(&key.as_ref().into(), peer);
    }

    /// Forgets everything of others whose time is over.
    pub(crate) fn collect(&mut self, now: Instant) {
        let over: Vec<_> =
            self.values.iter().filter(|(_, v)| v.record.is_expired(now.into_std())).map(|(k, _)| k.clone()).collect();
        for key in over {
            self.drop_value(&key);
        }
        for (key, held) in &mut self.providers {
            for peer in held.collect(now) {
                self.provider_shares.remove(&peer, key);
            }
        }
        self.providers.retain(|_, held| !held.is_empty());
    }

    fn drop_value(&mut self, key: &Key) {
        if let Some(held) = self.values.remove(key) {
            self.value_shares.remove(&held.from, key);
        }
    }

    fn drop_provider(&mut self, key: &Key, peer: &PeerId) {
        let Some(held) = self.providers.get_mut(key) else { return };
        held.remove(peer);
        self.provider_shares.remove(peer, key);
        if held.is_empty() {
            self.providers.remove(key);
        }
    }
}

/// What Kademlia itself sees. It adds only what is our own: everything of others passes by [`validate`] first.
impl RecordStore for Store {
    type RecordsIter<'a> = std::vec::IntoIter<Cow<'a, Record>>;
    type ProvidedIter<'a> = std::vec::IntoIter<Cow<'a, ProviderRecord>>;

    /// Our own value first: others cannot make us say something else of what is ours, whatever version they claim.
    fn get(&self, key: &RecordKey) -> Option<Cow<'_, Record>> {
        let now = Instant::now().into_std();
        let others = self.values.get(key.as_ref()).map(|held| &held.record).filter(|record| !record.is_expired(now));
        self.own_values.get(key.as_ref()).or(others).map(Cow::Borrowed)
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
        let others = self.providers.get(key.as_ref()).into_iter().flat_map(|held| held.current(Instant::now()));
        own.chain(others.cloned()).collect()
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
    fn our_own_announcements_have_room_however_many_strangers_there_are() {
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
        // Those already there can be renewed; the room for our own has an end too.
        store.put(value("own0", None)).unwrap();
        assert!(matches!(store.put(value("own3", None)), Err(Error::MaxRecords)));
        assert_eq!(store.counts(), StoreCounts { own_values: 3, own_provided: 3, ..counts });
        assert_eq!(store.provided().count(), 3);
    }

    #[test]
    fn whoever_has_most_gives_way() {
        let (mut store, now) = (store(4, 4), Instant::now());
        let (greedy, modest) = (PeerId::random(), PeerId::random());
        for n in 0..10 {
            let kept = store.keep_provider(now, provider(&format!("p{n}"), greedy, now), None);
            assert_eq!(kept.is_ok(), n < 4, "{n}: the greediest makes no room for itself");
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
    fn what_has_expired_is_collected_without_being_read() {
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
    fn a_provider_is_listed_once_and_can_withdraw() {
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
    fn one_stays_within_the_room_of_a_key() {
        let (mut store, now) = (store(4, 4), Instant::now());
        let key = RecordKey::new(&"key");
        for _ in 0..2 {
            store.keep_provider(now, provider("key", PeerId::random(), now), None).unwrap();
        }
        assert_eq!(store.keep_provider(now, provider("key", PeerId::random(), now), None), Err(Refusal::Full));
        assert_eq!((store.providers(&key).len(), store.counts().providers), (2, 2));
    }
}
