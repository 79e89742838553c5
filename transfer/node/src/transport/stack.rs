//! The transports of a node, one on top of the other.

use std::time::Duration;

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::timeout::TransportTimeout;
use libp2p::identity::Keypair;
use libp2p::{Transport as _, quic, tcp};

use crate::error::NodeError;
use crate::transport::batched::ReadAhead;
use crate::transport::config::{Connections, TransportConfig};
use crate::transport::late_dial::LateDial;
#[cfg(feature = "dns")]
use crate::transport::names;
use crate::transport::unsent::LittleUnsent;
use crate::transport::{security, set_up};

/// How much later than TCP addresses the QUIC addresses of a peer are dialled: a few round trips over a long line, which
/// TCP with TLS and yamux needs more of.
const TCP_HEAD_START: Duration = Duration::from_millis(500);

/// What a node dials and listens with, for programs that need nothing else of it.
///
/// # Errors
/// [`NodeError::Transport`], if the key cannot be used for TLS or Noise.
pub fn connections(key: &Keypair, config: &TransportConfig) -> Result<Connections, NodeError> {
    let transport = sockets(key, config)?;
    #[cfg(feature = "memory")]
    let transport = transport.or_transport(within_process(key)).map(|either, _| either.into_inner()).boxed();
    let transport = TransportTimeout::new(transport, config.setup_timeout).boxed();
    #[cfg(feature = "dns")]
    let transport = names::resolving(transport, config.nameserver);
    Ok(transport)
}

pub(crate) fn sockets(key: &Keypair, config: &TransportConfig) -> Result<Connections, NodeError> {
    let security = security::tls_or_noise(key, config.tls)?;
    let tcp = tcp::tokio::Transport::new(tcp::Config::default()).and_then(move |socket, endpoint| {
        set_up::set_up(ReadAhead::new(LittleUnsent::new(socket)), endpoint, security)
    });
    let quic = LateDial::new(quic::tokio::Transport::new(quic::Config::new(key)), TCP_HEAD_START)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    Ok(tcp.or_transport(quic).map(|either, _| either.into_inner()).boxed())
}

/// Connections without sockets, at `/memory/<number>`. Nobody listens in, and what several hundred nodes would encrypt takes
/// most of the time of a test.
#[cfg(feature = "memory")]
fn within_process(key: &Keypair) -> Connections {
    let transport = libp2p::core::transport::MemoryTransport::default()
        .upgrade(libp2p::core::upgrade::Version::V1Lazy)
        .authenticate(libp2p::plaintext::Config::new(key))
        .multiplex(libp2p::yamux::Config::default());
    transport.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))).boxed()
}
