//! Fetches the artifacts of a resolved release into the store.

use std::collections::BTreeSet;
use std::sync::Arc;

use phase_core::DhtKey;
use phase_core::handover::Output;
use phase_core::manifest::{ArtifactEntry, Manifest};
use phase_core::store::{Need, Store, StoreError};
use phase_transfer::catalog::Catalog;
use phase_transfer::download::{self, DownloadError, Inputs, Progress, Report, Wanted};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::client::Client;
use crate::fetch_error::FetchError;
use crate::indexes;
use crate::peer_search::{self, SearchTargets};
use crate::pool::Pool;
use crate::resolve::Resolved;

/// The capacity of the channel that passes open links to the download.
const LINK_QUEUE: usize = 16;

/// The artifacts of a release to fetch.
#[derive(Clone, Debug, Default)]
pub enum Selection {
    /// All artifacts of the release.
    #[default]
    All,
    /// Only the artifacts whose role or file name is in this list.
    Some(Vec<String>),
}

/// The options of a fetch: the artifacts to fetch, and the limits of the download.
#[derive(Clone, Debug, Default)]
pub struct FetchOptions {
    /// The artifacts to fetch.
    pub selection: Selection,
    /// Whether the store's ref stays as it is, although the whole release is fetched. It does when an older release is
    /// fetched again.
    pub keeps_ref: bool,
    /// The configuration of the download, such as its windows, limits and timeouts.
    pub download: download::Config,
    /// The output to which the artifacts will be handed over, if any. The fetch fails before the first chunk if they do
    /// not fit there.
    pub output: Option<Arc<Output>>,
}

/// A running fetch. Dropping this handle stops the fetch, but verified chunks stay in the store.
pub struct Fetch {
    progress: ProgressReceiver,
    task: JoinHandle<Result<Report, FetchError>>,
    stop: CancellationToken,
    _guard: DropGuard,
}

impl Fetch {
    /// Returns a receiver for the progress of the fetch.
    pub fn progress(&self) -> ProgressReceiver {
        self.progress.clone()
    }

    /// Returns a token. If the caller cancels the token, the fetch stops cleanly, and [`finish`](Self::finish) returns
    /// [`DownloadError::Interrupted`].
    pub fn stopper(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Waits until the fetch has ended.
    ///
    /// # Errors
    /// [`FetchError`] if the fetch fails or is stopped. Chunks that were verified before the error stay in the store.
    pub async fn finish(self) -> Result<Report, FetchError> {
        self.task.await.unwrap_or_else(|error| Err(FetchError::Worker(error)))
    }
}

/// Receives the progress of a fetch. Each method returns a copy, because a borrowed value would block the fetch.
#[derive(Clone, Debug)]
pub struct ProgressReceiver(watch::Receiver<Progress>);

impl ProgressReceiver {
    /// Returns the current progress, or the final progress if the fetch has ended.
    pub fn latest(&self) -> Progress {
        self.0.borrow().clone()
    }

    /// Waits for progress that this receiver has not seen yet. Returns `None` if the fetch has ended.
    pub async fn changed(&mut self) -> Option<Progress> {
        self.0.changed().await.ok()?;
        Some(self.0.borrow_and_update().clone())
    }

    /// Waits until `condition` is true for the progress, and checks the current progress first. Returns `None` if the
    /// fetch ends before the condition is true.
    pub async fn wait_for(&mut self, condition: impl FnMut(&Progress) -> bool) -> Option<Progress> {
        Some(self.0.wait_for(condition).await.ok()?.clone())
    }
}

impl Client {
    /// Starts to fetch a release. When the whole release is in the store, the fetch sets the store's ref for the name
    /// to this release. A fetch of only some artifacts leaves the ref unchanged.
    pub fn fetch(&self, resolved: &Resolved, options: FetchOptions) -> Fetch {
        let (sender, progress) = watch::channel(Progress::default());
        let stop = CancellationToken::new();
        let work = Work {
            node: self.node().clone(),
            catalog: self.catalog().clone(),
            resolved: resolved.clone(),
            options,
            progress: sender,
            stop: stop.clone(),
        };
        Fetch {
            progress: ProgressReceiver(progress),
            task: tokio::spawn(work.run()),
            _guard: stop.clone().drop_guard(),
            stop,
        }
    }
}

struct Work {
    node: phase_node::NodeHandle,
    catalog: Arc<Catalog>,
    resolved: Resolved,
    options: FetchOptions,
    progress: watch::Sender<Progress>,
    stop: CancellationToken,
}

impl Work {
    async fn run(self) -> Result<Report, FetchError> {
        let selected = self.options.selection.of(&self.resolved.manifest)?;
        let is_whole = selected.len() == self.resolved.manifest.artifacts.len();
        let entries = distinct(selected);
        self.store(|store, resolved| store.put_block(&resolved.manifest_cid, &resolved.envelope)).await?;
        let (opener, events) = download::links(&self.node);
        let pool = Arc::new(Pool::new());
        // This token stops the peer search and the link feed when this function returns.
        let helpers = CancellationToken::new();
        let _guard = helpers.clone().drop_guard();
        let targets = search_targets(&self.resolved, &entries);
        let searching = peer_search::run(self.node.clone(), opener, pool.clone(), targets);
        tokio::spawn(helpers.clone().run_until_cancelled_owned(searching));

        let collected = indexes::collect(self.catalog.store(), &pool, &entries);
        let wanted = self.stop.run_until_cancelled(collected).await.ok_or(DownloadError::Interrupted)??;
        self.check_space(&wanted).await?;
        let (feed, links) = mpsc::channel(LINK_QUEUE);
        let feeding = async move { pool.feed(feed).await };
        tokio::spawn(helpers.run_until_cancelled_owned(feeding));
        let inputs = Inputs {
            catalog: self.catalog.clone(),
            wanted,
            links,
            events,
            progress: self.progress.clone(),
            stop: self.stop.clone(),
        };
        let report = download::run(inputs, self.options.download.clone()).await?;
        if is_whole && !self.options.keeps_ref {
            // Set the ref only now, because the store must be able to serve every artifact of a release with a ref.
            self.store(|store, resolved| match store.set_ref(&resolved.name, &resolved.pointer) {
                // Another process has fetched or published a newer release in the meantime. This release is complete
                // in the store as well, and the name keeps pointing to the newer one.
                Err(StoreError::RefIsNewer { version, held, .. }) if version < held => Ok(()),
                other => other,
            })
            .await?;
        }
        Ok(report)
    }

