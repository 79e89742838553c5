//! Announces the releases in a store, and withdraws releases that the store no longer has.
//!
//! For every ref, the announcer puts the pointer record under each DHT key of the name. It provides the keys of the
//! name, of the manifest and of every artifact that the store can open. It also advertises the names in the local
//! network. Another process writes the refs, so the announcer polls them once a second.

mod queue;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use phase_core::dht::Pointer;
use phase_core::envelope::Envelope;
use phase_core::manifest::Manifest;
use phase_core::store::{FileStore, StoreError};
use phase_core::{Cid, DhtKey, Name};
use phase_node::{Advert, NodeHandle, PeerId, QueryError, QueryReport};
use phase_transfer::catalog::Catalog;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use queue::Announced;
use queue::{MAX_KEYS, Queue, Statement};

/// The interval at which the refs are polled.
const POLL: Duration = Duration::from_secs(1);
/// The maximum number of withdrawals that run at the same time during a shutdown.
const MAX_WITHDRAWALS: usize = 8;
/// The maximum number of DHT servers in a small network. In a small network, each server is among the closest nodes to
/// every key, so a server that joins should get all records at once.
const SMALL_NETWORK: usize = 20;
/// The capacity of the set of DHT servers that were connected before. A full set is cleared.
const MAX_SEEN: usize = 1024;
/// The number of consecutive failed plans after which content that cannot be read counts as removed. A plan is the list
/// of DHT keys to announce. Making it fails on an I/O error of the store, and is retried every second. An error that is
/// surely temporary, such as too many open files, never makes content count as removed.
const MAX_FAILED_PLANS: u32 = 5;
/// The maximum number of attempts to make a plan. Another attempt is needed if a ref changes meanwhile.
const PLAN_ATTEMPTS: u32 = 4;
/// The longest time that a shutdown spends on withdrawals.
const WITHDRAW_TIMEOUT: Duration = Duration::from_secs(5);

/// The configuration of an [`Announcer`].
pub(crate) struct AnnouncerConfig {
    /// The time between two announcements of the same key.
    pub(crate) interval: Duration,
    /// The time after which a node counts as the first node of its network if no DHT server is connected. `None` means
    /// never.
    pub(crate) alone_after: Option<Duration>,
    /// The store, in which the announced CIDs are noted.
    pub(crate) store: FileStore,
    /// The HTTP port to advertise in the local network, for clients that speak only HTTP.
    pub(crate) http_port: Option<u16>,
}

/// The announcer: the task that announces the releases in a store. Dropping this handle ends the task.
pub(crate) struct Announcer {
    announced: watch::Receiver<Announced>,
    planned_keys: watch::Receiver<Vec<(DhtKey, bool)>>,
    artifacts: watch::Receiver<BTreeSet<Cid>>,
    _stop: DropGuard,
}

impl Announcer {
    pub(crate) fn start(node: NodeHandle, catalog: Arc<Catalog>, config: AnnouncerConfig) -> Self {
        let (progress, announced) = watch::channel(Announced::default());
        let (planned, planned_keys) = watch::channel(Vec::new());
        let (in_releases, artifacts) = watch::channel(BTreeSet::new());
        let stop = CancellationToken::new();
        let now = Instant::now();
        let queue = Queue::new(config.interval);
        let alone_at = config.alone_after.map(|wait| now + wait);
        let (running, refs) = (JoinSet::new(), Vec::new());
        let work = Work {
            node,
            catalog,
            config,
            alone_at,
            queue,
            running,
            refs,
            failed_plans: 0,
            noted: Noted::default(),
            progress,
            planned,
            in_releases,
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(work.run()));
        Self { announced, planned_keys, artifacts, _stop: stop.drop_guard() }
    }

    /// Returns a receiver that is notified whenever the announcements were planned again, because the refs have changed.
    pub(crate) fn planned(&self) -> watch::Receiver<Vec<(DhtKey, bool)>> {
        self.planned_keys.clone()
    }

    pub(crate) fn announced(&self) -> watch::Receiver<Announced> {
        self.announced.clone()
    }

    /// Returns a receiver of the artifacts of all releases in the store, whether they can be served or not.
    pub(crate) fn artifacts(&self) -> watch::Receiver<BTreeSet<Cid>> {
        self.artifacts.clone()
    }

