//! The transport stack of a node.

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
use crate::transport::unsent::UnsentLimited;
use crate::transport::{security, set_up};

/// The delay of QUIC dials. It lets a TCP dial to the same peer be ready first, because TCP is faster for bulk
/// transfers. TCP with TLS and yamux needs a few more round trips than QUIC. The delay is enough for them on a slow
/// network link.
const TCP_HEAD_START: Duration = Duration::from_millis(500);

/// Returns the transport of a node. A program that only opens connections, such as a benchmark, can use it without a
/// node.
///
/// # Errors
/// [`NodeError::Transport`] if the key cannot be used for TLS or Noise.
pub fn connections(key: &Keypair, config: &TransportConfig) -> Result<Connections, NodeError> {
    let transport = sockets(key, config)?;
    #[cfg(feature = "memory")]
    let transport = transport.or_transport(within_process(key)).map(|either, _| either.into_inner()).boxed();
    let transport = TransportTimeout::new(transport, config.setup_timeout).boxed();
    #[cfg(feature = "dns")]
    let transport = names::resolving(transport, config.nameserver);
    Ok(transport)
}

/// Returns the transports that use sockets: TCP and QUIC.
pub(crate) fn sockets(key: &Keypair, config: &TransportConfig) -> Result<Connections, NodeError> {
    let security = security::tls_or_noise(key, config.tls)?;
    let tcp = tcp::tokio::Transport::new(tcp::Config::default()).and_then(move |socket, endpoint| {
        set_up::set_up(ReadAhead::new(UnsentLimited::new(socket)), endpoint, security)
    });
    let quic = LateDial::new(quic::tokio::Transport::new(quic::Config::new(key)), TCP_HEAD_START)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    Ok(tcp.or_transport(quic).map(|either, _| either.into_inner()).boxed())
}

/// Returns the transport of connections within the process, at `/memory/<number>`. They are not encrypted, because
/// encryption would take most of the time of a test with several hundred nodes.
#[cfg(feature = "memory")]
fn within_process(key: &Keypair) -> Connections {
    let transport = libp2p::core::transport::MemoryTransport::default()
        .upgrade(libp2p::core::upgrade::Version::V1Lazy)
        .authenticate(libp2p::plaintext::Config::new(key))
        .multiplex(libp2p::yamux::Config::default());
    transport.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))).boxed()
}
