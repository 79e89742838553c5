//! The contender `phase`. A provider serves a published store, and a client resolves the name and fetches the release.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use libp2p::Multiaddr;
use phase_benches::Result;
use phase_benches::measure::{Stopwatch, peak_memory};
use phase_benches::release::{NAME, NOW};
use phase_client::{Client, FetchOptions, ResolveOptions, Trust};
use phase_core::store::{FileStore, Store};
use phase_core::time::TrustedTime;
use phase_core::trust::TrustRoot;
use phase_node::NodeConfig;
use phase_node::bootstrap::BootstrapPeer;
use phase_provider::{Provider, ProviderConfig};

use crate::child::{self, Fetched};
use crate::contender::{RamProfile, Transport};

/// Runs the serving process: a provider that is the client's bootstrap peer, so that the client can resolve the name.
pub(crate) async fn serve(transport: Transport, store: PathBuf) -> Result<()> {
    let mut node = NodeConfig::in_dht(phase_node::Role::Server, vec![transport.listen_address()], Vec::new());
    node.transport.tls = transport != Transport::Noise;
    let provider = Provider::start(ProviderConfig::new(store, node)).await?;
    provider.announced().wait_for(|announced| announced.wanted > 0 && announced.done == announced.wanted).await?;
    let address = provider.addresses().await.into_iter().next().ok_or("the provider has no listen address")?;
    child::serve_until_stdin_closes(address).await
}

/// Runs the fetching process, which resolves the name and then fetches the release into a new store.
pub(crate) async fn fetch(
    transport: Transport,
    provider: Multiaddr,
    store: PathBuf,
    trust_root: &Path,
    memory: RamProfile,
) -> Result<Fetched> {
    let root = TrustRoot::decode_trusted(&std::fs::read(trust_root)?)?;
    let store: Arc<dyn Store> = Arc::new(FileStore::open(store)?);
    let bootstrap = vec![provider.to_string().parse::<BootstrapPeer>()?];
    let mut node = NodeConfig::in_dht(phase_node::Role::Client, Vec::new(), bootstrap);
    node.transport.tls = transport != Transport::Noise;
    let client = Client::start(store.clone(), node).await?;
    let one_answer = ResolveOptions { answers: 1, ..ResolveOptions::default() };
    let resolved = client.resolve(&NAME.parse()?, &Trust { root, time: TrustedTime(NOW) }, one_answer).await?;

    let watch = Stopwatch::start()?;
    let report =
        client.fetch(&resolved, FetchOptions { download: memory.config(), ..FetchOptions::default() }).finish().await?;
    let taken = watch.stop()?;
    let artifact =
        store.artifact(&resolved.manifest.artifacts[0].cid)?.ok_or("the fetched artifact is not in the store")?;
    Ok(Fetched {
        taken,
        peak_memory: peak_memory()?,
        file: artifact.path().expect("an artifact of a file store has a file"),
        pieces: None,
        resolve_seconds: Some(resolved.elapsed.as_secs_f64()),
        prepare_seconds: Some(taken.seconds - report.elapsed.as_secs_f64()),
    })
}
