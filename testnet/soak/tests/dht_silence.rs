//! Machines that were switched off do not refuse connections, they say nothing at all. In a DHT of which a fifth is like
//! that everything is still found and announced, with the timeouts that nodes have by default.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use phase_node::{DhtConfig, Multiaddr, TransportConfig};
use phase_soak::dht::{Lookup, Network, NetworkConfig};

const NODES: usize = 40;
const NAMES: usize = 2;
const LOOKUPS: usize = 16;
const LOST: f64 = 0.2;
/// The time between two tries to take a port over.
const POLL: Duration = Duration::from_millis(10);

/// Takes the place of a node that has just ended: connections are set up, by the system, and nothing is ever said on them.
async fn silence(address: &Multiaddr) -> TcpListener {
    let port: u16 = address.to_string().rsplit('/').next().unwrap().parse().unwrap();
    loop {
        // The node may still be closing its sockets.
        match TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))) {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

fn assert_all_found(lookups: &[Lookup], when: &str) {
    let missed: Vec<_> = lookups.iter().filter(|lookup| lookup.found_after.is_none()).collect();
    assert!(missed.is_empty(), "{when}: {} of {LOOKUPS} not found: {missed:?}", missed.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fifth_that_was_switched_off_hides_nothing() {
    let seed = std::env::var("PHASE_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("replay with PHASE_SEED={seed}");
    let listen = "/ip4/127.0.0.1/tcp/0".parse().unwrap();
    let (dht, transport) = (DhtConfig::default(), TransportConfig::default());
    let config = NetworkConfig { seed, listen, dht, transport, ..NetworkConfig::new(NODES) };
    let mut network = Network::start(config).await.unwrap();
    network.announce(NAMES).await.unwrap();
    let mut silent = Vec::new();
    for address in network.kill(LOST) {
        silent.push(silence(&address).await);
    }
    assert_eq!(silent.len(), 8);
    // Who was announced by those that are gone is announced by others.
    network.republish().await.unwrap();
    let lookups = network.look_up(LOOKUPS, LOOKUPS).await;
    assert_all_found(&lookups, "after a fifth was switched off");
    let waited = lookups.iter().filter(|lookup| lookup.failed > 0 || lookup.error.is_some()).count();
    assert!(waited > 0, "no lookup has met a machine that is off");
    let slowest = lookups.iter().filter_map(|lookup| lookup.found_after).max().unwrap_or_default();
    println!("{waited} of {LOOKUPS} lookups met machines that are off; the slowest found something after {slowest:?}");
}
