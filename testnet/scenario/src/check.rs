//! Which scenarios an engine can run.

use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::engine::{Engine, Limits, Problem};
use crate::hold::Promise;
use crate::scenario::{Afterwards, Change, Event, Harm, NodeName, Order, Scenario, When};
use crate::units::Rate;
use crate::variant::Variant;

/// The most artifacts.
const MAX_ARTIFACTS: usize = 1000;
/// The most neighbours: each costs every client memory for what it has.
const MAX_NEIGHBOURS: u32 = 1000;
/// How often clients are replaced, in multiples of T_min.
const CHURN_EVERY: RangeInclusive<f64> = 0.001..=1000.0;

impl Scenario {
    /// # Errors
    /// If an engine cannot run it: a value is out of its range, contradicts another one, or is for the other engine alone.
    pub fn check(&self, engine: Engine) -> Result<(), Problem> {
        let limits = engine.limits();
        self.check_numbers(engine)?;
        self.check_artifacts(limits)?;
        self.check_links(limits)?;
        self.check_churn()?;
        self.check_events(limits)?;
        self.check_lives()?;
        self.check_first_peers()?;
        match engine {
            Engine::Simulator => self.check_simulated()?,
            Engine::Containers => self.check_contained()?,
        }
        self.check_promises()
    }

    fn check_numbers(&self, engine: Engine) -> Result<(), Problem> {
        let most = engine.limits().nodes;
        within("clients.count", "", self.clients.count, 1..=most)?;
        within("seeds.count", "", self.seeds.len(), 1..=most as usize)?;
        let groups = [
            ("seeds.count", self.seeds.len() as u64),
            ("clients.count", u64::from(self.clients.count)),
            ("hostile", self.hostile.count()),
        ];
        let (largest, _) = groups.into_iter().max_by_key(|(_, count)| *count).expect("there are three");
        let others = u64::from(engine == Engine::Containers);
        let nodes = groups.iter().map(|(_, count)| count).sum::<u64>() + others;
        if nodes > u64::from(most) {
            let bootstrap = if others > 0 { ", with the bootstrap node" } else { "" };
            return Err(Problem::new(largest, format!("makes {nodes} nodes in all{bootstrap}: {most} are the most")));
        }
        Ok(())
    }

    fn check_artifacts(&self, limits: &Limits) -> Result<(), Problem> {
        within("artifact", " of them", self.artifacts.len(), 1..=MAX_ARTIFACTS)?;
        let mut sum = 0_u64;
        for (number, artifact) in self.artifacts.iter().enumerate() {
            let key = format!("artifact.{number}.size");
            within(&key, " bytes", artifact.size.0, 1..=limits.size)?;
            sum += artifact.size.0;
            if sum > limits.size {
                return Err(Problem::new(&key, format!("makes {sum} bytes in all: {} are the most", limits.size)));
            }
        }
        Ok(())
    }

    fn check_links(&self, limits: &Limits) -> Result<(), Problem> {
        let clients = [("clients.up", self.clients.up), ("clients.down", self.clients.down)];
        let seeds = self.seeds.iter().map(|rate| ("seeds.up", *rate));
        for (key, rate) in seeds.chain(clients) {
            if let Some(rate) = rate.filter(|rate| !limits.rates.contains(&rate.0)) {
                let (least, most) = (Rate(*limits.rates.start()), Rate(*limits.rates.end()));
                return Err(Problem::new(key, format!("is {rate}, but must be from {least} to {most}")));
            }
        }
        within("clients.spread", "", self.clients.spread.0, 0.0..=0.9)?;
        within("clients.nat", "", self.clients.nat.0, 0.0..=1.0)?;
        within("network.latency", "", self.network.latency, Duration::ZERO..=limits.latency)?;
        within("network.neighbours", "", self.network.neighbours.unwrap_or(1), 1..=MAX_NEIGHBOURS)
    }

