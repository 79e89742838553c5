//! The import pipeline, in which two threads share the work.
//!
//! The calling thread is the reader: it reads the file and cuts it into chunks. The second thread is the hasher: it
//! computes the SHA-256 of the whole file, which cannot be split between threads.
//!
//! Either thread hashes and writes the chunks: the reader while the queue to the hasher is full, otherwise the hasher.
//! Both threads therefore stay busy, no matter how fast the disk, the chunker and the hash functions are.
//!
//! A fixed number of [`Segment`]s circulate between the two threads. Only segments contain bytes of the file, so memory
//! is bounded.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use sha2::{Digest as _, Sha256};

use crate::chunker::{Chunker, ChunkerParams, Segment};
use crate::cid::{Digest, HashAlgorithm};
use crate::index::{ArtifactIndex, ChunkEntry, IndexError, MAX_CHUNKS};

/// The maximum length of the queue to the hasher, in segments. A longer queue would only use more memory.
const QUEUED_SEGMENTS: usize = 2;
/// The number of segments: [`QUEUED_SEGMENTS`], one that the reader fills and one that the hasher processes.
const SEGMENTS: usize = QUEUED_SEGMENTS + 2;

/// A sink: a function that writes bytes at a position. Both threads may call it at the same time, but never for the
/// same bytes.
pub(crate) type Sink<'a> = dyn Fn(u64, &[u8]) -> io::Result<()> + Sync + 'a;

/// An error from [`scan`].
#[derive(Debug)]
pub(crate) enum ScanError {
    /// The input cannot be read.
    Read(io::Error),
    /// The sink returned an error.
    Write(io::Error),
    /// The chunks do not form a valid index.
    Index(IndexError),
}

/// Reads `input` to its end and returns the index of an artifact with this content. Passes all bytes to `sink`, and the
/// number of bytes read so far to `progress`. Memory is bounded, except for the index.
pub(crate) fn scan(
    input: impl Read,
    chunker: ChunkerParams,
    hash: HashAlgorithm,
    sink: Option<&Sink<'_>>,
    progress: &mut dyn FnMut(u64),
) -> Result<ArtifactIndex, ScanError> {
    let (to_hasher, items) = sync_channel(QUEUED_SEGMENTS);
    let (to_reader, spare) = sync_channel(SEGMENTS);
    for _ in 0..SEGMENTS {
        to_reader.send(Segment::default()).expect("the receiver exists");
    }
    let work = Work { hash, sink };
    let (read, hashed) = thread::scope(|scope| {
        let hasher = scope.spawn(|| hash_all(&work, items, to_reader));
        let read = read_all(Chunker::new(input, chunker), &work, to_hasher, &spare, progress);
        (read, hasher.join())
    });
    // If the hasher fails, the reader stops without an error, because the hasher returns the cause.
    let hashed = hashed.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    read?;
    ArtifactIndex::new(chunker, hash, hashed.sha256, hashed.chunks).map_err(ScanError::Index)
}

/// The work for each segment: hashing its chunks, and writing its bytes to the sink if there is one.
struct Work<'a> {
    hash: HashAlgorithm,
    sink: Option<&'a Sink<'a>>,
}

/// A segment, with the digests of its chunks if they are computed, and whether its bytes are written.
struct SegmentWork {
    segment: Segment,
    digests: Option<Vec<Digest>>,
    written: bool,
}

impl SegmentWork {
    /// Hashes the chunks, or writes the segment if the chunks are hashed. Returns false if there is nothing left to do.
    fn advance(&mut self, work: &Work<'_>) -> Result<bool, ScanError> {
        if self.digests.is_none() {
            self.digests = Some(self.segment.chunks().map(|chunk| work.hash.digest(chunk)).collect());
            return Ok(true);
        }
        if let (false, Some(sink)) = (self.written, work.sink) {
            sink(self.segment.offset(), self.segment.bytes()).map_err(ScanError::Write)?;
            self.written = true;
            return Ok(true);
        }
        Ok(false)
    }
}

/// Runs the reader, which cuts the stream into segments and sends them to the hasher. While the queue is full, the
/// reader hashes and writes its segment itself.
fn read_all(
    mut chunker: Chunker<impl Read>,
    work: &Work<'_>,
    to_hasher: SyncSender<SegmentWork>,
    spare: &Receiver<Segment>,
    progress: &mut dyn FnMut(u64),
) -> Result<(), ScanError> {
    // `recv` and `send` fail only if the hasher has stopped. The hasher then returns the error.
    while let Ok(mut segment) = spare.recv() {
        if !chunker.read_segment(&mut segment).map_err(ScanError::Read)? {
            break;
        }
        progress(chunker.offset());
        let mut item = SegmentWork { segment, digests: None, written: false };
        loop {
            item = match to_hasher.try_send(item) {
                Ok(()) => break,
                Err(TrySendError::Disconnected(_)) => return Ok(()),
                Err(TrySendError::Full(item)) => item,
            };
            if !item.advance(work)? {
                if to_hasher.send(item).is_err() {
                    return Ok(());
                }
                break;
            }
        }
    }
    Ok(())
}

/// The hashes of a file, as [`hash_all`] returns them.
struct Hashed {
    sha256: Digest,
    chunks: Vec<ChunkEntry>,
}

/// Runs the hasher, which processes segments in order until the reader stops.
fn hash_all(
    work: &Work<'_>,
    items: Receiver<SegmentWork>,
    to_reader: SyncSender<Segment>,
) -> Result<Hashed, ScanError> {
    let mut sha256 = Sha256::new();
    let mut chunks = Vec::new();
    for mut item in items {
        while item.advance(work)? {}
        sha256.update(item.segment.bytes());
        let digests = item.digests.take().expect("advance computes the digests");
        let lens = item.segment.chunks().map(|chunk| chunk.len() as u32);
        // The reader stops at the end of an endless input as well, because the channel to this thread is closed then.
        let count = (chunks.len() + digests.len()) as u64;
        if count > u64::from(MAX_CHUNKS) {
            return Err(ScanError::Index(IndexError::TooManyChunks(count)));
        }
        chunks.extend(digests.into_iter().zip(lens).map(|(digest, len)| ChunkEntry { digest, len }));
        // Sending fails only if the reader has stopped. The reader then needs no more segments.
        let _ = to_reader.send(item.segment);
    }
    Ok(Hashed { sha256: Digest::new(sha256.finalize().into()), chunks })
}
