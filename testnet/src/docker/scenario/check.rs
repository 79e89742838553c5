//! Which scenarios can be run.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Change, Harm, NodeName, Scenario, When};
use crate::scenario::file::Problem;

/// The most nodes in all: so many addresses a small network has.
pub(super) const MAX_NODES: u32 = 250;
/// The most that each client fetches, in bytes: all of them keep it in memory or on one disk.
const MAX_SIZE: u64 = 4 << 30;
/// The most artifacts.
const MAX_ARTIFACTS: usize = 1000;
/// What a link can be limited to, in bytes per second: below, a chunk takes minutes; above, the machine is the limit.
const RATES: RangeInclusive<f64> = 10e3..=1.25e9;
/// Farther apart, peers give each other up: they wait for answers for some seconds.
const MAX_LATENCY: Duration = Duration::from_secs(1);
/// The most events.
const MAX_EVENTS: usize = 1000;
/// Nothing happens later than this.
const MAX_EVENT_TIME: Duration = Duration::from_secs(3600);
/// The least part of its rate that a slow node keeps.
const SLOWEST: f64 = 0.001;

impl Scenario {
    /// Whether it can be run.
    pub(super) fn check(&self) -> Result<(), Problem> {
        self.check_numbers()?;
        self.check_artifacts()?;
        self.check_links()?;
        self.check_promises()?;
        self.check_events()?;
        self.check_first_peers()
    }

    fn check_numbers(&self) -> Result<(), Problem> {
        let groups = [
            ("seeds.count", self.seeds.len() as u64),
            ("clients.count", u64::from(self.clients)),
            ("hostile", self.hostile.len() as u64),
        ];
        let (largest, _) = groups.into_iter().max_by_key(|(_, count)| *count).expect("there are three");
        let nodes = 1 + groups.iter().map(|(_, count)| count).sum::<u64>();
        if self.seeds.is_empty() || self.clients == 0 {
            let key = if self.clients == 0 { "clients.count" } else { "seeds.count" };
            Err(Problem::new(key, "is 0: there would be nothing to see"))
        } else if nodes > u64::from(MAX_NODES) {
            let cause = format!("makes {nodes} nodes in all, with the bootstrap node: {MAX_NODES} are the most");
            Err(Problem::new(largest, cause))
        } else {
            Ok(())
        }
    }

    /// Clients are told addresses when they are made: whom they are to join through has to be there by then.
    fn check_first_peers(&self) -> Result<(), Problem> {
        let problem = |cause: String| Err(Problem::new("clients.first_peers", cause));
        if self.first_peers.is_empty() {
            return problem("is empty: clients would find nobody".to_owned());
        }
        for peer in &self.first_peers {
            let is_there = *peer == NodeName::Bootstrap
                || matches!(peer, NodeName::Seed(number) if (*number as usize) < self.seeds.len());
            if !is_there {
                return problem(format!("has {peer}: only bootstrap and seeds can be"));
            } else if self.first_change(*peer) == Some(Change::Start) {
                return problem(format!("has {peer}, which an event starts later"));
            }
        }
        Ok(())
    }

    fn check_artifacts(&self) -> Result<(), Problem> {
        if self.artifacts.len() > MAX_ARTIFACTS {
            return Err(Problem::new(
                "artifact",
                format!("is there {} times: {MAX_ARTIFACTS} are the most", self.artifacts.len()),
            ));
        }
        let mut sum = 0_u64;
        for (number, artifact) in self.artifacts.iter().enumerate() {
            sum = sum.saturating_add(artifact.size);
            if artifact.size == 0 || sum > MAX_SIZE {
                let cause = format!("all sizes together must be from 1 to {MAX_SIZE} bytes, and none 0");
                return Err(Problem::new(&format!("artifact.{number}.size"), cause));
            }
        }
        Ok(())
    }

