//! Clients that fetch releases over and over, are interrupted, resume, stall, and come and go.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use phase_client::{Client, FetchError, FetchOptions, ResolveOptions, Resolved, Verdict};
use phase_core::{FileStore, Store};
use phase_node::bootstrap::BootstrapPeer;
use phase_node::{NodeConfig, NodeHandle};
use phase_transfer::download::DownloadError;

use super::board::Actor;
use super::depot::Depot;
use super::error::SoakError;
use super::network::{loopback, tcp_address, transport};
use super::releases::{Published, Releases};
use super::store::FreshStore;
use super::tcp_proxy::TcpProxy;

/// How often a start or a question is tried: proxies are cut and frozen, and a provider is down, so one may fail.
const TRIES: usize = 10;
/// The time between two tries.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// Providers that have to answer a client: only one at a time is down.
const ENOUGH: usize = 2;
/// How often one fetch is interrupted at most.
const MAX_INTERRUPTIONS: usize = 3;
/// How likely a fetch is stopped in the middle, in which case it is resumed.
const CANCEL: f64 = 0.3;
/// How likely the disk of a client stands still.
const STALL: f64 = 0.2;
/// How likely a client leaves in the middle of a fetch.
const LEAVE: f64 = 0.2;
/// Of stalls, those that go on for longer than a server waits for a reader: 30 s.
const LONG_STALLS: f64 = 0.1;
const LONG_STALL: Duration = Duration::from_secs(33);
/// The longest of the others, in seconds.
const MAX_STALL: f64 = 4.0;

/// What all clients share.
#[derive(Clone)]
pub(super) struct Market {
    pub(super) releases: Arc<Releases>,
    pub(super) depots: Vec<Arc<Depot>>,
}

/// A client whose node lives for as long as the soak. Its store is emptied before every fetch.
pub(super) struct Resident {
    market: Market,
    client: Client,
    store: FreshStore,
    actor: Actor,
    random: fastrand::Rng,
}

impl Resident {
    /// Starts one that reaches each provider over a proxy of its own, and has it fetch everything once: what its catalog keeps
    /// open, it keeps from then on.
    pub(super) async fn start(
        market: Market,
        proxies: &[TcpProxy],
        actor: Actor,
        random: fastrand::Rng,
    ) -> Result<Self, SoakError> {
        let store = FreshStore::default();
        let peers = market.over(proxies);
        let client = Client::start(Arc::new(store.clone()), config(peers)).await?;
        let resident = Self { market, client, store, actor, random };
        let releases = resident.market.releases.clone();
        for release in &releases.all {
            let resolved = resident.client.resolve(&release.name, &releases.trust, one_answer()).await?;
            resident.client.fetch(&resolved, FetchOptions::default()).finish().await?;
            for content in &release.artifacts {
                resident.client.catalog().content(&content.cid)?;
            }
        }
        Ok(resident)
    }

    /// The node, for others to ask.
    pub(super) fn node(&self) -> NodeHandle {
        self.client.node().clone()
    }

    /// Fetches until the end.
    pub(super) async fn run(mut self) {
        loop {
            self.store.renew();
            if !self.actor.ready().await {
                break;
            }
            let release = self.random.usize(..self.market.releases.all.len());
            let trade =
                Trade { client: &self.client, market: &self.market, disk: Some(&self.store), actor: &self.actor };
            if let Err(wrong) = trade.complete(release, &mut self.random).await {
                self.actor.wrong(&wrong);
            }
        }
        self.client.stop().await;
    }
}

/// A client that comes with an empty folder for every fetch, and leaves with or without a goodbye.
pub(super) struct Newcomer {
    pub(super) market: Market,
    /// One to each provider.
    pub(super) proxies: Arc<Vec<TcpProxy>>,
    pub(super) folder: PathBuf,
    pub(super) actor: Actor,
    pub(super) random: fastrand::Rng,
}

