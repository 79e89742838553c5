//! The chunk map, `chunks.redb`: finds a chunk by its digest in the complete artifacts of the store.
//!
//! The map is derived from the indexes of the artifacts. Each lookup updates the map first, so no other code has to
//! maintain it. The map is created again if it is missing or damaged, or if it lists an artifact that was removed. A
//! lock on the file ensures that only one process at a time uses the map.

use std::collections::BTreeSet;
use std::io;

use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};

use super::backend::{Backend, BackendFile, OpenMode};
use super::error::StoreError;
use super::layout::Layout;
use super::{artifact, temp};
use crate::cid::{Cid, Digest};
use crate::index::ChunkIndex;

/// The size of the database's cache in RAM, in bytes. The default of the database would be 1 GiB.
const CACHE_LEN: usize = 16 << 20;
/// The maximum number of attempts to open and lock the file. Another attempt is needed if another process deletes the
/// file before it is locked.
const OPEN_ATTEMPTS: u32 = 16;

/// The table that maps an artifact number to the artifact CID.
const ARTIFACTS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("artifacts");
/// The table that maps the digest of a chunk to an artifact number (upper 32 bits) and a chunk index (lower 32 bits).
const CHUNKS: TableDefinition<'_, &[u8; 32], u64> = TableDefinition::new("chunks");

/// The CID of an artifact that contains a chunk, and the index of the chunk in that artifact.
type Position = (Cid, ChunkIndex);

/// For each digest, returns the position of a chunk with this digest, or `None` if no artifact has such a chunk.
pub(crate) fn find(
    backend: &dyn Backend,
    layout: &Layout,
    digests: &[Digest],
) -> Result<Vec<Option<Position>>, StoreError> {
    let path = layout.chunk_map();
    let present = artifacts(backend, layout)?;
    if present.is_empty() {
        return Ok(vec![None; digests.len()]);
    }
    let attempt = || -> Result<_, StoreError> {
        let file = open_locked(backend, layout)?;
        let looked_up = look_up(backend, layout, file, &present, digests);
        Ok(looked_up.map_err(|source| StoreError::ChunkMap { path: path.clone(), source: Box::new(source) }))
    };
    attempt()?.or_else(|error| {
        if error.is_temporary() {
            return Err(error);
        }
        let _ = backend.remove(&path);
        attempt()?
    })
}

/// Returns the CIDs of the complete artifacts. A file that was imported by reference is found by its seal.
fn artifacts(backend: &dyn Backend, layout: &Layout) -> Result<BTreeSet<Cid>, StoreError> {
    let folder = layout.artifacts();
    let names = backend.read_dir(&folder).map_err(|e| StoreError::read("list", &folder, e))?;
    Ok(names.iter().filter_map(|name| name.strip_suffix(".seal").unwrap_or(name).parse().ok()).collect())
}

fn open_locked(backend: &dyn Backend, layout: &Layout) -> Result<Box<dyn BackendFile>, StoreError> {
    let path = layout.chunk_map();
    for _ in 0..OPEN_ATTEMPTS {
        let file = backend.open(&path, OpenMode::Create).map_err(|e| StoreError::write("create", &path, e))?;
        file.lock().map_err(|e| StoreError::write("lock", &path, e))?;
        if temp::still_named(backend, &*file, &path)? {
            return Ok(file);
        }
    }
    Err(StoreError::write("lock", &path, io::ErrorKind::ResourceBusy.into()))
}

fn look_up(
    backend: &dyn Backend,
    layout: &Layout,
    file: Box<dyn BackendFile>,
    present: &BTreeSet<Cid>,
    digests: &[Digest],
) -> Result<Vec<Option<Position>>, redb::Error> {
    let database = Database::builder().set_cache_size(CACHE_LEN).create_with_backend(MapFile(file))?;
    update(backend, layout, &database, present)?;
    let transaction = database.begin_read()?;
    let (artifacts, chunks) = (transaction.open_table(ARTIFACTS)?, transaction.open_table(CHUNKS)?);
    let position = |digest: &Digest| -> Result<Option<Position>, redb::Error> {
        let Some(entry) = chunks.get(digest.as_bytes())? else { return Ok(None) };
        let (number, index) = ((entry.value() >> 32) as u32, entry.value() as u32);
        let cid = artifacts.get(number)?.and_then(|cid| Cid::from_bytes(cid.value()).ok());
        Ok(cid.map(|cid| (cid, ChunkIndex(index))))
    };
    digests.iter().map(position).collect()
}

/// Updates the map, so that it lists the artifacts in `present` and no others.
fn update(
    backend: &dyn Backend,
    layout: &Layout,
    database: &Database,
    present: &BTreeSet<Cid>,
) -> Result<(), redb::Error> {
    let known = known(database)?;
    let is_stale = !known.is_subset(present);
    if *present == known {
        return Ok(());
    }
    let transaction = database.begin_write()?;
    if is_stale {
        transaction.delete_table(ARTIFACTS)?;
        transaction.delete_table(CHUNKS)?;
    }
    {
        let (mut artifacts, mut chunks) = (transaction.open_table(ARTIFACTS)?, transaction.open_table(CHUNKS)?);
        let mut number = artifacts.last()?.map_or(0, |(number, _)| number.value() + 1);
        for cid in present.iter().filter(|cid| is_stale || !known.contains(cid)) {
            // An artifact whose index is damaged is not added to the map.
            let Ok(index) = artifact::load_index(backend, layout, cid) else { continue };
            let mut entries: Vec<(Digest, u32)> = index.chunks().map(|chunk| chunk.digest).zip(0..).collect();
            // Inserting in the order of the digests is much faster.
            entries.sort_unstable();
            for (digest, position) in entries {
                chunks.insert(digest.as_bytes(), u64::from(number) << 32 | u64::from(position))?;
            }
            artifacts.insert(number, &*cid.to_bytes())?;
            number += 1;
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Returns the CIDs of the artifacts that the map lists.
fn known(database: &Database) -> Result<BTreeSet<Cid>, redb::Error> {
    let transaction = database.begin_read()?;
    let table = match transaction.open_table(ARTIFACTS) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(BTreeSet::new()),
        other => other?,
    };
    let mut known = BTreeSet::new();
    for entry in table.iter()? {
        known.extend(Cid::from_bytes(entry?.1.value()));
    }
    Ok(known)
}

/// The file in which the database stores its data.
#[derive(Debug)]
struct MapFile(Box<dyn BackendFile>);

impl StorageBackend for MapFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.stat()?.len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}
