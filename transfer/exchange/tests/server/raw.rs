//! A transfer stream on which a test can write arbitrary bytes.

use std::collections::BTreeMap;

use futures::io::{ReadHalf, WriteHalf};
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use phase_core::ChunkRange;
use phase_node::{Node, Stream};
use phase_protocol::wire::{self, Reply, ReplyHeader, Request, RequestHeader, RequestId};

use crate::served::{Served, content, start};

/// A transfer stream on which a test can write arbitrary bytes.
pub(crate) struct Raw {
    reader: ReadHalf<Stream>,
    writer: WriteHalf<Stream>,
}

/// Starts a node and connects it to `served`.
pub(crate) async fn connected_node(served: &Served) -> Node {
    let node = start().await;
    let address = served.handle().listen_addresses().await[0].clone();
    node.handle().connect(served.handle().peer_id(), vec![address]).await.unwrap();
    node
}

impl Raw {
    pub(crate) async fn open(node: &Node, served: &Served) -> Self {
        let (reader, writer) = node.handle().open_stream(served.handle().peer_id()).await.unwrap().split();
        Self { reader, writer }
    }

    /// Writes bytes. Ignores errors, because the server may have ended the stream.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        if self.writer.write_all(bytes).await.is_ok() {
            let _ = self.writer.flush().await;
        }
    }

    /// Sends a request.
    pub(crate) async fn ask(&mut self, id: u32, body: Request) {
        self.write(&request(id, body)).await;
    }

    /// Reads the next reply. Returns `None` if the stream has ended or failed.
    pub(crate) async fn reply(&mut self) -> Option<(ReplyHeader, Vec<u8>)> {
        let mut prefix = [0; 4];
        self.reader.read_exact(&mut prefix).await.ok()?;
        let mut header = vec![0; wire::header_len(prefix).unwrap()];
        self.reader.read_exact(&mut header).await.ok()?;
        let header = wire::decode_reply(&header).unwrap();
        let mut payload = vec![0; header.len as usize];
        self.reader.read_exact(&mut payload).await.ok()?;
        Some((header, payload))
    }

    /// Reads the next reply, asserts that it answers the request `id`, and returns its body.
    pub(crate) async fn reply_to(&mut self, id: u32) -> Reply {
        let (header, _) = self.reply().await.expect("the stream has ended");
        assert_eq!(header.id, RequestId(id));
        header.body
    }

    /// Asserts that this stream delivers the whole artifact.
    pub(crate) async fn assert_served(&mut self, served: &Served, id: u32) {
        let ranges = vec![ChunkRange::new(0, served.artifact.index().len()).unwrap()];
        self.ask(id, Request::Chunks { artifact: served.cid(), ranges }).await;
        let mut chunks = BTreeMap::new();
        while let Some((header, payload)) = self.reply().await {
            assert_eq!(header.id, RequestId(id));
            match header.body {
                // Chunks may arrive in any order.
                Reply::Chunk { index, .. } => assert!(chunks.insert(index, payload).is_none(), "sent twice"),
                body => {
                    assert_eq!(body, Reply::Done);
                    assert!(chunks.into_values().collect::<Vec<_>>().concat() == content());
                    return;
                }
            }
        }
        panic!("the stream has ended");
    }
}

/// Encodes a request as a frame.
pub(crate) fn request(id: u32, body: Request) -> Vec<u8> {
    wire::encode_request(&RequestHeader { id: RequestId(id), body }).to_vec()
}
