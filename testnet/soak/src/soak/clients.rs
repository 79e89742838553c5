//! Clients that fetch releases repeatedly. Their fetches are cancelled and resumed, their disks stall, and some of them
//! leave in the middle of a fetch.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use phase_client::{Client, FetchError, FetchOptions, ResolveOptions, Resolved, Verdict};
use phase_core::{Fails, FileStore, Store};
use phase_node::bootstrap::BootstrapPeer;
use phase_node::{NodeConfig, NodeHandle};
use phase_transfer::download::DownloadError;

use super::board::Actor;
use super::error::SoakError;
use super::network::{loopback, tcp_address, transport};
use super::provider::RestartableProvider;
use super::releases::{Published, Releases};
use super::store::FreshStore;
use super::tcp_proxy::TcpProxy;

/// The number of further attempts if a node does not start or a name is not resolved. An attempt can fail while a proxy
/// is cut or frozen, or while a provider is down.
const TRIES: usize = 10;
/// The time until the next attempt to start a node or to resolve a name.
const RETRY_WAIT: Duration = Duration::from_secs(1);
/// The number of providers that must answer a resolve, so that one of them may be down during the fetch.
const MIN_PROVIDERS: usize = 2;
/// The largest number of times that one fetch is cancelled.
const MAX_INTERRUPTIONS: usize = 3;
/// The probability that one attempt of a fetch is cancelled. The next attempt resumes the fetch.
const CANCEL: f64 = 0.3;
/// The probability that the disk of a long-lived client stalls during one attempt of a fetch.
const STALL: f64 = 0.2;
/// The probability that a short-lived client leaves during one attempt of a fetch.
const LEAVE: f64 = 0.2;
/// The fraction of the disk stalls that last [`LONG_STALL`].
const LONG_STALLS: f64 = 0.1;
/// The duration of a long disk stall. It is longer than the 30 s after which a server's write to a client fails.
const LONG_STALL: Duration = Duration::from_secs(33);
/// The longest duration of a disk stall that is not a long one, in seconds.
const MAX_STALL: f64 = 4.0;

/// The releases and providers of a soak, used by all clients and raw peers.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) releases: Arc<Releases>,
    pub(super) providers: Vec<Arc<RestartableProvider>>,
}

/// A client that keeps one node for the whole soak. Its store is emptied before every fetch.
pub(super) struct LongLivedClient {
    setup: Setup,
    client: Client,
    store: FreshStore,
    actor: Actor,
    random: fastrand::Rng,
}

impl LongLivedClient {
    /// Starts a client that reaches each provider through a separate proxy, and fetches every release once. The
    /// client's catalog then has every artifact open, so that later fetches do not change the number of open files.
    pub(super) async fn start(
        setup: Setup,
        proxies: &[TcpProxy],
        actor: Actor,
        random: fastrand::Rng,
    ) -> Result<Self, SoakError> {
        let store = FreshStore::default();
        let peers = setup.addresses_through(proxies);
        let client = Client::start(Arc::new(store.clone()), config(peers)).await?;
        let started = Self { setup, client, store, actor, random };
        let releases = started.setup.releases.clone();
        for release in &releases.all {
            let resolved = started.client.resolve(&release.name, &releases.trust, one_answer()).await?;
            started.client.fetch(&resolved, FetchOptions::default()).finish().await?;
            for content in &release.artifacts {
                started.client.catalog().content(&content.cid)?;
            }
        }
        Ok(started)
    }

    /// Returns the client's node, so that raw peers can open streams to it.
    pub(super) fn node(&self) -> NodeHandle {
        self.client.node().clone()
    }

    /// Fetches until the soak ends.
    pub(super) async fn run(mut self) {
        loop {
            self.store.clear();
            if !self.actor.ready().await {
                break;
            }
            let release = self.random.usize(..self.setup.releases.all.len());
            let fetch =
                ReleaseFetch { client: &self.client, setup: &self.setup, disk: Some(&self.store), actor: &self.actor };
            if let Err(failure) = fetch.complete(release, &mut self.random).await {
                self.actor.record_failure(&failure);
            }
        }
        self.client.stop().await;
    }
}

