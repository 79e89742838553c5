//! Tests of the exact bytes of every message. The bytes must not change, because other versions of Phase read them.

use phase_core::{ChunkIndex, ChunkRange, Cid};
use phase_protocol::wire::{
    PeerAddrs, Refusal, Reply, ReplyHeader, Request, RequestHeader, RequestId, decode_reply, decode_request,
    encode_reply, encode_request, header_len,
};
use serde_bytes::ByteBuf;

fn cid() -> Cid {
    Cid::of_block(b"block")
}

fn cid_link() -> String {
    format!("d82a582500{}", hex::encode(cid().to_bytes()))
}

fn range(start: u32, end: u32) -> ChunkRange {
    ChunkRange::new(start, end).unwrap()
}

/// Returns the CBOR encoding of a text of fewer than 24 bytes, in hexadecimal.
fn text(text: &str) -> String {
    format!("{:02x}{}", 0x60 + text.len(), hex::encode(text))
}

/// Returns the CBOR encoding of the map `{"id": 7, "body": body}`, in hexadecimal. DAG-CBOR orders the keys of a map by
/// length, and then by bytes.
fn request(body: &str) -> String {
    format!("a2{}07{}{body}", text("id"), text("body"))
}

/// Returns the CBOR encoding of the map `{"id": 7, "len": len, "body": body}`, in hexadecimal.
fn reply(len: &str, body: &str) -> String {
    format!("a3{}07{}{len}{}{body}", text("id"), text("len"), text("body"))
}

#[test]
fn each_request_is_encoded_in_exactly_these_bytes() {
    let link = cid_link();
    let cases = [
        (
            Request::Head { name: "stable/x86_64".parse().unwrap() },
            format!(
                "a1{}a1{}a2{}{}{}{}",
                text("head"),
                text("name"),
                text("arch"),
                text("x86_64"),
                text("channel"),
                text("stable")
            ),
        ),
        (Request::Block { cid: cid() }, format!("a1{}a1{}{link}", text("block"), text("cid"))),
        (Request::Have { artifact: cid() }, format!("a1{}a1{}{link}", text("have"), text("artifact"))),
        (
            Request::Chunks { artifact: cid(), ranges: vec![range(0, 2), range(300, 301)] },
            format!("a1{}a2{}82820002821901 2c19012d{}{link}", text("chunks"), text("ranges"), text("artifact")),
        ),
        (Request::Peers { artifact: cid() }, format!("a1{}a1{}{link}", text("peers"), text("artifact"))),
        (Request::Cancel { request: RequestId(9) }, format!("a1{}a1{}09", text("cancel"), text("request"))),
    ];
    for (body, expected) in cases {
        let header = RequestHeader { id: RequestId(7), body };
        let expected = request(&expected.replace(' ', ""));
        let frame = encode_request(&header);
        assert_eq!(hex::encode(&frame[4..]), expected, "{header:?}");
        assert_eq!(header_len(frame[..4].try_into().unwrap()), Ok(frame.len() - 4));
        assert_eq!(decode_request(&frame[4..]), Ok(header));
    }
}

#[test]
fn each_reply_is_encoded_in_exactly_these_bytes() {
    let addrs = PeerAddrs { peer: ByteBuf::from([1, 2]), addrs: vec![ByteBuf::from([3])] };
    let refused = |refusal: &str| format!("a1{}{refusal}", text("refused"));
    let cases = [
        (Reply::Head { pointer_len: 5 }, "0a", format!("a1{}a1{}05", text("head"), text("pointer_len"))),
        (Reply::Block, "1a00100000", text("block")),
        (
            Reply::Have { chunks: 9, full: false },
            "02",
            format!("a1{}a2{}f4{}09", text("have"), text("full"), text("chunks")),
        ),
        (
            Reply::Have { chunks: 9, full: true },
            "00",
            format!("a1{}a2{}f5{}09", text("have"), text("full"), text("chunks")),
        ),
        (
            Reply::HaveDelta { ranges: vec![range(1, 2)] },
            "00",
            format!("a1{}a1{}81820102", text("delta"), text("ranges")),
        ),
        (
            Reply::Chunk { index: ChunkIndex(3), encoding: 0 },
            "1901f4",
            format!("a1{}a2{}03{}00", text("chunk"), text("index"), text("encoding")),
        ),
        (Reply::Done, "00", text("done")),
        (
            Reply::Peers { peers: vec![addrs] },
            "00",
            format!("a1{}a1{}81a2{}420102{}814103", text("peers"), text("peers"), text("peer"), text("addrs")),
        ),
        (Reply::Refused(Refusal::NotFound), "00", refused(&text("not-found"))),
        (Reply::Refused(Refusal::Missing), "00", refused(&text("missing"))),
        (
            Reply::Refused(Refusal::Busy { retry_after_ms: 500 }),
            "00",
            refused(&format!("a1{}a1{}1901f4", text("busy"), text("retry_after_ms"))),
        ),
        (Reply::Refused(Refusal::TooLarge), "00", refused(&text("too-large"))),
        (Reply::Refused(Refusal::Forbidden), "00", refused(&text("forbidden"))),
        (Reply::Refused(Refusal::Malformed), "00", refused(&text("malformed"))),
    ];
    for (body, len, body_bytes) in cases {
        let payload = u32::from_str_radix(if len.len() > 2 { &len[2..] } else { len }, 16).unwrap();
        let header = ReplyHeader { id: RequestId(7), len: payload, body };
        let frame = encode_reply(&header);
        assert_eq!(hex::encode(&frame[4..]), reply(len, &body_bytes), "{header:?}");
        assert_eq!(header_len(frame[..4].try_into().unwrap()), Ok(frame.len() - 4));
        assert_eq!(decode_reply(&frame[4..]), Ok(header));
    }
}

#[test]
fn a_cid_is_encoded_as_a_link() {
    let frame = encode_request(&RequestHeader { id: RequestId(0), body: Request::Block { cid: cid() } });
    // These bytes are written by hand, to be independent of the helpers above and of the encoder. They encode {"id": 0,
    // "body": {"block": {"cid": 42(h'00 01 71 1e 20 …')}}}.
    let expected = "0000003fa262696400 64626f6479a165626c6f636ba163636964d82a58250001711e20".replace(' ', "");
    assert!(hex::encode(&frame).starts_with(&expected), "{}", hex::encode(&frame));
    assert_eq!(&frame[frame.len() - 32..], cid().digest().as_bytes());
}
