//! Raw peers: they use the protocol on raw streams in ways in which no real client does.

use std::collections::BTreeSet;
use std::time::Duration;

use phase_core::{ChunkIndex, ChunkRange};
use phase_node::{Multiaddr, Node, NodeConfig, NodeHandle, PeerId};
use phase_protocol::wire::{Reply, Request, RequestId};

use super::board::Actor;
use super::clients::Setup;
use super::network::{tcp_address, transport};
use super::raw_stream::{RawError, RawStream, request};
use super::releases::Content;

/// The longest random wait of a raw peer, in seconds. Only a [`LONG_PAUSE`] is longer.
const MAX_WAIT: f64 = 5.0;
/// The probability that a pause in reading lasts [`LONG_PAUSE`].
const LONG_PAUSE_SHARE: f64 = 0.05;
/// The duration of a long pause in reading. It is longer than the 30 s after which a server's write to a peer fails.
const LONG_PAUSE: Duration = Duration::from_secs(33);
/// The probability that a raw peer reads one more reply after a pause in reading. Otherwise it closes the stream.
const READS_ON: f64 = 0.99;
/// The largest number of requests that a raw peer sends before it cancels some of them.
const MAX_REQUESTS: u32 = 16;
/// The probability that the raw peer cancels one of its open requests before it reads the next reply.
const CANCEL: f64 = 0.2;
/// The largest number of requests from a raw peer that never reads replies. It is larger than the number
/// of requests after which a server stops reading, because the server cannot send its replies.
const MAX_UNREAD: u32 = 20_000;
/// The timeout of a write. A timeout means that the server has stopped reading requests.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);
/// The time until a raw peer opens its next stream, after a stream could not be opened or was closed.
const RETRY_WAIT: Duration = Duration::from_millis(200);

/// A raw peer: a test program that uses streams in ways in which no real client does.
pub(super) struct RawPeer {
    pub(super) setup: Setup,
    /// The long-lived clients of the soak, which also serve what they have fetched.
    pub(super) clients: Vec<NodeHandle>,
    pub(super) actor: Actor,
    pub(super) random: fastrand::Rng,
}

impl RawPeer {
    /// Opens one stream after another and misuses each of them, until the soak ends. Stops the raw peer's node during
    /// quiet points.
    pub(super) async fn run(mut self) {
        let mut node = None;
        loop {
            if !self.actor.is_load()
                && let Some(node) = node.take()
            {
                Node::stop(node).await;
            }
            if !self.actor.ready().await {
                return;
            }
            let here = match node.take() {
                Some(node) => node,
                None => match Node::start(NodeConfig { transport: transport(), ..NodeConfig::default() }).await {
                    Ok(node) => node,
                    Err(error) => {
                        self.actor.record_failure(&error.to_string());
                        continue;
                    }
                },
            };
            let result = self.act(here.handle()).await;
            match result {
                // The node is not kept here, so it is dropped. Its connection then ends without a proper close.
                Ok(After::Vanish) => self.actor.board().count(|counts| counts.vanished += 1),
                Ok(After::Stay) => node = Some(here),
                Err(RawError::Closed) => {
                    node = Some(here);
                    self.actor.pause(RETRY_WAIT).await;
                }
                Err(RawError::Violation(violation)) => {
                    node = Some(here);
                    self.actor.record_failure(&violation);
                }
            }
        }
    }

    /// Opens a new stream and uses it in one of seven ways, chosen at random.
    async fn act(&mut self, node: &NodeHandle) -> Result<After, RawError> {
        let act = self.random.u8(..7);
        let (peer, addresses) = if act == 0 { self.client().await } else { self.provider()? };
        self.actor.begin(format!("opens a stream to {peer}"));
        let mut raw = RawStream::open(node, peer, addresses).await?;
        match act {
            0 => self.subscribe(&mut raw).await?,
            1 => self.pause_reading(&mut raw).await?,
            2 => self.never_read(&mut raw).await?,
            3 => self.write_half(&mut raw).await?,
            4 => self.cancel(&mut raw).await?,
            5 => self.receive_whole(&mut raw).await?,
            _ => {
                self.actor.begin("vanishes");
                self.ask_for_all(&mut raw, 1).await?;
                for _ in 0..self.random.u8(..20) {
                    raw.reply().await?;
                }
                return Ok(After::Vanish);
            }
        }
        Ok(After::Stay)
    }

