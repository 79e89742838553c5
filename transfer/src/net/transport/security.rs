//! TLS or Noise, as the peer can.

use futures::future::{BoxFuture, Either};
use futures::{FutureExt as _, TryFutureExt as _};
use libp2p::PeerId;
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, SelectUpgrade, UpgradeInfo};
use libp2p::identity::Keypair;
use libp2p::{noise, tls};

use crate::net::NodeError;

/// Both, negotiated by name. TLS is twice as fast for bulk here and comes first; whoever speaks only Noise is served as
/// well.
pub(super) fn tls_or_noise(key: &Keypair) -> Result<Security<SelectUpgrade<tls::Config, noise::Config>>, NodeError> {
    let tls = tls::Config::new(key).map_err(|error| NodeError::Transport(error.to_string()))?;
    let noise = noise::Config::new(key).map_err(|error| NodeError::Transport(error.to_string()))?;
    Ok(Security(SelectUpgrade::new(tls, noise)))
}

/// A choice between two upgrades which says who the peer is, not who it is by which of them.
#[derive(Clone)]
pub(super) struct Security<U>(U);

impl<U: UpgradeInfo> UpgradeInfo for Security<U> {
    type Info = U::Info;
    type InfoIter = U::InfoIter;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.protocol_info()
    }
}

impl<C, U, A: 'static, B: 'static> InboundConnectionUpgrade<C> for Security<U>
where
    U: InboundConnectionUpgrade<C, Output = Either<(PeerId, A), (PeerId, B)>>,
    U::Future: Send + 'static,
{
    type Output = (PeerId, Either<A, B>);
    type Error = U::Error;
    type Future = BoxFuture<'static, Result<Self::Output, Self::Error>>;

    fn upgrade_inbound(self, socket: C, info: Self::Info) -> Self::Future {
        self.0.upgrade_inbound(socket, info).map_ok(Either::factor_first).boxed()
    }
}

impl<C, U, A: 'static, B: 'static> OutboundConnectionUpgrade<C> for Security<U>
where
    U: OutboundConnectionUpgrade<C, Output = Either<(PeerId, A), (PeerId, B)>>,
    U::Future: Send + 'static,
{
    type Output = (PeerId, Either<A, B>);
    type Error = U::Error;
    type Future = BoxFuture<'static, Result<Self::Output, Self::Error>>;

    fn upgrade_outbound(self, socket: C, info: Self::Info) -> Self::Future {
        self.0.upgrade_outbound(socket, info).map_ok(Either::factor_first).boxed()
    }
}