/// A client that starts a new node with an empty store for every fetch. After the fetch, the node is stopped or just
/// dropped.
pub(super) struct ShortLivedClient {
    pub(super) setup: Setup,
    /// One proxy to each provider.
    pub(super) proxies: Arc<Vec<TcpProxy>>,
    pub(super) folder: PathBuf,
    pub(super) actor: Actor,
    pub(super) random: fastrand::Rng,
}

impl ShortLivedClient {
    /// Fetches until the soak ends.
    pub(super) async fn run(mut self) {
        for number in 0.. {
            if !self.actor.ready().await {
                break;
            }
            let folder = self.folder.join(number.to_string());
            if let Err(failure) = self.fetch_once(folder.clone()).await {
                self.actor.record_failure(&failure);
            }
            // The removal may fail while a dropped node still writes files. The folder of the whole soak is removed at
            // the end.
            let _ = tokio::fs::remove_dir_all(folder).await;
        }
    }

    async fn fetch_once(&mut self, folder: PathBuf) -> Result<(), String> {
        self.actor.begin("starts a node");
        let client = self.start(folder).await?;
        let fetch = ReleaseFetch { client: &client, setup: &self.setup, disk: None, actor: &self.actor };
        let release = self.random.usize(..self.setup.releases.all.len());
        let result = fetch.complete(release, &mut self.random).await;
        if result == Ok(Ended::Complete) && self.random.bool() {
            self.actor.begin("stops its node");
            client.stop().await;
        }
        result.map(drop)
    }

    async fn start(&mut self, folder: PathBuf) -> Result<Client, String> {
        let opened = tokio::task::spawn_blocking(move || FileStore::open(folder)).await;
        let store = Arc::new(opened.expect("opening does not panic").map_err(|error| describe(&error))?);
        let mut tries = 0;
        loop {
            let peers = self.provider_addresses();
            match Client::start(store.clone(), config(peers)).await {
                Ok(client) => return Ok(client),
                Err(error) if tries == TRIES => return Err(describe(&error)),
                Err(_) => tokio::time::sleep(RETRY_WAIT).await,
            }
            self.actor.note_progress();
            tries += 1;
        }
    }

    /// Returns each provider as a bootstrap peer. Its address is chosen at random: the address of its proxy, or its own
    /// QUIC address.
    fn provider_addresses(&mut self) -> Vec<BootstrapPeer> {
        let mut peers = self.setup.addresses_through(&self.proxies);
        for (peer, provider) in peers.iter_mut().zip(&self.setup.providers) {
            if self.random.bool() {
                peer.address = provider.quic().clone();
            }
        }
        peers
    }
}

impl Setup {
    /// Returns the number of providers that must answer a resolve.
    fn min_providers(&self) -> usize {
        self.providers.len().min(MIN_PROVIDERS)
    }

    /// Returns each provider as a bootstrap peer with the address of its proxy.
    fn addresses_through(&self, proxies: &[TcpProxy]) -> Vec<BootstrapPeer> {
        let known = self.providers.iter().zip(proxies);
        known
            .map(|(provider, proxy)| BootstrapPeer { peer: Some(provider.peer), address: tcp_address(proxy.address()) })
            .collect()
    }
}

fn config(peers: Vec<BootstrapPeer>) -> NodeConfig {
    NodeConfig { listen: vec![loopback()], peers, transport: transport(), ..NodeConfig::default() }
}

fn one_answer() -> ResolveOptions {
    ResolveOptions { answers: 1, ..ResolveOptions::default() }
}

/// A fault that interrupts or slows one attempt of a fetch. The `f64` in a variant is the fraction of the bytes that
/// are verified before the fault, 0 to 1.
#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    Cancel(f64),
    Stall(f64, Duration),
    Leave(f64),
}