impl Newcomer {
    /// Fetches until the end.
    pub(super) async fn run(mut self) {
        for number in 0.. {
            if !self.actor.ready().await {
                break;
            }
            let folder = self.folder.join(number.to_string());
            if let Err(wrong) = self.visit(folder.clone()).await {
                self.actor.wrong(&wrong);
            }
            // What is still being closed may keep it; then it goes with the whole.
            let _ = tokio::fs::remove_dir_all(folder).await;
        }
    }

    async fn visit(&mut self, folder: PathBuf) -> Result<(), String> {
        self.actor.begin("starts a node");
        let client = self.start(folder).await?;
        let trade = Trade { client: &client, market: &self.market, disk: None, actor: &self.actor };
        let release = self.random.usize(..self.market.releases.all.len());
        let result = trade.complete(release, &mut self.random).await;
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
            let peers = self.ways();
            match Client::start(store.clone(), config(peers)).await {
                Ok(client) => return Ok(client),
                Err(error) if tries == TRIES => return Err(describe(&error)),
                Err(_) => tokio::time::sleep(TRY_AGAIN).await,
            }
            self.actor.moved();
            tries += 1;
        }
    }

    /// To each provider either its proxy or QUIC.
    fn ways(&mut self) -> Vec<BootstrapPeer> {
        let mut ways = self.market.over(&self.proxies);
        for (way, depot) in ways.iter_mut().zip(&self.market.depots) {
            if self.random.bool() {
                way.address = depot.quic().clone();
            }
        }
        ways
    }
}

impl Market {
    /// Providers of which one may be down.
    fn enough(&self) -> usize {
        self.depots.len().min(ENOUGH)
    }

    /// The providers as they are reached over `proxies`.
    fn over(&self, proxies: &[TcpProxy]) -> Vec<BootstrapPeer> {
        let known = self.depots.iter().zip(proxies);
        known
            .map(|(depot, proxy)| BootstrapPeer { peer: Some(depot.peer), address: tcp_address(proxy.address()) })
            .collect()
    }
}

fn config(peers: Vec<BootstrapPeer>) -> NodeConfig {
    NodeConfig { listen: vec![loopback()], peers, transport: transport(), ..NodeConfig::default() }
}

fn one_answer() -> ResolveOptions {
    ResolveOptions { answers: 1, ..ResolveOptions::default() }
}

/// What is done to a fetch once so much of it is there, from 0 to 1.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    None,
    Cancel(f64),
    Stall(f64, Duration),
    Leave(f64),
}

impl Trouble {
    /// A client without a disk that can stand still may leave instead.
    fn draw(random: &mut fastrand::Rng, can_stall: bool) -> Self {
        // At the very end, it would often come too late.
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

/// How a fetch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Complete,
    Left,
}

/// One client that fetches one release.
struct Trade<'a> {
    client: &'a Client,
    market: &'a Market,
    disk: Option<&'a FreshStore>,
    actor: &'a Actor,
}

