//! The demo's network: a bootstrap node, providers and a client on loopback, each with its own identity and store.

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

/// The listen address of every node, with a port that the system chooses.
const LISTEN: &str = "/ip4/127.0.0.1/tcp/0";
/// The lifetime of everything that the demo signs, in seconds.
const LIFETIME: u64 = 24 * 60 * 60;

/// The nodes of the demo except the client. Dropping this value removes the stores.
pub(super) struct Network {
    pub(super) name: Name,
    pub(super) trust: Trust,
    folder: tempfile::TempDir,
    bootstrap: Provider,
    /// The providers in the order in which they were started; `None` for the killed provider.
    providers: Vec<Option<Provider>>,
    peers: Vec<PeerId>,
}

/// An error from starting the demo's network.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkError {
    #[error("cannot create a folder for the stores")]
    Folder(#[source] io::Error),
    #[error("cannot make a signing key")]
    Key(#[from] phase_core::keys::KeyError),
    #[error("cannot sign the trust root")]
    Sign(#[from] EnvelopeError),
    #[error("the trust root does not verify")]
    Trust(#[from] TrustError),
    #[error("cannot publish the files")]
    Files(#[from] FilesError),
    #[error("cannot publish the release")]
    Publish(#[from] PublishError),
    #[error("cannot open a store")]
    Store(#[from] StoreError),
    #[error("cannot start a provider")]
    Provider(#[from] ProviderError),
    #[error("cannot start the client")]
    Client(#[from] StartError),
    #[error("a provider has announced only {done} of {wanted} keys in the DHT within {}", cli::duration(*waited))]
    Announce { done: usize, wanted: usize, waited: Duration },
    #[error("publishing ended unexpectedly: {0}")]
    Worker(#[from] tokio::task::JoinError),
}

impl Network {
    /// Publishes `chosen` in one store for each provider, and starts the bootstrap node and the providers.
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

    /// Waits until every provider has announced its keys in the DHT. `patience` is the timeout for each provider.
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

    /// Starts a client that knows only the address of the bootstrap node.
    pub(super) async fn client(&self) -> Result<Client, NetworkError> {
        let store = FileStore::open(self.folder.path().join("client"))?;
        let config =
            NodeConfig::in_dht(phase_node::Role::Client, vec![listen()], bootstrap_peers(&self.bootstrap).await);
        Ok(Client::start(Arc::new(store), config).await?)
    }

    /// Kills the last running provider. Unlike a stopped provider, it does not withdraw its announcements. Returns its
    /// position in the list of providers.
    pub(super) fn kill_last(&mut self) -> Option<usize> {
        let last = self.providers.iter().rposition(Option::is_some)?;
        self.providers[last] = None;
        Some(last)
    }

    /// Returns the peer ids of the providers, including the killed one.
    pub(super) fn peer_ids(&self) -> &[PeerId] {
        &self.peers
    }

    /// Stops all nodes and removes the stores.
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

/// Makes a publisher with a new key, and a trust root that is valid for [`LIFETIME`].
fn new_publisher(name: &Name, now: u64) -> Result<Publisher, NetworkError> {
    let key = SigningKey::generate()?;
    let root = TrustRoot::of_one_key(key.public(), [name.channel.clone()], now, now + LIFETIME);
    let root = Envelope::signed(&root, [&key])?;
    Ok(Publisher::new(&root.encode(), vec![key])?)
}

/// Returns the draft of a release with the chosen files. The files will be imported by reference, not copied.
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
