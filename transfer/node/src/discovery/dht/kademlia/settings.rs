//! The settings of libp2p's Kademlia.

use libp2p::kad;

use crate::discovery::dht::config::DhtConfig;

/// Converts the DHT configuration of a node into the settings of libp2p's Kademlia.
pub(crate) fn kademlia(config: &DhtConfig) -> kad::Config {
    let mut kademlia = kad::Config::new(config.protocol.clone());
    kademlia
        .set_query_timeout(config.query_timeout)
        .set_substreams_timeout(config.query_timeout)
        .set_replication_factor(kad::K_VALUE)
        .set_parallelism(kad::ALPHA_VALUE)
        .set_kbucket_size(config.bucket_size)
        .set_kbucket_pending_timeout(config.stale_after)
        // Kademlia passes inbound records to `Inbound` as events. `Inbound` stores only those that `validate` accepts.
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_record_ttl(Some(config.value_ttl))
        .set_provider_record_ttl(Some(config.provider_ttl))
        // Kademlia must not renew announcements by itself, because it does not know which content this node still has.
        .set_publication_interval(None)
        .set_replication_interval(None)
        .set_provider_publication_interval(None)
        // Caching would copy the first value that a query finds to other nodes, although this value is not verified.
        .set_caching(kad::Caching::Disabled)
        .set_periodic_bootstrap_interval(Some(config.refresh_interval));
    kademlia
}
