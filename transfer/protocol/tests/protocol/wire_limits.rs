//! Tests that bytes from a peer are decoded only if they are canonical and within the limits. All other bytes must give
//! an error, without a panic and without an allocation of the length that they claim.

use phase_core::codec::to_dag_cbor;
use phase_core::{ChunkIndex, ChunkRange, Cid};
use phase_protocol::wire::{
    MAX_ADDR_LEN, MAX_ADDRS, MAX_HEADER_LEN, MAX_PAYLOAD_LEN, MAX_PEER_LEN, MAX_PEERS, MAX_RANGES, MAX_RETRY_AFTER_MS,
    PeerAddrs, Refusal, Reply, ReplyHeader, Request, RequestHeader, RequestId, WireError, decode_reply, decode_request,
    encode_reply, encode_request, header_len,
};
use proptest::prelude::*;
use serde_bytes::ByteBuf;

fn reply(len: u32, body: Reply) -> Result<ReplyHeader, WireError> {
    decode_reply(&to_dag_cbor(&ReplyHeader { id: RequestId(1), len, body }))
}

fn chunks(count: usize) -> Result<RequestHeader, WireError> {
    let body = Request::Chunks { artifact: Cid::of_block(b""), ranges: ranges(count) };
    decode_request(&to_dag_cbor(&RequestHeader { id: RequestId(1), body }))
}

fn ranges(count: usize) -> Vec<ChunkRange> {
    // The ranges have large numbers, because these have the longest encodings.
    (0..count as u32).rev().map(|i| ChunkRange::new(u32::MAX - 2 * i - 2, u32::MAX - 2 * i - 1).unwrap()).collect()
}

fn peers(count: usize, peer: usize, addrs: usize, addr: usize) -> Reply {
    let entry = PeerAddrs { peer: ByteBuf::from(vec![1; peer]), addrs: vec![ByteBuf::from(vec![2; addr]); addrs] };
    Reply::Peers { peers: vec![entry; count] }
}

#[test]
fn a_header_beyond_its_length_limit_is_refused() {
    assert_eq!(header_len([0, 0, 0, 0]), Err(WireError::HeaderLength(0)));
    assert_eq!(header_len([0, 0, 0, 1]), Ok(1));
    let cap = MAX_HEADER_LEN as u32;
    assert_eq!(header_len(cap.to_be_bytes()), Ok(MAX_HEADER_LEN));
    assert_eq!(header_len((cap + 1).to_be_bytes()), Err(WireError::HeaderLength(cap + 1)));
    assert_eq!(header_len([0xff; 4]), Err(WireError::HeaderLength(u32::MAX)));
}

#[test]
fn the_longest_messages_fit_in_a_header() {
    let longest = [
        encode_reply(&ReplyHeader {
            id: RequestId(u32::MAX),
            len: 0,
            body: peers(MAX_PEERS, MAX_PEER_LEN, MAX_ADDRS, MAX_ADDR_LEN),
        }),
        encode_reply(&ReplyHeader {
            id: RequestId(u32::MAX),
            len: 0,
            body: Reply::HaveDelta { ranges: ranges(MAX_RANGES) },
        }),
        encode_request(&RequestHeader {
            id: RequestId(u32::MAX),
            body: Request::Chunks { artifact: Cid::of_block(b""), ranges: ranges(MAX_RANGES) },
        }),
    ];
    for frame in longest {
        assert_eq!(header_len(frame[..4].try_into().unwrap()), Ok(frame.len() - 4));
    }
}

#[test]
fn a_list_beyond_its_limit_is_refused() {
    assert!(chunks(1).is_ok() && chunks(MAX_RANGES).is_ok());
    assert!(chunks(0).is_err() && chunks(MAX_RANGES + 1).is_err());
    assert!(reply(0, Reply::HaveDelta { ranges: ranges(MAX_RANGES) }).is_ok());
    assert!(reply(0, Reply::HaveDelta { ranges: ranges(0) }).is_err());
    assert!(reply(0, Reply::HaveDelta { ranges: ranges(MAX_RANGES + 1) }).is_err());
    assert!(reply(0, peers(0, 0, 0, 0)).is_ok());
    assert!(reply(0, peers(MAX_PEERS, MAX_PEER_LEN, MAX_ADDRS, MAX_ADDR_LEN)).is_ok());
    for over in [
        peers(MAX_PEERS + 1, 1, 1, 1),
        peers(1, MAX_PEER_LEN + 1, 1, 1),
        peers(1, 1, MAX_ADDRS + 1, 1),
        peers(1, 1, 1, MAX_ADDR_LEN + 1),
    ] {
        assert!(reply(0, over.clone()).is_err(), "{over:?}");
    }
}

