//! A hostile DHT node that gives false answers and floods. It uses libp2p's own Kademlia, without Phase's checks and
//! limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::kad::store::{MemoryStore, RecordStore as _};
use libp2p::kad::{self, KBucketDistance, KBucketKey, ProviderRecord, Quorum, Record, RecordKey};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, Transport as _, identify, plaintext, yamux};
use phase_core::dht::DhtRecord as _;
use phase_core::{Name, Pointer, SigningKey};
use tokio_util::task::AbortOnDropHandle;

use crate::release::{EXPIRES, NOW, Release, name};

/// The number of random key pairs that are generated for each Sybil. Only the key pairs whose peer ids are closest to
/// the attacked name are used.
const TRIES: usize = 96;
/// The time between two false records from the same Sybil. It is short enough to exceed the rate of puts that honest
/// nodes permit. It is long enough to leave CPU time for the seventy nodes in this process.
const PACE: Duration = Duration::from_secs(1);
/// The largest number of puts that each Sybil runs at a time. While this many puts are running, the Sybil sends no
/// record of any kind.
const AT_ONCE: u64 = 4;
/// The number of queries that a Sybil may run in addition to [`AT_ONCE`]. While it runs more, it sends no provider
/// record, because each provider record needs a search for the nodes that should store it.
const MAX_PROVIDING: usize = 2;
/// The number of invented providers that each Sybil returns for every DHT key of the attacked name.
const FALSE_PROVIDERS: usize = 20;

/// A running Sybil, which floods the honest nodes until it is dropped.
pub(crate) struct Sybil {
    sent: Arc<AtomicU64>,
    _task: AbortOnDropHandle<()>,
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    identify: identify::Behaviour,
    kad: kad::Behaviour<MemoryStore>,
}

/// Returns the DHT distance between a peer and the first DHT key of a name.
pub(crate) fn distance(peer: &PeerId, name: &Name) -> KBucketDistance {
    distance_to(peer, name.key().as_bytes())
}

fn distance_to(peer: &PeerId, key: &[u8]) -> KBucketDistance {
    KBucketKey::new(key.to_vec()).distance(&KBucketKey::from(*peer))
}

/// Generates many key pairs. Returns the `count` key pairs whose peer ids are closest to a DHT key.
pub(crate) fn grind(rng_seed: u64, key: &[u8], count: usize) -> Vec<Keypair> {
    let mut random = fastrand::Rng::with_seed(rng_seed);
    let tried = std::iter::repeat_with(|| {
        let mut secret = [0; 32];
        random.fill(&mut secret);
        Keypair::ed25519_from_bytes(secret).unwrap()
    });
    let mut all: Vec<_> =
        tried.take(count * TRIES).map(|pair| (distance_to(&pair.public().to_peer_id(), key), pair)).collect();
    all.sort_by_key(|(distance, _)| *distance);
    all.into_iter().take(count).map(|(_, pair)| pair).collect()
}

/// Returns the number of completed queries of all Sybils. Most of these queries sent a false record.
pub(crate) fn sent(sybils: &[Sybil]) -> u64 {
    sybils.iter().map(|sybil| sybil.sent.load(Ordering::Relaxed)).sum()
}

impl Sybil {
    /// Starts a Sybil that floods `targets`.
    pub(crate) fn start(number: usize, key: Keypair, targets: Vec<(PeerId, Multiaddr)>, release: &Release) -> Self {
        let sent = Arc::<AtomicU64>::default();
        let forger = Forger::new(number, release);
        let flood = flood(swarm(key, &forger), targets, forger, sent.clone());
        Self { sent, _task: AbortOnDropHandle::new(tokio::spawn(flood)) }
    }
}

fn swarm(key: Keypair, forger: &Forger) -> Swarm<Behaviour> {
    let peer = key.public().to_peer_id();
    let transport = libp2p::core::transport::MemoryTransport::default()
        .upgrade(Version::V1Lazy)
        .authenticate(plaintext::Config::new(&key))
        .multiplex(yamux::Config::default())
        .boxed();
    let mut config = kad::Config::new(StreamProtocol::new("/phase/kad/1.0.0"));
    config.set_periodic_bootstrap_interval(None);
    let mut kad = kad::Behaviour::with_config(peer, MemoryStore::new(peer), config);
    kad.set_mode(Some(kad::Mode::Server));
    for key in name().keys() {
        kad.store_mut().put(Record::new(RecordKey::new(&key), forger.newest.clone())).unwrap();
        for _ in 0..FALSE_PROVIDERS {
            let nowhere = vec!["/memory/1".parse().unwrap()];
            let record = ProviderRecord::new(RecordKey::new(&key), PeerId::random(), nowhere);
            kad.store_mut().add_provider(record).unwrap();
        }
    }
    let identify = identify::Behaviour::new(identify::Config::new("/phase/1.0.0".to_owned(), key.public()));
    let config = libp2p::swarm::Config::with_tokio_executor();
    let mut swarm = Swarm::new(transport, Behaviour { identify, kad }, peer, config);
    swarm.listen_on("/memory/0".parse().unwrap()).unwrap();
    swarm
}

