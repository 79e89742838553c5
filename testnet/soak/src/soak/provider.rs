//! A provider that can be stopped or killed, and then started again with the same store and identity.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use phase_core::Cid;
use phase_node::{Multiaddr, NodeConfig, PeerId};
use phase_provider::{Provider, ProviderConfig, ProviderError};
use tokio::sync::{Mutex, watch};

use super::error::SoakError;
use super::network::{loopback, transport};
use super::releases::Releases;

/// The number of further attempts if a provider does not start again. An attempt can fail, because a provider that was
/// killed may still hold its port and store for a moment.
const START_TRIES: usize = 100;
/// The time between two attempts to start a provider again.
const START_WAIT: Duration = Duration::from_millis(200);

/// A provider that can be stopped or killed, and then started again.
pub(super) struct RestartableProvider {
    pub(super) peer: PeerId,
    store: PathBuf,
    artifacts: Vec<Cid>,
    /// The provider's QUIC listen address. It never changes.
    quic: Multiaddr,
    /// The provider's TCP listen address; `None` while the provider is down.
    tcp: watch::Sender<Option<SocketAddr>>,
    running: Mutex<Option<Provider>>,
}

impl RestartableProvider {
    /// Starts a provider of all releases, which must already be in `store`.
    pub(super) async fn start(store: PathBuf, releases: &Releases) -> Result<Arc<Self>, SoakError> {
        let artifacts = releases.all.iter().flat_map(|release| &release.artifacts).map(|content| content.cid).collect();
        let provider = start(&store, "/ip4/127.0.0.1/udp/0/quic-v1".parse().expect("an address")).await?;
        let quic = listening(&provider, "quic-v1").await.ok_or(SoakError::Address)?;
        let peer = provider.peer_id();
        let restartable =
            Self { peer, store, artifacts, quic, tcp: watch::Sender::new(None), running: Mutex::new(None) };
        restartable.activate(provider).await;
        Ok(Arc::new(restartable))
    }

    /// Returns a receiver for the provider's TCP listen address, which is `None` while the provider is down.
    pub(super) fn tcp(&self) -> watch::Receiver<Option<SocketAddr>> {
        self.tcp.subscribe()
    }

    /// Returns the provider's QUIC listen address.
    pub(super) fn quic(&self) -> &Multiaddr {
        &self.quic
    }

    /// Stops the provider. If `is_graceful` is false, kills it instead by dropping it. Returns whether the provider was
    /// running.
    pub(super) async fn stop(&self, is_graceful: bool) -> bool {
        let Some(provider) = self.running.lock().await.take() else { return false };
        self.tcp.send_replace(None);
        if is_graceful {
            provider.stop().await;
        }
        true
    }

    /// Starts the provider again after [`stop`](Self::stop).
    ///
    /// # Errors
    /// The error from the last attempt, if the provider does not start in time.
    pub(super) async fn restart(&self) -> Result<(), ProviderError> {
        let mut tries = 0;
        loop {
            match start(&self.store, self.quic.clone()).await {
                Ok(provider) => {
                    self.activate(provider).await;
                    return Ok(());
                }
                Err(error) if tries == START_TRIES => return Err(error),
                Err(_) => tokio::time::sleep(START_WAIT).await,
            }
            tries += 1;
        }
    }

    async fn activate(&self, provider: Provider) {
        // Open every artifact now. The catalog keeps it open, so later requests do not change the number of open files.
        // The soak would report such a change as a leak.
        let (catalog, artifacts) = (provider.catalog().clone(), self.artifacts.clone());
        let opened = tokio::task::spawn_blocking(move || artifacts.iter().all(|cid| catalog.content(cid).is_ok()));
        opened.await.expect("opening does not panic");
        self.tcp.send_replace(listening(&provider, "tcp").await.and_then(|address| socket(&address)));
        *self.running.lock().await = Some(provider);
    }
}

async fn start(store: &std::path::Path, quic: Multiaddr) -> Result<Provider, ProviderError> {
    // This is a private node, which does not advertise its addresses. Clients therefore use only the addresses that the
    // soak gives them.
    let node = NodeConfig {
        listen: vec![loopback(), quic],
        is_private: true,
        transport: transport(),
        ..NodeConfig::default()
    };
    Provider::start(ProviderConfig::new(store.to_owned(), node)).await
}

/// Returns the provider's first listen address for the protocol `kind`, such as `tcp`.
async fn listening(provider: &Provider, kind: &str) -> Option<Multiaddr> {
    let addresses = provider.node().listen_addresses().await;
    addresses.into_iter().find(|address| address.to_string().split('/').any(|part| part == kind))
}

/// Returns the socket address in a multiaddr that begins with `/ip4/…/tcp/…`.
fn socket(address: &Multiaddr) -> Option<SocketAddr> {
    let text = address.to_string();
    let mut parts = text.split('/').skip(2).step_by(2);
    Some(SocketAddr::new(parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
