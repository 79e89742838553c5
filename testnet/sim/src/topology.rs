//! Adds, connects and removes the nodes of a swarm.

use phase_core::ChunkSet;
use phase_protocol::scheduler::{self, HaveUpdate, Policy, Scheduler};
use phase_scenario::{HostileKind, Order};

use crate::node::Node;
use crate::setting::{NEIGHBOURS, Rates, client_rates};
use crate::swarm::{Message, NOTICE, SLOT, SimEvent, Swarm, key, number};
use crate::uplink::Uplink;

/// The maximum number of connections of a seed. It is equal to the maximum number of sessions of a real provider.
const MAX_SEED_PEERS: usize = 1024;

impl Swarm<'_> {
    /// Adds a node without connections. Returns the number of the node.
    pub(crate) fn add_node(&mut self, rates: Rates, hostile_kind: Option<HostileKind>, is_client: bool) -> u32 {
        let number = u32::try_from(self.nodes.len()).expect("the number of nodes is bounded");
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
            hostile_kind,
            alive: true,
            is_open: !is_client || self.rng.f64() >= self.scenario.clients.nat.0,
            scheduler,
            timer: None,
            unannounced: ChunkSet::new(len),
            last_have_update: None,
            have,
            peers: Default::default(),
            down: rates.down,
            down_free: self.now,
            finished: None,
            uplink: Uplink::new(self.index.clone(), rates.up),
        });
        if !is_seed {
            self.neighbour_pool.push(number);
        }
        number
    }

    /// Connects every client to all seeds that have fewer than [`MAX_SEED_PEERS`] connections, and to random clients
    /// and hostile nodes.
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
            self.connect_with_random(client, self.neighbours() / 2);
            self.drive(client);
        }
    }

    fn neighbours(&self) -> u32 {
        self.scenario.network.neighbours.unwrap_or(NEIGHBOURS)
    }

    /// Connects a client to at most `count` random clients and hostile nodes.
    fn connect_with_random(&mut self, client: u32, count: u32) {
        // There are four attempts for each connection, because an attempt fails if it picks the client itself, a
        // connected peer, or a node to which the client cannot connect.
        let (mut left, mut attempts) = (count, 4 * count);
        while left > 0 && attempts > 0 && !self.neighbour_pool.is_empty() {
            attempts -= 1;
            let other = self.neighbour_pool[self.rng.usize(..self.neighbour_pool.len())];
            left -= u32::from(other != client && self.connect(client, other));
        }
    }

    /// Connects two nodes. Returns whether a new connection was made.
    fn connect(&mut self, one: u32, other: u32) -> bool {
        let (first, second) = (&self.nodes[one as usize], &self.nodes[other as usize]);
        let is_full = (other as usize) < self.seeds() && second.peers.len() >= MAX_SEED_PEERS;
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

    /// Kills a node. Its peers notice the lost connections after the time [`NOTICE`].
    pub(crate) fn kill(&mut self, node: u32) {
        let killed = &mut self.nodes[node as usize];
        if !killed.alive {
            return;
        }
        let was_fetching = killed.is_fetching();
        killed.alive = false;
        if was_fetching {
            self.unfinished -= 1;
            self.unfinished_first -= usize::from(self.is_first_client(node as usize));
        }
        self.neighbour_pool.retain(|candidate| *candidate != node);
        for peer in std::mem::take(&mut self.nodes[node as usize].peers) {
            let message = Message::Gone;
            self.queue.add(self.now + NOTICE, SimEvent::Delivery { to: number(peer), from: node, message });
        }
    }

    /// Handles the loss of the connection to the node `gone`. If `node` is a client that is still fetching, connects it
    /// to another random client or hostile node.
    pub(crate) fn handle_gone(&mut self, node: u32, gone: u32) {
        let left = &mut self.nodes[node as usize];
        let was_connected = left.peers.remove(&key(gone));
        left.uplink.peer_lost(key(gone));
        if let Some(scheduler) = &mut left.scheduler {
            scheduler.handle_peer_lost(key(gone));
        }
        self.schedule_uplink(node);
        if was_connected && self.nodes[node as usize].is_fetching() {
            self.connect_with_random(node, 1);
        }
    }

    /// Kills some clients and adds the same number of new clients. If all clients that ran from the start have finished
    /// or were killed, does nothing and ends the churn.
    pub(crate) fn replace_clients(&mut self) {
        let Some(churn) = self.scenario.churn.filter(|_| self.unfinished_first > 0) else { return };
        let mut clients: Vec<_> =
            self.neighbour_pool.iter().copied().filter(|node| self.nodes[*node as usize].scheduler.is_some()).collect();
        self.rng.shuffle(&mut clients);
        let count = (clients.len() as f64 * churn.share.0).round() as usize;
        for killed in clients.into_iter().take(count) {
            self.kill(killed);
            let mut rng = self.rng.fork();
            let rates = client_rates(self.scenario, &mut rng);
            let newcomer = self.add_node(rates, None, true);
            self.unfinished += 1;
            for seed in 0..self.seeds() as u32 {
                self.connect(newcomer, seed);
            }
            self.connect_with_random(newcomer, self.neighbours());
            self.drive(newcomer);
        }
        self.queue.add(self.now + self.t_min.mul_f64(churn.every.0), SimEvent::Churn);
    }

    /// Changes the upload rate of a node, in bytes per second.
    pub(crate) fn set_rate(&mut self, node: u32, rate: f64) {
        let at = self.now;
        self.nodes[node as usize].uplink.set_rate(at, rate);
        self.schedule_uplink(node);
    }
}

/// Returns the scheduler's policy for an order of chunks from a scenario.
fn policy(order: Order, seed: u64) -> Box<dyn Policy> {
    let order = match order {
        Order::Rarest => scheduler::Order::RarestFirst,
        Order::Sequential => scheduler::Order::Sequential,
        Order::Random => scheduler::Order::Random,
    };
    order.policy(seed)
}
