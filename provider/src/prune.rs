//! Removes old releases from the store after a newer release was announced.

use std::sync::Arc;
use std::time::Duration;

use phase_core::DhtKey;
use phase_core::store::{FileStore, Goal, Prune, Removal};
use phase_node::Clock;
use phase_transfer::catalog::Catalog;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::announce::Announced;

/// The time after which a prune is repeated because old content is not withdrawn yet. A prune that failed is repeated
/// when a ref changes.
const RETRY: Duration = Duration::from_secs(5);

/// The pruner: the task that removes old releases. Dropping this handle ends the task.
pub(crate) struct Pruner {
    _stop: DropGuard,
}

impl Pruner {
    /// Starts the task. `planned` is notified when the refs have changed, and `announced` when the announcements have
    /// made progress.
    pub(crate) fn start(
        store: FileStore,
        catalog: Arc<Catalog>,
        limits: Prune,
        clock: Clock,
        planned: watch::Receiver<Vec<(DhtKey, bool)>>,
        announced: watch::Receiver<Announced>,
    ) -> Self {
        let stop = CancellationToken::new();
        let run = run(store, catalog, limits, clock, planned, announced);
        tokio::spawn(stop.clone().run_until_cancelled_owned(run));
        Self { _stop: stop.drop_guard() }
    }
}

async fn run(
    store: FileStore,
    catalog: Arc<Catalog>,
    limits: Prune,
    clock: Clock,
    mut planned: watch::Receiver<Vec<(DhtKey, bool)>>,
    mut announced: watch::Receiver<Announced>,
) {
    while planned.changed().await.is_ok() {
        // Clients should find the new release before the old one goes.
        if announced.wait_for(|announced| announced.done >= announced.wanted).await.is_err() {
            return;
        }
        while !prune(&store, &catalog, limits, clock()).await {
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Removes old releases. Returns false if it has to be called again, because content is not withdrawn yet.
async fn prune(store: &FileStore, catalog: &Arc<Catalog>, limits: Prune, now: u64) -> bool {
    let (store, catalog) = (store.clone(), catalog.clone());
    let removed = tokio::task::spawn_blocking(move || {
        let removed = store.remove(&Removal::new(Goal::Prune(limits), now));
        // An open file keeps its disk space.
        catalog.close_removed();
        removed
    });
    match removed.await {
        Ok(Ok(removed)) => {
            for release in &removed.releases {
                tracing::info!(%release, "removed an old release from the store");
            }
            if let Some(max) = limits.max_bytes.filter(|max| removed.left > *max && removed.announced.is_empty()) {
                tracing::warn!(max, left = removed.left, "current and pinned releases are larger than --max-size");
            }
            removed.announced.is_empty()
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "cannot remove old releases; trying again when a newer release is announced");
            true
        }
        Err(_) => true,
    }
}
