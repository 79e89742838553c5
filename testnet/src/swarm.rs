//! The simulation: events in virtual time until every client has finished, or nothing happens any more.

mod drive;
mod members;
mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use phase_core::{ArtifactIndex, ChunkIndex, ChunkRange};
use phase_protocol::PeerKey;
use phase_protocol::scheduler::{ArtifactSlot, HaveUpdate, RequestId};
use phase_protocol::wire::Refusal;

use crate::node::{Manner, Node};
use crate::queue::Queue;
use crate::report::Report;
use crate::scenario::{Change, NodeEvent, NodeRef, Scenario, ScenarioError, When};
pub use watch::Progress;
use watch::Watch;

/// The only artifact.
const SLOT: ArtifactSlot = ArtifactSlot(0);
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
    run_with(scenario, checks, &mut |_| {})
}

/// Runs a scenario, and tells now and then how far it is.
///
/// # Errors
/// As [`run`].
///
/// # Panics
/// As [`run`].
pub fn run_with(scenario: &Scenario, checks: Checks, watch: &mut dyn FnMut(Progress)) -> Result<Report, ScenarioError> {
    scenario.check()?;
    Ok(Swarm::new(scenario, checks).run(watch))
}

/// What one node hears from another.
enum Message {
    Request { id: RequestId, range: ChunkRange },
    Cancel { id: RequestId },
    Have(HaveUpdate),
    Chunk { request: RequestId, chunk: ChunkIndex },
    Done { request: RequestId },
    Refused { request: RequestId, refusal: Refusal },
    Gone,
}

enum Happening {
    Heard {
        to: u32,
        from: u32,
        message: Message,
    },
    /// Something is due at the uplink: a chunk has left, or one may.
    Uplink {
        node: u32,
    },
    Timer {
        node: u32,
    },
    Tell {
        node: u32,
    },
    Event(usize),
    Churn,
}

/// All nodes and what is under way between them.
struct Swarm<'a> {
    scenario: &'a Scenario,
    checks: Checks,
    base: Instant,
    now: Duration,
    rng: Rng,
    queue: Queue<Happening>,
    /// Seeds, clients, those who do harm, then those who came later.
    nodes: Vec<Node>,
    /// Clients and those who do harm, as long as they are there.
    members: Vec<u32>,
    index: Arc<ArtifactIndex>,
    t_min: Duration,
    latency_seed: u64,
    /// Clients that are there and have not finished.
    unfinished: usize,
    /// Those of the first clients that are there and have not finished.
    unfinished_first: usize,
    /// Events that wait for progress, the next one last.
    awaited: Vec<(u64, usize)>,
    /// Chunks that clients have verified, all together.
    verified: u64,
    bans: u64,
    watch: Watch,
}

impl<'a> Swarm<'a> {
    fn new(scenario: &'a Scenario, checks: Checks) -> Self {
        let mut rng = Rng::with_seed(scenario.seed);
        let index = scenario.index(&mut rng);
        let rates = scenario.rates(&mut rng);
        let t_min = scenario.bound(&rates);
        let clients = scenario.nodes as usize;
        let mut swarm = Self {
            scenario,
            checks,
            base: some_instant(),
            now: Duration::ZERO,
            queue: Queue::new(),
            nodes: Vec::new(),
            members: Vec::new(),
            index,
            t_min,
            latency_seed: rng.u64(..),
            rng,
            unfinished: clients,
            unfinished_first: clients,
            awaited: Vec::new(),
            verified: 0,
            bans: 0,
            watch: Watch::new(t_min),
        };
        let hostile = &scenario.hostile;
        let harmful =
            [(Manner::Corrupt, hostile.corrupt), (Manner::Stalled, hostile.stalled), (Manner::Liar, hostile.liars)];
        let harmful = harmful.into_iter().flat_map(|(manner, count)| std::iter::repeat_n(manner, count as usize));
        let manners = std::iter::repeat_n(Manner::Honest, scenario.seed_up.len() + clients).chain(harmful);
        for (number, (rates, manner)) in rates.into_iter().zip(manners).enumerate() {
            let is_client = swarm.is_first_client(number);
            swarm.add_node(rates, manner, is_client);
        }
        swarm.connect_all();
        swarm.schedule_events();
        swarm
    }