async fn flood(
    mut swarm: Swarm<Behaviour>,
    targets: Vec<(PeerId, Multiaddr)>,
    mut forger: Forger,
    sent: Arc<AtomicU64>,
) {
    for (peer, address) in &targets {
        swarm.behaviour_mut().kad.add_address(peer, address.clone());
    }
    let mut running = 0;
    let mut pace = tokio::time::interval(PACE);
    loop {
        let event = tokio::select! {
            event = swarm.select_next_some() => event,
            _ = pace.tick() => {
                if running < AT_ONCE {
                    running += u64::from(forger.send(&mut swarm.behaviour_mut().kad, &targets));
                }
                continue;
            }
        };
        match event {
            SwarmEvent::NewListenAddr { address, .. } => swarm.add_external_address(address),
            SwarmEvent::Behaviour(BehaviourEvent::Kad(kad::Event::OutboundQueryProgressed {
                step, result, ..
            })) if step.last => {
                running -= u64::from(matches!(result, kad::QueryResult::PutRecord(_)));
                sent.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

/// Makes the false records of one Sybil.
struct Forger {
    key: SigningKey,
    number: usize,
    count: usize,
    pointer: Pointer,
    /// A forged pointer whose version is higher than that of any true pointer.
    newest: Vec<u8>,
}

impl Forger {
    fn new(number: usize, release: &Release) -> Self {
        let key = SigningKey::from_secret_bytes(&[9; 32]);
        let mut pointer: Pointer = release.pointer.payload_unverified().unwrap();
        (pointer.version, pointer.expires_at) = (u64::MAX, EXPIRES);
        let newest = pointer.seal(&key).unwrap();
        Self { key, number, count: 0, pointer, newest }
    }

    /// Sends the next false record. Returns whether this started a put, because the caller counts the running puts.
    fn send(&mut self, kad: &mut kad::Behaviour<MemoryStore>, targets: &[(PeerId, Multiaddr)]) -> bool {
        self.count += 1;
        let keys = name().keys();
        let key = keys[self.count % keys.len()].clone();
        let unknown: Name = format!("junk/n{}-{}", self.number, self.count).parse().unwrap();
        match self.count % 8 {
            0 => self.put(kad, targets, key, self.newest.clone()),
            1 => self.put(kad, targets, key, self.sealed(|pointer| pointer.expires_at = NOW)),
            2 => self.put(kad, targets, key, self.sealed(|pointer| pointer.name = unknown)),
            3 => self.put(kad, targets, format!("/junk/{}", self.count), vec![7; 1000]),
            4 => self.put(kad, targets, unknown.key(), self.sealed(|pointer| pointer.name = unknown.clone())),
            5 => Self::provide(kad, &key),
            6 => Self::provide(kad, &unknown.key()),
            _ => Self::provide(kad, &format!("/junk/{}", self.count)),
        }
    }

    fn sealed(&self, change: impl FnOnce(&mut Pointer)) -> Vec<u8> {
        let mut pointer = self.pointer.clone();
        change(&mut pointer);
        pointer.seal(&self.key).unwrap()
    }

    fn put(
        &self,
        kad: &mut kad::Behaviour<MemoryStore>,
        targets: &[(PeerId, Multiaddr)],
        key: String,
        value: Vec<u8>,
    ) -> bool {
        let record = Record::new(RecordKey::new(&key), value);
        kad.put_record_to(record, targets.iter().map(|(peer, _)| *peer), Quorum::All);
        true
    }

    /// Starts a query that sends a provider record to the nodes closest to `key`. Returns false for
    /// [`send`](Self::send), because this starts no put.
    fn provide(kad: &mut kad::Behaviour<MemoryStore>, key: &str) -> bool {
        if kad.iter_queries().count() > AT_ONCE as usize + MAX_PROVIDING {
            return false;
        }
        let key = RecordKey::new(&key);
        kad.start_providing(key.clone()).unwrap();
        kad.stop_providing(&key);
        false
    }
}
