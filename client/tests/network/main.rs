//! Tests of a client over real loopback sockets. Every node runs in this process, on its own port.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod asks_every_configured_peer;
mod checks_the_space_first;
mod fetch_from_many_providers;
mod fetches_equal_chunks_once;
#[cfg(all(feature = "mdns", target_os = "linux"))]
mod local_network;
mod resolve_despite_hostile_answers;
mod support;
mod survives_a_provider_restart;
mod survives_hostile_providers;
mod unreachable_bootstrap;
