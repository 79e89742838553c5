//! Peers that speak the protocol on raw streams, and do with it what no client of ours does.

use std::collections::BTreeSet;
use std::time::Duration;

use phase_core::{ChunkIndex, ChunkRange};
use phase_node::{Multiaddr, Node, NodeConfig, NodeHandle, PeerId};
use phase_protocol::wire::{Reply, Request, RequestId};

use super::board::Actor;
use super::clients::Market;
use super::network::{tcp_address, transport};
use super::raw::{Broken, Raw, request};
use super::releases::Content;

/// How long one waits, or does not read, at most, in seconds.
const MAX_WAIT: f64 = 5.0;
/// How likely one does not read for longer than a server waits for a reader: 30 s.
const VERY_DEAF: f64 = 0.05;
const VERY_LONG: Duration = Duration::from_secs(33);
/// How likely one who has not read for a while reads one reply more.
const READS_ON: f64 = 0.99;
/// Requests at a time, and how often one of those under way is cancelled when a reply comes.
const MAX_REQUESTS: u32 = 16;
const CANCEL: f64 = 0.2;
/// Requests of somebody who never reads. The server stops reading them long before.
const MAX_UNREAD: u32 = 20_000;
/// A write that takes so long waits for somebody who does not read any more.
const WRITE_PATIENCE: Duration = Duration::from_secs(1);
/// Before the next attempt, if nobody could be reached.
const REST: Duration = Duration::from_millis(200);

/// See the module's documentation.
pub(super) struct Stranger {
    pub(super) market: Market,
    /// Clients, which serve too.
    pub(super) residents: Vec<NodeHandle>,
    pub(super) actor: Actor,
    pub(super) random: fastrand::Rng,
}