impl Trade<'_> {
    /// Fetches a release, through all interruptions, and compares it with what was published. The error says what went wrong.
    async fn complete(&self, release: usize, random: &mut fastrand::Rng) -> Result<Ended, String> {
        let release = &self.market.releases.all[release];
        self.actor.begin(format!("resolves {}", release.name));
        let resolved = self.resolve(release).await?;
        for interruptions in 0.. {
            let draws = interruptions < MAX_INTERRUPTIONS && self.actor.is_load();
            let trouble = if draws { Trouble::draw(random, self.disk.is_some()) } else { Trouble::None };
            self.actor.begin(format!("fetches {}, {trouble:?}", release.name));
            match self.fetch(&resolved, trouble, random.u64(..)).await? {
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

    /// Until enough providers have answered that one may be down: a fetch asks those alone, and whoever they know.
    async fn resolve(&self, release: &Published) -> Result<Resolved, String> {
        let enough = self.market.enough();
        let mut tries = 0;
        loop {
            match self.client.resolve(&release.name, &self.market.releases.trust, one_answer()).await {
                Ok(resolved) if resolved.providers.len() >= enough => return Ok(resolved),
                Ok(resolved) if tries == TRIES => {
                    return Err(format!("fewer than {enough} providers answer{}", answers(&resolved)));
                }
                Err(error) if tries == TRIES => return Err(describe(&error)),
                Ok(_) | Err(_) => tokio::time::sleep(TRY_AGAIN).await,
            }
            tries += 1;
            self.actor.moved();
        }
    }

    /// One attempt; `None` if it was stopped.
    async fn fetch(&self, resolved: &Resolved, trouble: Trouble, seed: u64) -> Result<Option<Ended>, String> {
        let mut options = FetchOptions::default();
        options.download.seed = Some(seed);
        let fetch = self.client.fetch(resolved, options);
        let (stopper, mut progress) = (fetch.stopper(), fetch.progress());
        let mut finishing = std::pin::pin!(fetch.finish());
        let (mut verified, mut is_troubled, mut is_stopped) = (0, false, false);
        let result = loop {
            tokio::select! {
                result = &mut finishing => break result,
                Some(now) = progress.changed() => {
                    if std::mem::replace(&mut verified, now.verified) < now.verified {
                        self.actor.moved();
                    }
                    if is_troubled || now.total == 0 || (now.verified as f64) < now.total as f64 * trouble.share() {
                        continue;
                    }
                    is_troubled = true;
                    match trouble {
                        Trouble::Cancel(_) => {
                            is_stopped = true;
                            stopper.cancel();
                        }
                        Trouble::Stall(_, wait) => self.stall(wait).await,
                        Trouble::Leave(_) => {
                            self.actor.board().count(|counts| counts.left += 1);
                            return Ok(Some(Ended::Left));
                        }
                        Trouble::None => {}
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
            Err(FetchError::Download(DownloadError::Interrupted)) if is_stopped => Ok(None),
            Err(error) => Err(format!("{}: {}{}", resolved.name, describe(&error), verdicts(&error))),
        }
    }

    async fn stall(&self, wait: Duration) {
        let Some(disk) = self.disk else { return };
        self.actor.board().count(|counts| counts.stalls += 1);
        let _stalled = disk.stall();
        self.actor.pause(wait).await;
        self.actor.moved();
    }

    /// Compares what is in the store with what was published.
    async fn compare(&self, name: String) -> Result<(), String> {
        let (store, releases) = (self.client.catalog().store().clone(), self.market.releases.clone());
        let compared = tokio::task::spawn_blocking(move || {
            let release = releases.all.iter().find(|release| release.name.to_string() == name);
            compare(store.as_ref(), release.expect("it was fetched by its name"))
        });
        compared.await.expect("comparing does not panic")
    }
}

fn compare(store: &dyn Store, release: &Published) -> Result<(), String> {
    for content in &release.artifacts {
        let artifact = store.artifact(&content.cid).map_err(|error| describe(&error))?;
        let artifact = artifact.ok_or_else(|| format!("{}: {} is not there after all", release.name, content.cid))?;
        let mut bytes = vec![0; artifact.index().size() as usize];
        artifact.read_at(0, &mut bytes).map_err(|error| describe(&error))?;
        if !content.is(&bytes) {
            return Err(format!("{}: {} has other bytes than were published", release.name, content.cid));
        }
    }
    Ok(())
}

/// What each peer that was asked said.
fn answers(resolved: &Resolved) -> String {
    resolved.answers.iter().map(|answer| format!("; {}: {:?}", answer.peer, answer.result)).collect()
}

/// What became of the peers of a fetch that was given up.
fn verdicts(error: &FetchError) -> String {
    let FetchError::Download(DownloadError::Stalled { report, .. }) = error else { return String::new() };
    let peers = report.peers.iter().map(|(peer, report)| format!("; {peer}: {:?}", report.verdict));
    peers.collect()
}

/// An error and its causes.
fn describe(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
