//! Standard output as an output: verified bytes in order. Chunks that arrive early wait in RAM until those before them
//! are written.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::HandoverError;
use crate::chunkset::ChunkSet;
use crate::cid::Cid;
use crate::index::{ArtifactIndex, ChunkIndex};
use crate::store::{Artifact, Partial, StoreError};

/// The path in errors.
const PATH: &str = "standard output";
/// The maximum length of all waiting chunks together, in bytes. The scheduler requests no chunks so far ahead.
const MAX_WAITING: usize = 64 << 20;

/// A stream that chunks are written to in order.
pub(super) struct Stream {
    out: Arc<Mutex<dyn Write + Send>>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

impl Stream {
    /// Makes a stream to standard output, without the line buffer of [`std::io::Stdout`].
    pub(super) fn stdout() -> Self {
        match io::stdout().as_fd().try_clone_to_owned() {
            Ok(owned) => Self { out: Arc::new(Mutex::new(File::from(owned))) },
            Err(_) => Self { out: Arc::new(Mutex::new(io::stdout())) },
        }
    }

    pub(super) fn write(&self, bytes: &[u8]) -> Result<(), HandoverError> {
        lock(&self.out).write_all(bytes).map_err(HandoverError::io("write to", Path::new(PATH)))
    }

    pub(super) fn commit(&self) -> Result<(), HandoverError> {
        lock(&self.out).flush().map_err(HandoverError::io("write to", Path::new(PATH)))
    }

    /// Begins to write an artifact whose chunks arrive in any order.
    pub(super) fn begin(&self, cid: Cid, index: Arc<ArtifactIndex>) -> StreamPartial {
        let mut have = ChunkSet::new(index.len());
        index.repeats().zeros().iter().for_each(|range| have.insert_range(*range));
        let state = State { have, next: 0, waiting: BTreeMap::new(), waiting_len: 0 };
        StreamPartial { cid, index, out: self.out.clone(), state: Mutex::new(state) }
    }
}

/// An artifact that is written to a stream while it is fetched. Its chunks cannot be read back.
pub(super) struct StreamPartial {
    cid: Cid,
    index: Arc<ArtifactIndex>,
    out: Arc<Mutex<dyn Write + Send>>,
    state: Mutex<State>,
}

struct State {
    have: ChunkSet,
    /// The next chunk to write.
    next: u32,
    /// Verified chunks after `next`.
    waiting: BTreeMap<u32, Vec<u8>>,
    waiting_len: usize,
}

impl StreamPartial {
    /// Verifies a chunk, and writes it and those that waited for it. Another thread that calls this meanwhile waits,
    /// so a slow reader of the stream slows the fetch down.
    fn add(&self, chunk: ChunkIndex, bytes: &[u8]) -> Result<(), StoreError> {
        self.index.verify_chunk(chunk, bytes).map_err(|source| StoreError::BadChunk { cid: self.cid, source })?;
        let mut state = lock(&self.state);
        if state.have.contains(chunk) {
            return Ok(());
        }
        if state.waiting_len + bytes.len() > MAX_WAITING {
            let full = io::Error::other("too many chunks arrived before the next one");
            return Err(StoreError::write("write to", Path::new(PATH), full));
        }
        state.have.insert(chunk);
        state.waiting_len += bytes.len();
        state.waiting.insert(chunk.0, bytes.to_vec());
        self.advance(&mut state)
    }

    /// Writes the next chunks, as far as their bytes are known.
    fn advance(&self, state: &mut State) -> Result<(), StoreError> {
        while let Some(chunk) = self.index.chunk(ChunkIndex(state.next)) {
            let bytes = match state.waiting.remove(&state.next) {
                Some(bytes) => {
                    state.waiting_len -= bytes.len();
                    bytes
                }
                None if self.index.repeats().is_zeros(ChunkIndex(state.next)) => vec![0; chunk.len as usize],
                None => break,
            };
            lock(&self.out).write_all(&bytes).map_err(|e| StoreError::write("write to", Path::new(PATH), e))?;
            state.next += 1;
        }
        Ok(())
    }
}

impl Partial for StreamPartial {
    fn cid(&self) -> Cid {
        self.cid
    }

    fn index(&self) -> &Arc<ArtifactIndex> {
        &self.index
    }

    fn have(&self) -> ChunkSet {
        lock(&self.state).have.clone()
    }

    fn keeps_chunks(&self) -> bool {
        false
    }

    fn copies_equal_chunks(&self) -> bool {
        false
    }

    fn write_chunk(&self, chunk: ChunkIndex, bytes: &[u8]) -> Result<(), StoreError> {
        self.add(chunk, bytes)
    }

    fn write_chunks(&self, chunks: &[(ChunkIndex, &[u8])]) -> Vec<Result<(), StoreError>> {
        chunks.iter().map(|(chunk, bytes)| self.add(*chunk, bytes)).collect()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        Err(not_there(self.cid, offset, buf))
    }

    fn checkpoint(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn finish(self: Arc<Self>) -> Result<Arc<dyn Artifact>, StoreError> {
        let mut state = lock(&self.state);
        self.advance(&mut state)?;
        match u64::from(self.index.len() - state.next) {
            0 => Ok(Arc::new(Streamed { cid: self.cid, index: self.index.clone() })),
            missing => Err(StoreError::Incomplete { cid: self.cid, missing }),
        }
    }
}

/// An artifact that was written to a stream.
struct Streamed {
    cid: Cid,
    index: Arc<ArtifactIndex>,
}

impl Artifact for Streamed {
    fn cid(&self) -> Cid {
        self.cid
    }

    fn index(&self) -> &Arc<ArtifactIndex> {
        &self.index
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        Err(not_there(self.cid, offset, buf))
    }

    fn path(&self) -> Option<std::path::PathBuf> {
        None
    }
}

fn not_there(cid: Cid, offset: u64, buf: &[u8]) -> StoreError {
    StoreError::NotThere { cid, start: offset, end: offset.saturating_add(buf.len() as u64) }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
