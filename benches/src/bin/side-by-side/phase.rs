//! The Phase side: a published store, a provider that serves it, a client that resolves its name and fetches.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libp2p::Multiaddr;
use phase_benches::Result;
use phase_benches::measure::{Stopwatch, peak_memory};
use phase_client::{Client, ClientConfig, FetchOptions, ResolveOptions, Trust};
use phase_core::codec::V1;
use phase_core::envelope::{Envelope, Payload};
use phase_core::import::ImportOptions;
use phase_core::manifest::{ArtifactEntry, Manifest, Role};
use phase_core::pointer::Pointer;
use phase_core::store::{Artifact, FileStore, Store};
use phase_core::trust::{ChannelRole, RootRole, TrustRoot, TrustedTime};
use phase_core::{Name, SigningKey};
use phase_provider::{Provider, ProviderConfig};
use phase_transfer::net::Identity;
use phase_transfer::net::bootstrap::BootstrapPeer;

use crate::Transport;
use crate::child::{self, Fetched};

const NAME: &str = "bench/any";
/// When everything is signed and used, and when it expires: Unix seconds. Nothing here needs the clock.
const NOW: u64 = 1;
const EXPIRES: u64 = 2;

/// Publishes `file` as the only artifact of a release in a new store, and writes the trust root that accepts it.
/// Returns the artifact's file.
pub(crate) fn publish(store: &Path, file: &Path, trust_root: &Path) -> Result<PathBuf> {
    let key = SigningKey::generate()?;
    let name: Name = NAME.parse()?;
    std::fs::write(trust_root, signed(&root(&key, &name), &key)?.encode())?;
    let store = FileStore::open(store)?;
    let artifact = store.import(file, &ImportOptions::default(), &mut |_| {})?;
    let manifest = manifest(&name, artifact.as_ref())?;
    let envelope = signed(&manifest, &key)?;
    store.put_block(&envelope.cid(), &envelope.encode())?;
    let pointer = Pointer {
        v: V1,
        name: name.clone(),
        manifest: envelope.cid(),
        version: manifest.version,
        issued_at: NOW,
        expires_at: EXPIRES,
        urls: Vec::new(),
    };
    store.set_ref(&name, &signed(&pointer, &key)?)?;
    Ok(artifact.path().expect("an artifact of a file store has a file"))
}

fn root(key: &SigningKey, name: &Name) -> TrustRoot {
    let keys = BTreeSet::from([key.id()]);
    let channel = ChannelRole { keys: keys.clone(), threshold: 1, pointer_keys: keys.clone() };
    TrustRoot {
        v: V1,
        version: 1,
        issued_at: NOW,
        expires_at: EXPIRES,
        keys: BTreeMap::from([(key.id(), key.public())]),
        root: RootRole { keys, threshold: 1 },
        channels: BTreeMap::from([(name.channel.clone(), channel)]),
    }
}

fn manifest(name: &Name, artifact: &dyn Artifact) -> Result<Manifest> {
    let entry = ArtifactEntry {
        role: Role::FILE.parse()?,
        filename: "noise".parse()?,
        size: artifact.index().size(),
        cid: artifact.cid(),
        sha256: artifact.index().sha256(),
    };
    Ok(Manifest {
        v: V1,
        channel: name.channel.clone(),
        arch: name.arch.clone(),
        board: None,
        version: 1,
        release: "bench".to_owned(),
        issued_at: NOW,
        expires_at: EXPIRES,
        artifacts: vec![entry],
        cmdline: None,
    })
}

fn signed<P: Payload>(payload: &P, key: &SigningKey) -> Result<Envelope> {
    let mut envelope = Envelope::unsigned(payload)?;
    envelope.sign::<P>(key)?;
    Ok(envelope)
}

/// The serving process: a provider that is its network's first node, and so the one to ask for the name.
pub(crate) async fn serve(transport: Transport, store: PathBuf) -> Result<()> {
    let provider = Provider::start(ProviderConfig::new(store, vec![transport.listen_address()], Vec::new())).await?;
    provider.announced().wait_for(|announced| announced.wanted > 0 && announced.done == announced.wanted).await?;
    let address = provider.addresses().await.into_iter().next().ok_or("no address is bound")?;
    child::serve_until_told(address).await
}

/// The fetching process: resolves the name, then fetches the release into a new store.
pub(crate) async fn fetch(provider: Multiaddr, store: PathBuf, trust_root: &Path) -> Result<Fetched> {
    let root = TrustRoot::decode_trusted(&std::fs::read(trust_root)?)?;
    let store: Arc<dyn Store> = Arc::new(FileStore::open(store)?);
    let client = Client::start(ClientConfig {
        store: store.clone(),
        identity: Identity::ephemeral(),
        listen: Vec::new(),
        bootstrap: vec![provider.to_string().parse::<BootstrapPeer>()?],
    })
    .await?;
    let one_answer = ResolveOptions { answers: 1, ..ResolveOptions::default() };
    let resolved = client.resolve(&NAME.parse()?, &Trust { root, time: TrustedTime(NOW) }, one_answer).await?;

    let watch = Stopwatch::start()?;
    let report = client.fetch(&resolved, FetchOptions::default()).finish().await?;
    let taken = watch.stop()?;
    let artifact =
        store.artifact(&resolved.manifest.artifacts[0].cid)?.ok_or("what was fetched is not in the store")?;
    Ok(Fetched {
        taken,
        peak_memory: peak_memory()?,
        file: artifact.path().expect("an artifact of a file store has a file"),
        pieces: None,
        resolve_seconds: Some(resolved.elapsed.as_secs_f64()),
        prepare_seconds: Some(taken.seconds - report.elapsed.as_secs_f64()),
    })
}
