//! libp2p's own transports, for comparison with the transports of Phase.

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::{Transport as _, noise, quic, tcp, tls, yamux};
use phase_benches::Result;
use phase_node::Connections;

use crate::contender::Transport;

/// Returns libp2p's own implementation of this transport, in its default configuration.
pub(crate) fn connections(key: &Keypair, transport: Transport) -> Result<Connections> {
    let tcp = tcp::tokio::Transport::new(tcp::Config::default()).upgrade(Version::V1Lazy);
    let yamux = yamux::Config::default();
    Ok(match transport {
        Transport::Tls => {
            let secured = tcp.authenticate(tls::Config::new(key)?).multiplex(yamux);
            secured.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))).boxed()
        }
        Transport::Noise => {
            let secured = tcp.authenticate(noise::Config::new(key)?).multiplex(yamux);
            secured.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))).boxed()
        }
        Transport::Quic => {
            let quic = quic::tokio::Transport::new(quic::Config::new(key));
            quic.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))).boxed()
        }
    })
}
