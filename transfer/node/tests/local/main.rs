//! Tests of discovery on the local network. Each test runs in its own network namespace, see
//! `phase_test_support::netns`.

#![cfg(all(feature = "mdns", target_os = "linux"))]
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod dns_sd;
