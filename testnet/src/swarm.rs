//! The simulation: events in virtual time until every client has finished, or nothing happens any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use phase_core::{ArtifactIndex, ChunkIndex, ChunkRange, ChunkSet};
use phase_transfer::peer::PeerKey;
use phase_transfer::scheduler::{Action, ArtifactSlot, ChunkResult, Event, HaveUpdate, RequestId, Scheduler};
use phase_transfer::wire::{MAX_RANGES, Refusal};

use crate::node::{Manner, Node, Outgoing, Uplink};
use crate::queue::Queue;
use crate::report::{Report, percentile};
use crate::scenario::{Fault, Scenario, ScenarioError};

/// The only artifact.
const SLOT: ArtifactSlot = ArtifactSlot(0);
/// How often a node tells its neighbours what it has got: as often as the shipped server does.
const TELL_INTERVAL: Duration = Duration::from_millis(50);
/// How long it takes until a node that is gone is noticed.
const NOTICE: Duration = Duration::from_secs(1);
/// A run that takes longer than this has failed.
const GIVE_UP: Duration = Duration::from_secs(4 * 3600);

/// How often the invariants of the schedulers are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checks {
    /// Never: for figures.
    Off,
    /// After every event: takes time in proportion to the chunks.
    Every,
}

/// Runs a scenario.
///
/// # Errors
/// If the scenario makes no sense. That clients do not finish is no error: see [`Report::is_complete`].
///
/// # Panics
/// If a scheduler breaks an invariant.
pub fn run(scenario: &Scenario, checks: Checks) -> Result<Report, ScenarioError> {
    scenario.check()?;
    Ok(Swarm::new(scenario, checks).run())
}

/// What one node hears from another.
enum Message {
    Request { id: RequestId, ranges: Vec<ChunkRange> },
    Cancel { id: RequestId },
    Have(HaveUpdate),
    Chunk { request: RequestId, chunk: ChunkIndex },
    Done { request: RequestId },
    Refused { request: RequestId, refusal: Refusal },
    Gone,
}

enum Happening {
    Heard {
        to: usize,
        from: usize,
        message: Message,
    },
    /// The uplink has sent its chunk.
    Sent {
        node: usize,
    },
    Timer {
        node: usize,
    },
    Tell {
        node: usize,
    },
    Lost {
        node: usize,
    },
}

struct Swarm<'a> {
    scenario: &'a Scenario,
    checks: Checks,
    base: Instant,
    now: Duration,
    queue: Queue<Happening>,
    nodes: Vec<Node>,
    index: Arc<ArtifactIndex>,
    t_min: Duration,
    latency_seed: u64,
    unfinished: usize,
    bans: u64,
    events: u64,
}

impl<'a> Swarm<'a> {
    fn new(scenario: &'a Scenario, checks: Checks) -> Self {
        let mut rng = Rng::with_seed(scenario.seed);
        let index = scenario.index(&mut rng);
        let rates = scenario.rates(&mut rng);
        let t_min = scenario.bound(&rates);
        let harmful = scenario.faults.iter().filter_map(|fault| match fault {
            Fault::Lost { .. } => None,
            Fault::Corrupt => Some(Manner::Corrupt),
            Fault::Stalled => Some(Manner::Stalled),
        });
        let honest = (scenario.seeds + scenario.nodes) as usize;
        let manners = std::iter::repeat_n(Manner::Honest, honest).chain(harmful);
        let (seeds, clients) = (scenario.seeds as usize, scenario.nodes as usize);
        let nodes = rates.into_iter().zip(manners).enumerate().map(|(number, (rates, manner))| {
            let is_client = (seeds..seeds + clients).contains(&number);
            let have = if is_client { ChunkSet::new(index.len()) } else { ChunkSet::full(index.len()) };
            let scheduler = is_client.then(|| {
                let mut scheduler = Scheduler::new(scenario.scheduler.clone(), rng.u64(..));
                scheduler.handle_artifact(SLOT, index.clone(), &have, 0);
                scheduler
            });
            Node {
                rates,
                manner,
                alive: true,
                scheduler,
                timer: None,
                fresh: ChunkSet::new(index.len()),
                have,
                peers: Default::default(),
                down_free: Duration::ZERO,
                finished: None,
                sent: 0,
                uplink: Uplink::new(index.clone()),
            }
        });
        let nodes = nodes.collect();
        let mut swarm = Self {
            scenario,
            checks,
            base: some_instant(),
            now: Duration::ZERO,
            queue: Queue::new(),
            nodes,
            index,
            t_min,
            latency_seed: rng.u64(..),
            unfinished: clients,
            bans: 0,
            events: 0,
        };
        swarm.connect_all(&mut rng);
        for fault in &scenario.faults {
            if let Fault::Lost { node, at } = *fault {
                swarm.queue.add(at, Happening::Lost { node: seeds + node as usize });
            }
        }
        swarm
    }

