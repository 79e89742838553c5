//! Tests of the three programs as separate processes, which communicate over loopback sockets and know only a bootstrap
//! address.
//!
//! Every process that a test starts is killed and reaped when the test ends, even if it fails.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails by a panic")]

#[path = "../offline/sandbox.rs"]
mod sandbox;

mod advertises;
mod bad_network;
mod beside_a_provider;
mod dht_answers;
mod ephemeral;
mod examples;
mod hands_over;
mod killed_fetch;
mod killed_publish;
mod process;
mod publish_and_fetch;
mod python_client;
mod random_kills;
mod store_lifecycle;
mod store_places;
mod survives_kill;
mod test_network;
mod watches_peers;