    /// Subscribes several times to the have updates of a client, and cancels each subscription after a while.
    async fn subscribe(&mut self, raw: &mut RawStream) -> Result<(), RawError> {
        self.actor.begin("subscribes");
        for id in 0..self.random.u32(1..6) {
            let artifact = self.content().cid;
            raw.ask(2 * id, Request::Have { artifact }).await?;
            match raw.reply().await?.0.body {
                Reply::Have { .. } => {}
                Reply::Refused(_) => continue,
                other => return violation(format!("{other:?} in reply to a subscription")),
            }
            self.actor.pause(Duration::from_secs_f64(self.random.f64() * 1.5)).await;
            // `Done` is the last reply to the subscription. The client sends it after this `Cancel` request, or earlier
            // if it ends the subscription by itself.
            raw.ask(2 * id + 1, Request::Cancel { request: RequestId(2 * id) }).await?;
            loop {
                let (header, _) = raw.reply().await?;
                match header.body {
                    Reply::HaveDelta { .. } if header.id == RequestId(2 * id) => {}
                    Reply::Done if header.id == RequestId(2 * id) => break,
                    other => return violation(format!("{other:?} for {:?} during a subscription", header.id)),
                }
            }
            self.actor.board().count(|counts| counts.subscriptions += 1);
        }
        Ok(())
    }

    /// Requests a whole artifact twice, reads nothing for a while, and then reads some or all replies.
    async fn pause_reading(&mut self, raw: &mut RawStream) -> Result<(), RawError> {
        self.actor.begin("pauses reading");
        self.ask_for_all(raw, 1).await?;
        self.ask_for_all(raw, 2).await?;
        let wait = if self.random.f64() < LONG_PAUSE_SHARE { LONG_PAUSE } else { self.wait() };
        self.actor.pause(wait).await;
        self.actor.board().count(|counts| counts.deaf += 1);
        let mut open = 2;
        while open > 0 && self.random.f64() < READS_ON && self.actor.is_load() {
            let (header, _) = raw.reply().await?;
            self.actor.note_progress();
            open -= u8::from(!matches!(header.body, Reply::Chunk { .. }));
        }
        Ok(())
    }

    /// Sends requests without reading any reply, until the server stops reading.
    async fn never_read(&mut self, raw: &mut RawStream) -> Result<(), RawError> {
        self.actor.begin("sends requests and never reads");
        for id in 0..MAX_UNREAD {
            let artifact = self.content().cid;
            let body = match self.random.u8(..3) {
                0 => Request::Block { cid: artifact },
                1 => Request::Have { artifact },
                _ => Request::Chunks { artifact, ranges: vec![ChunkRange { start: 0, end: 1 }] },
            };
            match tokio::time::timeout(WRITE_TIMEOUT, raw.ask(id, body)).await {
                Ok(asked) => asked?,
                Err(_) => break,
            }
            if !self.actor.is_load() {
                break;
            }
        }
        self.actor.board().count(|counts| counts.mute += 1);
        let wait = self.wait();
        self.actor.pause(wait).await;
        Ok(())
    }

    /// Writes a part of a request and waits. Then closes the stream, or writes the rest and checks the reply.
    async fn write_half(&mut self, raw: &mut RawStream) -> Result<(), RawError> {
        self.actor.begin("writes half of a frame");
        let cid = self.content().cid;
        let frame = request(9, Request::Block { cid });
        let (first, rest) = frame.split_at(self.random.usize(1..frame.len()));
        raw.write(first).await?;
        let wait = self.wait();
        self.actor.pause(wait).await;
        self.actor.board().count(|counts| counts.halves += 1);
        if self.random.bool() {
            raw.write(rest).await?;
            let (header, block) = raw.reply().await?;
            if (header.id, header.body) != (RequestId(9), Reply::Block) || cid.verify(&block).is_err() {
                return violation("wrong reply to a request that was written in two parts".to_owned());
            }
        }
        Ok(())
    }