impl Fault {
    /// Chooses a random fault or none. If `can_stall`, the client's disk may stall; otherwise the client may leave.
    fn draw(random: &mut fastrand::Rng, can_stall: bool) -> Self {
        // The fraction is at most 0.8, because nearer to the end the fetch would often complete before the fault.
        let (share, dice) = (random.f64() * 0.8, random.f64());
        if dice < CANCEL {
            return Self::Cancel(share);
        }
        match can_stall {
            true if dice < CANCEL + STALL * LONG_STALLS => Self::Stall(share, LONG_STALL),
            true if dice < CANCEL + STALL => Self::Stall(share, Duration::from_secs_f64(random.f64() * MAX_STALL)),
            false if dice < CANCEL + LEAVE => Self::Leave(share),
            _ => Self::None,
        }
    }

    fn share(self) -> f64 {
        match self {
            Self::None => f64::INFINITY,
            Self::Cancel(share) | Self::Stall(share, _) | Self::Leave(share) => share,
        }
    }
}

/// The way in which a fetch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Complete,
    Left,
}

/// A fetch of one release by one client.
struct ReleaseFetch<'a> {
    client: &'a Client,
    setup: &'a Setup,
    /// The store of a long-lived client, whose disk can stall; `None` for a short-lived client.
    disk: Option<&'a FreshStore>,
    actor: &'a Actor,
}

