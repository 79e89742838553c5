//! Keeps the network's knowledge of a store up to date.
//!
//! Announced are, for every ref: the signed pointer record as value at each key of the name, and ourselves as provider of
//! the name, the manifest and every artifact that opens. The local network is told of the names. New publishes are noticed
//! within a second, by looking at the refs: another process writes them.

mod queue;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use phase_core::dht::Pointer;
use phase_core::envelope::Envelope;
use phase_core::manifest::Manifest;
use phase_core::store::StoreError;
use phase_core::{Cid, Name};
use phase_node::{Advert, NodeHandle, PeerId, QueryError, QueryReport};
use phase_transfer::catalog::Catalog;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use queue::Announced;
use queue::{Key, MAX_KEYS, Queue, Statement};

/// How often the refs are looked at.
const POLL: Duration = Duration::from_secs(1);
/// Withdrawals under way at a time.
const WITHDRAWALS: usize = 8;
/// In a network of fewer nodes than this, everybody is among the closest to everything, so a node that joins should be
/// told at once.
const SMALL_NETWORK: usize = 20;
/// Nodes that are remembered as told; in a network of so many, nobody is told just because they come.
const MAX_TOLD: usize = 1024;
/// Plans, one a second, that may fail because something cannot be read: too many open files, for instance. After that what
/// cannot be read counts as gone.
const PATIENCE: u32 = 5;
/// How long a shutdown may spend on withdrawing.
const WITHDRAW_TIMEOUT: Duration = Duration::from_secs(5);

/// What an announcer is started with.
pub(crate) struct AnnouncerConfig {
    /// The time between two announcements of the same thing.
    pub(crate) interval: Duration,
    /// After how long without anybody else the network may consist of this node alone; `None` is never.
    pub(crate) alone_after: Option<Duration>,
    /// Where clients that speak only HTTP find us.
    pub(crate) http_port: Option<u16>,
}

/// The task that announces.
pub(crate) struct Announcer {
    announced: watch::Receiver<Announced>,
    keys: watch::Receiver<Vec<(Key, bool)>>,
    _stop: DropGuard,
}

impl Announcer {
    pub(crate) fn start(node: NodeHandle, catalog: Arc<Catalog>, config: AnnouncerConfig) -> Self {
        let (progress, announced) = watch::channel(Announced::default());
        let (told, keys) = watch::channel(Vec::new());
        let stop = CancellationToken::new();
        let now = Instant::now();
        let queue = Queue::new(now, config.interval);
        let alone_at = config.alone_after.map(|wait| now + wait);
        let (running, refs) = (JoinSet::new(), Vec::new());
        let work = Work { node, catalog, config, alone_at, queue, running, refs, failed_plans: 0, progress, told };
        tokio::spawn(stop.clone().run_until_cancelled_owned(work.run()));
        Self { announced, keys, _stop: stop.drop_guard() }
    }

    pub(crate) fn announced(&self) -> watch::Receiver<Announced> {
        self.announced.clone()
    }

    /// Stops announcing and takes back what was announced.
    pub(crate) async fn withdraw(self, node: &NodeHandle) {
        let keys = self.keys.borrow().clone();
        drop(self);
        node.hide_addresses().await;
        let withdrawals = futures::stream::iter(keys)
            .map(|(key, is_leaving)| async move {
                // Of what was leaving already nobody may have heard yet, and of the rest some has never been announced.
                let withdrawn = if is_leaving { node.withdraw(&key).await } else { node.withdraw_provided(&key).await };
                if withdrawn.is_ok() {
                    node.settle(&key).await;
                }
            })
            .buffer_unordered(WITHDRAWALS)
            .collect::<Vec<_>>();
        if tokio::time::timeout(WITHDRAW_TIMEOUT, withdrawals).await.is_err() {
            tracing::warn!("not everything could be withdrawn in time: others forget it within the hour");
        }
    }
}

struct Work {
    node: NodeHandle,
    catalog: Arc<Catalog>,
    config: AnnouncerConfig,
    /// From when on having told nobody counts as having told everybody.
    alone_at: Option<Instant>,
    queue: Queue,
    running: JoinSet<(Key, Result<(), QueryError>)>,
    /// The refs as last seen.
    refs: Vec<(Name, Vec<u8>)>,
    /// Plans since the last one for which everything could be read.
    failed_plans: u32,
    progress: watch::Sender<Announced>,
    /// What was planned last: everything that is to be announced, and what was to be withdrawn.
    told: watch::Sender<Vec<(Key, bool)>>,
}

