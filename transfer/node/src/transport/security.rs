//! TLS or Noise, as the peer can.

use futures::future::{BoxFuture, Either};
use futures::{FutureExt as _, TryFutureExt as _};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, SelectUpgrade, UpgradeInfo};
use libp2p::identity::Keypair;
use libp2p::{PeerId, noise};

use crate::error::{NodeError, SecurityError};
use crate::transport::batched::WriteBehind;
use crate::transport::tls::Tls;

/// The most bytes that rustls holds back until the socket takes them: 64 KiB, and a record.
const HELD_BY_TLS: usize = 80 << 10;
/// The same of libp2p-noise: a message of 64 KiB that is being filled, 128 KiB of encrypted ones, and the one that goes beyond.
const HELD_BY_NOISE: usize = 256 << 10;

/// Both, negotiated by name; without `tls` Noise alone. TLS is faster for bulk and comes first; whoever speaks only Noise
/// is served as well.
pub(crate) fn tls_or_noise(key: &Keypair, tls: bool) -> Result<Security<SelectUpgrade<Tls, noise::Config>>, NodeError> {
    let noise = noise::Config::new(key).map_err(|error| NodeError::Transport(SecurityError::Noise(error)))?;
    let without = if tls { None } else { Some(Tls::NAME) };
    Ok(Security { upgrades: SelectUpgrade::new(Tls::new(key)?, noise), without })
}

/// A choice between two upgrades which says who the peer is, not who it is by which of them.
#[derive(Clone)]
pub(crate) struct Security<U> {
    upgrades: U,
    /// The name of the one that may not be chosen.
    without: Option<&'static str>,
}

impl<U: UpgradeInfo> UpgradeInfo for Security<U> {
    type Info = U::Info;
    type InfoIter = std::vec::IntoIter<U::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        let offered = self.upgrades.protocol_info().into_iter().filter(|info| Some(info.as_ref()) != self.without);
        offered.collect::<Vec<_>>().into_iter()
    }
}

impl<C, U, A: 'static, B: 'static> InboundConnectionUpgrade<C> for Security<U>
where
    U: InboundConnectionUpgrade<C, Output = Either<(PeerId, A), (PeerId, B)>>,
    U::Future: Send + 'static,
{
    type Output = (PeerId, WriteBehind<Either<A, B>>);
    type Error = U::Error;
    type Future = BoxFuture<'static, Result<Self::Output, Self::Error>>;

    fn upgrade_inbound(self, socket: C, info: Self::Info) -> Self::Future {
        self.upgrades.upgrade_inbound(socket, info).map_ok(secured).boxed()
    }
}

impl<C, U, A: 'static, B: 'static> OutboundConnectionUpgrade<C> for Security<U>
where
    U: OutboundConnectionUpgrade<C, Output = Either<(PeerId, A), (PeerId, B)>>,
    U::Future: Send + 'static,
{
    type Output = (PeerId, WriteBehind<Either<A, B>>);
    type Error = U::Error;
    type Future = BoxFuture<'static, Result<Self::Output, Self::Error>>;

    fn upgrade_outbound(self, socket: C, info: Self::Info) -> Self::Future {
        self.upgrades.upgrade_outbound(socket, info).map_ok(secured).boxed()
    }
}

/// TLS is on the left.
fn secured<A, B>(either: Either<(PeerId, A), (PeerId, B)>) -> (PeerId, WriteBehind<Either<A, B>>) {
    let held = if matches!(either, Either::Left(_)) { HELD_BY_TLS } else { HELD_BY_NOISE };
    let (peer, socket) = either.factor_first();
    (peer, WriteBehind::new(socket, held))
}
