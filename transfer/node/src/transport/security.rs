//! The security upgrade of TCP connections: TLS, or Noise if one of the two nodes does not use TLS.

use futures::future::{BoxFuture, Either};
use futures::{FutureExt as _, TryFutureExt as _};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, SelectUpgrade, UpgradeInfo};
use libp2p::identity::Keypair;
use libp2p::{PeerId, noise};

use crate::error::{NodeError, SecurityError};
use crate::transport::batched::WriteBehind;
use crate::transport::tls::Tls;

/// The limit on the bytes that rustls buffers before the socket accepts them: 64 KiB and one TLS record.
const HELD_BY_TLS: usize = 80 << 10;
/// The limit on the bytes that libp2p-noise buffers before the socket accepts them. They are a message of 64 KiB that
/// is being filled, encrypted messages of 128 KiB, and one more message.
const HELD_BY_NOISE: usize = 256 << 10;

/// Returns an upgrade that negotiates TLS or Noise, or only Noise if `tls` is false. TLS is offered first because it is
/// faster for bulk transfers. Peers that support only Noise are accepted too.
///
/// # Errors
/// [`NodeError::Transport`] if the key cannot be used.
pub(crate) fn tls_or_noise(key: &Keypair, tls: bool) -> Result<Security<SelectUpgrade<Tls, noise::Config>>, NodeError> {
    let noise = noise::Config::new(key).map_err(|error| NodeError::Transport(SecurityError::Noise(error)))?;
    let without = if tls { None } else { Some(Tls::NAME) };
    Ok(Security { upgrades: SelectUpgrade::new(Tls::new(key)?, noise), without })
}

/// The upgrade that negotiates TLS or Noise. Its output is the peer id and the encrypted connection.
#[derive(Clone)]
pub(crate) struct Security<U> {
    upgrades: U,
    /// The protocol name of the upgrade that is not offered, or `None` if both upgrades are offered.
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

/// Converts the output of the TLS or Noise upgrade to a common type. `Left` is the output of TLS.
fn secured<A, B>(either: Either<(PeerId, A), (PeerId, B)>) -> (PeerId, WriteBehind<Either<A, B>>) {
    let held = if matches!(either, Either::Left(_)) { HELD_BY_TLS } else { HELD_BY_NOISE };
    let (peer, socket) = either.factor_first();
    (peer, WriteBehind::new(socket, held))
}