    /// Checks that all artifacts that are not stored yet fit into the store together, and into the output. Artifacts that fit one by one may
    /// not, and the fetch would fail in the middle.
    async fn check_space(&self, wanted: &[Wanted]) -> Result<(), FetchError> {
        let wanted: Vec<_> = wanted.iter().map(|wanted| (wanted.cid, wanted.index.clone())).collect();
        let (store, output) = (self.catalog.store().clone(), self.options.output.clone());
        let checked = tokio::task::spawn_blocking(move || {
            let mut need = Need::default();
            wanted.iter().for_each(|(cid, index)| need.add(&store.needed_to_fetch(cid, index)));
            store.check_space(&need).map_err(FetchError::DoesNotFit)?;
            let artifacts = wanted.iter().map(|(cid, index)| (*cid, &**index));
            let fits = output.map_or(Ok(()), |output| output.check_export(store.as_ref(), need, artifacts));
            fits.map_err(FetchError::DoesNotFit)
        });
        checked.await.map_err(FetchError::Worker)?
    }

    /// Runs a store operation on the thread pool for blocking work.
    async fn store(
        &self,
        work: impl FnOnce(&dyn Store, &Resolved) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), FetchError> {
        let (store, resolved) = (self.catalog.store().clone(), self.resolved.clone());
        let done = tokio::task::spawn_blocking(move || work(store.as_ref(), &resolved)).await;
        Ok(done.map_err(FetchError::Worker)??)
    }
}

impl Selection {
    /// Returns the selected artifacts of a release.
    ///
    /// # Errors
    /// [`FetchError::NoSuchArtifact`] if the selection names an artifact that the release does not have.
    pub fn of(&self, manifest: &Manifest) -> Result<Vec<ArtifactEntry>, FetchError> {
        let all = &manifest.artifacts;
        let Self::Some(wanted) = self else { return Ok(all.clone()) };
        let matches =
            |entry: &ArtifactEntry, text: &str| entry.role.as_str() == text || entry.filename.as_str() == text;
        if let Some(missing) = wanted.iter().find(|text| !all.iter().any(|entry| matches(entry, text))) {
            let offered = all.iter().take(10).map(|entry| format!("{} ({})", entry.role, entry.filename));
            return Err(FetchError::NoSuchArtifact {
                wanted: missing.clone(),
                offered: offered.collect::<Vec<_>>().join(", "),
            });
        }
        Ok(all.iter().filter(|entry| wanted.iter().any(|text| matches(entry, text))).cloned().collect())
    }
}

/// Deduplicates entries by artifact CID, because files with the same bytes are one artifact.
fn distinct(mut entries: Vec<ArtifactEntry>) -> Vec<ArtifactEntry> {
    let mut seen = BTreeSet::new();
    entries.retain(|entry| seen.insert(entry.cid));
    entries
}

/// Returns the targets of the peer search. Large artifacts come first, because the search uses only the first few.
fn search_targets(resolved: &Resolved, entries: &[ArtifactEntry]) -> SearchTargets {
    let mut by_size: Vec<_> = entries.iter().collect();
    by_size.sort_by_key(|entry| std::cmp::Reverse(entry.size));
    SearchTargets {
        peers: resolved.providers.clone(),
        keys: vec![DhtKey::Name(resolved.name.clone()), DhtKey::Content(resolved.manifest_cid)],
        artifacts: by_size.iter().map(|entry| entry.cid).collect(),
    }
}