    /// Sends several requests and cancels some of them at random moments. Each request must end exactly once, without
    /// replies after its end.
    async fn cancel(&mut self, raw: &mut RawStream) -> Result<(), RawError> {
        self.actor.begin("sends requests and cancels some");
        let setup = self.setup.clone();
        let contents: Vec<_> = setup.releases.all.iter().flat_map(|release| &release.artifacts).collect();
        let contents: Vec<_> = contents.into_iter().filter(|content| !content.index.is_empty()).collect();
        let mut open = BTreeSet::new();
        let mut asked = Vec::new();
        for id in 0..self.random.u32(1..=MAX_REQUESTS) {
            let content = contents[self.random.usize(..contents.len())];
            let ranges = vec![any_range(&mut self.random, content.index.len())];
            raw.ask(id, Request::Chunks { artifact: content.cid, ranges }).await?;
            open.insert(RequestId(id));
            asked.push(content);
        }
        let mut next = MAX_REQUESTS;
        while !open.is_empty() {
            if self.random.f64() < CANCEL {
                let request =
                    *open.iter().nth(self.random.usize(..open.len())).expect("the position is less than the length");
                raw.ask(next, Request::Cancel { request }).await?;
                next += 1;
                self.actor.board().count(|counts| counts.cancelled += 1);
            }
            let (header, payload) = raw.reply().await?;
            self.actor.note_progress();
            if !open.contains(&header.id) {
                return violation(format!("{:?} for a request that is not open: {:?}", header.body, header.id));
            }
            match header.body {
                Reply::Chunk { index, .. } => check(asked[header.id.0 as usize], index, &payload)?,
                Reply::Done | Reply::Refused(_) => drop(open.remove(&header.id)),
                other => return violation(format!("{other:?} in reply to a request for chunks")),
            }
        }
        Ok(())
    }

    /// Receives a whole artifact as a normal client would, and compares it with the published file.
    async fn receive_whole(&mut self, raw: &mut RawStream) -> Result<(), RawError> {
        self.actor.begin("receives a whole artifact");
        let setup = self.setup.clone();
        let content = setup.releases.largest();
        self.ask_for_all(raw, 7).await?;
        let mut bytes = vec![0; content.index.size() as usize];
        let mut missing = content.index.len();
        loop {
            let (header, payload) = raw.reply().await?;
            self.actor.note_progress();
            match header.body {
                Reply::Chunk { index, .. } => {
                    check(content, index, &payload)?;
                    let at = content.index.chunk(index).map_or(0, |chunk| chunk.offset as usize);
                    bytes[at..at + payload.len()].copy_from_slice(&payload);
                    missing = missing.saturating_sub(1);
                }
                Reply::Done => break,
                other => return violation(format!("{other:?} in reply to a request for chunks")),
            }
        }
        if missing > 0 || !content.is(&bytes) {
            return violation(format!("a whole artifact differs from what was published; chunks missing: {missing}"));
        }
        self.actor.board().count(|counts| counts.whole += 1);
        Ok(())
    }

    /// Sends a request for every chunk of the largest artifact.
    async fn ask_for_all(&self, raw: &mut RawStream, id: u32) -> Result<(), RawError> {
        let content = self.setup.releases.largest();
        let all = ChunkRange { start: 0, end: content.index.len() };
        raw.ask(id, Request::Chunks { artifact: content.cid, ranges: vec![all] }).await
    }

    fn wait(&mut self) -> Duration {
        Duration::from_secs_f64(self.random.f64() * MAX_WAIT)
    }

    fn content(&mut self) -> &Content {
        let releases = &self.setup.releases.all;
        let release = &releases[self.random.usize(..releases.len())];
        &release.artifacts[self.random.usize(..release.artifacts.len())]
    }

    /// Returns the peer id of a random provider, and one of its two addresses (TCP or QUIC), chosen at random.
    fn provider(&mut self) -> Result<(PeerId, Vec<Multiaddr>), RawError> {
        let provider = &self.setup.providers[self.random.usize(..self.setup.providers.len())];
        let tcp = (*provider.tcp().borrow()).ok_or(RawError::Closed)?;
        let address = if self.random.bool() { tcp_address(tcp) } else { provider.quic().clone() };
        Ok((provider.peer, vec![address]))
    }

    async fn client(&mut self) -> (PeerId, Vec<Multiaddr>) {
        let client = &self.clients[self.random.usize(..self.clients.len())];
        (client.peer_id(), client.listen_addresses().await)
    }
}

/// Whether the raw peer keeps its node or drops it after using a stream.
enum After {
    Stay,
    Vanish,
}

fn violation<T>(what: String) -> Result<T, RawError> {
    Err(RawError::Violation(what))
}

/// Returns a random chunk range of an artifact with `chunks` chunks.
fn any_range(random: &mut fastrand::Rng, chunks: u32) -> ChunkRange {
    let start = random.u32(..chunks);
    ChunkRange { start, end: random.u32(start + 1..=chunks) }
}

fn check(content: &Content, index: ChunkIndex, bytes: &[u8]) -> Result<(), RawError> {
    let verified = content.index.verify_chunk(index, bytes);
    verified.map_err(|error| RawError::Violation(format!("wrong chunk: {error}")))
}
