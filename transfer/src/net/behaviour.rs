//! The libp2p behaviours a node is composed of, and their limits.

use std::num::NonZeroUsize;
use std::time::Duration;

use libp2p::connection_limits::ConnectionLimits;
use libp2p::identity::Keypair;
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig};
use libp2p::swarm::NetworkBehaviour;
use libp2p::{PeerId, StreamProtocol, connection_limits, identify, kad, ping};

use super::command::QUERY_TIMEOUT;
use super::framing::PROTOCOL;
use super::{records, streams};

/// What identify says we speak.
const IDENTIFY_PROTOCOL: &str = "/phase/1.0.0";
/// The Kademlia protocol of Phase networks.
pub(super) const KAD_PROTOCOL: StreamProtocol = StreamProtocol::new("/phase/kad/1.0.0");
/// How long others keep our provider records. Far below libp2p's 48 h: machines reboot.
pub const PROVIDER_TTL: Duration = Duration::from_secs(60 * 60);
/// How long a pointer record is kept without being put again.
const RECORD_TTL: Duration = Duration::from_secs(60 * 60);
/// How often the routing table is refreshed.
const REFRESH_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// Keys a node may provide. Shared with nobody's spam only as long as the store is libp2p's; one release of a
/// thousand small files takes a thousand of them.
const MAX_PROVIDED_KEYS: usize = 64 * 1024;
/// Keys for which values or provider records of others are held: 16 MiB of values at worst.
const MAX_RECORDS: usize = 2048;
/// Connections a node keeps: enough for a few hundred machines that boot at once.
const MAX_CONNECTIONS: u32 = 2048;
/// Connections that others are setting up: of a thousand machines that boot in the same instant, none is turned away.
const MAX_PENDING_INCOMING: u32 = 1024;
/// Connections that we are setting up.
const MAX_PENDING_OUTGOING: u32 = 256;
/// Connections with one peer: a simultaneous dial makes two, a transport change a third.
const MAX_PER_PEER: u32 = 4;

/// Whether a node stores DHT records for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A provider or bootstrap node: part of the DHT.
    Server,
    /// A machine that fetches: asks the DHT, is not asked.
    Client,
}

/// Everything that runs on a connection of ours.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) limits: connection_limits::Behaviour,
    pub(super) identify: identify::Behaviour,
    pub(super) ping: ping::Behaviour,
    pub(super) kad: kad::Behaviour<MemoryStore>,
    pub(super) streams: streams::Behaviour,
}

impl Behaviour {
    pub(super) fn new(key: &Keypair, role: Role) -> Self {
        let peer = key.public().to_peer_id();
        let agent = format!("phase/{}", env!("CARGO_PKG_VERSION"));
        let identify = identify::Config::new(IDENTIFY_PROTOCOL.to_owned(), key.public())
            .with_agent_version(agent)
            .with_push_listen_addr_updates(true);
        Self {
            limits: connection_limits::Behaviour::new(limits()),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping::Config::new()),
            kad: kademlia(peer, role),
            streams: streams::Behaviour::new(PROTOCOL),
        }
    }
}

fn limits() -> ConnectionLimits {
    ConnectionLimits::default()
        .with_max_pending_incoming(Some(MAX_PENDING_INCOMING))
        .with_max_pending_outgoing(Some(MAX_PENDING_OUTGOING))
        .with_max_established(Some(MAX_CONNECTIONS))
        .with_max_established_per_peer(Some(MAX_PER_PEER))
}

fn kademlia(peer: PeerId, role: Role) -> kad::Behaviour<MemoryStore> {
    let store = MemoryStoreConfig {
        max_records: MAX_RECORDS,
        max_value_bytes: records::MAX_VALUE_LEN,
        max_provided_keys: MAX_PROVIDED_KEYS,
        max_providers_per_key: kad::K_VALUE.get(),
    };
    let mut config = kad::Config::new(KAD_PROTOCOL);
    config
        .set_query_timeout(QUERY_TIMEOUT)
        .set_parallelism(NonZeroUsize::new(3).expect("three is not zero"))
        // Inbound records are handed to the event loop, which keeps only what `records` accepts.
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_record_ttl(Some(RECORD_TTL))
        .set_provider_record_ttl(Some(PROVIDER_TTL))
        // Publishing again is the announcer's work: it knows what is still there to be served.
        .set_publication_interval(None)
        .set_replication_interval(None)
        .set_provider_publication_interval(None)
        .set_periodic_bootstrap_interval(Some(REFRESH_INTERVAL));
    let mut kad = kad::Behaviour::with_config(peer, MemoryStore::with_config(peer, store), config);
    // Left to itself, libp2p starts as a client and waits for a confirmed external address.
    kad.set_mode(Some(match role {
        Role::Server => kad::Mode::Server,
        Role::Client => kad::Mode::Client,
    }));
    kad
}
