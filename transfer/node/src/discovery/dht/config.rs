//! How a node takes part in the DHT.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use libp2p::StreamProtocol;
use phase_core::trust::TrustRoot;

/// The Kademlia protocol of Phase networks.
const PROTOCOL: StreamProtocol = StreamProtocol::new("/phase/kad/1.0.0");

/// Kademlia's k: how many nodes keep a record, and how many one bucket of the routing table holds.
const K: NonZeroUsize = NonZeroUsize::new(20).expect("20 is not zero");

/// Whether a node stores DHT records for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// A provider or bootstrap node: part of the DHT.
    Server,
    /// A machine that fetches: asks the DHT, is not asked.
    #[default]
    Client,
}

/// Seconds of Unix time, as the binary reads it.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// How a node takes part in the DHT. All times are those of this node: every node decides for itself how long it
/// remembers others.
#[derive(Clone)]
pub struct DhtConfig {
    /// Whether it stores records for others. Default: no.
    pub role: Role,
    /// The name of the protocol; networks with different names do not see each other. Default: `/phase/kad/1.0.0`.
    pub protocol: StreamProtocol,
    /// How long values of others are kept without being put again. Default: 1 h, far below Kademlia's usual 36: machines
    /// reboot. Twelve hours are possible where they do not.
    pub value_ttl: Duration,
    /// How long provider records of others are kept. Default: 1 h.
    pub provider_ttl: Duration,
    /// How often the routing table is refreshed. Default: 5 min.
    pub refresh_interval: Duration,
    /// How long a query may take. Default: 10 s.
    pub query_timeout: Duration,
    /// Peers in one bucket of the routing table. Default: 20, Kademlia's k.
    pub bucket_size: NonZeroUsize,
    /// How long a peer that does not answer may hold up another one for which its bucket has no room. Default: 60 s.
    pub stale_after: Duration,
    /// How often expired records are collected. Default: 30 s.
    pub collect_interval: Duration,
    /// What each peer may ask of us.
    pub limits: Limits,
    /// How much is kept.
    pub store: StoreLimits,
    /// Trust roots: of channels that these know, only pointers that one of them accepts are kept. Default: none, so that
    /// a pointer of any channel is kept if it is well formed. Whoever reads one verifies it.
    pub roots: Vec<TrustRoot>,
    /// The present time, for what says when it expires. Without one, nothing is found expired: a node that stores for others
    /// should have one. Default: none.
    pub clock: Option<Clock>,
}

impl Default for DhtConfig {
    fn default() -> Self {
        let hour = Duration::from_secs(60 * 60);
        Self {
            role: Role::Client,
            protocol: PROTOCOL,
            value_ttl: hour,
            provider_ttl: hour,
            refresh_interval: Duration::from_secs(5 * 60),
            query_timeout: Duration::from_secs(10),
            bucket_size: K,
            stale_after: Duration::from_secs(60),
            collect_interval: Duration::from_secs(30),
            limits: Limits::default(),
            store: StoreLimits::default(),
            roots: Vec::new(),
            clock: None,
        }
    }
}

/// A share: so many at once, and so many a second over time.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// The most at once.
    pub burst: u32,
    /// How many a second come back.
    pub per_second: f64,
}

/// The shares of each peer.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Values it may put. Default: 400 at once, 40 a second, as fast as a provider announces names.
    pub puts: Rate,
    /// Provider records. Default: 1,000 at once, 50 a second: a provider announces at most 40 a second.
    pub provides: Rate,
    /// Questions. Default: 2,000 at once, 200 a second: an announced name takes three.
    pub queries: Rate,
    /// How long a peer that asks more is ignored. Default: 60 s.
    pub ignore_for: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            puts: Rate { burst: 400, per_second: 40.0 },
            provides: Rate { burst: 1000, per_second: 50.0 },
            queries: Rate { burst: 2000, per_second: 200.0 },
            ignore_for: Duration::from_secs(60),
        }
    }
}

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct StoreLimits {
    /// Keys of our own: values and provider records each. Default: 131,072.
    pub own: usize,
    /// Values of others. Default: 2,048.
    pub values: usize,
    /// Provider records of others, over all keys. Default: 16,384.
    pub providers: usize,
    /// Provider records of one key. Default: 20, Kademlia's k.
    pub providers_per_key: usize,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self { own: 128 * 1024, values: 2048, providers: 16 * 1024, providers_per_key: 20 }
    }
}
