//! Fetches the indexes of artifacts, which are needed before their chunks can be downloaded.

use std::sync::Arc;
use std::time::Duration;

use phase_core::index::IndexDecoder;
use phase_core::manifest::{ArtifactEntry, Role};
use phase_core::store::{Store, StoreError};
use phase_core::{ArtifactIndex, Attempt, Cid};
use phase_transfer::download::Wanted;
use tokio::task::JoinSet;

use crate::fetch_error::FetchError;
use crate::pool::Pool;

/// The maximum number of indexes that are fetched at the same time.
const CONCURRENCY: usize = 64;
/// The longest time to wait for an index block from any peer.
const BLOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// Returns the indexes of all `entries`, in the same order. Blocks that the store lacks are fetched from peers. The
/// blocks of an index with several blocks are stored when they arrive. An index with one block is stored later, when
/// the download of its artifact begins.
pub(crate) async fn collect(
    store: &Arc<dyn Store>,
    pool: &Arc<Pool>,
    entries: &[ArtifactEntry],
) -> Result<Vec<Wanted>, FetchError> {
    let mut indexes: Vec<Option<Arc<ArtifactIndex>>> = vec![None; entries.len()];
    let mut running = JoinSet::new();
    for (position, entry) in entries.iter().enumerate() {
        if running.len() >= CONCURRENCY {
            set_index(&mut indexes, running.join_next().await)?;
        }
        let (store, pool, entry) = (store.clone(), pool.clone(), entry.clone());
        running.spawn(async move { Ok((position, fetch(store, &pool, &entry).await?)) });
    }
    while let Some(result) = running.join_next().await {
        set_index(&mut indexes, Some(result))?;
    }
    let wanted = entries.iter().zip(indexes).map(|(entry, index)| Wanted {
        cid: entry.cid,
        priority: priority_of(&entry.role),
        index: index.expect("every task has set its index or returned an error"),
    });
    Ok(wanted.collect())
}

/// Returns the priority class of a role. Artifacts of a lower class are fetched first. Artifacts that are needed first
/// at boot have class 0.
fn priority_of(role: &Role) -> u8 {
    match role.as_str() {
        Role::KERNEL | Role::INITRAMFS | Role::DTB => 0,
        Role::ROOTFS => 1,
        _ => 2,
    }
}

type TaskResult = Result<Result<(usize, Arc<ArtifactIndex>), FetchError>, tokio::task::JoinError>;

fn set_index(indexes: &mut [Option<Arc<ArtifactIndex>>], result: Option<TaskResult>) -> Result<(), FetchError> {
    if let Some(result) = result {
        let (position, index) = result.map_err(FetchError::Worker)??;
        indexes[position] = Some(index);
    }
    Ok(())
}

/// Returns the index of one artifact. Checks the index against the entry in the manifest.
async fn fetch(store: Arc<dyn Store>, pool: &Pool, entry: &ArtifactEntry) -> Result<Arc<ArtifactIndex>, FetchError> {
    let invalid = |source| FetchError::Index { filename: entry.filename.to_string(), source };
    let mut decoder = IndexDecoder::new(entry.cid, entry.size);
    loop {
        let wanted: Vec<Cid> = decoder.wanted();
        if wanted.is_empty() {
            break;
        }
        for cid in wanted {
            let Block { bytes, is_new } = block(&store, pool, cid, entry).await?;
            decoder.handle_block(&cid, &bytes).map_err(invalid)?;
            if is_new && (cid != entry.cid || !decoder.wanted().is_empty()) {
                blocking(&store, move |store| store.put_block(&cid, &bytes)).await?;
            }
        }
    }
    let index = decoder.finish().map_err(invalid)?;
    if !entry.agrees_with(&index) {
        return Err(FetchError::Contradiction { filename: entry.filename.to_string() });
    }
    Ok(Arc::new(index))
}

/// An index block from the store or from a peer.
struct Block {
    bytes: Vec<u8>,
    /// Whether the block came from a peer and is not in the store yet.
    is_new: bool,
}

/// Returns a block from the store, or from a peer if the store lacks the block.
async fn block(store: &Arc<dyn Store>, pool: &Pool, cid: Cid, entry: &ArtifactEntry) -> Result<Block, FetchError> {
    let local = blocking(store, move |store| store.block(&cid)).await;
    // Ignore a read error of the store, because the block can be fetched again.
    if let Ok(Some(bytes)) = local {
        return Ok(Block { bytes, is_new: false });
    }
    let bytes = pool.block(&cid, BLOCK_TIMEOUT).await.map_err(|tried| FetchError::IndexMissing {
        filename: entry.filename.to_string(),
        cid,
        tried: Attempt::merged(tried),
    })?;
    Ok(Block { bytes, is_new: true })
}

/// Runs a store operation on the thread pool for blocking work.
async fn blocking<T: Send + 'static>(
    store: &Arc<dyn Store>,
    work: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, FetchError> {
    let store = store.clone();
    let result = tokio::task::spawn_blocking(move || work(store.as_ref())).await;
    Ok(result.map_err(FetchError::Worker)??)
}
