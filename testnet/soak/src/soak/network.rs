//! How all nodes of a soak are connected.

use std::net::SocketAddr;
use std::time::Duration;

use phase_node::{Multiaddr, TransportConfig};

/// How long a connection without a stream is kept: a quiet point waits for its end.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) fn transport() -> TransportConfig {
    TransportConfig { idle_timeout: IDLE_TIMEOUT, ..TransportConfig::default() }
}

/// On TCP, on a port that the system chooses.
pub(super) fn loopback() -> Multiaddr {
    "/ip4/127.0.0.1/tcp/0".parse().expect("an address")
}

pub(super) fn tcp_address(socket: SocketAddr) -> Multiaddr {
    format!("/ip4/{}/tcp/{}", socket.ip(), socket.port()).parse().expect("an address")
}
