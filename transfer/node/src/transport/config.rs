//! How a node dials, and what it dials with.

use std::net::SocketAddr;
use std::time::Duration;

use libp2p::PeerId;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;

/// How a node dials, and how long it keeps a connection.
#[derive(Clone, Debug)]
pub struct TransportConfig {
    /// Whether TCP connections may use TLS. Default: true. Without it they use Noise alone.
    pub tls: bool,
    /// How long setting up a connection may take, from the first packet to the agreed protocols. Default: 4 s. A DHT query,
    /// which has 10 s, may have to wait twice for machines that were switched off.
    pub setup_timeout: Duration,
    /// How long a connection without a stream is kept. Default: 60 s.
    pub idle_timeout: Duration,
    /// The DNS server that looks up names in addresses; `None`, the default: those that the system names. Without feature
    /// `dns` it does nothing.
    pub nameserver: Option<SocketAddr>,
}

impl Default for TransportConfig {
    fn default() -> Self {
        let (setup_timeout, idle_timeout) = (Duration::from_secs(4), Duration::from_secs(60));
        Self { tls: true, setup_timeout, idle_timeout, nameserver: None }
    }
}

/// Connections to peers that have proved who they are.
pub type Connections = Boxed<(PeerId, StreamMuxerBox)>;