impl ReleaseFetch<'_> {
    /// Fetches a release, resumes the fetch after each cancellation, and compares the artifacts with the published
    /// files. The error is a text that describes the failure.
    async fn complete(&self, release: usize, random: &mut fastrand::Rng) -> Result<Ended, String> {
        let release = &self.setup.releases.all[release];
        self.actor.begin(format!("resolves {}", release.name));
        let resolved = self.resolve(release).await?;
        for interruptions in 0.. {
            let draws = interruptions < MAX_INTERRUPTIONS && self.actor.is_load();
            let fault = if draws { Fault::draw(random, self.disk.is_some()) } else { Fault::None };
            self.actor.begin(format!("fetches {}, fault: {fault:?}", release.name));
            match self.fetch(&resolved, fault, random.u64(..)).await? {
                Some(Ended::Complete) => break,
                Some(Ended::Left) => return Ok(Ended::Left),
                None => self.actor.board().count(|counts| counts.cancels += 1),
            }
        }
        self.actor.begin(format!("compares {}", release.name));
        self.compare(release.name.to_string()).await?;
        self.actor.board().count(|counts| counts.fetches += 1);
        Ok(Ended::Complete)
    }

    /// Repeats the resolve of the release's name until [`MIN_PROVIDERS`] providers have answered. A fetch needs
    /// several, because it finds its peers only through the providers that answered.
    async fn resolve(&self, release: &Published) -> Result<Resolved, String> {
        let enough = self.setup.min_providers();
        let mut tries = 0;
        loop {
            match self.client.resolve(&release.name, &self.setup.releases.trust, one_answer()).await {
                Ok(resolved) if resolved.providers.len() >= enough => return Ok(resolved),
                Ok(resolved) if tries == TRIES => {
                    return Err(format!(
                        "{} of {enough} providers answered{}",
                        resolved.providers.len(),
                        answers(&resolved)
                    ));
                }
                Err(error) if tries == TRIES => return Err(describe(&error)),
                Ok(_) | Err(_) => tokio::time::sleep(RETRY_WAIT).await,
            }
            tries += 1;
            self.actor.note_progress();
        }
    }

    /// Makes one attempt of a fetch. Returns `None` if the attempt was cancelled.
    async fn fetch(&self, resolved: &Resolved, fault: Fault, rng_seed: u64) -> Result<Option<Ended>, String> {
        let mut options = FetchOptions::default();
        options.download.seed = Some(rng_seed);
        let fetch = self.client.fetch(resolved, options);
        let (stopper, mut progress) = (fetch.stopper(), fetch.progress());
        let mut finishing = std::pin::pin!(fetch.finish());
        let (mut verified, mut is_fault_done, mut is_cancelled) = (0, false, false);
        let result = loop {
            tokio::select! {
                result = &mut finishing => break result,
                Some(now) = progress.changed() => {
                    if std::mem::replace(&mut verified, now.verified) < now.verified {
                        self.actor.note_progress();
                    }
                    if is_fault_done || now.total == 0 || (now.verified as f64) < now.total as f64 * fault.share() {
                        continue;
                    }
                    is_fault_done = true;
                    match fault {
                        Fault::Cancel(_) => {
                            is_cancelled = true;
                            stopper.cancel();
                        }
                        Fault::Stall(_, wait) => self.stall(wait).await,
                        Fault::Leave(_) => {
                            self.actor.board().count(|counts| counts.left += 1);
                            return Ok(Some(Ended::Left));
                        }
                        Fault::None => {}
                    }
                }
            }
        };
        match result {
            Ok(report) => {
                let banned = report.peers.values().find(|peer| matches!(peer.verdict, Verdict::Banned(_)));
                let bytes: u64 = report.peers.values().map(|peer| peer.bytes).sum();
                self.actor.board().count(|counts| counts.bytes += bytes);
                banned.map_or(Ok(Some(Ended::Complete)), |peer| Err(format!("an honest peer was banned: {peer:?}")))
            }
            Err(FetchError::Download(DownloadError::Interrupted)) if is_cancelled => Ok(None),
            Err(error) => Err(format!("{}: {}{}", resolved.name, describe(&error), verdicts(&error))),
        }
    }

    async fn stall(&self, wait: Duration) {
        let Some(disk) = self.disk else { return };
        self.actor.board().count(|counts| counts.stalls += 1);
        let _stalled = disk.stall();
        self.actor.pause(wait).await;
        self.actor.note_progress();
    }

    /// Compares the artifacts in the store with the published files.
    async fn compare(&self, name: String) -> Result<(), String> {
        let (store, releases) = (self.client.catalog().store().clone(), self.setup.releases.clone());
        let compared = tokio::task::spawn_blocking(move || {
            let release = releases.all.iter().find(|release| release.name.to_string() == name);
            compare(store.as_ref(), release.expect("it was fetched under this name"))
        });
        compared.await.expect("comparing does not panic")
    }
}

fn compare(store: &dyn Store, release: &Published) -> Result<(), String> {
    for content in &release.artifacts {
        let artifact = store.artifact(&content.cid).map_err(|error| describe(&error))?;
        let artifact =
            artifact.ok_or_else(|| format!("{}: {} is missing after the fetch", release.name, content.cid))?;
        let mut bytes = vec![0; artifact.index().size() as usize];
        artifact.read_at(0, &mut bytes).map_err(|error| describe(&error))?;
        if !content.is(&bytes) {
            return Err(format!("{}: {} differs from what was published", release.name, content.cid));
        }
    }
    Ok(())
}

/// Returns a text with the answer of each peer that was asked during a resolve.
fn answers(resolved: &Resolved) -> String {
    resolved.answers.iter().map(|answer| format!("; {}: {:?}", answer.peer, answer.result)).collect()
}

/// Returns a text with the verdict on each peer of a fetch that stalled.
fn verdicts(error: &FetchError) -> String {
    let FetchError::Download(DownloadError::Stalled { report, .. }) = error else { return String::new() };
    let peers = report.peers.iter().map(|(peer, report)| format!("; {peer}: {:?}", report.verdict));
    peers.collect()
}

/// Returns a text with an error, its causes, and the peers that were tried.
fn describe(error: &dyn Fails) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    let text = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
    error.attempts().iter().fold(text, |text, attempt| format!("{text}; {attempt}"))
}
