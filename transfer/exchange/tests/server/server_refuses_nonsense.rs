//! A server refuses malformed requests or ends their stream, and continues to serve other peers.

use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use phase_core::{ChunkRange, Cid};
use phase_protocol::wire::{self, MAX_HEADER_LEN, MAX_RANGES, Refusal, Reply, ReplyHeader, Request, RequestId};

use phase_test_support::in_time;

use crate::raw::{Raw, connected_node, request};
use crate::served::Served;

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Starts to count the panics of server tasks. Without the count, a test would not notice such a panic. Panics of the
/// tests themselves are not counted.
fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let is_ours = info.location().is_none_or(|at| at.file().contains("tests/server"));
            PANICS.fetch_add(usize::from(!is_ours), Ordering::Relaxed);
            default(info);
        }));
    });
}

fn assert_no_server_panic() {
    assert_eq!(PANICS.load(Ordering::Relaxed), 0, "a task of the server panicked");
}

fn frame(len: u32, header: &[u8]) -> Vec<u8> {
    [&len.to_be_bytes(), header].concat()
}

fn ranges(count: usize) -> Vec<ChunkRange> {
    vec![ChunkRange::new(0, 1).unwrap(); count]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_cannot_be_decoded_ends_its_stream_and_no_other() {
    count_panics();
    in_time(async {
        let served = Served::start().await;
        let (hostile, honest) = (connected_node(&served).await, connected_node(&served).await);
        let mut bystander = Raw::open(&honest, &served).await;
        let mut neighbour = Raw::open(&hostile, &served).await;
        let cid = served.cid();
        let valid = request(1, Request::Block { cid });
        let mut trailing = valid.clone();
        trailing.push(0);
        trailing[3] += 1;
        let mut deep = vec![0x81; 4096];
        deep.push(0xf6);
        let nonsense = [
            ("an empty header", frame(0, b"")),
            ("a header longer than the limit", frame(u32::try_from(MAX_HEADER_LEN).unwrap() + 1, &[0; 64])),
            ("a header of 4 GiB", frame(u32::MAX, &[0; 64])),
            ("bytes that are not CBOR", frame(5, b"hello")),
            ("CBOR of another type", frame(1, &[0xf6])),
            ("lists in lists", frame(4097, &deep)),
            ("a list that claims 2^64 entries", frame(9, &[0x9b, 255, 255, 255, 255, 255, 255, 255, 255])),
            ("a text that claims 4 GiB", frame(5, &[0x7a, 255, 255, 255, 255])),
            ("bytes after the header", trailing),
            ("too many ranges", request(1, Request::Chunks { artifact: cid, ranges: ranges(MAX_RANGES + 1) })),
            ("no ranges", request(1, Request::Chunks { artifact: cid, ranges: Vec::new() })),
            ("a reply", wire::encode_reply(&ReplyHeader { id: RequestId(1), len: 0, body: Reply::Done }).to_vec()),
            ("HTTP", b"GET / HTTP/1.1\r\nHost: phase\r\n\r\n".to_vec()),
        ];
        for (turn, (what, bytes)) in nonsense.iter().enumerate() {
            let mut stream = Raw::open(&hostile, &served).await;
            stream.write(bytes).await;
            stream.write(&valid).await;
            assert!(stream.reply().await.is_none(), "the server answered {what}");
            neighbour.assert_served(&served, u32::try_from(turn).unwrap()).await;
        }
        bystander.assert_served(&served, 1).await;
        assert_no_server_panic();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_its_reason_and_the_stream_stays_open() {
    count_panics();
    in_time(async {
        let served = Served::start().await;
        let node = connected_node(&served).await;
        let mut stream = Raw::open(&node, &served).await;
        let (artifact, unknown) = (served.cid(), Cid::of_block(b"unknown"));
        let past = ChunkRange::new(0, served.artifact.index().len() + 1).unwrap();
        let last = ChunkRange::new(u32::MAX - 1, u32::MAX).unwrap();
        let refused = [
            (Request::Head { name: "stable/x86_64".parse().unwrap() }, Refusal::NotFound),
            (Request::Block { cid: unknown }, Refusal::NotFound),
            (Request::Have { artifact: unknown }, Refusal::NotFound),
            (Request::Chunks { artifact: unknown, ranges: ranges(1) }, Refusal::NotFound),
            (Request::Chunks { artifact, ranges: vec![past] }, Refusal::Malformed),
            (Request::Chunks { artifact, ranges: vec![last] }, Refusal::Malformed),
        ];
        for (id, (body, refusal)) in (1..).zip(refused) {
            stream.ask(id, body.clone()).await;
            assert_eq!(stream.reply_to(id).await, Reply::Refused(refusal), "{body:?}");
        }
        stream.ask(50, Request::Peers { artifact: unknown }).await;
        assert_eq!(stream.reply_to(50).await, Reply::Peers { peers: Vec::new() });
        // Cancelling an unused id, or the id of a request that has ended, gets no reply.
        for id in [0, 1, 50, u32::MAX] {
            stream.ask(60, Request::Cancel { request: RequestId(id) }).await;
        }
        stream.assert_served(&served, 100).await;
        assert_no_server_panic();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_frame_does_not_block_other_streams() {
    count_panics();
    in_time(async {
        let served = Served::start().await;
        let (hostile, honest) = (connected_node(&served).await, connected_node(&served).await);
        let whole = request(1, Request::Block { cid: served.cid() });
        let mut silent = Raw::open(&hostile, &served).await;
        silent.write(&whole[..whole.len() / 2]).await;
        Raw::open(&hostile, &served).await.assert_served(&served, 1).await;
        Raw::open(&honest, &served).await.assert_served(&served, 1).await;
        // The rest of the frame arrives later, and the server still answers it.
        silent.write(&whole[whole.len() / 2..]).await;
        assert_eq!(silent.reply_to(1).await, Reply::Block);
        assert_no_server_panic();
    })
    .await;
}