    /// Every client knows those that have everything, and some other clients.
    fn connect_all(&mut self, rng: &mut Rng) {
        let (seeds, clients) = (self.scenario.seeds as usize, self.scenario.nodes as usize);
        let is_client = |node: usize| (seeds..seeds + clients).contains(&node);
        for client in seeds..seeds + clients {
            for other in (0..self.nodes.len()).filter(|other| !is_client(*other)) {
                self.connect(client, other);
            }
            let mut others: Vec<_> = (seeds..seeds + clients).filter(|other| *other != client).collect();
            rng.shuffle(&mut others);
            for other in others.into_iter().take(self.scenario.neighbours as usize / 2) {
                self.connect(client, other);
            }
            self.queue.add(Duration::ZERO, Happening::Timer { node: client });
            self.queue.add(TELL_INTERVAL, Happening::Tell { node: client });
        }
    }

    fn connect(&mut self, one: usize, other: usize) {
        if !self.nodes[one].peers.insert(key(other)) {
            return;
        }
        self.nodes[other].peers.insert(key(one));
        let now = self.instant();
        for (node, peer) in [(one, other), (other, one)] {
            let has_all = self.nodes[peer].have.is_full();
            if let Some(scheduler) = &mut self.nodes[node].scheduler {
                scheduler.handle_peer(now, key(peer));
                if has_all {
                    self.send(peer, node, Message::Have(HaveUpdate::Full));
                }
            }
        }
    }

    fn run(mut self) -> Report {
        while self.unfinished > 0 {
            let Some((at, happening)) = self.queue.next() else { break };
            if at > GIVE_UP {
                break;
            }
            self.now = at;
            self.events += 1;
            self.handle(happening);
        }
        self.report()
    }

    fn handle(&mut self, happening: Happening) {
        match happening {
            Happening::Heard { to, from, message } => {
                // What a node that is gone had sent still arrives; what is sent to it does not.
                if self.nodes[to].alive
                    && (self.nodes[to].peers.contains(&key(from)) || matches!(message, Message::Gone))
                {
                    self.hear(to, from, message);
                    self.drive(to);
                }
            }
            Happening::Sent { node } => self.finish_sending(node),
            Happening::Timer { node } => {
                let now = self.instant();
                let woken = &mut self.nodes[node];
                if woken.timer.is_some_and(|at| at <= self.now) {
                    woken.timer = None;
                }
                if let Some(scheduler) = woken.scheduler.as_mut().filter(|_| woken.alive) {
                    scheduler.handle_timeout(now);
                    self.drive(node);
                }
            }
            Happening::Tell { node } => self.tell(node),
            Happening::Lost { node } => self.lose(node),
        }
    }

