//! The network configuration of all nodes of a soak.

use std::net::SocketAddr;
use std::time::Duration;

use phase_node::{Multiaddr, TransportConfig};

/// The time after which a connection without a stream is closed. It is short, because at a quiet point the soak waits
/// until such connections are closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) fn transport() -> TransportConfig {
    TransportConfig { idle_timeout: IDLE_TIMEOUT, ..TransportConfig::default() }
}

/// Returns a TCP listen address with a port that the operating system chooses.
pub(super) fn loopback() -> Multiaddr {
    "/ip4/127.0.0.1/tcp/0".parse().expect("an address")
}

pub(super) fn tcp_address(socket: SocketAddr) -> Multiaddr {
    format!("/ip4/{}/tcp/{}", socket.ip(), socket.port()).parse().expect("an address")
}
