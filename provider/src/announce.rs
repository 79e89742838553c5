//! Keeps the DHT's knowledge of a store up to date.
//!
//! Announced are, for every ref: the signed pointer record as value at the name's key, and ourselves as provider of the
//! name, the manifest and every artifact that opens. New publishes are noticed within a second, by looking at the refs:
//! another process writes them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use phase_core::Name;
use phase_core::envelope::Envelope;
use phase_core::manifest::Manifest;
use phase_core::pointer::Pointer;
use phase_transfer::net::catalog::Catalog;
use phase_transfer::net::{NodeHandle, QueryError};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How often the refs are looked at.
const POLL: Duration = Duration::from_secs(1);
/// Announcements under way at a time: each is a DHT query to the closest twenty nodes.
const CONCURRENCY: usize = 8;
/// How long to wait after a failed announcement; doubles up to the maximum.
const RETRY_MIN: Duration = Duration::from_secs(2);
/// The longest wait after failed announcements.
const RETRY_MAX: Duration = Duration::from_secs(120);
/// In a network of fewer nodes than this, everybody is among the closest to everything, so a node that joins should be
/// told at once.
const SMALL_NETWORK: usize = 20;
/// How long a shutdown may spend on withdrawing.
const WITHDRAW_TIMEOUT: Duration = Duration::from_secs(5);

/// How much of what is to be announced has been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// Keys to announce.
    pub wanted: usize,
    /// Keys announced, and not due again.
    pub done: usize,
}

/// What is said about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Statement {
    /// We provide it.
    Provide,
    /// We provide it, and this is the value there.
    Point(Vec<u8>),
}

struct Entry {
    statement: Statement,
    due: Instant,
    retry: Duration,
    done: bool,
}

type Entries = BTreeMap<Vec<u8>, Entry>;

/// The task that announces.
pub(crate) struct Announcer {
    announced: watch::Receiver<Announced>,
    keys: watch::Receiver<Vec<Vec<u8>>>,
    _stop: DropGuard,
}

impl Announcer {
    /// `is_first` says that the network may consist of this node alone.
    pub(crate) fn start(node: NodeHandle, catalog: Arc<Catalog>, interval: Duration, is_first: bool) -> Self {
        let (progress, announced) = watch::channel(Announced::default());
        let (told, keys) = watch::channel(Vec::new());
        let stop = CancellationToken::new();
        let work =
            Work { node, catalog, interval, is_first, entries: Entries::new(), refs: Vec::new(), progress, told };
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
            .map(|key| async move {
                if node.withdraw(&key).await.is_ok() {
                    node.settle(&key).await;
                }
            })
            .buffer_unordered(CONCURRENCY)
            .collect::<Vec<_>>();
        if tokio::time::timeout(WITHDRAW_TIMEOUT, withdrawals).await.is_err() {
            tracing::warn!("not everything could be withdrawn in time: others forget it within the hour");
        }
    }
}

struct Work {
    node: NodeHandle,
    catalog: Arc<Catalog>,
    interval: Duration,
    is_first: bool,
    entries: Entries,
    /// The refs as last seen.
    refs: Vec<(Name, Vec<u8>)>,
    progress: watch::Sender<Announced>,
    /// Everything that has ever been announced and not withdrawn.
    told: watch::Sender<Vec<Vec<u8>>>,
}

impl Work {
    async fn run(mut self) {
        let mut poll = tokio::time::interval(POLL);
        let mut routing = self.node.routing_peers();
        let mut damaged = self.catalog.damaged();
        let mut known_nodes = 0;
        self.plan().await;
        loop {
            tokio::select! {
                _ = poll.tick() => if self.refs_changed().await {
                    self.plan().await;
                },
                Ok(()) = damaged.changed() => self.plan().await,
                Ok(()) = routing.changed() => {
                    let nodes = *routing.borrow_and_update();
                    if nodes > known_nodes && nodes <= SMALL_NETWORK {
                        self.make_all_due();
                    }
                    known_nodes = nodes;
                }
            }
            self.announce_due().await;
        }
    }

    /// Whether another process has set a ref.
    async fn refs_changed(&mut self) -> bool {
        let catalog = self.catalog.clone();
        let refs = tokio::task::spawn_blocking(move || read_refs(&catalog)).await.unwrap_or_default();
        let changed = refs != self.refs;
        self.refs = refs;
        changed
    }