impl Work {
    async fn run(mut self) {
        let mut poll = tokio::time::interval(POLL);
        let mut routing = self.node.routing_peers();
        let mut damaged = self.catalog.damaged();
        let mut told = BTreeSet::new();
        self.plan(&mut damaged).await;
        loop {
            self.announce_due();
            self.tell();
            let now = Instant::now();
            let wake = if self.has_audience(now) { self.queue.wake_at(now) } else { self.alone_at };
            tokio::select! {
                _ = poll.tick() => if self.refs_changed().await || self.failed_plans > 0 {
                    self.plan(&mut damaged).await;
                },
                Ok(()) = damaged.changed() => self.plan(&mut damaged).await,
                Ok(()) = routing.changed() => {
                    routing.mark_unchanged();
                    // Connections come and go when nothing happens; those who were told need not be told again.
                    if self.meets_somebody_new(&mut told) && told.len() <= SMALL_NETWORK {
                        self.queue.make_all_due(Instant::now());
                    }
                }
                Some(ended) = self.running.join_next() => if let Ok((key, result)) = ended {
                    self.handle_announced(&key, result);
                },
                () = sleep_until(wake), if wake.is_some() => {}
            }
        }
    }

    /// Whether a DHT server is connected that has not been before.
    fn meets_somebody_new(&self, told: &mut BTreeSet<PeerId>) -> bool {
        let servers = self.node.peers().into_iter().filter(|info| info.is_dht_server && info.is_connected());
        let new: Vec<_> = servers.map(|info| info.peer).filter(|peer| !told.contains(peer)).collect();
        if told.len() + new.len() > MAX_TOLD {
            told.clear();
        }
        told.extend(&new);
        !new.is_empty()
    }

    /// Whether another process has set a ref.
    async fn refs_changed(&mut self) -> bool {
        let (catalog, known) = (self.catalog.clone(), self.refs.clone());
        let read = tokio::task::spawn_blocking(move || read_refs(&catalog, &known)).await;
        let Ok(Some(refs)) = read else { return false };
        let changed = refs != self.refs;
        self.refs = refs;
        changed
    }

    /// Works out anew what is to be announced. What it finds damaged on the way is news to nobody here.
    async fn plan(&mut self, damaged: &mut watch::Receiver<u64>) {
        let is_planned = self.try_to_plan().await;
        damaged.mark_unchanged();
        self.failed_plans = if is_planned { 0 } else { self.failed_plans + 1 };
    }

    /// Returns false, and leaves everything as it is, if something could not be read.
    async fn try_to_plan(&mut self) -> bool {
        let (catalog, known) = (self.catalog.clone(), self.refs.clone());
        let http_port = self.config.http_port;
        let is_patient = self.failed_plans < PATIENCE;
        let planned = tokio::task::spawn_blocking(move || {
            let refs = read_refs(&catalog, &known)?;
            Some((statements(&catalog, &refs, is_patient)?, adverts(&refs, http_port)))
        });
        let Ok(Some((wanted, adverts))) = planned.await else { return false };
        self.node.advertise_locally(adverts);
        let wanted = if self.node.has_dht() { wanted } else { BTreeMap::new() };
        if wanted.len() > MAX_KEYS {
            tracing::warn!(keys = wanted.len(), "more than {MAX_KEYS} keys: the last of them are not announced");
        }
        self.queue.plan(Instant::now(), wanted);
        self.told.send_replace(self.queue.keys());
        true
    }

    /// The first node of a network has nobody to tell: what it says is in its own part of the DHT. Any other one has told
    /// nobody as long as it is not connected.
    fn has_audience(&self, now: Instant) -> bool {
        !self.has_nobody() || self.may_be_alone(now)
    }

    fn may_be_alone(&self, now: Instant) -> bool {
        self.alone_at.is_some_and(|at| now >= at)
    }

    fn has_nobody(&self) -> bool {
        *self.node.routing_peers().borrow() == 0
    }

    fn announce_due(&mut self) {
        let now = Instant::now();
        if !self.has_audience(now) {
            return;
        }
        while let Some((key, statement)) = self.queue.next(now) {
            let node = self.node.clone();
            self.running.spawn(async move { (key.clone(), announce(&node, &key, statement).await) });
        }
    }

