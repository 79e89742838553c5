//! Criterion benches that measure single parts of fetching and publishing, each part alone.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use phase_benches::{input, measure};
use phase_core::chunker::{Chunker, ChunkerParams, Segment};
use phase_core::index::ChunkEntry;
use phase_core::store::{FileStore, MemStore, Partial, Store};
use phase_core::{ArtifactIndex, ChunkIndex, ChunkRange, ChunkSet, HashAlgorithm, IndexDecoder};
use phase_protocol::PeerKey;
use phase_protocol::scheduler::{Action, ArtifactSlot, ChunkResult, Config, End, HaveUpdate, Scheduler};
use phase_protocol::wire::{self, Reply, ReplyHeader, Request, RequestHeader, RequestId};
use tempfile::TempDir;

/// The average length of a chunk, in bytes.
const CHUNK: usize = 128 << 10;
/// The length of the file that is chunked and written into stores, in bytes.
const FILE: usize = 16 << 20;
/// The number of chunks of the artifact whose index is encoded and whose download is scheduled.
const CHUNKS: u32 = 10_000;
/// The number of peers in the simulated download. Each peer has the whole artifact.
const PEERS: u64 = 50;

fn hashes(c: &mut Criterion) {
    let chunk = input::noise(CHUNK);
    let mut group = c.benchmark_group("hash a chunk");
    group.throughput(Throughput::Bytes(CHUNK as u64));
    for (name, hash) in [("BLAKE3", HashAlgorithm::Blake3), ("SHA-256", HashAlgorithm::Sha2_256)] {
        group.bench_function(name, |b| b.iter(|| hash.digest(black_box(&chunk))));
    }
    group.finish();
}

fn chunker(c: &mut Criterion) {
    let file = input::noise(FILE);
    let mut group = c.benchmark_group("cut into chunks");
    group.throughput(Throughput::Bytes(FILE as u64));
    group.bench_function("memory", |b| b.iter(|| cut(black_box(&file))));
    group.finish();
}

/// Returns the lengths of the chunks of `file`.
fn cut(file: &[u8]) -> Vec<u32> {
    let mut chunker = Chunker::new(file, ChunkerParams::default());
    let (mut segment, mut lens) = (Segment::default(), Vec::new());
    while chunker.read_segment(&mut segment).expect("a slice can always be read") {
        lens.extend(segment.chunks().map(|chunk| chunk.len() as u32));
    }
    lens
}

/// Returns an index of [`CHUNKS`] chunks, which all have the average length and invented digests.
fn index() -> ArtifactIndex {
    let digest = |n: u32| HashAlgorithm::Blake3.digest(&n.to_be_bytes());
    let chunks = (0..CHUNKS).map(|n| ChunkEntry { digest: digest(n), len: CHUNK as u32 });
    ArtifactIndex::new(ChunkerParams::default(), HashAlgorithm::Blake3, digest(CHUNKS), chunks.collect())
        .expect("every chunk has a permitted length")
}

fn index_blocks(c: &mut Criterion) {
    let index = index();
    let encoded = index.encode();
    let mut group = c.benchmark_group("index of 10,000 chunks");
    group.throughput(Throughput::Elements(CHUNKS.into()));
    group.bench_function("encode", |b| b.iter(|| black_box(&index).encode()));
    group.bench_function("decode", |b| {
        b.iter(|| {
            let mut decoder = IndexDecoder::new(encoded.root, index.size());
            for (cid, block) in black_box(&encoded.blocks) {
                decoder.handle_block(cid, block).expect("a block of this index");
            }
            decoder.finish().expect("all blocks were handled")
        });
    });
    group.finish();
}

fn wire_headers(c: &mut Criterion) {
    let ranges = (0..8).map(|n| ChunkRange { start: 16 * n, end: 16 * n + 8 }).collect();
    let request = RequestHeader { id: RequestId(7), body: Request::Chunks { artifact: index().encode().root, ranges } };
    let reply = ReplyHeader {
        id: RequestId(7),
        len: CHUNK as u32,
        body: Reply::Chunk { index: ChunkIndex(1234), encoding: 0 },
    };
    let (request_frame, reply_frame) = (wire::encode_request(&request), wire::encode_reply(&reply));
    let mut group = c.benchmark_group("wire headers");
    group.bench_function("encode a request for 8 ranges", |b| b.iter(|| wire::encode_request(black_box(&request))));
    group.bench_function("decode a request for 8 ranges", |b| {
        b.iter(|| wire::decode_request(black_box(&request_frame[4..])))
    });
    group.bench_function("encode a chunk header", |b| b.iter(|| wire::encode_reply(black_box(&reply))));
    group.bench_function("decode a chunk header", |b| b.iter(|| wire::decode_reply(black_box(&reply_frame[4..]))));
    group.finish();
}

