//! Who is there, and who is connected with whom.

use phase_core::ChunkSet;
use phase_protocol::scheduler::{self, HaveUpdate, Policy, Scheduler};
use phase_scenario::{Harm, Order};

use crate::node::Node;
use crate::setting::{NEIGHBOURS, Rates, client_rates};
use crate::swarm::{Happening, Message, NOTICE, SLOT, Swarm, key, number};
use crate::uplink::Uplink;

/// Clients that a seed serves: as many streams as a node serves.
const MAX_OF_SEED: usize = 1024;

impl Swarm<'_> {
    /// Adds a node that is not connected with anybody. Returns its number.
    pub(crate) fn add_node(&mut self, rates: Rates, harm: Option<Harm>, is_client: bool) -> u32 {
        let number = u32::try_from(self.nodes.len()).expect("scenarios are bounded");
        let (len, is_seed) = (self.index.len(), self.nodes.len() < self.seeds());
        let have = if is_client { ChunkSet::new(len) } else { ChunkSet::full(len) };
        let scheduler = is_client.then(|| {
            let seed = self.rng.u64(..);
            let policy = policy(self.scenario.clients.order, seed);
            let mut scheduler = Scheduler::with_policy(scheduler::Config::default(), seed, policy);
            scheduler.handle_artifact(SLOT, self.index.clone(), &have, 0);
            scheduler
        });
        self.nodes.push(Node {
            harm,
            alive: true,
            is_open: !is_client || self.rng.f64() >= self.scenario.clients.nat.0,
            scheduler,
            timer: None,
            fresh: ChunkSet::new(len),
            told: None,
            have,
            peers: Default::default(),
            down: rates.down,
            down_free: self.now,
            finished: None,
            uplink: Uplink::new(self.index.clone(), rates.up),
        });
        if !is_seed {
            self.members.push(number);
        }
        number
    }

    /// Connects every client with the seeds, as far as these have room, and with some others.
    pub(crate) fn connect_all(&mut self) {
        let seeds = self.seeds();
        let mut clients: Vec<_> =
            (0..self.nodes.len() as u32).filter(|node| self.is_first_client(*node as usize)).collect();
        self.rng.shuffle(&mut clients);
        for client in &clients {
            for seed in 0..seeds as u32 {
                self.connect(*client, seed);
            }
        }
        for client in clients {
            self.connect_with_some(client, self.neighbours() / 2);
            self.drive(client);
        }
    }

    fn neighbours(&self) -> u32 {
        self.scenario.network.neighbours.unwrap_or(NEIGHBOURS)
    }

    /// Connects a client with so many members, chosen at random among those that it can be connected with.
    fn connect_with_some(&mut self, client: u32, count: u32) {
        // Some attempts fail: on itself, on who is known already, on who cannot be dialled.
        let (mut left, mut attempts) = (count, 4 * count);
        while left > 0 && attempts > 0 && !self.members.is_empty() {
            attempts -= 1;
            let other = self.members[self.rng.usize(..self.members.len())];
            left -= u32::from(other != client && self.connect(client, other));
        }
    }

    /// Returns whether the two are connected now and were not before.
    fn connect(&mut self, one: u32, other: u32) -> bool {
        let (first, second) = (&self.nodes[one as usize], &self.nodes[other as usize]);
        let is_full = (other as usize) < self.seeds() && second.peers.len() >= MAX_OF_SEED;
        if !(first.is_open || second.is_open) || is_full || first.peers.contains(&key(other)) {
            return false;
        }
        for (node, peer) in [(one, other), (other, one)] {
            self.nodes[node as usize].peers.insert(key(peer));
            let now = self.instant();
            let have = self.nodes[peer as usize].have.clone();
            if let Some(scheduler) = &mut self.nodes[node as usize].scheduler {
                scheduler.handle_peer(now, key(peer));
                let update = if have.is_full() { HaveUpdate::Full } else { HaveUpdate::Set(have) };
                self.send(peer, node, Message::Have(update));
            }
        }
        true
    }

    /// A node goes away without a word.
    pub(crate) fn lose(&mut self, node: u32) {
        let lost = &mut self.nodes[node as usize];
        if !lost.alive {
            return;
        }
        let was_fetching = lost.is_fetching();
        lost.alive = false;
        if was_fetching {
            self.unfinished -= 1;
            self.unfinished_first -= usize::from(self.is_first_client(node as usize));
        }
        self.members.retain(|member| *member != node);
        for peer in std::mem::take(&mut self.nodes[node as usize].peers) {
            let message = Message::Gone;
            self.queue.add(self.now + NOTICE, Happening::Heard { to: number(peer), from: node, message });
        }
    }

    /// A node notices that another one has gone. A client looks for somebody else.
    pub(crate) fn handle_gone(&mut self, node: u32, gone: u32) {
        let left = &mut self.nodes[node as usize];
        let was_connected = left.peers.remove(&key(gone));
        left.uplink.peer_lost(key(gone));
        if let Some(scheduler) = &mut left.scheduler {
            scheduler.handle_peer_lost(key(gone));
        }
        self.schedule_uplink(node);
        if was_connected && self.nodes[node as usize].is_fetching() {
            self.connect_with_some(node, 1);
        }
    }

    /// Some clients go, and as many come, as long as somebody of the first has not finished.
    pub(crate) fn replace_some(&mut self) {
        let Some(churn) = self.scenario.churn.filter(|_| self.unfinished_first > 0) else { return };
        let mut clients: Vec<_> =
            self.members.iter().copied().filter(|node| self.nodes[*node as usize].scheduler.is_some()).collect();
        self.rng.shuffle(&mut clients);
        let count = (clients.len() as f64 * churn.share.0).round() as usize;
        for gone in clients.into_iter().take(count) {
            self.lose(gone);
            let mut rng = self.rng.fork();
            let rates = client_rates(self.scenario, &mut rng);
            let newcomer = self.add_node(rates, None, true);
            self.unfinished += 1;
            for seed in 0..self.seeds() as u32 {
                self.connect(newcomer, seed);
            }
            self.connect_with_some(newcomer, self.neighbours());
            self.drive(newcomer);
        }
        self.queue.add(self.now + self.t_min.mul_f64(churn.every.0), Happening::Churn);
    }

    /// From now on a node sends at another rate.
    pub(crate) fn set_rate(&mut self, node: u32, rate: f64) {
        let at = self.now;
        self.nodes[node as usize].uplink.set_rate(at, rate);
        self.schedule_uplink(node);
    }
}

/// The policy that asks for chunks in an order.
fn policy(order: Order, seed: u64) -> Box<dyn Policy> {
    let order = match order {
        Order::Rarest => scheduler::Order::RarestFirst,
        Order::Sequential => scheduler::Order::Sequential,
        Order::Random => scheduler::Order::Random,
    };
    order.policy(seed)
}
