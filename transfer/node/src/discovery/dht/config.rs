//! The configuration of the DHT.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use libp2p::StreamProtocol;
use phase_core::trust::TrustRoot;

/// The name of the Kademlia protocol in Phase networks.
const PROTOCOL: StreamProtocol = StreamProtocol::new("/phase/kad/1.0.0");

/// Kademlia's k: how many nodes store a record, and how many peers one bucket of the routing table holds.
const K: NonZeroUsize = NonZeroUsize::new(20).expect("20 is not zero");

/// The mode of a DHT node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Server mode: the node stores records for peers and answers their queries. Meant for providers and bootstrap
    /// nodes.
    Server,
    /// Client mode: the node only sends queries. Meant for machines that only fetch.
    #[default]
    Client,
}

/// A function that returns the current Unix time in seconds.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The configuration of this node's part of the DHT. The times apply to this node only, because each node decides for
/// itself how long it stores the records of its peers.
#[derive(Clone)]
pub struct DhtConfig {
    /// Whether the node stores records for peers. Default: [`Role::Client`], which does not.
    pub role: Role,
    /// The name of the Kademlia protocol. Nodes with different names do not exchange DHT messages. Default:
    /// `/phase/kad/1.0.0`.
    pub protocol: StreamProtocol,
    /// How long a value is stored for a peer after the peer last put it. Default: 1 h. The 48 h that
    /// libp2p uses by default are too long for machines that reboot often. If the machines of a network seldom reboot,
    /// 12 h is possible.
    pub value_ttl: Duration,
    /// How long a provider record is stored for a peer after the peer last renewed it. Default: 1 h.
    pub provider_ttl: Duration,
    /// The interval between refreshes of the routing table. Default: 5 min.
    pub refresh_interval: Duration,
    /// The timeout of a query. Default: 10 s.
    pub query_timeout: Duration,
    /// The maximum number of peers in one bucket of the routing table. Default: 20, Kademlia's k.
    pub bucket_size: NonZeroUsize,
    /// How long a disconnected peer in a full bucket has time to connect again. After this time, a new peer replaces
    /// the disconnected peer. Default: 60 s.
    pub stale_after: Duration,
    /// The interval between removals of expired records. Default: 30 s.
    pub collect_interval: Duration,
    /// The limits on the requests of each peer.
    pub limits: Limits,
    /// The limits on the number of stored records.
    pub store: StoreLimits,
    /// The trust roots that verify pointers from peers. If any root has the channel of a pointer, the pointer is stored
    /// only if one of these roots accepts it. If no root has the channel, the pointer is stored with any signature,
    /// because the client that reads the pointer verifies it. Default: none.
    pub roots: Vec<TrustRoot>,
    /// The clock that decides whether a signed record has expired. Without a clock, no record counts as expired, so a
    /// node in server mode should have a clock. Default: none.
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

/// A rate limit, implemented as a token bucket.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// The size of the bucket: the maximum number of requests at once.
    pub burst: u32,
    /// The rate at which the bucket refills, in requests a second.
    pub per_second: f64,
}

/// The rate limits for the requests of each peer. A peer that exceeds any of them is ignored for a while.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The limit for putting values. Default: 400 at once and 40 a second, the rate at which a provider announces
    /// names.
    pub puts: Rate,
    /// The limit for placing provider records. Default: 1,000 at once and 50 a second. A provider places at most 40 a
    /// second.
    pub provides: Rate,
    /// The limit for queries. Default: 2,000 at once and 200 a second. To announce one name takes three queries.
    pub queries: Rate,
    /// How long a peer is ignored after it has exceeded a limit. Default: 60 s.
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

/// The maximum numbers of records that a node stores.
#[derive(Clone, Copy, Debug)]
pub struct StoreLimits {
    /// The maximum number of this node's own values, and of the keys that this node provides. Default: 131,072 each.
    pub own: usize,
    /// The maximum number of values stored for peers. Default: 2,048.
    pub values: usize,
    /// The maximum number of provider records stored for peers, for all keys together. Default: 16,384.
    pub providers: usize,
    /// The maximum number of provider records stored for peers under one key. Default: 20, Kademlia's k.
    pub providers_per_key: usize,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self { own: 128 * 1024, values: 2048, providers: 16 * 1024, providers_per_key: 20 }
    }
}
