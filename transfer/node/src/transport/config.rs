//! The configuration of the transports, and the type of their connections.

use std::net::SocketAddr;
use std::time::Duration;

use libp2p::PeerId;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;

/// The configuration of the transports of a node.
#[derive(Clone, Debug)]
pub struct TransportConfig {
    /// Whether TCP connections may use TLS. Default: true. If false, they use only Noise.
    pub tls: bool,
    /// How long setting up a connection may take, from the first packet until its protocols are negotiated. The default
    /// is 4 s, so that a DHT query can wait for two machines that are switched off. A query may take 10 s.
    pub setup_timeout: Duration,
    /// How long a connection without streams stays open. Default: 60 s.
    pub idle_timeout: Duration,
    /// The DNS server that resolves host names in addresses. Default: `None`, which uses the DNS servers of the system.
    /// Has no effect without feature `dns`.
    pub nameserver: Option<SocketAddr>,
}

impl Default for TransportConfig {
    fn default() -> Self {
        let (setup_timeout, idle_timeout) = (Duration::from_secs(4), Duration::from_secs(60));
        Self { tls: true, setup_timeout, idle_timeout, nameserver: None }
    }
}

/// A transport whose connections are authenticated and carry many streams.
pub type Connections = Boxed<(PeerId, StreamMuxerBox)>;
