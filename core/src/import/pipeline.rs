//! Two threads that share the work of an import.
//!
//! The calling thread reads and cuts; the other computes the SHA-256 of the whole, which cannot be split. The rest,
//! hashing each chunk and writing it, is done by whichever has time: the reader when the queue to the hasher is
//! full, otherwise the hasher. So both stay busy whatever the speeds of disk, cutting and hashing are.
//!
//! A few [`Segment`]s go round between the two; nothing else holds the file's bytes.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use sha2::{Digest as _, Sha256};

use crate::chunker::{Chunker, ChunkerParams, Segment};
use crate::cid::{Digest, HashAlgorithm};
use crate::index::{ArtifactIndex, ChunkEntry, IndexError};

/// How many segments wait for the hasher. More would only take memory: one is being filled, one hashed.
const QUEUED_SEGMENTS: usize = 2;
/// All segments: those waiting, the one being filled and the one being hashed.
const SEGMENTS: usize = QUEUED_SEGMENTS + 2;

/// Where the bytes go besides the hashes. Both threads write, each to its own ranges.
pub(crate) type Sink<'a> = dyn Fn(u64, &[u8]) -> io::Result<()> + Sync + 'a;

/// Why a file could not be imported.
#[derive(Debug)]
pub(crate) enum ScanError {
    /// The source cannot be read.
    Read(io::Error),
    /// The sink cannot be written.
    Write(io::Error),
    /// The file has no index.
    Index(IndexError),
}

/// Reads `source` to its end and returns its index, in bounded memory. All bytes go to `sink`; `progress` gets the
/// number of bytes read so far.
pub(crate) fn scan(
    source: impl Read,
    chunker: ChunkerParams,
    hash: HashAlgorithm,
    sink: Option<&Sink<'_>>,
    progress: &mut dyn FnMut(u64),
) -> Result<ArtifactIndex, ScanError> {
    let (to_hasher, jobs) = sync_channel(QUEUED_SEGMENTS);
    let (to_reader, spare) = sync_channel(SEGMENTS);
    for _ in 0..SEGMENTS {
        to_reader.send(Segment::default()).expect("the receiver is here");
    }
    let work = Work { hash, sink };
    let (read, hashed) = thread::scope(|scope| {
        let hasher = scope.spawn(|| hash_all(&work, jobs, to_reader));
        let read = read_all(Chunker::new(source, chunker), &work, to_hasher, &spare, progress);
        (read, hasher.join())
    });
    // When the hasher fails, the reader merely stops: the hasher knows why.
    let hashed = hashed.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    read?;
    ArtifactIndex::new(chunker, hash, hashed.sha256, hashed.chunks).map_err(ScanError::Index)
}

/// What is to be done with every segment.
struct Work<'a> {
    hash: HashAlgorithm,
    sink: Option<&'a Sink<'a>>,
}

/// A segment, and what has been done with it.
struct Job {
    segment: Segment,
    digests: Option<Vec<Digest>>,
    written: bool,
}

impl Job {
    /// Does one of the things that are left besides the SHA-256. False if there are none.
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

/// The reader: cuts everything into segments and hands them over, working on what cannot be handed over yet.
fn read_all(
    mut chunker: Chunker<impl Read>,
    work: &Work<'_>,
    to_hasher: SyncSender<Job>,
    spare: &Receiver<Segment>,
    progress: &mut dyn FnMut(u64),
) -> Result<(), ScanError> {
    // An error of `recv` or `send` means that the hasher has stopped, and reports why.
    while let Ok(mut segment) = spare.recv() {
        if !chunker.read_segment(&mut segment).map_err(ScanError::Read)? {
            break;
        }
        progress(chunker.offset());
        let mut job = Job { segment, digests: None, written: false };
        loop {
            job = match to_hasher.try_send(job) {
                Ok(()) => break,
                Err(TrySendError::Disconnected(_)) => return Ok(()),
                Err(TrySendError::Full(job)) => job,
            };
            if !job.advance(work)? {
                if to_hasher.send(job).is_err() {
                    return Ok(());
                }
                break;
            }
        }
    }
    Ok(())
}

/// What the hasher finds.
struct Hashed {
    sha256: Digest,
    chunks: Vec<ChunkEntry>,
}

/// The hasher: takes segments in order until the reader stops.
fn hash_all(work: &Work<'_>, jobs: Receiver<Job>, to_reader: SyncSender<Segment>) -> Result<Hashed, ScanError> {
    let mut sha256 = Sha256::new();
    let mut chunks = Vec::new();
    for mut job in jobs {
        while job.advance(work)? {}
        sha256.update(job.segment.bytes());
        let digests = job.digests.take().expect("nothing is left to do");
        let lens = job.segment.chunks().map(|chunk| chunk.len() as u32);
        chunks.extend(digests.into_iter().zip(lens).map(|(digest, len)| ChunkEntry { digest, len }));
        // When the reader has stopped, nobody needs the segment.
        let _ = to_reader.send(job.segment);
    }
    Ok(Hashed { sha256: Digest::new(sha256.finalize().into()), chunks })
}