    /// Puts what happens to single nodes in the queue, or among what waits for progress.
    fn schedule_events(&mut self) {
        let chunks = u64::from(self.index.len()) * u64::from(self.scenario.nodes);
        for (position, event) in self.scenario.events.iter().enumerate() {
            match event.at {
                When::At(at) => self.queue.add(at, Happening::Event(position)),
                When::Progress(part) => self.awaited.push(((chunks as f64 * part) as u64, position)),
            }
        }
        self.awaited.sort_unstable_by(|one, other| other.cmp(one));
        if let Some(churn) = self.scenario.churn {
            self.queue.add(self.t_min.mul_f64(churn.every), Happening::Churn);
        }
    }

    fn run(mut self, watch: &mut dyn FnMut(Progress)) -> Report {
        while self.unfinished > 0 {
            let Some((at, happening)) = self.queue.next() else { break };
            if at > GIVE_UP {
                break;
            }
            self.sample_until(at);
            self.now = at;
            self.handle(happening);
            self.tell_progress(watch);
        }
        self.sample_until(self.now);
        self.report()
    }

    fn handle(&mut self, happening: Happening) {
        match happening {
            Happening::Heard { to, from, message } => {
                // What a node that is gone had sent still arrives; what is sent to it does not.
                let node = &self.nodes[to as usize];
                if node.alive && (node.peers.contains(&key(from)) || matches!(message, Message::Gone)) {
                    self.hear(to, from, message);
                    self.drive(to);
                }
            }
            Happening::Uplink { node } => self.serve(node),
            Happening::Timer { node } => self.wake(node),
            Happening::Tell { node } => self.tell(node),
            Happening::Event(position) => self.happen(self.scenario.events[position]),
            Happening::Churn => self.replace_some(),
        }
    }

    fn happen(&mut self, event: NodeEvent) {
        let seeds = self.seeds() as u32;
        let node = match event.node {
            NodeRef::Seed(number) => number,
            NodeRef::Client(number) => seeds + number,
        };
        match event.change {
            Change::Lost => self.lose(node),
            Change::Stalled => self.set_rate(node, 0.0),
            Change::Slow(part) => self.set_rate(node, self.nodes[node as usize].uplink.rate() * part),
        }
    }

    /// What a message does to the node that hears it.
    fn hear(&mut self, to: u32, from: u32, message: Message) {
        match message {
            Message::Request { id, range } => self.handle_request(to, from, id, range),
            Message::Cancel { id } => self.handle_cancel(to, from, id),
            Message::Gone => self.handle_gone(to, from),
            answer => self.handle_answer(to, from, answer),
        }
    }

    /// Sends a message that takes no room on any line.
    fn send(&mut self, from: u32, to: u32, message: Message) {
        let at = self.now + self.latency(from, to);
        self.queue.add(at, Happening::Heard { to, from, message });
    }

    /// The same for a pair in both directions and at all times.
    fn latency(&self, one: u32, other: u32) -> Duration {
        let pair = u64::from(one.min(other)) << 32 | u64::from(one.max(other));
        let part = Rng::with_seed(self.latency_seed ^ pair.wrapping_mul(0x9e37_79b9_7f4a_7c15)).f64();
        self.scenario.latency.mul_f64(0.5 + part / 2.0)
    }

    fn seeds(&self) -> usize {
        self.scenario.seed_up.len()
    }

    /// Whether a node is one of the clients that were there from the start.
    fn is_first_client(&self, node: usize) -> bool {
        (self.seeds()..self.seeds() + self.scenario.nodes as usize).contains(&node)
    }

    fn instant(&self) -> Instant {
        self.base + self.now
    }
}

fn key(node: u32) -> PeerKey {
    PeerKey(u64::from(node))
}

fn number(key: PeerKey) -> u32 {
    u32::try_from(key.0).expect("keys are made from numbers of nodes")
}

#[expect(clippy::disallowed_methods, reason = "virtual time begins at some instant: one cannot be made from a number")]
fn some_instant() -> Instant {
    Instant::now()
}