    /// Stops announcing and withdraws all announcements. Returns after [`WITHDRAW_TIMEOUT`] at the latest.
    pub(crate) async fn withdraw(self, node: &NodeHandle) {
        let keys = self.planned_keys.borrow().clone();
        drop(self);
        node.hide_addresses().await;
        let withdrawals = futures::stream::iter(keys)
            .map(|(key, is_withdrawal)| async move {
                // Withdraw a key whose withdrawal was planned, because DHT nodes may still have its record. The
                // announcement of any other key may never have started, so withdraw such a key only if this node
                // provides it.
                let withdrawn =
                    if is_withdrawal { node.withdraw(&key).await } else { node.withdraw_provided(&key).await };
                if withdrawn.is_ok() {
                    node.wait_until_announced(&key).await;
                }
            })
            .buffer_unordered(MAX_WITHDRAWALS)
            .collect::<Vec<_>>();
        if tokio::time::timeout(WITHDRAW_TIMEOUT, withdrawals).await.is_err() {
            tracing::warn!("not every key was withdrawn in time; the records that remain on DHT nodes will expire");
        }
    }
}

/// The state of the announcing task.
struct Work {
    node: NodeHandle,
    catalog: Arc<Catalog>,
    config: AnnouncerConfig,
    /// The time from which the node may announce without a connected DHT server. See [`AnnouncerConfig::alone_after`].
    alone_at: Option<Instant>,
    queue: Queue,
    running: JoinSet<(DhtKey, Result<(), QueryError>)>,
    /// The refs at the last poll: names and encoded pointers.
    refs: Vec<(Name, Vec<u8>)>,
    /// The number of plans that have failed since the last successful plan.
    failed_plans: u32,
    noted: Noted,
    progress: watch::Sender<Announced>,
    /// The DHT keys of the last plan, each with a flag: whether the key is to be withdrawn.
    planned: watch::Sender<Vec<(DhtKey, bool)>>,
    /// The artifacts of all releases in the last plan.
    in_releases: watch::Sender<BTreeSet<Cid>>,
}

/// The announced CIDs that are noted in the store, so that no other process removes their content.
#[derive(Default)]
struct Noted {
    /// The content that the last plan announces.
    planned: BTreeSet<Cid>,
    /// Whether the note in the store may list CIDs that are withdrawn by now.
    is_stale: bool,
    /// The CIDs in the note in the store.
    written: BTreeSet<Cid>,
}

