//! The three binaries as separate processes that talk over loopback sockets and know only a bootstrap address.
//!
//! Everything a test starts is killed and reaped when the test ends, however it ends.

#![expect(clippy::unwrap_used, reason = "a helper of tests that cannot go on should panic")]

#[path = "../offline/support.rs"]
mod bench;

mod advertises;
mod bad_network;
mod beside_a_provider;
mod dht_answers;
mod ephemeral;
mod examples;
mod process;
mod publish_and_fetch;
mod setting;
mod survives_kill;
mod watches_peers;
