//! What the node promises on the local network, each test in a network namespace of its own: see `phase_test_support::netns`.

#![cfg(all(feature = "mdns", target_os = "linux"))]
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod dns_sd;
