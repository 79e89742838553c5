//! The same scenario for the simulator.

use std::time::Duration;

use super::{Afterwards, Change, Event, Harm, NodeName, Scenario, When};
use crate::docker::record::Prediction;
use crate::scenario::{self, Hostile, NodeEvent, NodeRef};
use crate::swarm::Checks;

/// What a link without a limit carries in the simulator, in bytes per second: more than matters.
const UNLIMITED: f64 = 1e9;
/// The way from container to container on one machine.
const BRIDGE: Duration = Duration::from_micros(200);

impl Scenario {
    /// What the simulator says of it. `None` if it cannot run it, or not everybody finishes there.
    pub fn predict(&self) -> Option<Prediction> {
        let report = crate::swarm::run(&self.simulated()?, Checks::Off).ok()?;
        Some(Prediction { p50: report.p50?, p99: report.p99?, last: report.last? })
    }

    /// The scenario as the simulator has it. `None` if it has something that the simulator does not know.
    pub fn simulated(&self) -> Option<scenario::Scenario> {
        let seed_up = self.seeds.iter().copied().collect::<Option<Vec<_>>>()?;
        let has_strange_harm = self.harm_count(Harm::Drip) + self.harm_count(Harm::Oversize) > 0;
        if has_strange_harm || self.afterwards != Afterwards::Linger {
            return None;
        }
        let events = self.events.iter().map(simulated_event).collect::<Option<Vec<_>>>()?;
        Some(scenario::Scenario {
            seed: self.rng_seed,
            nodes: self.clients,
            seed_up,
            size: self.size(),
            up: self.client_up.unwrap_or(UNLIMITED),
            down: self.client_down.unwrap_or(UNLIMITED),
            spread: 0.0,
            // There each pair has its own, between half of this and all of it: the same on average.
            latency: (self.latency + BRIDGE) * 4 / 3,
            // Everybody finds everybody.
            neighbours: self.nodes().count() as u32,
            hostile: Hostile {
                corrupt: self.harm_count(Harm::Corrupt),
                stalled: self.harm_count(Harm::Stall),
                liars: self.harm_count(Harm::Lie),
            },
            events: events.into_iter().flatten().collect(),
            ..scenario::Scenario::default()
        })
    }
}

fn simulated_event(event: &Event) -> Option<Vec<NodeEvent>> {
    let change = match event.change {
        Change::Kill => scenario::Change::Lost,
        Change::Pause => scenario::Change::Stalled,
        Change::Slow(part) => scenario::Change::Slow(part),
        _ => return None,
    };
    let at = match event.when {
        When::At(at) => scenario::When::At(at),
        When::Progress(part) => scenario::When::Progress(part),
        When::Done(_) => return None,
    };
    let nodes = event.nodes.iter().map(|node| {
        let node = match node {
            NodeName::Seed(number) => NodeRef::Seed(*number),
            NodeName::Client(number) => NodeRef::Client(*number),
            NodeName::Bootstrap | NodeName::Hostile(_) => return None,
        };
        Some(NodeEvent { node, at, change })
    });
    nodes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::scenario::{Artifact, Kind};

    fn limited() -> Scenario {
        Scenario {
            artifacts: vec![Artifact { size: 2 << 20, kind: Kind::Noise }; 2],
            seeds: vec![Some(1e6), Some(2e6)],
            clients: 3,
            client_up: Some(3e6),
            client_down: Some(4e6),
            ..Scenario::default()
        }
    }

    fn event(node: NodeName, change: Change) -> Event {
        Event { nodes: vec![node], when: When::Progress(0.5), change }
    }

    #[test]
    fn the_simulator_gets_the_same_links_events_and_harm() {
        let both = vec![NodeName::Seed(1), NodeName::Client(2)];
        let at = Duration::from_secs(2);
        let scenario = Scenario {
            rng_seed: 7,
            hostile: vec![Harm::Corrupt, Harm::Stall, Harm::Lie, Harm::Lie],
            events: vec![
                event(NodeName::Seed(0), Change::Slow(0.25)),
                Event { nodes: both, when: When::At(at), change: Change::Kill },
                event(NodeName::Client(0), Change::Pause),
            ],
            ..limited()
        };
        let simulated = scenario.simulated().unwrap();
        assert_eq!((simulated.seed, simulated.nodes, simulated.size), (7, 3, 4 << 20));
        assert_eq!((simulated.seed_up.as_slice(), simulated.up, simulated.down), ([1e6, 2e6].as_slice(), 3e6, 4e6));
        assert_eq!(simulated.hostile, Hostile { corrupt: 1, stalled: 1, liars: 2 });
        assert!(simulated.spread == 0.0 && simulated.neighbours >= 9 && simulated.check().is_ok());
        let (half, at) = (scenario::When::Progress(0.5), scenario::When::At(at));
        let expected = [
            NodeEvent { node: NodeRef::Seed(0), at: half, change: scenario::Change::Slow(0.25) },
            NodeEvent { node: NodeRef::Seed(1), at, change: scenario::Change::Lost },
            NodeEvent { node: NodeRef::Client(2), at, change: scenario::Change::Lost },
            NodeEvent { node: NodeRef::Client(0), at: half, change: scenario::Change::Stalled },
        ];
        assert_eq!(simulated.events, expected);
        let unlimited = Scenario { client_up: None, client_down: None, ..limited() }.simulated().unwrap();
        assert_eq!((unlimited.up, unlimited.down), (UNLIMITED, UNLIMITED));
    }

    #[test]
    fn what_the_simulator_lacks_is_not_asked_of_it() {
        use Change::{Corrupt, Heal, Kill, Lie, Partition, Restart, Resume, Start, Stop};
        assert!(limited().simulated().is_some());
        let seed = NodeName::Seed(0);
        let mut strange: Vec<Scenario> = [Start, Stop, Restart, Resume, Partition, Heal, Corrupt, Lie]
            .map(|change| Scenario { events: vec![event(seed, change)], ..limited() })
            .into();
        for node in [NodeName::Bootstrap, NodeName::Hostile(0)] {
            strange.push(Scenario { events: vec![event(node, Kill)], ..limited() });
        }
        let done = Event { when: When::Done(0), ..event(seed, Kill) };
        strange.push(Scenario { events: vec![event(seed, Kill), done], ..limited() });
        for harm in [Harm::Drip, Harm::Oversize] {
            strange.push(Scenario { hostile: vec![harm], ..limited() });
        }
        for afterwards in [Afterwards::Provide, Afterwards::Leave] {
            strange.push(Scenario { afterwards, ..limited() });
        }
        strange.push(Scenario { seeds: vec![Some(1e6), None], ..limited() });
        for scenario in strange {
            assert!(scenario.simulated().is_none() && scenario.predict().is_none(), "{scenario:?}");
        }
    }

    #[test]
    fn a_prediction_is_in_order_and_always_the_same() {
        let prediction = limited().predict().unwrap();
        let Prediction { p50, p99, last } = prediction;
        assert!(limited().bound() <= p50 && p50 <= p99 && p99 <= last, "{prediction:?}");
        assert_eq!(limited().predict(), Some(prediction));
    }
}
