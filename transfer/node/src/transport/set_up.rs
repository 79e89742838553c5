//! Turns a socket into a connection with streams: negotiates the security protocol, then yamux.
//!
//! libp2p's own builder does the same, but gives no access to the steps in between. This module needs these steps, so
//! that a stream can learn when its bytes have left the process.

use std::io;

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};
use libp2p::core::{ConnectedPoint, Negotiated};
use libp2p::{PeerId, yamux};
use multistream_select::{Version, dialer_select_proto, listener_select_proto};

use crate::transport::batched::WriteBehind;
use crate::transport::outflow::Muxer;

/// Sets up a connection on a socket.
///
/// # Errors
/// If an upgrade fails. The returned error wraps the error of the upgrade.
pub(crate) async fn set_up<C, U, X, E>(
    socket: C,
    endpoint: ConnectedPoint,
    security: U,
) -> io::Result<(PeerId, StreamMuxerBox)>
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    X: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    E: std::error::Error + Send + Sync + 'static,
    U: InboundConnectionUpgrade<Negotiated<C>, Output = (PeerId, WriteBehind<X>), Error = E>,
    U: OutboundConnectionUpgrade<Negotiated<C>, Output = (PeerId, WriteBehind<X>), Error = E>,
{
    let dials = matches!(endpoint, ConnectedPoint::Dialer { role_override, .. } if role_override.is_dialer());
    let (peer, channel) = apply(socket, security, dials).await?;
    let outflow = channel.outflow();
    let muxer = apply(channel, yamux::Config::default(), dials).await?;
    Ok((peer, StreamMuxerBox::new(Muxer::new(muxer, outflow))))
}

/// Negotiates one of the protocol names of an upgrade, and applies it.
async fn apply<C, U, T, E>(socket: C, upgrade: U, dials: bool) -> io::Result<T>
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    E: std::error::Error + Send + Sync + 'static,
    U: InboundConnectionUpgrade<Negotiated<C>, Output = T, Error = E>,
    U: OutboundConnectionUpgrade<Negotiated<C>, Output = T, Error = E>,
{
    let names = upgrade.protocol_info();
    let upgraded = if dials {
        let (name, socket) = dialer_select_proto(socket, names, Version::V1Lazy).await.map_err(io::Error::other)?;
        upgrade.upgrade_outbound(socket, name).await
    } else {
        let (name, socket) = listener_select_proto(socket, names).await.map_err(io::Error::other)?;
        upgrade.upgrade_inbound(socket, name).await
    };
    upgraded.map_err(io::Error::other)
}