#[test]
fn a_payload_longer_than_its_kind_of_reply_permits_is_refused() {
    let bitmap = |chunks| Reply::Have { chunks, full: false };
    let cases = [
        (Reply::Head { pointer_len: 0 }, 0, MAX_PAYLOAD_LEN),
        (Reply::Block, 0, MAX_PAYLOAD_LEN),
        (Reply::Chunk { index: ChunkIndex(0), encoding: 0 }, 0, MAX_PAYLOAD_LEN),
        (bitmap(17), 0, 3),
        (bitmap(u32::MAX), 0, MAX_PAYLOAD_LEN),
        (Reply::Have { chunks: 17, full: true }, 0, 0),
        (Reply::HaveDelta { ranges: ranges(1) }, 0, 0),
        (Reply::Done, 0, 0),
        (peers(1, 1, 1, 1), 0, 0),
        (Reply::Refused(Refusal::Missing), 0, 0),
    ];
    for (body, least, most) in cases {
        assert!(reply(least, body.clone()).is_ok(), "{body:?} with {least}");
        assert!(reply(most, body.clone()).is_ok(), "{body:?} with {most}");
        for over in [most + 1, u32::MAX] {
            assert!(reply(over, body.clone()).is_err(), "{body:?} with {over}");
        }
    }
}

#[test]
fn values_out_of_range_are_refused() {
    assert!(reply(5, Reply::Head { pointer_len: 5 }).is_ok());
    assert!(reply(5, Reply::Head { pointer_len: 6 }).is_err());
    assert!(reply(1, Reply::Chunk { index: ChunkIndex(0), encoding: 1 }).is_err());
    let busy = |retry_after_ms| Reply::Refused(Refusal::Busy { retry_after_ms });
    assert!(reply(0, busy(MAX_RETRY_AFTER_MS - 1)).is_ok());
    assert!(reply(0, busy(MAX_RETRY_AFTER_MS)).is_err());
    assert!(reply(0, busy(u32::MAX)).is_err());
}

#[test]
fn bytes_that_are_not_canonical_are_refused() {
    let good = to_dag_cbor(&RequestHeader { id: RequestId(7), body: Request::Cancel { request: RequestId(9) } });
    assert!(decode_request(&good).is_ok());
    let text = hex::encode(&good);
    let forms = [
        ("trailing byte", format!("{text}00")),
        ("truncated", text[..text.len() - 2].to_owned()),
        ("long integer", text.replacen("07", "1807", 1)),
        ("id of 64 bits", text.replacen("07", "1b0000000100000000", 1)),
        ("negative id", text.replacen("07", "20", 1)),
        ("unknown field", text.replacen("a262696407", "a361780062696407", 1)),
        ("field twice", text.replacen("a262696407", "a36269640762696407", 1)),
        ("unknown field of a request", text.replacen("a16772657175657374", "a26178006772657175657374", 1)),
        ("unknown request", text.replacen(&hex::encode("cancel"), &hex::encode("cancem"), 1)),
        ("empty range", of_ranges(vec![ChunkRange { start: 3, end: 3 }])),
        ("reversed range", of_ranges(vec![ChunkRange { start: 3, end: 2 }])),
        ("ranges that overlap", of_ranges(vec![ChunkRange { start: 0, end: 3 }, ChunkRange { start: 2, end: 4 }])),
        ("ranges that go back", of_ranges(vec![ChunkRange { start: 4, end: 5 }, ChunkRange { start: 0, end: 1 }])),
        ("a range twice", of_ranges(vec![ChunkRange { start: 0, end: 3 }; 2])),
        ("deeply nested lists", "81".repeat(MAX_HEADER_LEN)),
        // This list claims to have 2^32 - 1 entries, and has none.
        ("long list", format!("a262696407{}", "64626f6479a1666368756e6b73a26672616e6765739affffffff")),
    ];
    for (what, form) in forms {
        assert!(decode_request(&hex::decode(form).unwrap()).is_err(), "{what}");
    }
}

/// Returns the encoding of a request for `ranges`, in hexadecimal.
fn of_ranges(ranges: Vec<ChunkRange>) -> String {
    let body = Request::Chunks { artifact: Cid::of_block(b""), ranges };
    hex::encode(to_dag_cbor(&RequestHeader { id: RequestId(7), body }))
}

fn any_ranges() -> impl Strategy<Value = Vec<ChunkRange>> {
    proptest::collection::btree_set(any::<u32>(), 2..=2 * MAX_RANGES).prop_map(|bounds| {
        let bounds: Vec<_> = bounds.into_iter().collect();
        bounds.chunks_exact(2).map(|pair| ChunkRange { start: pair[0], end: pair[1] }).collect()
    })
}

fn any_cid() -> impl Strategy<Value = Cid> {
    any::<[u8; 8]>().prop_map(|bytes| Cid::of_block(&bytes))
}

