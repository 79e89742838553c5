//! A transfer stream on which a raw peer writes arbitrary bytes, and whose replies it need not read.

use std::time::Duration;

use futures::io::{ReadHalf, WriteHalf};
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use phase_node::{Multiaddr, NodeHandle, PeerId, Stream};
use phase_protocol::wire::{self, ReplyHeader, Request, RequestHeader, RequestId};

/// The timeout for a reply. A timeout counts as a violation of the protocol, because the server must have lost the
/// request.
const REPLY_TIMEOUT: Duration = Duration::from_secs(90);

/// A transfer stream on which a raw peer writes arbitrary bytes.
pub(super) struct RawStream {
    reader: ReadHalf<Stream>,
    writer: WriteHalf<Stream>,
}

/// An error after which a raw stream cannot be used.
#[derive(Debug)]
pub(super) enum RawError {
    /// The peer cannot be reached or has closed the stream. This is not a failure, because the soak stops and kills
    /// providers on purpose.
    Closed,
    /// The peer broke the protocol.
    Violation(String),
}

impl RawStream {
    pub(super) async fn open(node: &NodeHandle, peer: PeerId, addresses: Vec<Multiaddr>) -> Result<Self, RawError> {
        node.connect(peer, addresses).await.map_err(|_| RawError::Closed)?;
        let (reader, writer) = node.open_stream(peer).await.map_err(|_| RawError::Closed)?.split();
        Ok(Self { reader, writer })
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), RawError> {
        self.writer.write_all(bytes).await.map_err(|_| RawError::Closed)?;
        self.writer.flush().await.map_err(|_| RawError::Closed)
    }

    pub(super) async fn ask(&mut self, id: u32, body: Request) -> Result<(), RawError> {
        self.write(&request(id, body)).await
    }

    /// Reads the next reply. Returns its header and payload.
    pub(super) async fn reply(&mut self) -> Result<(ReplyHeader, Vec<u8>), RawError> {
        let late = || RawError::Violation(format!("no reply within {} s on an open stream", REPLY_TIMEOUT.as_secs()));
        tokio::time::timeout(REPLY_TIMEOUT, self.read()).await.unwrap_or_else(|_| Err(late()))
    }

    async fn read(&mut self) -> Result<(ReplyHeader, Vec<u8>), RawError> {
        let mut prefix = [0; 4];
        self.fill(&mut prefix).await?;
        let malformed = |error: wire::WireError| RawError::Violation(format!("cannot decode a reply: {error}"));
        let mut header = vec![0; wire::header_len(prefix).map_err(malformed)?];
        self.fill(&mut header).await?;
        let header = wire::decode_reply(&header).map_err(malformed)?;
        let mut payload = vec![0; header.len as usize];
        self.fill(&mut payload).await?;
        Ok((header, payload))
    }

    async fn fill(&mut self, into: &mut [u8]) -> Result<(), RawError> {
        self.reader.read_exact(into).await.map_err(|_| RawError::Closed)
    }
}

/// Returns the encoded frame of a request.
pub(super) fn request(id: u32, body: Request) -> Vec<u8> {
    wire::encode_request(&RequestHeader { id: RequestId(id), body }).to_vec()
}
