//! A transport that delays its dials, so that another transport can connect first.
//!
//! A Swarm dials all addresses of a peer at once and keeps the connection that is ready first. QUIC needs fewer round
//! trips than TCP with TLS, so without the delay the QUIC connection would nearly always be kept. But QUIC is slower
//! for bulk transfers (see `ARCHITECTURE.md`). In addition, a QUIC connection notices the end of the remote process
//! only after a timeout.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use libp2p::Multiaddr;
use libp2p::core::transport::{DialOpts, ListenerId, Transport, TransportError, TransportEvent};

/// A transport that waits for `delay` before each dial.
pub(crate) struct LateDial<T> {
    inner: T,
    delay: Duration,
}

impl<T> LateDial<T> {
    pub(crate) fn new(inner: T, delay: Duration) -> Self {
        Self { inner, delay }
    }
}

impl<T> Transport for LateDial<T>
where
    T: Transport + Unpin,
    T::Dial: Send + 'static,
{
    type Output = T::Output;
    type Error = T::Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = BoxFuture<'static, Result<T::Output, T::Error>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<T::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<T::Error>> {
        let dial = self.inner.dial(address, options)?;
        let delay = self.delay;
        Ok(Box::pin(async move {
            tokio::time::sleep(delay).await;
            dial.await
        }))
    }

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Pin::new(&mut self.inner).poll(context)
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, StreamExt as _};
    use libp2p::core::Endpoint;
    use libp2p::core::transport::{MemoryTransport, PortUse};

    use super::*;

    const OPTIONS: DialOpts = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };

    #[tokio::test]
    async fn a_late_dial_waits_and_then_connects_and_a_bad_address_fails_at_once() {
        let mut listener = MemoryTransport::default().boxed();
        listener.listen_on(ListenerId::next(), "/memory/0".parse().unwrap()).unwrap();
        let address = listener.select_next_some().await.into_new_address().unwrap();

        let mut later = LateDial::new(MemoryTransport::default(), Duration::from_secs(3600));
        let waiting = later.dial(address.clone(), OPTIONS).unwrap();
        assert!(waiting.now_or_never().is_none());
        let mut soon = LateDial::new(MemoryTransport::default(), Duration::from_millis(1));
        soon.dial(address, OPTIONS).unwrap().await.unwrap();

        let other = later.dial("/ip4/127.0.0.1/tcp/1".parse().unwrap(), OPTIONS);
        assert!(matches!(other, Err(TransportError::MultiaddrNotSupported(_))));
    }
}
