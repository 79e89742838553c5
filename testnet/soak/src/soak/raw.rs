//! A transfer stream on which anything can be asked, or half asked, and read or not.

use std::time::Duration;

use futures::io::{ReadHalf, WriteHalf};
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use phase_node::{Multiaddr, NodeHandle, PeerId, Stream};
use phase_protocol::wire::{self, ReplyHeader, Request, RequestHeader, RequestId};

/// A server that has promised an answer and says nothing for so long has forgotten it.
const PATIENCE: Duration = Duration::from_secs(90);

/// See the module's documentation.
pub(super) struct Raw {
    reader: ReadHalf<Stream>,
    writer: WriteHalf<Stream>,
}

/// Why a stream is of no use any more.
#[derive(Debug)]
pub(super) enum Broken {
    /// The other side is gone, or has closed the stream: nothing wrong where providers are killed.
    Gone,
    /// The other side does what it must not.
    Wrong(String),
}

impl Raw {
    pub(super) async fn open(node: &NodeHandle, peer: PeerId, addresses: Vec<Multiaddr>) -> Result<Self, Broken> {
        node.connect(peer, addresses).await.map_err(|_| Broken::Gone)?;
        let (reader, writer) = node.open_stream(peer).await.map_err(|_| Broken::Gone)?.split();
        Ok(Self { reader, writer })
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.writer.write_all(bytes).await.map_err(|_| Broken::Gone)?;
        self.writer.flush().await.map_err(|_| Broken::Gone)
    }

    pub(super) async fn ask(&mut self, id: u32, body: Request) -> Result<(), Broken> {
        self.write(&request(id, body)).await
    }

    /// The next reply and its payload.
    pub(super) async fn reply(&mut self) -> Result<(ReplyHeader, Vec<u8>), Broken> {
        let late = || Broken::Wrong(format!("no answer within {} s, and the stream is open", PATIENCE.as_secs()));
        tokio::time::timeout(PATIENCE, self.read()).await.unwrap_or_else(|_| Err(late()))
    }

    async fn read(&mut self) -> Result<(ReplyHeader, Vec<u8>), Broken> {
        let mut prefix = [0; 4];
        self.fill(&mut prefix).await?;
        let malformed = |error: wire::WireError| Broken::Wrong(format!("a reply cannot be read: {error}"));
        let mut header = vec![0; wire::header_len(prefix).map_err(malformed)?];
        self.fill(&mut header).await?;
        let header = wire::decode_reply(&header).map_err(malformed)?;
        let mut payload = vec![0; header.len as usize];
        self.fill(&mut payload).await?;
        Ok((header, payload))
    }

    async fn fill(&mut self, into: &mut [u8]) -> Result<(), Broken> {
        self.reader.read_exact(into).await.map_err(|_| Broken::Gone)
    }
}

/// A request as a frame.
pub(super) fn request(id: u32, body: Request) -> Vec<u8> {
    wire::encode_request(&RequestHeader { id: RequestId(id), body }).to_vec()
}