fn any_request() -> impl Strategy<Value = Request> {
    prop_oneof![
        "[a-z0-9][a-z0-9._-]{0,63}/[a-z0-9][a-z0-9._-]{0,63}"
            .prop_map(|name| Request::Head { name: name.parse().unwrap() }),
        any_cid().prop_map(|cid| Request::Block { cid }),
        any_cid().prop_map(|artifact| Request::Have { artifact }),
        (any_cid(), any_ranges()).prop_map(|(artifact, ranges)| Request::Chunks { artifact, ranges }),
        any_cid().prop_map(|artifact| Request::Peers { artifact }),
        any::<u32>().prop_map(|id| Request::Cancel { request: RequestId(id) }),
    ]
}

fn any_peer() -> impl Strategy<Value = PeerAddrs> {
    let bytes = |most| proptest::collection::vec(any::<u8>(), 0..=most).prop_map(ByteBuf::from);
    (bytes(MAX_PEER_LEN), proptest::collection::vec(bytes(MAX_ADDR_LEN), 0..=MAX_ADDRS))
        .prop_map(|(peer, addrs)| PeerAddrs { peer, addrs })
}

fn any_reply() -> impl Strategy<Value = (u32, Reply)> {
    let payload = 0..=MAX_PAYLOAD_LEN;
    prop_oneof![
        payload.clone().prop_flat_map(|len| (Just(len), (0..=len).prop_map(|pointer_len| Reply::Head { pointer_len }))),
        payload.clone().prop_map(|len| (len, Reply::Block)),
        (0u32..1 << 22).prop_map(|chunks| (chunks.div_ceil(8), Reply::Have { chunks, full: false })),
        any::<u32>().prop_map(|chunks| (0, Reply::Have { chunks, full: true })),
        any_ranges().prop_map(|ranges| (0, Reply::HaveDelta { ranges })),
        (payload, any::<u32>()).prop_map(|(len, index)| (len, Reply::Chunk { index: ChunkIndex(index), encoding: 0 })),
        Just((0, Reply::Done)),
        proptest::collection::vec(any_peer(), 0..=MAX_PEERS).prop_map(|peers| (0, Reply::Peers { peers })),
        (0..MAX_RETRY_AFTER_MS).prop_map(|retry_after_ms| (0, Reply::Refused(Refusal::Busy { retry_after_ms }))),
        prop_oneof![
            Just(Refusal::NotFound),
            Just(Refusal::Missing),
            Just(Refusal::TooLarge),
            Just(Refusal::Forbidden),
            Just(Refusal::Malformed)
        ]
        .prop_map(|refusal| (0, Reply::Refused(refusal))),
    ]
}

proptest! {
    #[test]
    fn every_encoded_request_is_decoded_to_the_same_request(id in any::<u32>(), body in any_request()) {
        let header = RequestHeader { id: RequestId(id), body };
        let frame = encode_request(&header);
        prop_assert_eq!(header_len(frame[..4].try_into().unwrap()), Ok(frame.len() - 4));
        prop_assert_eq!(decode_request(&frame[4..]), Ok(header));
    }

    #[test]
    fn every_encoded_reply_is_decoded_to_the_same_reply(id in any::<u32>(), (len, body) in any_reply()) {
        let header = ReplyHeader { id: RequestId(id), len, body };
        let frame = encode_reply(&header);
        prop_assert_eq!(header_len(frame[..4].try_into().unwrap()), Ok(frame.len() - 4));
        prop_assert_eq!(decode_reply(&frame[4..]), Ok(header));
    }

    #[test]
    fn any_bytes_decode_to_a_canonical_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(header) = decode_request(&bytes) {
            prop_assert_eq!(&to_dag_cbor(&header), &bytes);
        }
        if let Ok(header) = decode_reply(&bytes) {
            prop_assert!(header.len <= MAX_PAYLOAD_LEN);
            prop_assert_eq!(&to_dag_cbor(&header), &bytes);
        }
    }

    #[test]
    fn a_damaged_message_decodes_to_a_canonical_message_or_an_error(
        (len, body) in any_reply(), request in any_request(), at in any::<prop::sample::Index>(), flip in 1u8..
    ) {
        let mut reply = to_dag_cbor(&ReplyHeader { id: RequestId(1), len, body });
        *at.get_mut(&mut reply) ^= flip;
        if let Ok(header) = decode_reply(&reply) {
            prop_assert!(header.len <= MAX_PAYLOAD_LEN);
            prop_assert_eq!(to_dag_cbor(&header), reply);
        }
        let mut request = to_dag_cbor(&RequestHeader { id: RequestId(1), body: request });
        *at.get_mut(&mut request) ^= flip;
        if let Ok(header) = decode_request(&request) {
            prop_assert_eq!(to_dag_cbor(&header), request);
        }
    }
}
