//! The simulation: events in virtual time until every client has finished, or nothing happens any more.

use std::time::Duration;

use fastrand::Rng;
use phase_report::swarm::Report;
use phase_scenario::{Change, Engine, Event, NodeName, Problem, Scenario, When};

use crate::queue::Queue;
use crate::setting::{all_rates, bound, index};
use crate::swarm::{Happening, Message, Swarm, key, some_instant};
use crate::watch::{Progress, Watch};

/// A run that takes longer than this has failed.
const GIVE_UP: Duration = Duration::from_secs(4 * 3600);
/// Why some of what a scenario may have is not there.
const CHECKED: &str = "the scenario was checked for the simulator";

/// Runs a scenario, and tells `watch` now and then how far it is. With `check` the invariants of every scheduler are checked
/// after every event, which takes time in proportion to the chunks.
///
/// # Errors
/// If the simulator cannot run the scenario. That clients do not finish is no error: see [`Report::is_complete`].
///
/// # Panics
/// If a scheduler breaks an invariant.
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
        let harms = std::iter::repeat_n(None, scenario.seeds.len() + clients).chain(scenario.hostile.iter().map(Some));
        for (number, (rates, harm)) in rates.into_iter().zip(harms).enumerate() {
            let is_client = swarm.is_first_client(number);
            swarm.add_node(rates, harm, is_client);
        }
        swarm.connect_all();
        swarm.schedule_events();
        swarm
    }

    /// Puts the events of the scenario in the queue, or among what waits for progress.
    fn schedule_events(&mut self) {
        let chunks = u64::from(self.index.len()) * u64::from(self.scenario.clients.count);
        for (position, event) in self.scenario.events.iter().enumerate() {
            match event.when {
                When::At(at) => self.queue.add(at, Happening::Event(position)),
                When::Progress(part) => self.awaited.push(((chunks as f64 * part) as u64, position)),
                When::Done(_) => unreachable!("{CHECKED}"),
            }
        }
        self.awaited.sort_unstable_by(|one, other| other.cmp(one));
        if let Some(churn) = self.scenario.churn {
            self.queue.add(self.t_min.mul_f64(churn.every.0), Happening::Churn);
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
            Happening::Event(position) => self.happen(&self.scenario.events[position]),
            Happening::Churn => self.replace_some(),
        }
    }

    fn happen(&mut self, event: &Event) {
        for name in &event.nodes {
            let node = match name {
                NodeName::Seed(number) => *number,
                NodeName::Client(number) => self.seeds() as u32 + number,
                NodeName::Bootstrap | NodeName::Hostile(_) => unreachable!("{CHECKED}"),
            };
            match event.change {
                Change::Kill => self.lose(node),
                Change::Pause => self.set_rate(node, 0.0),
                Change::Slow(part) => self.set_rate(node, self.nodes[node as usize].uplink.rate() * part),
                _ => unreachable!("{CHECKED}"),
            }
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
}
