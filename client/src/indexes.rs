//! Fetches the index blocks of the artifacts of a manifest.

use std::sync::Arc;
use std::time::Duration;

use phase_core::index::IndexDecoder;
use phase_core::manifest::{ArtifactEntry, Role};
use phase_core::store::{Store, StoreError};
use phase_core::{ArtifactIndex, Cid};
use phase_transfer::download::Wanted;
use tokio::task::JoinSet;

use crate::fetch_error::FetchError;
use crate::pool::Pool;

/// Indexes fetched at a time.
const CONCURRENCY: usize = 64;
/// How long to look for a peer that has a block.
const PATIENCE: Duration = Duration::from_secs(30);

/// The indexes of all `entries`, from the store or from peers, in the same order. Blocks of an index that has several are
/// stored as they come; one that has only its root is stored when its artifact is begun.
pub(crate) async fn collect(
    store: &Arc<dyn Store>,
    pool: &Arc<Pool>,
    entries: &[ArtifactEntry],
) -> Result<Vec<Wanted>, FetchError> {
    let mut indexes: Vec<Option<Arc<ArtifactIndex>>> = vec![None; entries.len()];
    let mut running = JoinSet::new();
    for (position, entry) in entries.iter().enumerate() {
        if running.len() >= CONCURRENCY {
            place(&mut indexes, running.join_next().await)?;
        }
        let (store, pool, entry) = (store.clone(), pool.clone(), entry.clone());
        running.spawn(async move { Ok((position, fetch(store, &pool, &entry).await?)) });
    }
    while let Some(result) = running.join_next().await {
        place(&mut indexes, Some(result))?;
    }
    let wanted = entries.iter().zip(indexes).map(|(entry, index)| Wanted {
        cid: entry.cid,
        priority: priority_of(&entry.role),
        index: index.expect("every position was placed or failed"),
    });
    Ok(wanted.collect())
}

/// What boots first is fetched first.
fn priority_of(role: &Role) -> u8 {
    match role.as_str() {
        Role::KERNEL | Role::INITRAMFS | Role::DTB => 0,
        Role::ROOTFS => 1,
        _ => 2,
    }
}

type Placed = Result<Result<(usize, Arc<ArtifactIndex>), FetchError>, tokio::task::JoinError>;

fn place(indexes: &mut [Option<Arc<ArtifactIndex>>], result: Option<Placed>) -> Result<(), FetchError> {
    if let Some(result) = result {
        let (position, index) = result.map_err(FetchError::Worker)??;
        indexes[position] = Some(index);
    }
    Ok(())
}

async fn fetch(store: Arc<dyn Store>, pool: &Pool, entry: &ArtifactEntry) -> Result<Arc<ArtifactIndex>, FetchError> {
    let bad = |source| FetchError::Index { filename: entry.filename.to_string(), source };
    let mut decoder = IndexDecoder::new(entry.cid, entry.size);
    loop {
        let wanted: Vec<Cid> = decoder.wanted();
        if wanted.is_empty() {
            break;
        }
        for cid in wanted {
            let Block { bytes, is_new } = block(&store, pool, cid, entry).await?;
            decoder.handle_block(&cid, &bytes).map_err(bad)?;
            if is_new && (cid != entry.cid || !decoder.wanted().is_empty()) {
                blocking(&store, move |store| store.put_block(&cid, &bytes)).await?;
            }
        }
    }
    let index = decoder.finish().map_err(bad)?;
    if !entry.agrees_with(&index) {
        return Err(FetchError::Contradiction { filename: entry.filename.to_string() });
    }
    Ok(Arc::new(index))
}

/// A verified block.
struct Block {
    bytes: Vec<u8>,
    /// It is not in the store.
    is_new: bool,
}

/// A block from the store, or else from a peer.
async fn block(store: &Arc<dyn Store>, pool: &Pool, cid: Cid, entry: &ArtifactEntry) -> Result<Block, FetchError> {
    let local = blocking(store, move |store| store.block(&cid)).await;
    // A damaged block is fetched anew.
    if let Ok(Some(bytes)) = local {
        return Ok(Block { bytes, is_new: false });
    }
    let bytes = pool.block(&cid, PATIENCE).await.map_err(|tried| FetchError::IndexMissing {
        filename: entry.filename.to_string(),
        cid,
        tried,
    })?;
    Ok(Block { bytes, is_new: true })
}

async fn blocking<T: Send + 'static>(
    store: &Arc<dyn Store>,
    work: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, FetchError> {
    let store = store.clone();
    let result = tokio::task::spawn_blocking(move || work(store.as_ref())).await;
    Ok(result.map_err(FetchError::Worker)??)
}