    fn handle_announced(&mut self, key: &Key, result: Result<(), QueryError>) {
        let now = Instant::now();
        let is_alone = self.has_nobody() && self.may_be_alone(now);
        if let Err(error) = &result {
            tracing::debug!(key = %String::from_utf8_lossy(key), %error, "announcement failed");
        }
        self.queue.finished(now, key, result.is_ok() || is_alone);
    }

    fn tell(&self) {
        let now = self.queue.announced();
        self.progress.send_if_modified(|told| std::mem::replace(told, now) != now);
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

async fn announce(node: &NodeHandle, key: &[u8], statement: Statement) -> Result<(), QueryError> {
    let value = match statement {
        Statement::Point(value) => value,
        Statement::Provide => return reached(node.provide(key).await),
        Statement::Withdraw => return reached(node.withdraw(key).await),
    };
    // Whoever finds us is told the pointer by us: providing does not wait for somebody to keep it.
    let put = node.put(key, value).await;
    reached(node.provide(key).await)?;
    // Whoever reads that all is announced may look for the name at once.
    node.settle(key).await;
    put.map(drop)
}

/// Provider records are not acknowledged; but if nobody has answered on the way, nobody has been told.
fn reached(provided: Result<QueryReport, QueryError>) -> Result<(), QueryError> {
    match provided? {
        report if report.answered == 0 => Err(QueryError::NotStored { report }),
        _ => Ok(()),
    }
}

/// The refs, of which some are known; `None` if they cannot be listed, which does not mean that there are none. One that cannot be
/// read is as it was.
fn read_refs(catalog: &Catalog, known: &[(Name, Vec<u8>)]) -> Option<Vec<(Name, Vec<u8>)>> {
    let names = catalog.store().names();
    let names = names.inspect_err(|error| tracing::warn!(%error, "cannot read the refs")).ok()?;
    let refs = names.into_iter().filter_map(|name| match catalog.store().pointer(&name) {
        Ok(pointer) => pointer.map(|pointer| (name, pointer.encode())),
        Err(error) => {
            tracing::warn!(%name, %error, "cannot read a ref");
            known.iter().find(|(other, _)| *other == name).cloned()
        }
    });
    Some(refs.collect())
}

/// What the local network is told.
fn adverts(refs: &[(Name, Vec<u8>)], http_port: Option<u16>) -> Vec<Advert> {
    let adverts = refs.iter().filter_map(|(name, pointer)| {
        let pointer: Pointer = Envelope::decode(pointer).ok()?.payload_unverified().ok()?;
        Some(Advert { name: name.clone(), version: pointer.version, http_port })
    });
    adverts.collect()
}

/// All that the store can serve, by DHT key; `None` if something cannot be read that may be there, and `is_patient`.
fn statements(catalog: &Catalog, refs: &[(Name, Vec<u8>)], is_patient: bool) -> Option<BTreeMap<Vec<u8>, Statement>> {
    // A failure is reported by the catalog; what is damaged is gone.
    let is_gone = |error: &StoreError| !is_patient || !matches!(error, StoreError::Io { .. });
    let mut all = BTreeMap::new();
    for (name, pointer) in refs {
        let (cid, manifest) = match manifest_behind(catalog, pointer) {
            Ok(Some(found)) => found,
            Err(error) if !is_gone(&error) => return None,
            _ => {
                tracing::warn!(%name, "its manifest cannot be read: not announced");
                continue;
            }
        };
        all.extend(name.keys().into_iter().map(|key| (key.into_bytes(), Statement::Point(pointer.clone()))));
        all.insert(cid.to_bytes(), Statement::Provide);
        for entry in &manifest.artifacts {
            match catalog.content(&entry.cid) {
                Ok(Some(_)) => drop(all.insert(entry.cid.to_bytes(), Statement::Provide)),
                Err(error) if !is_gone(&error) => return None,
                _ => {}
            }
        }
    }
    Some(all)
}

fn manifest_behind(catalog: &Catalog, pointer: &[u8]) -> Result<Option<(Cid, Manifest)>, StoreError> {
    let pointer = Envelope::decode(pointer).ok().and_then(|envelope| envelope.payload_unverified::<Pointer>().ok());
    let Some(cid) = pointer.and_then(|pointer| pointer.manifest) else { return Ok(None) };
    let Some(envelope) = catalog.block(&cid)? else { return Ok(None) };
    let manifest = Envelope::decode(&envelope).ok().and_then(|envelope| envelope.payload_unverified().ok());
    Ok(manifest.map(|manifest| (cid, manifest)))
}