    fn check_links(&self) -> Result<(), Problem> {
        let clients = [("clients.up", self.client_up), ("clients.down", self.client_down)];
        let seeds = self.seeds.iter().map(|rate| ("seeds.up", *rate));
        for (key, rate) in seeds.chain(clients) {
            if let Some(rate) = rate
                && !RATES.contains(&rate)
            {
                return Err(Problem::new(key, "must be from 80 kbit/s to 10 Gbit/s, or left out for no limit"));
            }
        }
        if self.latency > MAX_LATENCY {
            let cause = format!("is {:?}, but must be from 0 to {MAX_LATENCY:?}", self.latency);
            return Err(Problem::new("network.latency", cause));
        }
        Ok(())
    }

    fn check_promises(&self) -> Result<(), Problem> {
        let hold = &self.hold;
        let (has_rates, is_disturbed) = (self.seeds.iter().all(Option::is_some), self.is_disturbed());
        let problems = [
            (hold.needs_rates() && !has_rates, "seeds.up: T_min is not known without it"),
            (hold.needs_undisturbed() && !is_disturbed, "hostile nodes or an [[event]] to compare with"),
            (hold.needs_http() && !self.http, "baseline.http"),
            (hold.needs_prediction() && self.simulated().is_none(), "a scenario that the simulator can run"),
        ];
        match problems.into_iter().find(|(is_one, _)| *is_one) {
            Some((_, needed)) => Err(Problem::new("hold", format!("promises what needs {needed}"))),
            None => Ok(()),
        }
    }

    fn check_events(&self) -> Result<(), Problem> {
        if self.events.len() > MAX_EVENTS {
            return Err(Problem::new(
                "event",
                format!("is there {} times: {MAX_EVENTS} are the most", self.events.len()),
            ));
        }
        for (number, event) in self.events.iter().enumerate() {
            let problem = |cause: String| Problem::new(&format!("event.{number}"), cause);
            if event.nodes.is_empty() {
                return Err(problem("happens to nobody".to_owned()));
            }
            for node in &event.nodes {
                if !self.nodes().any(|other| other == *node) {
                    return Err(problem(format!("happens to {node}, which there is not; nodes are counted from 0")));
                }
                self.check_change(*node, event.change).map_err(problem)?;
            }
            match event.when {
                When::At(at) if at > MAX_EVENT_TIME => {
                    return Err(problem(format!("is later than {MAX_EVENT_TIME:?}")));
                }
                When::Done(client) if client >= self.clients => {
                    return Err(problem(format!("waits for client {client}, which there is not")));
                }
                _ => {}
            }
        }
        self.nodes().try_for_each(|node| self.check_life(node))?;
        let is_absent = |client: u32| self.first_change(NodeName::Client(client)) == Some(Change::Start);
        if (0..self.clients).all(is_absent) {
            return Err(Problem::new("event", "starts every client: one must be there from the start"));
        } else if !(0..self.clients).any(|client| self.must_finish(client)) {
            return Err(Problem::new("event", "takes every client away for good: one must be there to finish"));
        }
        Ok(())
    }

    /// Whether what happens to a node can happen one after the other. Docker would find out in the middle of a run.
    fn check_life(&self, node: NodeName) -> Result<(), Problem> {
        let mut life = if self.first_change(node) == Some(Change::Start) { Life::Away } else { Life::Running };
        for (number, event) in self.events.iter().enumerate() {
            for _ in event.nodes.iter().filter(|other| **other == node) {
                life = life.after(event.change).ok_or_else(|| {
                    let cause = format!(
                        "{node} is {life} by then: what happens to a node is listed in the order in which it happens"
                    );
                    Problem::new(&format!("event.{number}"), cause)
                })?;
            }
        }
        Ok(())
    }

