//! The demo's network: a bootstrap node, providers and a client on loopback, each with its own key and store.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use phase_cli as cli;
use phase_client::{Client, StartError, Trust};
use phase_core::codec::V1;
use phase_core::dht::Pointer;
use phase_core::envelope::{Envelope, EnvelopeError};
use phase_core::manifest::{ArtifactEntry, Manifest, Role};
use phase_core::store::{FileStore, Store, StoreError};
use phase_core::time::TrustedTime;
use phase_core::trust::{ChannelRole, RootRole, TrustError, TrustRoot};
use phase_core::{ImportMode, ImportOptions, Name, SigningKey};
use phase_node::bootstrap::BootstrapPeer;
use phase_node::{Multiaddr, NodeConfig, PeerId};
use phase_provider::{Provider, ProviderConfig, ProviderError};

use super::files::Chosen;

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
        let publisher = Publisher::new(&name)?;
        let root = publisher.root.clone();
        let stores: Vec<PathBuf> = (1..=providers).map(|n| folder.path().join(format!("provider-{n}"))).collect();
        let (files, targets) = (chosen.files.clone(), stores.clone());
        tokio::task::spawn_blocking(move || targets.iter().try_for_each(|store| publisher.publish(&files, store)))
            .await??;
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

/// A publisher with one key.
struct Publisher {
    name: Name,
    key: SigningKey,
    root: TrustRoot,
    now: u64,
}

impl Publisher {
    fn new(name: &Name) -> Result<Self, NetworkError> {
        let key = SigningKey::generate()?;
        let now = cli::now();
        let keys = || [key.id()].into();
        let role = ChannelRole { keys: keys(), threshold: 1, pointer_keys: keys() };
        let root = TrustRoot {
            v: V1,
            version: 1,
            issued_at: now,
            expires_at: now + LIFETIME,
            keys: [(key.id(), key.public())].into(),
            root: RootRole { keys: keys(), threshold: 1 },
            channels: [(name.channel.clone(), role)].into(),
        };
        let mut envelope = Envelope::unsigned(&root)?;
        envelope.sign::<TrustRoot>(&key)?;
        // As a client would read it.
        let root = TrustRoot::decode_trusted(&envelope.encode())?;
        Ok(Self { name: name.clone(), key, root, now })
    }

    /// Imports the files in place, signs a manifest of them, and sets the name.
    fn publish(&self, files: &[super::files::Source], store: &Path) -> Result<(), NetworkError> {
        let store = FileStore::open(store)?;
        let options = ImportOptions::default().with_mode(ImportMode::Reference);
        let mut artifacts = Vec::new();
        for file in files {
            let artifact = store.import(&file.path, &options, &mut |_| {})?;
            artifacts.push(ArtifactEntry {
                role: Role::FILE.parse().expect("it is a valid role"),
                filename: file.name.parse().expect("only valid names were chosen"),
                size: artifact.index().size(),
                cid: artifact.cid(),
                sha256: artifact.index().sha256(),
            });
        }
        let manifest = Manifest {
            v: V1,
            channel: self.name.channel.clone(),
            arch: self.name.arch.clone(),
            board: None,
            version: 1,
            release: "demo".to_owned(),
            issued_at: self.now,
            expires_at: self.now + LIFETIME,
            artifacts,
            cmdline: None,
        };
        let mut envelope = Envelope::unsigned(&manifest)?;
        envelope.sign::<Manifest>(&self.key)?;
        store.put_block(&envelope.cid(), &envelope.encode())?;
        let pointer = Pointer {
            v: V1,
            name: self.name.clone(),
            manifest: Some(envelope.cid()),
            version: manifest.version,
            issued_at: self.now,
            expires_at: self.now + LIFETIME,
            urls: Vec::new(),
        };
        let mut pointer = Envelope::unsigned(&pointer)?;
        pointer.sign::<Pointer>(&self.key)?;
        Ok(store.set_ref(&self.name, &pointer)?)
    }
}
