//! The demo's network: a bootstrap node, providers and a client on loopback, each with its own key and store.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use phase_cli as cli;
use phase_client::{Client, StartError, Trust};
use phase_core::envelope::{Envelope, EnvelopeError};
use phase_core::manifest::Role;
use phase_core::publish::{Draft, FilesError, PublishError, Publisher, ReleaseFile};
use phase_core::store::{FileStore, StoreError};
use phase_core::time::TrustedTime;
use phase_core::trust::{TrustError, TrustRoot};
use phase_core::{ImportMode, ImportOptions, Name, SigningKey};
use phase_node::bootstrap::BootstrapPeer;
use phase_node::{Multiaddr, NodeConfig, PeerId};
use phase_provider::{Provider, ProviderConfig, ProviderError};

use super::files::{Chosen, Source};

/// Loopback, and a port that the system chooses.
const LISTEN: &str = "/ip4/127.0.0.1/tcp/0";
/// How long what the demo signs is valid, in seconds.
const LIFETIME: u64 = 24 * 60 * 60;

/// Everything the demo runs except the client. Dropping it removes the stores.
pub(super) struct Network {
    pub(super) name: Name,
    pub(super) trust: Trust,
    folder: tempfile::TempDir,
    bootstrap: Provider,
    /// `None`: killed.
    providers: Vec<Option<Provider>>,
    peers: Vec<PeerId>,
}

/// Why the demo's network could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkError {
    #[error("cannot make a folder for the stores")]
    Folder(#[source] io::Error),
    #[error("cannot make a key")]
    Key(#[from] phase_core::keys::KeyError),
    #[error("cannot sign")]
    Sign(#[from] EnvelopeError),
    #[error("what was signed does not verify")]
    Trust(#[from] TrustError),
    #[error("cannot publish")]
    Files(#[from] FilesError),
    #[error("cannot publish")]
    Publish(#[from] PublishError),
    #[error("cannot publish")]
    Store(#[from] StoreError),
    #[error("a provider does not start")]
    Provider(#[from] ProviderError),
    #[error("the client does not start")]
    Client(#[from] StartError),
    #[error("announced {done} of {wanted} keys within {} s", waited.as_secs())]
    Announce { done: usize, wanted: usize, waited: Duration },
    #[error("a worker failed: {0}")]
    Worker(#[from] tokio::task::JoinError),
}

impl Network {
    /// Publishes `chosen` into as many stores as there are providers, and starts everything.
    pub(super) async fn start(
        work_dir: Option<&Path>,
        providers: usize,
        chosen: &Chosen,
    ) -> Result<Self, NetworkError> {
        let mut folder = tempfile::Builder::new();
        folder.prefix("phase-demo-");
        let folder = match work_dir {
            Some(dir) => folder.tempdir_in(dir),
            None => folder.tempdir(),
        };
        let folder = folder.map_err(NetworkError::Folder)?;
        let name: Name = "demo/any".parse().expect("it is a valid name");
        let now = cli::now();
        let (publisher, draft) = (new_publisher(&name, now)?, draft(&name, chosen, now)?);
        let root = publisher.root().clone();
        let stores: Vec<PathBuf> = (1..=providers).map(|n| folder.path().join(format!("provider-{n}"))).collect();
        let targets = stores.clone();
        let publish = move |store: &PathBuf| {
            publisher.publish(&FileStore::open(store)?, &draft, now, &mut |_| {})?;
            Ok::<(), NetworkError>(())
        };
        tokio::task::spawn_blocking(move || targets.iter().try_for_each(publish)).await??;
        let bootstrap = start_provider(folder.path().join("bootstrap"), Vec::new()).await?;
        let known = bootstrap_peers(&bootstrap).await;
        let mut running = Vec::new();
        for store in stores {
            running.push(start_provider(store, known.clone()).await?);
        }
        let peers = running.iter().map(Provider::peer_id).collect();
        let trust = Trust { root, time: TrustedTime(cli::now()) };
        Ok(Self { name, trust, folder, bootstrap, providers: running.into_iter().map(Some).collect(), peers })
    }

    /// Waits until every provider has told the DHT what it has.
    pub(super) async fn announced(&self, patience: Duration) -> Result<(), NetworkError> {
        for provider in self.providers.iter().flatten() {
            let mut announced = provider.announced();
            let all = announced.wait_for(|now| now.wanted > 0 && now.done == now.wanted);
            if !tokio::time::timeout(patience, all).await.is_ok_and(|result| result.is_ok()) {
                let now = *announced.borrow();
                return Err(NetworkError::Announce { done: now.done, wanted: now.wanted, waited: patience });
            }
        }
        Ok(())
    }

    /// A client that knows the address of the bootstrap node and nothing else.
    pub(super) async fn client(&self) -> Result<Client, NetworkError> {
        let store = FileStore::open(self.folder.path().join("client"))?;
        let config =
            NodeConfig::in_dht(phase_node::Role::Client, vec![listen()], bootstrap_peers(&self.bootstrap).await);
        Ok(Client::start(Arc::new(store), config).await?)
    }

    /// Kills the last provider, without a goodbye. Returns which one it was.
    pub(super) fn kill_last(&mut self) -> Option<usize> {
        let last = self.providers.iter().rposition(Option::is_some)?;
        self.providers[last] = None;
        Some(last)
    }

    /// The providers' peer ids, the killed one's too.
    pub(super) fn peer_ids(&self) -> &[PeerId] {
        &self.peers
    }

    /// Stops everything and removes the stores.
    pub(super) async fn stop(self) {
        for provider in self.providers.into_iter().flatten() {
            provider.stop().await;
        }
        self.bootstrap.stop().await;
    }
}

async fn start_provider(store: PathBuf, bootstrap: Vec<BootstrapPeer>) -> Result<Provider, ProviderError> {
    let node = NodeConfig::in_dht(phase_node::Role::Server, vec![listen()], bootstrap);
    Provider::start(ProviderConfig::new(store, node)).await
}

async fn bootstrap_peers(node: &Provider) -> Vec<BootstrapPeer> {
    let addresses = node.addresses().await;
    addresses.iter().filter_map(|address| address.to_string().parse().ok()).collect()
}

fn listen() -> Multiaddr {
    LISTEN.parse().expect("it is a valid address")
}

/// A publisher with a key of its own, whose root is valid as long as the demo.
fn new_publisher(name: &Name, now: u64) -> Result<Publisher, NetworkError> {
    let key = SigningKey::generate()?;
    let root = TrustRoot::of_one_key(key.public(), [name.channel.clone()], now, now + LIFETIME);
    let root = Envelope::signed(&root, [&key])?;
    Ok(Publisher::new(&root.encode(), vec![key])?)
}

/// The release of the chosen files, which stay where they are.
fn draft(name: &Name, chosen: &Chosen, now: u64) -> Result<Draft, NetworkError> {
    let file = |source: &Source| {
        let role = Role::FILE.parse().expect("it is a valid role");
        let filename = source.name.parse().expect("only valid names were chosen");
        ReleaseFile::new(role, filename, &source.path)
    };
    let files = chosen.files.iter().map(file).collect::<Result<_, _>>()?;
    let options = ImportOptions::default().with_mode(ImportMode::Reference);
    Ok(Draft::new(name, files, now, now + LIFETIME).with_label("demo").with_import(options))
}