    fn check_change(&self, node: NodeName, change: Change) -> Result<(), String> {
        match (change, node) {
            (Change::Start, NodeName::Bootstrap) if self.first_change(node) == Some(Change::Start) => {
                Err(format!("starts {node}, which has to be there before: everybody else joins through it"))
            }
            (Change::Slow(part), _) if !(SLOWEST..=1.0).contains(&part) => {
                Err(format!("slows {node} to {part}: it must be from {SLOWEST} to 1 of its rate"))
            }
            (Change::Slow(_), _) if self.rates(node).0.is_none() => {
                Err(format!("slows {node}, whose link has no limit: give it one with up"))
            }
            (Change::Corrupt | Change::Lie, NodeName::Bootstrap | NodeName::Hostile(_) | NodeName::Client(_)) => {
                Err(format!("cannot happen to {node}: only to seeds"))
            }
            _ => Ok(()),
        }
    }

    /// How many hostile nodes of a kind there are.
    pub(super) fn harm_count(&self, harm: Harm) -> u32 {
        self.hostile.iter().filter(|other| **other == harm).count() as u32
    }
}

/// What has become of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Away,
    Running,
    Frozen,
}

impl Life {
    /// `None`: that cannot happen to it now.
    fn after(self, change: Change) -> Option<Self> {
        use Change::{Corrupt, Heal, Kill, Lie, Partition, Pause, Restart, Resume, Slow, Start, Stop};
        match (change, self) {
            (Start, Self::Away) | (Resume, Self::Frozen) => Some(Self::Running),
            (Lie | Restart, Self::Running | Self::Frozen) => Some(Self::Running),
            (Kill | Stop, Self::Running | Self::Frozen) => Some(Self::Away),
            (Pause, Self::Running) => Some(Self::Frozen),
            (Partition | Heal | Corrupt | Slow(_), life) => Some(life),
            _ => None,
        }
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Away => "not there",
            Self::Running => "running",
            Self::Frozen => "frozen",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::scenario::{Artifact, Event, Kind};

    fn artifacts(count: usize, size: u64) -> Vec<Artifact> {
        vec![Artifact { size, kind: Kind::Noise }; count]
    }

    fn events(count: usize, node: NodeName, when: When, change: Change) -> Vec<Event> {
        vec![Event { nodes: vec![node], when, change }; count]
    }

    #[test]
    fn each_range_ends_where_it_says() {
        let plain = Scenario::default;
        let (seed, soon) = (NodeName::Seed(0), When::Progress(0.0));
        let limited = |rate| Scenario { seeds: vec![Some(rate)], ..plain() };
        let slowed = |to| Scenario { events: events(1, seed, soon, Change::Slow(to)), ..limited(1e6) };
        let late = |seconds| Scenario {
            events: events(1, seed, When::At(Duration::from_secs(seconds)), Change::Kill),
            ..plain()
        };
        // What is just within a range, and what is just beyond it.
        let pairs = [
            (Scenario { clients: 248, ..plain() }, Scenario { clients: 249, ..plain() }),
            (Scenario { seeds: vec![None; 248], ..plain() }, Scenario { seeds: vec![None; 249], ..plain() }),
            (
                Scenario { hostile: vec![Harm::Lie; 247], ..plain() },
                Scenario { hostile: vec![Harm::Lie; 248], ..plain() },
            ),
            (Scenario { clients: 1, ..plain() }, Scenario { clients: 0, ..plain() }),
            (Scenario { clients: 9, ..plain() }, Scenario { clients: u32::MAX, ..plain() }),
            (Scenario { seeds: vec![None], ..plain() }, Scenario { seeds: Vec::new(), ..plain() }),
            (
                Scenario { artifacts: artifacts(1000, 1), ..plain() },
                Scenario { artifacts: artifacts(1001, 1), ..plain() },
            ),
            (
                Scenario { artifacts: artifacts(2, MAX_SIZE / 2), ..plain() },
                Scenario { artifacts: artifacts(2, MAX_SIZE / 2 + 1), ..plain() },
            ),
            (
                Scenario { artifacts: artifacts(1, 1), ..plain() },
                Scenario { artifacts: artifacts(3, u64::MAX), ..plain() },
            ),
            (limited(10e3), limited(9_999.0)),
            (limited(1.25e9), limited(1.26e9)),
            (limited(1e6), limited(f64::NAN)),
            (Scenario { client_up: Some(10e3), ..plain() }, Scenario { client_up: Some(0.0), ..plain() }),
            (Scenario { client_down: Some(10e3), ..plain() }, Scenario { client_down: Some(0.0), ..plain() }),
            (
                Scenario { latency: MAX_LATENCY, ..plain() },
                Scenario { latency: MAX_LATENCY + Duration::from_nanos(1), ..plain() },
            ),
            (slowed(SLOWEST), slowed(SLOWEST / 2.0)),
            (slowed(1.0), slowed(1.01)),
            (late(3600), late(3601)),
            (
                Scenario { events: events(1000, seed, soon, Change::Restart), ..plain() },
                Scenario { events: events(1001, seed, soon, Change::Restart), ..plain() },
            ),
        ];
        for (within, beyond) in pairs {
            assert!(within.check().is_ok(), "{within:?}");
            assert!(beyond.check().is_err(), "{beyond:?}");
        }
    }

    #[test]
    fn clients_may_come_and_go_as_long_as_one_stays() {
        let client = NodeName::Client(0);
        let changes = |changes: &[Change]| Scenario {
            events: changes.iter().flat_map(|change| events(1, client, When::Progress(0.5), *change)).collect(),
            ..Scenario::default()
        };
        assert!(changes(&[Change::Kill, Change::Start]).check().is_ok());
        assert!(changes(&[Change::Pause, Change::Resume]).check().is_ok());
        for gone in [&[Change::Kill] as &[_], &[Change::Pause], &[Change::Kill, Change::Start, Change::Stop]] {
            assert!(changes(gone).check().is_err(), "{gone:?}");
            assert!(Scenario { clients: 2, ..changes(gone) }.check().is_ok(), "{gone:?}");
        }
        assert!(changes(&[Change::Start]).check().is_err());
        assert!(Scenario { clients: 2, ..changes(&[Change::Start]) }.check().is_ok());
    }

    #[test]
    fn what_happens_to_a_node_can_happen_in_that_order() {
        use Change::{Corrupt, Heal, Kill, Lie, Partition, Pause, Restart, Resume, Start, Stop};
        let check = |changes: &[Change]| {
            let events =
                changes.iter().flat_map(|change| events(1, NodeName::Seed(0), When::Progress(0.5), *change)).collect();
            Scenario { events, ..Scenario::default() }.check().is_ok()
        };
        let possible: [&[Change]; 8] = [
            &[Start, Kill, Start, Stop, Start],
            &[Pause, Resume, Pause, Kill],
            &[Restart, Restart, Lie],
            &[Pause, Restart, Pause],
            &[Partition, Partition, Heal, Heal],
            &[Kill, Corrupt, Start, Pause],
            &[Lie, Stop],
            &[Kill, Partition, Start],
        ];
        let impossible: [&[Change]; 7] = [
            &[Kill, Kill],
            &[Stop, Restart],
            &[Restart, Start],
            &[Start, Start],
            &[Resume],
            &[Pause, Pause],
            &[Stop, Lie],
        ];
        assert_eq!(possible.map(check), [true; 8]);
        assert_eq!(impossible.map(check), [false; 7]);
        let twice = Event { nodes: vec![NodeName::Seed(0); 2], when: When::Progress(0.5), change: Kill };
        assert!(Scenario { events: vec![twice], ..Scenario::default() }.check().is_err());
    }

    #[test]
    fn harm_is_counted_by_kind() {
        let scenario = Scenario { hostile: vec![Harm::Lie, Harm::Drip, Harm::Lie], ..Scenario::default() };
        assert_eq!([Harm::Lie, Harm::Drip, Harm::Stall].map(|harm| scenario.harm_count(harm)), [2, 1, 0]);
    }
}
