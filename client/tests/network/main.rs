//! What a client promises, over real loopback sockets: every node runs in this process, on a port of its own.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod asks_every_given_peer;
mod fetch_from_many_providers;
#[cfg(all(feature = "mdns", target_os = "linux"))]
mod local_network;
mod resolve_despite_hostile_answers;
mod support;
mod survives_a_restart;
mod survives_hostile_providers;
mod unreachable_bootstrap;
