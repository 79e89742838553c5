//! A provider that can be stopped, or killed, and started again: the same store, the same identity.

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

/// How often a start is tried: what was killed may hold its port and its store for a moment.
const START_TRIES: usize = 100;
/// The time between two tries.
const START_WAIT: Duration = Duration::from_millis(200);

/// See the module's documentation.
pub(super) struct Depot {
    pub(super) peer: PeerId,
    store: PathBuf,
    artifacts: Vec<Cid>,
    /// Where it listens on UDP, always the same.
    quic: Multiaddr,
    /// Where it listens on TCP now.
    tcp: watch::Sender<Option<SocketAddr>>,
    running: Mutex<Option<Provider>>,
}

impl Depot {
    /// A provider of all releases, which are in `store` already.
    pub(super) async fn start(store: PathBuf, releases: &Releases) -> Result<Arc<Self>, SoakError> {
        let artifacts = releases.all.iter().flat_map(|release| &release.artifacts).map(|content| content.cid).collect();
        let provider = start(&store, "/ip4/127.0.0.1/udp/0/quic-v1".parse().expect("an address")).await?;
        let quic = listening(&provider, "quic-v1").await.ok_or(SoakError::Address)?;
        let peer = provider.peer_id();
        let depot = Self { peer, store, artifacts, quic, tcp: watch::Sender::new(None), running: Mutex::new(None) };
        depot.take_up(provider).await;
        Ok(Arc::new(depot))
    }

    /// Where it listens on TCP; nowhere while it is down.
    pub(super) fn tcp(&self) -> watch::Receiver<Option<SocketAddr>> {
        self.tcp.subscribe()
    }

    /// Where it listens on QUIC.
    pub(super) fn quic(&self) -> &Multiaddr {
        &self.quic
    }

    /// Ends it with a goodbye, if `politely`, or without; returns whether it ran.
    pub(super) async fn stop(&self, politely: bool) -> bool {
        let Some(provider) = self.running.lock().await.take() else { return false };
        self.tcp.send_replace(None);
        if politely {
            provider.stop().await;
        }
        true
    }

    /// Starts it again.
    ///
    /// # Errors
    /// The last one, if it does not start in time.
    pub(super) async fn restart(&self) -> Result<(), ProviderError> {
        let mut tries = 0;
        loop {
            match start(&self.store, self.quic.clone()).await {
                Ok(provider) => {
                    self.take_up(provider).await;
                    return Ok(());
                }
                Err(error) if tries == START_TRIES => return Err(error),
                Err(_) => tokio::time::sleep(START_WAIT).await,
            }
            tries += 1;
        }
    }

    async fn take_up(&self, provider: Provider) {
        // What is asked for later opens nothing: open files are counted.
        let (catalog, artifacts) = (provider.catalog().clone(), self.artifacts.clone());
        let opened = tokio::task::spawn_blocking(move || artifacts.iter().all(|cid| catalog.content(cid).is_ok()));
        opened.await.expect("opening does not panic");
        self.tcp.send_replace(listening(&provider, "tcp").await.and_then(|address| socket(&address)));
        *self.running.lock().await = Some(provider);
    }
}

async fn start(store: &std::path::Path, quic: Multiaddr) -> Result<Provider, ProviderError> {
    // In private, so that clients know only the lines to it.
    let node = NodeConfig {
        listen: vec![loopback(), quic],
        is_private: true,
        transport: transport(),
        ..NodeConfig::default()
    };
    Provider::start(ProviderConfig::new(store.to_owned(), node)).await
}

/// The address of a kind on which a provider listens.
async fn listening(provider: &Provider, kind: &str) -> Option<Multiaddr> {
    let addresses = provider.node().listen_addresses().await;
    addresses.into_iter().find(|address| address.to_string().split('/').any(|part| part == kind))
}

/// The socket of `/ip4/…/tcp/…`.
fn socket(address: &Multiaddr) -> Option<SocketAddr> {
    let text = address.to_string();
    let mut parts = text.split('/').skip(2).step_by(2);
    Some(SocketAddr::new(parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