    fn hear(&mut self, to: usize, from: usize, message: Message) {
        let now = self.instant();
        let is_corrupt = self.nodes[from].manner == Manner::Corrupt;
        let node = &mut self.nodes[to];
        match message {
            Message::Request { id, ranges } => {
                if node.manner != Manner::Stalled
                    && let Err(refusal) = node.uplink.request(now, key(from), id, ranges)
                {
                    self.send(to, from, Message::Refused { request: id, refusal });
                }
                self.start_sending(to);
            }
            Message::Cancel { id } => {
                if node.uplink.cancel(key(from), id) {
                    self.send(to, from, Message::Done { request: id });
                }
            }
            Message::Gone => {
                node.peers.remove(&key(from));
                node.uplink.peer_lost(key(from));
                if let Some(scheduler) = &mut node.scheduler {
                    scheduler.handle_peer_lost(key(from));
                }
            }
            Message::Have(update) => {
                if let Some(scheduler) = &mut node.scheduler {
                    scheduler.handle_have(key(from), SLOT, update);
                }
            }
            Message::Done { request } => {
                if let Some(scheduler) = &mut node.scheduler {
                    scheduler.handle_done(request);
                }
            }
            Message::Refused { request, refusal } => {
                if let Some(scheduler) = &mut node.scheduler {
                    scheduler.handle_refused(now, request, refusal);
                }
            }
            Message::Chunk { request, chunk } => {
                let Some(scheduler) = &mut node.scheduler else { return };
                let result = if is_corrupt { ChunkResult::Corrupt } else { ChunkResult::Verified };
                if scheduler.handle_chunk(now, request, SLOT, chunk, result) {
                    assert!(node.have.insert(chunk), "a chunk is new once");
                    node.fresh.insert(chunk);
                }
            }
        }
    }

    /// The driver of a node's scheduler: actions, events, timer.
    fn drive(&mut self, number: usize) {
        let now = self.instant();
        while let Some(action) = self.nodes[number].scheduler.as_mut().and_then(|scheduler| scheduler.poll_action(now))
        {
            match action {
                Action::Request { id, peer, ranges, .. } => {
                    self.send(number, peer.0 as usize, Message::Request { id, ranges });
                }
                Action::Cancel { id, peer } => self.send(number, peer.0 as usize, Message::Cancel { id }),
                Action::Ban { peer, .. } => {
                    let peer = peer.0 as usize;
                    assert_eq!(self.nodes[peer].manner, Manner::Corrupt, "only who sends garbage is banned");
                    self.bans += 1;
                    self.nodes[number].peers.remove(&key(peer));
                    self.send(number, peer, Message::Gone);
                }
            }
        }
        let node = &mut self.nodes[number];
        let Some(scheduler) = &mut node.scheduler else { return };
        while let Some(event) = scheduler.poll_event() {
            if event == Event::Complete && node.finished.is_none() {
                assert!(node.have.is_full(), "complete with all chunks");
                node.finished = Some(self.now);
                self.unfinished -= 1;
            }
        }
        if self.checks == Checks::Every {
            scheduler.check();
        }
        let Some(at) = scheduler.poll_timeout(now) else { return };
        let at = at.saturating_duration_since(self.base).max(self.now);
        if node.timer.is_none_or(|timer| at < timer) {
            node.timer = Some(at);
            self.queue.add(at, Happening::Timer { node: number });
        }
    }

    fn start_sending(&mut self, number: usize) {
        let now = self.instant();
        let node = &mut self.nodes[number];
        if node.alive
            && let Some(Outgoing { chunk, .. }) = node.uplink.start(now)
        {
            let time = self.bytes(chunk) / self.nodes[number].rates.up;
            self.queue.add(self.now + Duration::from_secs_f64(time), Happening::Sent { node: number });
        }
    }

    /// A chunk has left: it arrives when the receiver's downlink has taken it in, after what is there before it.
    fn finish_sending(&mut self, number: usize) {
        let now = self.instant();
        let Some((outgoing, ended)) = self.nodes[number].uplink.sent(now) else { return };
        if !self.nodes[number].alive {
            return;
        }
        let Outgoing { to, request, chunk, .. } = outgoing;
        let (to, bytes) = (to.0 as usize, self.bytes(chunk));
        self.nodes[number].sent += bytes as u64;
        let earliest = self.now + self.latency(number, to);
        let receiver = &mut self.nodes[to];
        let arrival = earliest.max(receiver.down_free + Duration::from_secs_f64(bytes / receiver.rates.down));
        receiver.down_free = arrival;
        self.queue.add(arrival, Happening::Heard { to, from: number, message: Message::Chunk { request, chunk } });
        if ended {
            self.queue.add(arrival, Happening::Heard { to, from: number, message: Message::Done { request } });
        }
        self.start_sending(number);
    }

