//! What a provider promises beyond serving, over real loopback sockets: every node runs in this process, on ports that the
//! system chooses.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod contact_is_found;
mod http_endpoint;
mod keeps_its_pace;
mod remembers_peers;
mod support;
mod withdraws;