impl Work {
    async fn run(mut self) {
        let mut poll = tokio::time::interval(POLL);
        let mut routing = self.node.routing_peers();
        let mut damaged = self.catalog.damaged();
        let mut withdrawn = self.catalog.withdrawn();
        let mut seen = BTreeSet::new();
        self.plan(&mut damaged).await;
        loop {
            self.announce_due();
            self.publish_progress();
            let now = Instant::now();
            let wake = if self.may_announce(now) { self.queue.wake_at(now) } else { self.alone_at };
            tokio::select! {
                _ = poll.tick() => {
                    if self.refs_changed().await || self.failed_plans > 0 {
                        self.plan(&mut damaged).await;
                    }
                    self.note_withdrawals().await;
                }
                Ok(()) = damaged.changed() => self.plan(&mut damaged).await,
                Ok(()) = withdrawn.changed() => {
                    withdrawn.mark_unchanged();
                    self.plan(&mut damaged).await;
                }
                Ok(()) = routing.changed() => {
                    routing.mark_unchanged();
                    // A server that reconnects after an idle time still has the records. A server that was never
                    // connected lacks them.
                    if self.has_new_server(&mut seen) && seen.len() <= SMALL_NETWORK {
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

    /// Adds the connected DHT servers to `seen`. Returns whether any of them was not in `seen` before.
    fn has_new_server(&self, seen: &mut BTreeSet<PeerId>) -> bool {
        let servers = self.node.peers().into_iter().filter(|info| info.is_dht_server && info.is_connected());
        let new: Vec<_> = servers.map(|info| info.peer).filter(|peer| !seen.contains(peer)).collect();
        if seen.len() + new.len() > MAX_SEEN {
            seen.clear();
        }
        seen.extend(&new);
        !new.is_empty()
    }

    /// Reads the refs. Returns whether any ref has changed since the last read, or an open artifact was removed.
    async fn refs_changed(&mut self) -> bool {
        let (catalog, known) = (self.catalog.clone(), self.refs.clone());
        let read = tokio::task::spawn_blocking(move || (catalog.close_removed(), read_refs(&catalog, &known))).await;
        let Ok((is_removed, Some(refs))) = read else { return false };
        let changed = refs != self.refs || is_removed;
        self.refs = refs;
        changed
    }

    /// Returns the content that is announced, or whose withdrawal has not ended.
    fn live_content(&self) -> BTreeSet<Cid> {
        let in_dht = self.queue.keys().into_iter().filter_map(|(key, _)| match key {
            DhtKey::Content(cid) => Some(cid),
            _ => None,
        });
        in_dht.chain(self.noted.planned.iter().copied()).collect()
    }

    /// Takes the content that was withdrawn out of the note in the store.
    async fn note_withdrawals(&mut self) {
        if !std::mem::take(&mut self.noted.is_stale) {
            return;
        }
        let live = self.live_content();
        if live == self.noted.written {
            return;
        }
        let (store, cids) = (self.config.store.clone(), live.clone());
        // After a failure, the next poll tries again.
        let written = tokio::task::spawn_blocking(move || store.set_announced(&cids).is_ok()).await.unwrap_or(false);
        self.noted.is_stale = !written;
        if written {
            self.noted.written = live;
        }
    }

    /// Makes a new plan of the announcements. Ignores damage that is found meanwhile, because the new plan leaves out
    /// the damaged content.
    async fn plan(&mut self, damaged: &mut watch::Receiver<u64>) {
        let is_planned = self.try_to_plan().await;
        damaged.mark_unchanged();
        self.failed_plans = if is_planned { 0 } else { self.failed_plans + 1 };
    }

    /// Plans the announcements: gives the queue the DHT keys of all content that the store can serve. Returns false and
    /// changes nothing if the store cannot be read.
    async fn try_to_plan(&mut self) -> bool {
        let (catalog, store, known) = (self.catalog.clone(), self.config.store.clone(), self.refs.clone());
        let (http_port, live) = (self.config.http_port, self.live_content());
        let may_retry = self.failed_plans < MAX_FAILED_PLANS;
        let planned = tokio::task::spawn_blocking(move || {
            for _ in 0..PLAN_ATTEMPTS {
                let refs = read_refs(&catalog, &known)?;
                let plan = Plan::make(&catalog, &refs, may_retry)?;
                let content = content_of(&plan.statements);
                let noted = live.union(&content).copied().collect();
                if let Err(error) = store.set_announced(&noted) {
                    tracing::warn!(%error, "cannot note in the store what is announced: another process may remove it");
                }
                // A process that removes a release removes its ref first, and then looks whether the content is noted.
                // If the refs are still the same, that process finds the content in the note.
                if read_refs(&catalog, &known)? == refs {
                    let visible = refs.iter().filter(|(name, _)| !plan.withdrawn.contains(name));
                    let adverts = adverts(visible, http_port);
                    return Some((plan, content, noted, adverts));
                }
            }
            None
        });
        let Ok(Some((plan, content, noted, adverts))) = planned.await else { return false };
        let Plan { statements: wanted, artifacts, .. } = plan;
        self.noted = Noted { planned: content, is_stale: true, written: noted };
        self.node.advertise_locally(adverts);
        self.in_releases.send_if_modified(|last| std::mem::replace(last, artifacts.clone()) != artifacts);
        let wanted = if self.node.has_dht() { wanted } else { BTreeMap::new() };
        if wanted.len() > MAX_KEYS {
            tracing::warn!(keys = wanted.len(), "the store has more than {MAX_KEYS} keys: the rest is not announced");
        }
        self.queue.plan(Instant::now(), wanted);
        self.planned.send_replace(self.queue.keys());
        true
    }

    /// Returns whether the node may announce now. An announcement needs a connected DHT server. The first node of a
    /// network is an exception, because its own record store is the whole DHT.
    fn may_announce(&self, now: Instant) -> bool {
        self.has_server() || self.may_be_alone(now)
    }

    fn may_be_alone(&self, now: Instant) -> bool {
        self.alone_at.is_some_and(|at| now >= at)
    }

    fn has_server(&self) -> bool {
        *self.node.routing_peers().borrow() > 0
    }

    fn announce_due(&mut self) {
        let now = Instant::now();
        if !self.may_announce(now) {
            return;
        }
        while let Some((key, statement)) = self.queue.next(now) {
            let node = self.node.clone();
            self.running.spawn(async move { (key.clone(), announce(&node, &key, statement).await) });
        }
    }

    fn handle_announced(&mut self, key: &DhtKey, result: Result<(), QueryError>) {
        let now = Instant::now();
        let is_alone = !self.has_server() && self.may_be_alone(now);
        if let Err(error) = &result {
            tracing::debug!(%key, %error, "announcement failed");
        }
        self.queue.finished(now, key, result.is_ok() || is_alone);
        // The key may have been withdrawn.
        self.noted.is_stale = true;
    }

    fn publish_progress(&self) {
        let now = self.queue.announced();
        self.progress.send_if_modified(|last| std::mem::replace(last, now) != now);
    }
}

/// Returns the CIDs of the content that is to be announced.
fn content_of(wanted: &BTreeMap<DhtKey, Statement>) -> BTreeSet<Cid> {
    let content = wanted.keys().filter_map(|key| match key {
        DhtKey::Content(cid) => Some(*cid),
        _ => None,
    });
    content.collect()
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

async fn announce(node: &NodeHandle, key: &DhtKey, statement: Statement) -> Result<(), QueryError> {
    let value = match statement {
        Statement::Point(value) => value,
        Statement::Provide => return require_answer(node.provide(key).await),
        Statement::Withdraw => return require_answer(node.withdraw(key).await),
    };
    // Provide the key even if no node stored the pointer, because a client that finds this provider can ask it for the
    // pointer.
    let put = node.put(key, value).await;
    require_answer(node.provide(key).await)?;
    // Wait until the records have arrived, so that a client finds the name as soon as the provider reports that all
    // keys are announced.
    node.wait_until_announced(key).await;
    put.map(drop)
}

/// Returns an error if no node answered the query, because then no node has received the record. Nodes do not
/// acknowledge provider records.
fn require_answer(provided: Result<QueryReport, QueryError>) -> Result<(), QueryError> {
    match provided? {
        report if report.answered == 0 => Err(QueryError::NotStored { report }),
        _ => Ok(()),
    }
}

/// Returns the names and encoded pointers of all refs, or `None` if the refs cannot be listed. A ref that cannot be
/// read keeps its value from `known`.
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

/// Returns the adverts for the local network, one for each ref.
fn adverts<'a>(refs: impl Iterator<Item = &'a (Name, Vec<u8>)>, http_port: Option<u16>) -> Vec<Advert> {
    let adverts = refs.filter_map(|(name, pointer)| {
        let pointer: Pointer = Envelope::decode(pointer).ok()?.payload_unverified().ok()?;
        Some(Advert { name: name.clone(), version: pointer.version, http_port })
    });
    adverts.collect()
}

/// What is to be announced.
#[derive(Default)]
struct Plan {
    /// The DHT keys of all content that the store can serve, each with what to announce under it.
    statements: BTreeMap<DhtKey, Statement>,
    /// The artifacts of all releases.
    artifacts: BTreeSet<Cid>,
    /// The names whose release has an artifact with a damaged file. Their pointers and manifests are not announced,
    /// because a client that finds the release here could not fetch all of it. The other artifacts are still provided.
    withdrawn: BTreeSet<Name>,
}

impl Plan {
    /// Makes the plan for these refs. Returns `None` if a read fails with an error that may be temporary, so that the
    /// caller can retry. If `may_retry` is false, content that cannot be read is left out.
    fn make(catalog: &Catalog, refs: &[(Name, Vec<u8>)], may_retry: bool) -> Option<Self> {
        // Only an I/O error may be temporary. Other errors mean that the content is damaged, which the catalog logs. A
        // lack of open files or memory says nothing about the content, however long it lasts.
        let is_gone =
            |error: &StoreError| !error.is_temporary() && (!may_retry || !matches!(error, StoreError::Io { .. }));
        let mut plan = Self::default();
        for (name, pointer) in refs {
            let (cid, manifest) = match manifest_of(catalog, pointer) {
                Ok(Some(found)) => found,
                Err(error) if !is_gone(&error) => return None,
                _ => {
                    tracing::warn!(%name, "cannot read the manifest of this name: the name is not announced");
                    continue;
                }
            };
            for entry in &manifest.artifacts {
                plan.artifacts.insert(entry.cid);
                match catalog.content(&entry.cid) {
                    Ok(Some(_)) => drop(plan.statements.insert(DhtKey::Content(entry.cid), Statement::Provide)),
                    Err(error) if !is_gone(&error) && !catalog.is_withdrawn(&entry.cid) => return None,
                    _ => {}
                }
            }
            if manifest.artifacts.iter().any(|entry| catalog.is_withdrawn(&entry.cid)) {
                plan.withdrawn.insert(name.clone());
                continue;
            }
            let keys = DhtKey::Name(name.clone()).copies();
            plan.statements.extend(keys.into_iter().map(|key| (key, Statement::Point(pointer.clone()))));
            plan.statements.insert(DhtKey::Content(cid), Statement::Provide);
        }
        Some(plan)
    }
}

/// Returns the manifest to which an encoded pointer leads, or `None` if the store does not have it.
fn manifest_of(catalog: &Catalog, pointer: &[u8]) -> Result<Option<(Cid, Manifest)>, StoreError> {
    let pointer = Envelope::decode(pointer).ok().and_then(|envelope| envelope.payload_unverified::<Pointer>().ok());
    let Some(cid) = pointer.and_then(|pointer| pointer.manifest) else { return Ok(None) };
    let Some(envelope) = catalog.block(&cid)? else { return Ok(None) };
    let manifest = Envelope::decode(&envelope).ok().and_then(|envelope| envelope.payload_unverified().ok());
    Ok(manifest.map(|manifest| (cid, manifest)))
}
