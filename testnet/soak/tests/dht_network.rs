//! Lookups in a DHT of 200 real nodes find all announced names with few requests. After a fifth of the nodes was killed
//! at once and the names were announced again, lookups find all names again.

use phase_soak::dht::{Kind, Lookup, Network, NetworkConfig, Summary};

const NODES: usize = 200;
const NAMES: usize = 12;
const LOOKUPS: usize = 150;
const AT_ONCE: usize = 8;
const LOST: f64 = 0.2;
/// The upper bound of the mean number of requests of a lookup. A lookup asks the 20 closest nodes. On the path to them,
/// it asks three nodes in each of at most 8 steps, because log2 of 200 is less than 8.
const MAX_MESSAGES: f64 = 20.0 + 3.0 * 8.0;

fn assert_all_found(lookups: &[Lookup], when: &str) {
    for kind in [Kind::Value, Kind::Provider] {
        let missed: Vec<_> = lookups.iter().filter(|l| l.kind == kind && l.found_after.is_none()).collect();
        assert!(missed.is_empty(), "{when}: {} of {LOOKUPS} not found: {missed:?}", missed.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_names_are_found_even_after_a_fifth_of_the_nodes_was_killed() {
    let seed = std::env::var("PHASE_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("replay with PHASE_SEED={seed}");
    let config = NetworkConfig { seed, ..NetworkConfig::new(NODES) };
    let mut network = Network::start(config).await.unwrap();
    network.announce(NAMES).await.unwrap();
    let lookups = network.look_up(LOOKUPS, AT_ONCE).await;
    let summary = Summary::of(&lookups);
    assert_all_found(&lookups, "at first");
    assert!(summary.messages_mean <= MAX_MESSAGES, "{summary:?}");

    network.kill(LOST);
    network.republish().await.unwrap();
    let again = network.look_up(LOOKUPS, AT_ONCE).await;
    assert_all_found(&again, "after a fifth was killed");
}