impl Stranger {
    /// Goes on until the end. Between two loads it is not there at all.
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
                        self.actor.wrong(&error.to_string());
                        continue;
                    }
                },
            };
            let result = self.act(here.handle()).await;
            match result {
                // Without a goodbye: the connection is dropped with the node.
                Ok(After::Vanish) => self.actor.board().count(|counts| counts.vanished += 1),
                Ok(After::Stay) => node = Some(here),
                Err(Broken::Gone) => {
                    node = Some(here);
                    self.actor.pause(REST).await;
                }
                Err(Broken::Wrong(wrong)) => {
                    node = Some(here);
                    self.actor.wrong(&wrong);
                }
            }
        }
    }

    /// Does one thing, on one stream.
    async fn act(&mut self, node: &NodeHandle) -> Result<After, Broken> {
        let act = self.random.u8(..7);
        let (who, addresses) = if act == 0 { self.resident().await } else { self.provider()? };
        self.actor.begin(format!("opens a stream to {who}"));
        let mut raw = Raw::open(node, who, addresses).await?;
        match act {
            0 => self.subscribe(&mut raw).await?,
            1 => self.be_deaf(&mut raw).await?,
            2 => self.be_mute(&mut raw).await?,
            3 => self.write_half(&mut raw).await?,
            4 => self.cancel(&mut raw).await?,
            5 => self.take_whole(&mut raw).await?,
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

    /// Follows what a client has of something, and stops following, again and again.
    async fn subscribe(&mut self, raw: &mut Raw) -> Result<(), Broken> {
        self.actor.begin("subscribes");
        for id in 0..self.random.u32(1..6) {
            let artifact = self.content().cid;
            raw.ask(2 * id, Request::Have { artifact }).await?;
            match raw.reply().await?.0.body {
                Reply::Have { .. } => {}
                Reply::Refused(_) => continue,
                other => return wrong(format!("the answer to a subscription is {other:?}")),
            }
            self.actor.pause(Duration::from_secs_f64(self.random.f64() * 1.5)).await;
            // What has ended meanwhile has said so already.
            raw.ask(2 * id + 1, Request::Cancel { request: RequestId(2 * id) }).await?;
            loop {
                let (header, _) = raw.reply().await?;
                match header.body {
                    Reply::HaveDelta { .. } if header.id == RequestId(2 * id) => {}
                    Reply::Done if header.id == RequestId(2 * id) => break,
                    other => return wrong(format!("a subscription goes on with {other:?} for {:?}", header.id)),
                }
            }
            self.actor.board().count(|counts| counts.subscriptions += 1);
        }
        Ok(())
    }

    /// Asks for much, does not read for a while, then reads on or leaves.
    async fn be_deaf(&mut self, raw: &mut Raw) -> Result<(), Broken> {
        self.actor.begin("does not read");
        self.ask_for_all(raw, 1).await?;
        self.ask_for_all(raw, 2).await?;
        let wait = if self.random.f64() < VERY_DEAF { VERY_LONG } else { self.wait() };
        self.actor.pause(wait).await;
        self.actor.board().count(|counts| counts.deaf += 1);
        let mut under_way = 2;
        while under_way > 0 && self.random.f64() < READS_ON && self.actor.is_load() {
            let (header, _) = raw.reply().await?;
            self.actor.moved();
            under_way -= u8::from(!matches!(header.body, Reply::Chunk { .. }));
        }
        Ok(())
    }

    /// Asks on and on and reads nothing, until nobody listens any more.
    async fn be_mute(&mut self, raw: &mut Raw) -> Result<(), Broken> {
        self.actor.begin("asks and never reads");
        for id in 0..MAX_UNREAD {
            let artifact = self.content().cid;
            let body = match self.random.u8(..3) {
                0 => Request::Block { cid: artifact },
                1 => Request::Have { artifact },
                _ => Request::Chunks { artifact, ranges: vec![ChunkRange { start: 0, end: 1 }] },
            };
            match tokio::time::timeout(WRITE_PATIENCE, raw.ask(id, body)).await {
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

    /// Writes half of a request and waits; then the other half, and gets its answer, or leaves.
    async fn write_half(&mut self, raw: &mut Raw) -> Result<(), Broken> {
        self.actor.begin("writes half of a frame");
        let cid = self.content().cid;
        let frame = request(9, Request::Block { cid });
        let (one, other) = frame.split_at(self.random.usize(1..frame.len()));
        raw.write(one).await?;
        let wait = self.wait();
        self.actor.pause(wait).await;
        self.actor.board().count(|counts| counts.halves += 1);
        if self.random.bool() {
            raw.write(other).await?;
            let (header, block) = raw.reply().await?;
            if (header.id, header.body) != (RequestId(9), Reply::Block) || cid.verify(&block).is_err() {
                return wrong("a request in two halves got another answer".to_owned());
            }
        }
        Ok(())
    }

    /// Asks for several things at once and cancels some at random moments. Each must end once, and nothing follow.
    async fn cancel(&mut self, raw: &mut Raw) -> Result<(), Broken> {
        self.actor.begin("asks and cancels");
        let market = self.market.clone();
        let contents: Vec<_> = market.releases.all.iter().flat_map(|release| &release.artifacts).collect();
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
                let request = *open.iter().nth(self.random.usize(..open.len())).expect("it is within them");
                raw.ask(next, Request::Cancel { request }).await?;
                next += 1;
                self.actor.board().count(|counts| counts.cancelled += 1);
            }
            let (header, payload) = raw.reply().await?;
            self.actor.moved();
            if !open.contains(&header.id) {
                return wrong(format!("{:?} for a request that is not under way: {:?}", header.body, header.id));
            }
            match header.body {
                Reply::Chunk { index, .. } => check(asked[header.id.0 as usize], index, &payload)?,
                Reply::Done | Reply::Refused(_) => drop(open.remove(&header.id)),
                other => return wrong(format!("the answer to a request for chunks is {other:?}")),
            }
        }
        Ok(())
    }

    /// Takes an artifact in peace and compares it.
    async fn take_whole(&mut self, raw: &mut Raw) -> Result<(), Broken> {
        self.actor.begin("takes a whole artifact");
        let market = self.market.clone();
        let content = market.releases.largest();
        self.ask_for_all(raw, 7).await?;
        let mut bytes = vec![0; content.index.size() as usize];
        let mut missing = content.index.len();
        loop {
            let (header, payload) = raw.reply().await?;
            self.actor.moved();
            match header.body {
                Reply::Chunk { index, .. } => {
                    check(content, index, &payload)?;
                    let at = content.index.chunk(index).map_or(0, |chunk| chunk.offset as usize);
                    bytes[at..at + payload.len()].copy_from_slice(&payload);
                    missing = missing.saturating_sub(1);
                }
                Reply::Done => break,
                other => return wrong(format!("the answer to a request for chunks is {other:?}")),
            }
        }
        if missing > 0 || !content.is(&bytes) {
            return wrong(format!("a whole artifact is not what was published; {missing} chunks did not come"));
        }
        self.actor.board().count(|counts| counts.whole += 1);
        Ok(())
    }

    /// Asks for every chunk of the largest artifact.
    async fn ask_for_all(&self, raw: &mut Raw, id: u32) -> Result<(), Broken> {
        let content = self.market.releases.largest();
        let all = ChunkRange { start: 0, end: content.index.len() };
        raw.ask(id, Request::Chunks { artifact: content.cid, ranges: vec![all] }).await
    }

    fn wait(&mut self) -> Duration {
        Duration::from_secs_f64(self.random.f64() * MAX_WAIT)
    }

    fn content(&mut self) -> &Content {
        let releases = &self.market.releases.all;
        let release = &releases[self.random.usize(..releases.len())];
        &release.artifacts[self.random.usize(..release.artifacts.len())]
    }

    /// Some provider that is up, over TCP or QUIC.
    fn provider(&mut self) -> Result<(PeerId, Vec<Multiaddr>), Broken> {
        let depot = &self.market.depots[self.random.usize(..self.market.depots.len())];
        let tcp = (*depot.tcp().borrow()).ok_or(Broken::Gone)?;
        let address = if self.random.bool() { tcp_address(tcp) } else { depot.quic().clone() };
        Ok((depot.peer, vec![address]))
    }

    async fn resident(&mut self) -> (PeerId, Vec<Multiaddr>) {
        let resident = &self.residents[self.random.usize(..self.residents.len())];
        (resident.peer_id(), resident.listen_addresses().await)
    }
}

/// What becomes of the node after something was done with it.
enum After {
    Stay,
    Vanish,
}

fn wrong<T>(what: String) -> Result<T, Broken> {
    Err(Broken::Wrong(what))
}

/// A run of chunks of an artifact that has so many.
fn any_range(random: &mut fastrand::Rng, chunks: u32) -> ChunkRange {
    let start = random.u32(..chunks);
    ChunkRange { start, end: random.u32(start + 1..=chunks) }
}

fn check(content: &Content, index: ChunkIndex, bytes: &[u8]) -> Result<(), Broken> {
    let verified = content.index.verify_chunk(index, bytes);
    verified.map_err(|error| Broken::Wrong(format!("a chunk is not what it should be: {error}")))
}