    /// Works out anew what is to be announced.
    async fn plan(&mut self) {
        let catalog = self.catalog.clone();
        let Ok(wanted) = tokio::task::spawn_blocking(move || statements(&catalog)).await else { return };
        for key in self.entries.keys().filter(|key| !wanted.contains_key(*key)) {
            // No longer there: others forget it when its time is over, and are told so if they ask before.
            let _ = self.node.withdraw(key).await;
        }
        self.entries.retain(|key, _| wanted.contains_key(key));
        let now = Instant::now();
        for (key, statement) in wanted {
            let entry = Entry { statement, due: now, retry: RETRY_MIN, done: false };
            match self.entries.get_mut(&key) {
                Some(held) if held.statement == entry.statement => {}
                _ => {
                    self.entries.insert(key, entry);
                }
            }
        }
        self.told.send_replace(self.entries.keys().cloned().collect());
        self.tell();
    }

    fn make_all_due(&mut self) {
        let now = Instant::now();
        for entry in self.entries.values_mut() {
            entry.due = now;
            entry.retry = RETRY_MIN;
        }
    }

    async fn announce_due(&mut self) {
        let now = Instant::now();
        // The first node of a network has nobody to tell: what it says is in its own part of the DHT. Any other one has
        // told nobody as long as it is not connected.
        let is_alone = *self.node.routing_peers().borrow() == 0;
        if is_alone && !self.is_first {
            return;
        }
        let mut due: Vec<_> = self.entries.iter().filter(|(_, entry)| entry.due <= now).collect();
        // Names first: without them nobody looks for the rest.
        due.sort_by_key(|(_, entry)| entry.statement == Statement::Provide);
        let due: Vec<_> = due.into_iter().map(|(key, entry)| (key.clone(), entry.statement.clone())).collect();
        let node = self.node.clone();
        let mut results = futures::stream::iter(due)
            .map(|(key, statement)| {
                let node = node.clone();
                async move { (announce(&node, &key, statement).await, key) }
            })
            .buffer_unordered(CONCURRENCY);
        while let Some((result, key)) = results.next().await {
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            let result = result.or_else(|error| if is_alone { Ok(()) } else { Err(error) });
            entry.done = result.is_ok();
            match result {
                Ok(()) => {
                    entry.due = Instant::now() + self.interval;
                    entry.retry = RETRY_MIN;
                }
                Err(error) => {
                    tracing::debug!(key = %String::from_utf8_lossy(&key), %error, "announcement failed");
                    entry.due = Instant::now() + entry.retry;
                    entry.retry = (entry.retry * 2).min(RETRY_MAX);
                }
            }
        }
        drop(results);
        self.tell();
    }

    fn tell(&self) {
        let done = self.entries.values().filter(|entry| entry.done).count();
        let now = Announced { wanted: self.entries.len(), done };
        self.progress.send_if_modified(|told| std::mem::replace(told, now) != now);
    }
}

async fn announce(node: &NodeHandle, key: &[u8], statement: Statement) -> Result<(), QueryError> {
    let Statement::Point(value) = statement else { return node.provide(key).await };
    node.put(key, value).await?;
    node.provide(key).await?;
    // Whoever reads that all is announced may look for the name at once.
    node.settle(key).await;
    Ok(())
}

fn read_refs(catalog: &Catalog) -> Vec<(Name, Vec<u8>)> {
    let names = catalog.store().names().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot read the refs");
        Vec::new()
    });
    let refs = names.into_iter().filter_map(|name| match catalog.store().pointer(&name) {
        Ok(pointer) => pointer.map(|pointer| (name, pointer.encode())),
        Err(error) => {
            tracing::warn!(%name, %error, "cannot read a ref");
            None
        }
    });
    refs.collect()
}

/// All that the store can serve, by DHT key.
fn statements(catalog: &Catalog) -> BTreeMap<Vec<u8>, Statement> {
    let mut all = BTreeMap::new();
    for (name, pointer) in read_refs(catalog) {
        match manifest_behind(catalog, &pointer) {
            Some((cid, manifest)) => {
                all.insert(name.key().into_bytes(), Statement::Point(pointer));
                all.insert(cid.to_bytes(), Statement::Provide);
                // What cannot be opened is reported by the catalog, and not announced.
                let there =
                    manifest.artifacts.iter().filter(|entry| matches!(catalog.content(&entry.cid), Ok(Some(_))));
                all.extend(there.map(|entry| (entry.cid.to_bytes(), Statement::Provide)));
            }
            None => tracing::warn!(%name, "its manifest cannot be read: not announced"),
        }
    }
    all
}

fn manifest_behind(catalog: &Catalog, pointer: &[u8]) -> Option<(phase_core::Cid, Manifest)> {
    let pointer: Pointer = Envelope::decode(pointer).ok()?.payload_unverified().ok()?;
    let envelope = catalog.block(&pointer.manifest).ok()??;
    Some((pointer.manifest, Envelope::decode(&envelope).ok()?.payload_unverified().ok()?))
}