    fn tell(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        if !node.alive {
            return;
        }
        let fresh = std::mem::replace(&mut node.fresh, ChunkSet::new(self.index.len()));
        let ranges: Vec<_> = fresh.ranges().collect();
        for peer in node.peers.clone() {
            let peer = peer.0 as usize;
            if self.nodes[peer].scheduler.is_some() {
                for part in ranges.chunks(MAX_RANGES) {
                    self.send(number, peer, Message::Have(HaveUpdate::Add(part.to_vec())));
                }
            }
        }
        // Nothing can be added to what is complete.
        if self.nodes[number].finished.is_none() {
            self.queue.add(self.now + TELL_INTERVAL, Happening::Tell { node: number });
        }
    }

    fn lose(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        node.alive = false;
        if node.finished.is_none() {
            self.unfinished -= 1;
        }
        for peer in std::mem::take(&mut node.peers) {
            let message = Message::Gone;
            self.queue.add(self.now + NOTICE, Happening::Heard { to: peer.0 as usize, from: number, message });
        }
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        let at = self.now + self.latency(from, to);
        self.queue.add(at, Happening::Heard { to, from, message });
    }

    /// The same for a pair in both directions and at all times.
    fn latency(&self, one: usize, other: usize) -> Duration {
        let pair = (one.min(other) as u64) << 32 | one.max(other) as u64;
        let part = Rng::with_seed(self.latency_seed ^ pair.wrapping_mul(0x9e37_79b9_7f4a_7c15)).f64();
        self.scenario.latency.mul_f64(0.5 + part / 2.0)
    }

    fn bytes(&self, chunk: ChunkIndex) -> f64 {
        f64::from(self.index.chunk(chunk).expect("chunks of the artifact are sent").len)
    }

    fn instant(&self) -> Instant {
        self.base + self.now
    }

    fn report(&self) -> Report {
        let clients: Vec<_> = self.nodes.iter().filter(|node| node.scheduler.is_some()).collect();
        let mut times: Vec<f64> = clients.iter().filter_map(|node| Some(node.finished?.as_secs_f64())).collect();
        times.sort_by(f64::total_cmp);
        let finished = times.len() as u32;
        let lost = clients.iter().filter(|node| !node.alive && node.finished.is_none()).count() as u32;
        let of = clients.len() as u32 - lost;
        let stats: Vec<_> = clients.iter().filter_map(|node| node.scheduler.as_ref()).map(Scheduler::stats).collect();
        let from_seeds: u64 = self.nodes[..self.scenario.seeds as usize].iter().map(|node| node.sent).sum();
        let duplicates: u64 = stats.iter().map(|stats| stats.duplicates).sum();
        Report {
            seed: self.scenario.seed,
            clients: of,
            finished,
            size: self.scenario.size,
            chunks: self.index.len(),
            t_min: self.t_min.as_secs_f64(),
            p50: percentile(&times, of, 0.5),
            p99: percentile(&times, of, 0.99),
            last: percentile(&times, of, 1.0),
            seed_copies: from_seeds as f64 / self.scenario.size as f64,
            duplicates: duplicates as f64 / (f64::from(self.index.len()) * f64::from(finished.max(1))),
            reassigned: stats.iter().map(|stats| stats.reassigned).sum(),
            stalls: stats.iter().map(|stats| stats.stalls).sum(),
            bans: self.bans,
            events: self.events,
        }
    }
}

fn key(node: usize) -> PeerKey {
    PeerKey(node as u64)
}

#[expect(clippy::disallowed_methods, reason = "virtual time begins at some instant: one cannot be made from a number")]
fn some_instant() -> Instant {
    Instant::now()
}
