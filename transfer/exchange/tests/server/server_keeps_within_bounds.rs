//! A server accepts a limited number of requests and streams from each peer and refuses more. Meanwhile it serves other
//! peers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::join_all;
use phase_core::index::ChunkEntry;
use phase_core::store::Partial;
use phase_core::{
    ArtifactIndex, ChunkIndex, ChunkRange, ChunkerParams, Cid, HashAlgorithm, MemStore, Store as _, StoreError,
};
use phase_protocol::wire::{Refusal, Reply, Request, RequestId};
use tokio::sync::watch;

use phase_test_support::gate::{Gate, GatedStore};
use phase_test_support::in_time;

use crate::raw::{Raw, connected_node, request};
use crate::served::Served;

fn chunk(position: u32) -> Vec<ChunkRange> {
    vec![ChunkRange::new(position, position + 1).unwrap()]
}

/// Starts a server that sends no chunk until the read gate `gate` is opened.
async fn gated(gate: &Arc<Gate>) -> Served {
    Served::start_with(|inner| Arc::new(GatedStore { inner, gate: gate.clone(), block: None })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_beyond_the_bound_are_refused_as_busy_and_each_ends_once() {
    in_time(async {
        const REQUESTS: usize = 1500;
        let gate = Gate::new(0);
        let served = gated(&gate).await;
        let node = connected_node(&served).await;
        let mut stream = Raw::open(&node, &served).await;
        let ids = 0..u32::try_from(REQUESTS).unwrap();
        let asked: Vec<u8> =
            ids.flat_map(|id| request(id, Request::Chunks { artifact: served.cid(), ranges: chunk(id % 8) })).collect();
        stream.write(&asked).await;
        let mut ends = BTreeMap::new();
        let mut is_open = false;
        while ends.len() < REQUESTS {
            let (header, _) = stream.reply().await.unwrap();
            match header.body {
                Reply::Chunk { .. } => assert!(is_open && !ends.contains_key(&header.id)),
                end => assert_eq!(ends.insert(header.id, end), None, "ended twice"),
            }
            // The read gate of the store is still closed, so the server has sent no chunk, and all requests that have
            // ended were refused.
            if !is_open && ends.len() >= REQUESTS - 1024 {
                assert!(ends.values().all(|end| matches!(end, Reply::Refused(Refusal::Busy { .. }))), "{ends:?}");
                gate.open();
                is_open = true;
            }
        }
        assert!(ends.values().any(|end| *end == Reply::Done));
        stream.assert_served(&served, 5000).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_the_id_of_an_open_request_is_refused() {
    in_time(async {
        let gate = Gate::new(0);
        let served = gated(&gate).await;
        let node = connected_node(&served).await;
        let mut stream = Raw::open(&node, &served).await;
        let chunks = Request::Chunks { artifact: served.cid(), ranges: chunk(0) };
        stream.ask(1, chunks.clone()).await;
        gate.blocked().await;
        stream.ask(1, chunks).await;
        assert_eq!(stream.reply_to(1).await, Reply::Refused(Refusal::Malformed));
        gate.open();
        assert!(matches!(stream.reply_to(1).await, Reply::Chunk { .. }));
        assert_eq!(stream.reply_to(1).await, Reply::Done);
        stream.assert_served(&served, 1).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_request_ends_at_once_and_its_id_is_freed() {
    in_time(async {
        const REQUESTS: u32 = 3000;
        let gate = Gate::new(0);
        let served = gated(&gate).await;
        let node = connected_node(&served).await;
        let mut stream = Raw::open(&node, &served).await;
        // The read gate of the store blocks the server's reads for these two requests, so that all later requests wait
        // in the upload queue.
        for id in [1, 2] {
            stream.ask(id, Request::Chunks { artifact: served.cid(), ranges: chunk(id) }).await;
        }
        gate.blocked().await;
        let asked_and_cancelled = |id: u32| {
            let asked = request(id, Request::Chunks { artifact: served.cid(), ranges: chunk(0) });
            let cancelled = request(id, Request::Cancel { request: RequestId(id) });
            [asked, cancelled.clone(), cancelled].concat()
        };
        let flood: Vec<u8> = (10..10 + REQUESTS).flat_map(asked_and_cancelled).collect();
        stream.write(&flood).await;
        let mut ended = BTreeSet::new();
        for _ in 0..REQUESTS {
            let (header, _) = stream.reply().await.unwrap();
            let is_end = matches!(header.body, Reply::Done | Reply::Refused(Refusal::Busy { .. }));
            assert!(is_end && header.id.0 >= 10 && ended.insert(header.id), "{header:?}");
        }
        gate.open();
        drop(stream);
        Raw::open(&node, &served).await.assert_served(&served, 1).await;
    })
    .await;
}

/// In a flash crowd, many machines open their streams at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn streams_that_many_peers_open_at_once_all_stay_open() {
    in_time(async {
        const PEERS: usize = 32;
        let served = Served::start().await;
        let mut nodes = Vec::new();
        for _ in 0..PEERS {
            nodes.push(connected_node(&served).await);
        }
        let mut streams = Vec::new();
        // Each node opens four streams, which is the limit for one peer.
        for turn in 0..4 {
            let opened = nodes.iter().map(async |node| {
                let mut stream = Raw::open(node, &served).await;
                stream.ask(turn, Request::Block { cid: served.cid() }).await;
                assert_eq!(stream.reply_to(turn).await, Reply::Block);
                stream
            });
            streams.push(join_all(opened).await);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_has_at_most_four_streams_and_may_replace_a_closed_one() {
    in_time(async {
        let served = Served::start().await;
        let (greedy, other) = (connected_node(&served).await, connected_node(&served).await);
        let mut streams = Vec::new();
        for turn in 0..12 {
            let mut stream = Raw::open(&greedy, &served).await;
            stream.ask(1, Request::Block { cid: served.cid() }).await;
            assert_eq!(stream.reply().await.is_some(), turn < 4, "stream {turn}");
            streams.push(stream);
        }
        Raw::open(&other, &served).await.assert_served(&served, 1).await;
        drop(streams);
        // The server notices the closed streams only after a moment, so the test retries.
        loop {
            let mut stream = Raw::open(&greedy, &served).await;
            stream.ask(1, Request::Block { cid: served.cid() }).await;
            if stream.reply().await.is_some() {
                break;
            }
        }
    })
    .await;
}

/// Returns the index of an artifact that consists of the single chunk `bytes`.
fn index_of(bytes: &[u8]) -> Arc<ArtifactIndex> {
    let hash = HashAlgorithm::Blake3;
    let entry = ChunkEntry { digest: hash.digest(bytes), len: u32::try_from(bytes.len()).unwrap() };
    let sha256 = HashAlgorithm::Sha2_256.digest(bytes);
    Arc::new(ArtifactIndex::new(ChunkerParams::default(), hash, sha256, vec![entry]).unwrap())
}

/// A fetch whose partial artifact the server serves, with the channel that announces new chunks.
type Fetch = (Arc<dyn Partial>, watch::Sender<u64>);

/// Begins `count` fetches. Each artifact has one chunk, whose bytes are the number of the fetch.
/// Returns the content of an artifact. No artifact has only zeros, which a fetch has from the beginning.
fn content(n: u32) -> [u8; 4] {
    (n + 1).to_be_bytes()
}

fn begin_many(served: &Served, count: u32) -> Vec<Fetch> {
    let store = MemStore::default();
    let begin = |n: u32| {
        let index = index_of(&content(n));
        let fetching = store.partial(&index.encode().root, index).unwrap();
        (fetching.clone(), served.catalog.begin(fetching))
    };
    (0..count).map(begin).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_subscription_limit_a_peer_gets_a_bitmap_but_no_updates() {
    in_time(async {
        const PER_STREAM: u32 = 256;
        let served = Served::start().await;
        let fetches = begin_many(&served, PER_STREAM);
        let have = |n: u32| Request::Have { artifact: fetches[n as usize].0.cid() };
        let (mut nodes, mut streams) = (Vec::new(), Vec::new());
        // Four nodes with four streams each, and 256 subscriptions on each stream, reach the limit of 4096
        // subscriptions.
        for _ in 0..4 {
            let node = connected_node(&served).await;
            for _ in 0..4 {
                let mut stream = Raw::open(&node, &served).await;
                for id in 0..PER_STREAM {
                    stream.ask(id, have(id)).await;
                    assert_eq!(stream.reply_to(id).await, Reply::Have { chunks: 1, full: false });
                }
                streams.push(stream);
            }
            nodes.push(node);
        }
        let late = connected_node(&served).await;
        let mut stream = Raw::open(&late, &served).await;
        stream.ask(1, have(1)).await;
        assert_eq!(stream.reply_to(1).await, Reply::Have { chunks: 1, full: false });
        assert_eq!(stream.reply_to(1).await, Reply::Done);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_subscribes_to_each_artifact_once_and_to_a_bounded_number() {
    in_time(async {
        const MAX: u32 = 256;
        let served = Served::start().await;
        let fetches = begin_many(&served, MAX + 1);
        let node = connected_node(&served).await;
        let mut stream = Raw::open(&node, &served).await;
        let have = |n: u32| Request::Have { artifact: fetches[n as usize].0.cid() };
        for id in 0..MAX {
            stream.ask(id, have(id)).await;
            assert_eq!(stream.reply_to(id).await, Reply::Have { chunks: 1, full: false });
            if id == 7 {
                // A second subscription to one artifact is refused, although its request id is new.
                stream.ask(1000, have(7)).await;
                assert!(matches!(stream.reply_to(1000).await, Reply::Refused(Refusal::Busy { .. })));
            }
        }
        // The request id of an open subscription cannot be used for another artifact.
        stream.ask(7, have(MAX)).await;
        assert_eq!(stream.reply_to(7).await, Reply::Refused(Refusal::Malformed));
        stream.ask(MAX, have(MAX)).await;
        assert!(matches!(stream.reply_to(MAX).await, Reply::Refused(Refusal::Busy { .. })));

        for (n, (fetching, changed)) in (0..MAX).zip(&fetches) {
            fetching.write_chunk(ChunkIndex(0), &content(n)).unwrap();
            changed.send_modify(|count| *count += 1);
        }
        let (mut updated, mut ended) = (BTreeSet::new(), BTreeSet::new());
        while ended.len() < MAX as usize {
            let (header, _) = stream.reply().await.unwrap();
            match header.body {
                Reply::Done => assert!(updated.contains(&header.id) && ended.insert(header.id)),
                delta => assert!(delta == Reply::HaveDelta { ranges: chunk(0) } && updated.insert(header.id)),
            }
        }
        // Subscriptions that have ended do not count towards the limit, so a new subscription is accepted.
        stream.ask(MAX + 1, have(MAX)).await;
        assert_eq!(stream.reply_to(MAX + 1).await, Reply::Have { chunks: 1, full: false });
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_ends_once_when_cancelled_and_when_its_fetch_ends() {
    in_time(async {
        let served = Served::start().await;
        let index = served.artifact.index().clone();
        let fetching = MemStore::default().partial(&served.cid(), index.clone()).unwrap();
        let changed = served.catalog.begin(fetching);
        let node = connected_node(&served).await;
        let mut stream = Raw::open(&node, &served).await;
        let have = Request::Have { artifact: served.cid() };
        let cancel = |id| Request::Cancel { request: RequestId(id) };
        let part = Reply::Have { chunks: index.len(), full: false };
        // Subscription 1 is cancelled twice and must end only once.
        stream.ask(1, have.clone()).await;
        assert_eq!(stream.reply_to(1).await, part);
        stream.ask(10, cancel(1)).await;
        assert_eq!(stream.reply_to(1).await, Reply::Done);
        stream.ask(11, cancel(1)).await;
        // The server ends subscription 2 before the client's `Cancel` request arrives, as happens when the two messages
        // cross.
        stream.ask(2, have).await;
        assert_eq!(stream.reply_to(2).await, part);
        served.catalog.end(&served.cid());
        drop(changed);
        assert_eq!(stream.reply_to(2).await, Reply::Done);
        stream.ask(12, cancel(2)).await;
        stream.assert_served(&served, 3).await;
    })
    .await;
}

/// A peer that does not read must not prevent the fetch from being resumed.
#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_ends_early_is_released_while_it_is_being_sent() {
    in_time(async {
        const REQUESTS: u32 = 32;
        let served = Served::start().await;
        let index = served.artifact.index().clone();
        let store = MemStore::default();
        let fetching = store.partial(&served.cid(), index.clone()).unwrap();
        for (position, chunk) in (0..index.len() - 1).zip(index.chunks()) {
            let mut bytes = vec![0; chunk.len as usize];
            served.artifact.read_at(chunk.offset, &mut bytes).unwrap();
            fetching.write_chunk(ChunkIndex(position), &bytes).unwrap();
        }
        let (changed, damaged) = (served.catalog.begin(fetching), served.catalog.damaged());
        let node = connected_node(&served).await;
        let mut stream = Raw::open(&node, &served).await;
        let ranges = vec![ChunkRange::new(0, index.len() - 1).unwrap()];
        for id in 0..REQUESTS {
            stream.ask(id, Request::Chunks { artifact: served.cid(), ranges: ranges.clone() }).await;
        }
        // The server accepts requests in order, so all requests for chunks are accepted when it answers this one. A later
        // request would be served from the complete artifact in the server's own store.
        stream.ask(REQUESTS, Request::Have { artifact: served.cid() }).await;
        let mut ends = BTreeMap::new();
        loop {
            match stream.reply().await.unwrap() {
                (header, _) if header.id.0 == REQUESTS => break,
                (header, _) if matches!(header.body, Reply::Chunk { .. }) => {}
                (header, _) => assert_eq!(ends.insert(header.id, header.body), None, "ended twice"),
            }
        }
        // The server has begun to send 32 MiB. Only a part of them fits into the buffers of the connection, so sending
        // is blocked. (The buffers of the operating system alone can grow to 10 MiB.)
        assert!(matches!(store.partial(&served.cid(), index.clone()), Err(StoreError::Busy { .. })));
        served.catalog.abandon(&served.cid());
        drop(changed);
        assert_eq!(store.partial(&served.cid(), index.clone()).unwrap().have().count(), index.len() - 1);
        // The subscription ends as well, because the artifact is no longer fetched.
        while ends.len() < REQUESTS as usize + 1 {
            let (header, _) = stream.reply().await.unwrap();
            if !matches!(header.body, Reply::Chunk { .. } | Reply::HaveDelta { .. }) {
                assert_eq!(ends.insert(header.id, header.body), None, "ended twice");
            }
        }
        assert!(ends.values().any(|end| matches!(end, Reply::Refused(Refusal::Missing))), "{ends:?}");
        // The complete artifact in the server's own store is still served, and does not count as damaged.
        stream.assert_served(&served, REQUESTS + 1).await;
        assert!(!damaged.has_changed().unwrap());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_unknown_artifacts_do_not_displace_fetching_peers() {
    in_time(async {
        let served = Served::start().await;
        let hostile = connected_node(&served).await;
        let mut streams = Vec::new();
        for turn in 0..4u32 {
            let mut stream = Raw::open(&hostile, &served).await;
            for id in 0..1030u32 {
                let artifact = Cid::of_block(&(turn * 10_000 + id).to_be_bytes());
                stream.ask(id, Request::Have { artifact }).await;
                assert_eq!(stream.reply_to(id).await, Reply::Refused(Refusal::NotFound));
            }
            streams.push(stream);
        }
        // One peer fetches the artifact, and another peer asks which peers fetch it.
        let (fetching, asking) = (connected_node(&served).await, connected_node(&served).await);
        let mut subscribed = Raw::open(&fetching, &served).await;
        subscribed.ask(1, Request::Have { artifact: served.cid() }).await;
        assert!(matches!(subscribed.reply_to(1).await, Reply::Have { full: true, .. }));
        let mut stream = Raw::open(&asking, &served).await;
        let known = fetching.handle().peer_id().to_bytes();
        // The server learns the address of the fetching peer only a moment after the connection, so the test retries.
        for id in 0.. {
            stream.ask(id, Request::Peers { artifact: served.cid() }).await;
            let Reply::Peers { peers } = stream.reply_to(id).await else { panic!("no answer") };
            if peers.iter().any(|peer| *peer.peer == known && !peer.addrs.is_empty()) {
                break;
            }
        }
    })
    .await;
}