    fn check_churn(&self) -> Result<(), Problem> {
        let Some(churn) = self.churn else { return Ok(()) };
        within("churn.every", " of T_min", churn.every.0, CHURN_EVERY)?;
        within("churn.share", " of the clients", churn.share.0, 0.0001..=1.0)
    }

    fn check_events(&self, limits: &Limits) -> Result<(), Problem> {
        within("event", " of them", self.events.len(), 0..=limits.events)?;
        for (number, event) in self.events.iter().enumerate() {
            self.check_event(event, &format!("event.{number}"), limits)?;
        }
        Ok(())
    }

    fn check_event(&self, event: &Event, key: &str, limits: &Limits) -> Result<(), Problem> {
        let problem = |cause: String| Err(Problem::new(key, cause));
        match event.when {
            When::At(at) => within(key, " after the start", at, Duration::ZERO..=limits.event_time)?,
            When::Progress(part) => within(key, " of the progress", part, 0.0..=1.0)?,
            When::Done(client) if !self.has(NodeName::Client(client)) => {
                return problem(format!("waits for client {client}, which there is not"));
            }
            When::Done(_) => {}
        }
        if event.nodes.is_empty() {
            return problem("happens to no node".to_owned());
        }
        for node in &event.nodes {
            if !self.has(*node) {
                return problem(format!("happens to {node}, which there is not; nodes are counted from 0"));
            }
            match (event.change, node) {
                (Change::Start, NodeName::Bootstrap) if self.starts_later(*node) => {
                    return problem(format!("starts {node}, which has to be there before: all nodes join through it"));
                }
                (Change::Slow(part), _) => {
                    within(key, " of the rate", part, limits.slowest..=1.0)?;
                    if self.rates(*node).0.is_none() {
                        return problem(format!("slows {node}, whose link has no limit: give it one with up"));
                    }
                }
                (Change::Corrupt | Change::Lie, NodeName::Seed(_)) => {}
                (Change::Corrupt | Change::Lie, _) => {
                    return problem(format!("cannot happen to {node}: only to seeds"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Clients are told addresses when they are made: their first peers have to be there by then.
    fn check_first_peers(&self) -> Result<(), Problem> {
        let problem = |cause: String| Err(Problem::new("clients.first_peers", cause));
        if self.clients.first_peers.is_empty() {
            return problem("is empty: clients would find no other node".to_owned());
        }
        for peer in &self.clients.first_peers {
            if !self.has(*peer) || !matches!(peer, NodeName::Bootstrap | NodeName::Seed(_)) {
                return problem(format!("has {peer}: only bootstrap and seeds can be"));
            } else if self.starts_later(*peer) {
                return problem(format!("has {peer}, which an event starts later"));
            }
        }
        Ok(())
    }

    /// Whether it has nothing that containers alone can do.
    fn check_simulated(&self) -> Result<(), Problem> {
        let clients = &self.clients;
        let lacks = |key: &str| Err(Engine::Simulator.lacks(key));
        if clients.first_peers != [NodeName::Bootstrap] {
            return lacks("clients.first_peers");
        } else if clients.afterwards != Afterwards::Linger {
            return lacks("clients.afterwards");
        }
        if let Some(harm) = self.hostile.iter().find(|harm| matches!(harm, Harm::Drip | Harm::Oversize)) {
            return lacks(&format!("hostile.{harm}"));
        }
        for (number, event) in self.events.iter().enumerate() {
            let is_known = |node: &NodeName| matches!(node, NodeName::Seed(_) | NodeName::Client(_));
            if !matches!(event.change, Change::Kill | Change::Pause | Change::Slow(_)) {
                return lacks(&format!("event.{number}.change"));
            } else if matches!(event.when, When::Done(_)) {
                return lacks(&format!("event.{number}.done"));
            } else if !event.nodes.iter().all(is_known) {
                return lacks(&format!("event.{number}.node"));
            }
        }
        use Promise::{PredictedLast, PredictedP50, Throughput, VersusHttp};
        match self
            .hold
            .promises()
            .find(|(one, _)| matches!(one, Throughput | VersusHttp | PredictedP50 | PredictedLast))
        {
            Some((promise, _)) => lacks(promise.key()),
            None => Ok(()),
        }
    }

    /// Whether it has nothing that the simulator alone can do.
    fn check_contained(&self) -> Result<(), Problem> {
        let (clients, versus_honest) = (&self.clients, Promise::Versus(Variant::Honest));
        let lacking = [
            ("clients.spread", clients.spread.0 > 0.0),
            ("clients.nat", clients.nat.0 > 0.0),
            ("clients.order", clients.order != Order::default()),
            ("network.neighbours", self.network.neighbours.is_some()),
            ("churn", self.churn.is_some()),
            (versus_honest.key(), self.hold.promises().any(|(promise, _)| promise == versus_honest)),
        ];
        match lacking.into_iter().find(|(_, is_there)| *is_there) {
            Some((key, _)) => Err(Engine::Containers.lacks(key)),
            None => Ok(()),
        }
    }

    fn check_promises(&self) -> Result<(), Problem> {
        let has_rates = self.seeds.iter().all(Option::is_some);
        for (promise, _) in self.hold.promises() {
            let missing = match promise {
                Promise::P50 | Promise::P95 | Promise::P99 | Promise::Last | Promise::Throughput if !has_rates => {
                    Some("seeds.up: T_min is not known without it".to_owned())
                }
                Promise::Versus(Variant::Honest) => (self.hostile.count() == 0).then(|| "[hostile]".to_owned()),
                Promise::Versus(_) => {
                    (!self.is_disturbed()).then(|| "[hostile], [churn] or an [[event]] to compare with".to_owned())
                }
                Promise::VersusHttp => (!self.http).then(|| "baseline.http".to_owned()),
                Promise::PredictedP50 | Promise::PredictedLast => match self.as_in_containers() {
                    Some(asked) => asked
                        .check(Engine::Simulator)
                        .err()
                        .map(|problem| format!("a scenario that the simulator can run: {problem}")),
                    None => Some("seeds.up: without it the machine is the limit".to_owned()),
                },
                _ => None,
            };
            if let Some(missing) = missing {
                return Err(Problem::new(promise.key(), format!("needs {missing}")));
            }
        }
        Ok(())
    }
}

/// What is no number is in no range.
fn within<T: PartialOrd + Debug>(key: &str, unit: &str, value: T, range: RangeInclusive<T>) -> Result<(), Problem> {
    if range.contains(&value) {
        return Ok(());
    }
    let (least, most) = range.into_inner();
    Err(Problem::new(key, format!("is {value:?}{unit}, but must be from {least:?} to {most:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Artifact, Churn, Clients, Hostile, Kind, Network};
    use crate::units::{Multiple, Share, Size};

    const BOTH: [Engine; 2] = [Engine::Simulator, Engine::Containers];

    fn plain() -> Scenario {
        Scenario { seeds: vec![Some(Rate(1e6))], ..Scenario::default() }
    }

    fn events(count: usize, when: When, change: Change) -> Scenario {
        Scenario { events: vec![Event { nodes: vec![NodeName::Seed(0)], when, change }; count], ..plain() }
    }

    fn clients(count: u32) -> Clients {
        Clients { count, ..Clients::default() }
    }

    fn artifacts(count: usize, size: u64) -> Scenario {
        Scenario { artifacts: vec![Artifact { size: Size(size), kind: Kind::Noise }; count], ..plain() }
    }

    fn with_clients(clients: Clients) -> Scenario {
        Scenario { clients, ..plain() }
    }

    fn hostile(harm: Harm, count: u32) -> Scenario {
        Scenario { hostile: Hostile([(harm, count)].into()), ..plain() }
    }

    fn network(latency: Duration, neighbours: Option<u32>) -> Scenario {
        Scenario { network: Network { latency, neighbours }, ..plain() }
    }

    #[test]
    fn each_range_ends_where_it_says() {
        for engine in BOTH {
            let limits = engine.limits();
            // How many more nodes there may be than a client and a seed.
            let room = limits.nodes - 2 - u32::from(engine == Engine::Containers);
            let rate = |rate| Scenario { seeds: vec![Some(Rate(rate))], ..plain() };
            let slowed = |part| events(1, When::Progress(0.0), Change::Slow(part));
            let late = |at| events(1, When::At(at), Change::Kill);
            let (least, most) = (*limits.rates.start(), *limits.rates.end());
            let seeds = |count| Scenario { seeds: vec![Some(Rate(1e6)); count], ..plain() };
            let moment = Duration::from_nanos(1);
            // What is just within a range, and what is just beyond it.
            let pairs = [
                (with_clients(clients(1 + room)), with_clients(clients(2 + room))),
                (with_clients(clients(1)), with_clients(clients(0))),
                (with_clients(clients(9)), with_clients(clients(u32::MAX))),
                (seeds(1 + room as usize), seeds(2 + room as usize)),
                (seeds(1), seeds(0)),
                (hostile(Harm::Lie, room), hostile(Harm::Lie, room + 1)),
                (artifacts(1000, 1), artifacts(1001, 1)),
                (artifacts(1, 1), artifacts(1, 0)),
                (artifacts(2, limits.size / 2), artifacts(2, limits.size / 2 + 1)),
                (artifacts(1, limits.size), artifacts(3, u64::MAX)),
                (rate(least), rate(least * 0.999)),
                (rate(most), rate(most * 1.001)),
                (rate(1e6), rate(f64::NAN)),
                (
                    with_clients(Clients { up: Some(Rate(least)), ..clients(1) }),
                    with_clients(Clients { up: Some(Rate(0.0)), ..clients(1) }),
                ),
                (
                    with_clients(Clients { down: Some(Rate(least)), ..clients(1) }),
                    with_clients(Clients { down: Some(Rate(0.0)), ..clients(1) }),
                ),
                (network(limits.latency, None), network(limits.latency + moment, None)),
                (slowed(limits.slowest), slowed(limits.slowest / 2.0)),
                (slowed(1.0), slowed(1.01)),
                (late(limits.event_time), late(limits.event_time + moment)),
                (
                    events(limits.events, When::Progress(1.0), Change::Slow(1.0)),
                    events(limits.events + 1, When::Progress(1.0), Change::Slow(1.0)),
                ),
                (events(1, When::Progress(1.0), Change::Kill), events(1, When::Progress(1.5), Change::Kill)),
            ];
            for (within, beyond) in pairs {
                assert_eq!(within.check(engine), Ok(()), "{within:?}");
                assert!(beyond.check(engine).is_err(), "{beyond:?}");
            }
        }
        let churn =
            |every, share| Scenario { churn: Some(Churn { every: Multiple(every), share: Share(share) }), ..plain() };
        let of_simulator = [
            (network(Duration::ZERO, Some(1000)), network(Duration::ZERO, Some(1001))),
            (network(Duration::ZERO, Some(1)), network(Duration::ZERO, Some(0))),
            (churn(0.001, 0.0001), churn(0.0, 0.1)),
            (churn(1000.0, 1.0), churn(0.1, 0.0)),
            (
                with_clients(Clients { spread: Share(0.9), ..clients(1) }),
                with_clients(Clients { spread: Share(1.0), ..clients(1) }),
            ),
            (
                with_clients(Clients { nat: Share(1.0), ..clients(1) }),
                with_clients(Clients { nat: Share(1.1), ..clients(1) }),
            ),
        ];
        for (within, beyond) in of_simulator {
            assert_eq!(within.check(Engine::Simulator), Ok(()), "{within:?}");
            assert!(beyond.check(Engine::Simulator).is_err(), "{beyond:?}");
        }
    }

    #[test]
    fn an_engine_says_what_only_the_other_one_knows() {
        use Change::{Corrupt, Heal, Kill, Lie, Partition, Restart, Resume, Start, Stop};
        let soon = When::Progress(0.5);
        let first = |scenario: Scenario, change| {
            let paused = Event { nodes: vec![NodeName::Seed(0)], when: soon, change: Change::Pause };
            Scenario { events: [paused].into_iter().chain(events(1, soon, change).events).collect(), ..scenario }
        };
        let of_node = |node| {
            let event = Event { nodes: vec![node], when: soon, change: Kill };
            Scenario { events: vec![event], ..hostile(Harm::Lie, 1) }
        };
        let hold = |text: &str| Scenario { hold: toml::from_str(text).unwrap(), ..hostile(Harm::Lie, 1) };
        let mut of_containers: Vec<_> = [Start, Stop, Restart, Partition, Heal, Corrupt, Lie]
            .map(|change| ("event.0.change", events(1, soon, change)))
            .into();
        of_containers.extend([
            ("event.1.change", first(plain(), Resume)),
            ("event.0.done", events(1, When::Done(0), Kill)),
            ("event.0.node", of_node(NodeName::Bootstrap)),
            ("event.0.node", of_node(NodeName::Hostile(0))),
            ("hostile.drip", hostile(Harm::Drip, 1)),
            ("hostile.oversize", hostile(Harm::Oversize, 1)),
            ("clients.afterwards", with_clients(Clients { afterwards: Afterwards::Provide, ..clients(1) })),
            ("clients.afterwards", with_clients(Clients { afterwards: Afterwards::Leave, ..clients(1) })),
            ("clients.first_peers", with_clients(Clients { first_peers: vec![NodeName::Seed(0)], ..clients(1) })),
            ("hold.throughput", hold("throughput = 0.9")),
            ("hold.versus_http", hold("versus_http = 2.0")),
            ("hold.predicted", hold("predicted = 0.1")),
        ]);
        let every = Churn { every: Multiple(0.1), share: Share(0.1) };
        let of_simulator = [
            ("clients.spread", with_clients(Clients { spread: Share(0.1), ..clients(1) })),
            ("clients.nat", with_clients(Clients { nat: Share(0.1), ..clients(1) })),
            ("clients.order", with_clients(Clients { order: Order::Random, ..clients(1) })),
            ("network.neighbours", network(Duration::ZERO, Some(24))),
            ("churn", Scenario { churn: Some(every), ..plain() }),
            ("hold.versus_honest", hold("versus_honest = 2.0")),
        ];
        let cases = [(Engine::Simulator, of_containers), (Engine::Containers, of_simulator.into())];
        for (engine, scenarios) in cases {
            let other = if engine == Engine::Simulator { Engine::Containers } else { Engine::Simulator };
            for (key, scenario) in scenarios {
                assert_eq!(scenario.check(other), Ok(()), "{key}");
                let problem = scenario.check(engine).expect_err(key);
                assert_eq!(problem.key, key, "{problem}");
                assert!(problem.cause.contains("alone"), "{problem}");
            }
        }
    }

    #[test]
    fn a_prediction_is_of_the_same_links_events_and_harm() {
        let network = Network { latency: Duration::from_millis(40), neighbours: None };
        let scenario = Scenario { network, ..hostile(Harm::Lie, 2) };
        let asked = scenario.as_in_containers().unwrap();
        // Bootstrap, seed, client, two hostile nodes.
        assert_eq!(asked.network.neighbours, Some(5));
        assert!(asked.network.latency > Duration::from_millis(53) && asked.network.latency < Duration::from_millis(54));
        assert_eq!(asked.check(Engine::Simulator), Ok(()));
        assert_eq!(Scenario { network: scenario.network.clone(), ..asked }, scenario);
        assert_eq!(Scenario { seeds: vec![Some(Rate(1e6)), None], ..plain() }.as_in_containers(), None);
    }
}
