//! The part of the configuration that is libp2p's.

use libp2p::kad;

use crate::discovery::dht::config::DhtConfig;

/// What libp2p's Kademlia is configured with.
pub(crate) fn kademlia(config: &DhtConfig) -> kad::Config {
    let mut kademlia = kad::Config::new(config.protocol.clone());
    kademlia
        .set_query_timeout(config.query_timeout)
        .set_substreams_timeout(config.query_timeout)
        .set_replication_factor(kad::K_VALUE)
        .set_parallelism(kad::ALPHA_VALUE)
        .set_kbucket_size(config.bucket_size)
        .set_kbucket_pending_timeout(config.stale_after)
        // Inbound records are handed to us, who keep only what `validate` accepts.
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_record_ttl(Some(config.value_ttl))
        .set_provider_record_ttl(Some(config.provider_ttl))
        // Publishing again is the announcer's work: it knows what is still there to be served.
        .set_publication_interval(None)
        .set_replication_interval(None)
        .set_provider_publication_interval(None)
        // Nothing is put on the word of whoever answered first.
        .set_caching(kad::Caching::Disabled)
        .set_periodic_bootstrap_interval(Some(config.refresh_interval));
    kademlia
}
