//! The main loop of the simulation. The loop ends when every client has finished, when no event is left, or when the
//! virtual time reaches its limit.

use std::time::Duration;

use fastrand::Rng;
use phase_report::swarm::Report;
use phase_scenario::{Change, Engine, Event, NodeName, Problem, Scenario, When};

use crate::queue::Queue;
use crate::setting::{all_rates, bound, index};
use crate::swarm::{Message, SimEvent, Swarm, key, some_instant};
use crate::watch::{Progress, Watch};

/// The maximum virtual time of a run. A run that reaches it ends with unfinished clients.
const MAX_TIME: Duration = Duration::from_secs(4 * 3600);
/// The panic message for changes and nodes that only the lab supports.
const CHECKED: &str = "`Scenario::check` refuses what the simulator does not support";

/// Runs a scenario. Calls `watch` with the progress after every 16,384 events. If `check` is set, checks the invariants
/// of a client's scheduler after every event that the scheduler handles. Each check takes time in proportion to the
/// number of chunks.
///
/// # Errors
/// If the simulator cannot run the scenario. Unfinished clients are not an error, but [`Report::is_complete`] returns
/// `false`.
///
/// # Panics
/// If `check` is set and a scheduler breaks an invariant, or if a scheduler bans a node that sends no corrupt chunks.
pub fn run(scenario: &Scenario, check: bool, watch: &mut dyn FnMut(Progress)) -> Result<Report, Problem> {
    scenario.check(Engine::Simulator)?;
    Ok(Swarm::new(scenario, check).run(watch))
}

impl<'a> Swarm<'a> {
    fn new(scenario: &'a Scenario, is_checked: bool) -> Self {
        let mut rng = Rng::with_seed(scenario.rng_seed);
        let index = index(scenario, &mut rng);
        let rates = all_rates(scenario, &mut rng);
        let t_min = bound(scenario, &rates);
        let clients = scenario.clients.count as usize;
        let mut swarm = Self {
            scenario,
            is_checked,
            base: some_instant(),
            now: Duration::ZERO,
            queue: Queue::new(),
            nodes: Vec::new(),
            neighbour_pool: Vec::new(),
            index,
            t_min,
            latency_seed: rng.u64(..),
            rng,
            unfinished: clients,
            unfinished_first: clients,
            progress_events: Vec::new(),
            verified: 0,
            bans: 0,
            watch: Watch::new(t_min),
        };
        let honest = std::iter::repeat_n(None, scenario.seeds.len() + clients);
        let kinds = honest.chain(scenario.hostile.iter().map(Some));
        for (number, (rates, hostile_kind)) in rates.into_iter().zip(kinds).enumerate() {
            let is_client = swarm.is_first_client(number);
            swarm.add_node(rates, hostile_kind, is_client);
        }
        swarm.connect_all();
        swarm.schedule_events();
        swarm
    }

    /// Queues the scenario's events that happen at a given time. Adds the events that happen at a given progress to
    /// `progress_events`. If the scenario has churn, also queues the first replacement of clients.
    fn schedule_events(&mut self) {
        let chunks = u64::from(self.index.len()) * u64::from(self.scenario.clients.count);
        for (position, event) in self.scenario.events.iter().enumerate() {
            match event.when {
                When::At(at) => self.queue.add(at, SimEvent::Scenario(position)),
                When::Progress(part) => self.progress_events.push(((chunks as f64 * part) as u64, position)),
                When::Done(_) => unreachable!("{CHECKED}"),
            }
        }
        self.progress_events.sort_unstable_by(|one, other| other.cmp(one));
        if let Some(churn) = self.scenario.churn {
            self.queue.add(self.t_min.mul_f64(churn.every.0), SimEvent::Churn);
        }
    }

    fn run(mut self, watch: &mut dyn FnMut(Progress)) -> Report {
        while self.unfinished > 0 {
            let Some((at, event)) = self.queue.next() else { break };
            if at > MAX_TIME {
                break;
            }
            self.sample_until(at);
            self.now = at;
            self.handle(event);
            self.report_progress(watch);
        }
        self.sample_until(self.now);
        self.report()
    }

    fn handle(&mut self, event: SimEvent) {
        match event {
            SimEvent::Delivery { to, from, message } => {
                // A killed node receives nothing. A message from a peer that is not connected is dropped, unless it is
                // `Gone`. A killed peer stays connected until `Gone` arrives, so messages that it sent earlier are
                // delivered.
                let node = &self.nodes[to as usize];
                if node.alive && (node.peers.contains(&key(from)) || matches!(message, Message::Gone)) {
                    self.handle_message(to, from, message);
                    self.drive(to);
                }
            }
            SimEvent::Uplink { node } => self.serve(node),
            SimEvent::Timer { node } => self.wake(node),
            SimEvent::HaveUpdate { node } => self.send_have_update(node),
            SimEvent::Scenario(position) => self.apply(&self.scenario.events[position]),
            SimEvent::Churn => self.replace_clients(),
        }
    }

    /// Applies an event of the scenario.
    fn apply(&mut self, event: &Event) {
        for name in &event.nodes {
            let node = match name {
                NodeName::Seed(number) => *number,
                NodeName::Client(number) => self.seeds() as u32 + number,
                NodeName::Bootstrap | NodeName::Hostile(_) => unreachable!("{CHECKED}"),
            };
            match event.change {
                Change::Kill => self.kill(node),
                Change::Pause => self.set_rate(node, 0.0),
                Change::Slow(part) => self.set_rate(node, self.nodes[node as usize].uplink.rate() * part),
                _ => unreachable!("{CHECKED}"),
            }
        }
    }

    /// Passes a message to the node that receives it.
    fn handle_message(&mut self, to: u32, from: u32, message: Message) {
        match message {
            Message::Request { id, range } => self.handle_request(to, from, id, range),
            Message::Cancel { id } => self.handle_cancel(to, from, id),
            Message::Gone => self.handle_gone(to, from),
            reply => self.handle_reply(to, from, reply),
        }
    }
}