/// Measures the scheduler alone, in a simulated download of a whole artifact without a network.
fn scheduler(c: &mut Criterion) {
    let index = Arc::new(index());
    let mut group = c.benchmark_group("scheduler");
    group.throughput(Throughput::Elements(CHUNKS.into()));
    group.sample_size(10);
    group.bench_function("10,000 chunks from 50 peers", |b| b.iter(|| schedule(black_box(&index))));
    group.finish();
}

/// Simulates the download of an artifact. The peers answer the requests in the order in which they were sent, one
/// request per millisecond over all peers. Returns the number of answered requests.
fn schedule(index: &Arc<ArtifactIndex>) -> u64 {
    let mut now = measure::now();
    let mut scheduler = Scheduler::new(Config::default(), 1);
    let slot = ArtifactSlot(0);
    scheduler.handle_artifact(slot, index.clone(), &ChunkSet::new(CHUNKS), 0);
    for peer in (0..PEERS).map(PeerKey) {
        scheduler.handle_peer(now, peer);
        scheduler.handle_have(peer, slot, HaveUpdate::Full);
    }
    let (mut requests, mut answered, mut verified) = (VecDeque::new(), 0, 0);
    while verified < CHUNKS {
        while let Some(action) = scheduler.poll_action(now) {
            if let Action::Request { id, peer, ranges, .. } = action {
                requests.push_back((id, peer, ranges));
            }
        }
        while scheduler.poll_event().is_some() {}
        let (id, peer, ranges) = requests.pop_front().expect("a request is open until all chunks are verified");
        now += Duration::from_millis(1);
        for chunk in ranges.into_iter().flat_map(|range| range.start..range.end).map(ChunkIndex) {
            verified += u32::from(scheduler.handle_chunk(now, peer, id, slot, chunk, ChunkResult::Verified));
        }
        scheduler.handle_end(now, peer, id, End::Done);
        answered += 1;
    }
    answered
}

fn stores(c: &mut Criterion) {
    let file = input::noise(FILE);
    let chunks: Vec<_> = slices(&file, &cut(&file));
    let entries =
        chunks.iter().map(|chunk| ChunkEntry { digest: HashAlgorithm::Blake3.digest(chunk), len: chunk.len() as u32 });
    let sha256 = HashAlgorithm::Sha2_256.digest(&file);
    let index = ArtifactIndex::new(ChunkerParams::default(), HashAlgorithm::Blake3, sha256, entries.collect());
    let index = Arc::new(index.expect("the chunker produces only permitted chunk lengths"));
    let mut group = c.benchmark_group("verify and write chunks");
    group.throughput(Throughput::Bytes(FILE as u64));
    group.sample_size(20);
    group.bench_function("MemStore", |b| {
        b.iter_batched(
            || partial(&MemStore::new(), &index),
            |partial| write(partial.as_ref(), &chunks),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("FileStore, not synced", |b| {
        b.iter_batched(
            || in_new_file_store(&index),
            |(_folder, partial)| write(partial.as_ref(), &chunks),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn slices<'a>(mut rest: &'a [u8], lens: &[u32]) -> Vec<&'a [u8]> {
    let mut next = |len: &u32| {
        let (chunk, after) = rest.split_at(*len as usize);
        rest = after;
        chunk
    };
    lens.iter().map(&mut next).collect()
}

fn partial(store: &dyn Store, index: &Arc<ArtifactIndex>) -> Arc<dyn Partial> {
    store.partial(&index.encode().root, index.clone()).expect("a new store can hold a partial artifact")
}

/// Creates a store in a new temporary folder, and returns the folder and an empty partial artifact in the store. The
/// environment variable `TMPDIR` chooses the disk.
fn in_new_file_store(index: &Arc<ArtifactIndex>) -> (TempDir, Arc<dyn Partial>) {
    let folder = tempfile::tempdir().expect("a temporary folder can be created");
    let store = FileStore::open(folder.path()).expect("a store can be created in a new folder");
    let partial = partial(&store, index);
    (folder, partial)
}

fn write(partial: &dyn Partial, chunks: &[&[u8]]) {
    for (position, chunk) in (0..).zip(chunks) {
        partial.write_chunk(ChunkIndex(position), chunk).expect("the chunk matches the index");
    }
}

criterion_group!(parts, hashes, chunker, index_blocks, wire_headers, scheduler, stores);
criterion_main!(parts);
