//! A fifth of the nodes of a DHT is silent, like machines that were switched off: they do not refuse connections, but
//! never answer. With the default timeouts, all names are still announced and found.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use phase_node::{DhtConfig, Multiaddr, TransportConfig};
use phase_soak::dht::{Lookup, Network, NetworkConfig};

const NODES: usize = 40;
const NAMES: usize = 2;
const LOOKUPS: usize = 16;
const LOST: f64 = 0.2;
/// The time between two attempts to bind a port.
const POLL: Duration = Duration::from_millis(10);

/// Binds the port of a node that was just killed, and returns the listener. The operating system then accepts
/// connections for this port, but no answer is ever sent.
async fn silence(address: &Multiaddr) -> TcpListener {
    let port: u16 = address.to_string().rsplit('/').next().unwrap().parse().unwrap();
    loop {
        // Binding fails while the killed node is still closing its sockets.
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
async fn all_names_are_found_while_a_fifth_of_the_nodes_is_silent() {
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
    // The nodes that are left now also announce the names of the killed nodes.
    network.republish().await.unwrap();
    let lookups = network.look_up(LOOKUPS, LOOKUPS).await;
    assert_all_found(&lookups, "after a fifth was silenced");
    let waited = lookups.iter().filter(|lookup| lookup.failed > 0 || lookup.error.is_some()).count();
    assert!(waited > 0, "no lookup reached a silent node");
    let slowest = lookups.iter().filter_map(|lookup| lookup.found_after).max().unwrap_or_default();
    println!("lookups that reached silent nodes: {waited} of {LOOKUPS}; the slowest succeeded after {slowest:?}");
}
