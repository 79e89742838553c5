//! Checks whether an engine can run a scenario.

use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::engine::{Engine, Limits, Problem};
use crate::hold::Promise;
use crate::scenario::{Afterwards, Change, Event, HostileKind, NodeName, Order, Scenario, When};
use crate::units::Rate;
use crate::variant::Variant;

/// The maximum number of artifacts.
const MAX_ARTIFACTS: usize = 1000;
/// The maximum number of neighbours, because every client keeps a chunk set for each neighbour in RAM.
const MAX_NEIGHBOURS: u32 = 1000;
/// The permitted range of the time between two replacements of clients by churn, in multiples of T_min.
const CHURN_EVERY: RangeInclusive<f64> = 0.001..=1000.0;

impl Scenario {
    /// Checks that an engine can run the scenario.
    ///
    /// # Errors
    /// If a value is out of its range, contradicts another value, or is not supported by `engine`.
    pub fn check(&self, engine: Engine) -> Result<(), Problem> {
        let limits = engine.limits();
        self.check_numbers(engine)?;
        self.check_artifacts(limits)?;
        self.check_links(limits)?;
        self.check_churn()?;
        self.check_events(limits)?;
        self.check_node_states()?;
        self.check_bootstrap_peers()?;
        match engine {
            Engine::Simulator => self.check_simulator()?,
            Engine::Containers => self.check_containers()?,
        }
        self.check_promises()
    }

    fn check_numbers(&self, engine: Engine) -> Result<(), Problem> {
        let max = engine.limits().nodes;
        within("clients.count", "", self.clients.count, 1..=max)?;
        within("seeds.count", "", self.seeds.len(), 1..=max as usize)?;
        let groups = [
            ("seeds.count", self.seeds.len() as u64),
            ("clients.count", u64::from(self.clients.count)),
            ("hostile", self.hostile.count()),
        ];
        let (largest, _) = groups.into_iter().max_by_key(|(_, count)| *count).expect("the array has three groups");
        let bootstrap_nodes = u64::from(engine == Engine::Containers);
        let nodes = groups.iter().map(|(_, count)| count).sum::<u64>() + bootstrap_nodes;
        if nodes > u64::from(max) {
            let bootstrap = if bootstrap_nodes > 0 { ", including the bootstrap node" } else { "" };
            return Err(Problem::new(largest, format!("makes {nodes} nodes in total{bootstrap}; the limit is {max}")));
        }
        Ok(())
    }

    fn check_artifacts(&self, limits: &Limits) -> Result<(), Problem> {
        count_within("artifact", self.artifacts.len(), 1..=MAX_ARTIFACTS)?;
        let mut sum = 0_u64;
        for (number, artifact) in self.artifacts.iter().enumerate() {
            let key = format!("artifact.{number}.size");
            within(&key, " bytes", artifact.size.0, 1..=limits.size)?;
            sum += artifact.size.0;
            if sum > limits.size {
                return Err(Problem::new(&key, format!("makes {sum} bytes in total; the limit is {}", limits.size)));
            }
        }
        Ok(())
    }

    fn check_links(&self, limits: &Limits) -> Result<(), Problem> {
        let clients = [("clients.up", self.clients.up), ("clients.down", self.clients.down)];
        let seeds = self.seeds.iter().map(|rate| ("seeds.up", *rate));
        for (key, rate) in seeds.chain(clients) {
            if let Some(rate) = rate.filter(|rate| !limits.rates.contains(&rate.0)) {
                let (min, max) = (Rate(*limits.rates.start()), Rate(*limits.rates.end()));
                return Err(Problem::new(key, format!("is {rate}, but must be from {min} to {max}")));
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
        count_within("event", self.events.len(), 0..=limits.events)?;
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
                return problem(format!("waits for client {client}, which does not exist"));
            }
            When::Done(_) => {}
        }
        if event.nodes.is_empty() {
            return problem("names no node".to_owned());
        }
        for node in &event.nodes {
            if !self.has(*node) {
                return problem(format!("names {node}, which does not exist; nodes are counted from 0"));
            }
            match (event.change, node) {
                (Change::Start, NodeName::Bootstrap) if self.starts_later(*node) => {
                    return problem(format!(
                        "starts {node}, which must run from the start, because all nodes join through it"
                    ));
                }
                (Change::Slow(part), _) => {
                    within(key, " of the rate", part, limits.slowest..=1.0)?;
                    if self.rates(*node).0.is_none() {
                        return problem(format!("slows {node}, whose link has no rate limit: set one with up"));
                    }
                }
                (Change::Corrupt | Change::Lie, NodeName::Seed(_)) => {}
                (Change::Corrupt | Change::Lie, _) => {
                    return problem(format!("cannot happen to {node}, only to seeds"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Checks the bootstrap peers of clients. Bootstrap peers must run from the start, because a client gets their
    /// addresses when its container is created.
    fn check_bootstrap_peers(&self) -> Result<(), Problem> {
        let problem = |cause: String| Err(Problem::new("clients.first_peers", cause));
        if self.clients.first_peers.is_empty() {
            return problem("is empty: clients could not join the network".to_owned());
        }
        for peer in &self.clients.first_peers {
            if !self.has(*peer) || !matches!(peer, NodeName::Bootstrap | NodeName::Seed(_)) {
                return problem(format!("has {peer}: only the bootstrap node and seeds are permitted"));
            } else if self.starts_later(*peer) {
                return problem(format!("has {peer}, which an event starts later"));
            }
        }
        Ok(())
    }

    /// Checks that the scenario uses no feature that only the lab supports.
    fn check_simulator(&self) -> Result<(), Problem> {
        let clients = &self.clients;
        let unsupported = |key: &str| Err(Engine::Simulator.unsupported(key));
        if clients.first_peers != [NodeName::Bootstrap] {
            return unsupported("clients.first_peers");
        } else if clients.afterwards != Afterwards::Linger {
            return unsupported("clients.afterwards");
        }
        if let Some(kind) = self.hostile.iter().find(|kind| matches!(kind, HostileKind::Drip | HostileKind::Oversize)) {
            return unsupported(&format!("hostile.{kind}"));
        }
        for (number, event) in self.events.iter().enumerate() {
            let is_supported = |node: &NodeName| matches!(node, NodeName::Seed(_) | NodeName::Client(_));
            if !matches!(event.change, Change::Kill | Change::Pause | Change::Slow(_)) {
                return unsupported(&format!("event.{number}.change"));
            } else if matches!(event.when, When::Done(_)) {
                return unsupported(&format!("event.{number}.done"));
            } else if !event.nodes.iter().all(is_supported) {
                return unsupported(&format!("event.{number}.node"));
            }
        }
        use Promise::{PredictedLast, PredictedP50, Throughput, VersusHttp};
        match self
            .hold
            .promises()
            .find(|(one, _)| matches!(one, Throughput | VersusHttp | PredictedP50 | PredictedLast))
        {
            Some((promise, _)) => unsupported(promise.key()),
            None => Ok(()),
        }
    }

    /// Checks that the scenario uses no feature that only the simulator supports.
    fn check_containers(&self) -> Result<(), Problem> {
        let (clients, versus_honest) = (&self.clients, Promise::Versus(Variant::Honest));
        let unsupported = [
            ("clients.spread", clients.spread.0 > 0.0),
            ("clients.nat", clients.nat.0 > 0.0),
            ("clients.order", clients.order != Order::default()),
            ("network.neighbours", self.network.neighbours.is_some()),
            ("churn", self.churn.is_some()),
            (versus_honest.key(), self.hold.promises().any(|(promise, _)| promise == versus_honest)),
        ];
        match unsupported.into_iter().find(|(_, is_used)| *is_used) {
            Some((key, _)) => Err(Engine::Containers.unsupported(key)),
            None => Ok(()),
        }
    }

    fn check_promises(&self) -> Result<(), Problem> {
        let has_rates = self.seeds.iter().all(Option::is_some);
        for (promise, _) in self.hold.promises() {
            let missing = match promise {
                Promise::P50 | Promise::P95 | Promise::P99 | Promise::Last | Promise::Throughput if !has_rates => {
                    Some("seeds.up: T_min is unknown without it".to_owned())
                }
                Promise::Versus(Variant::Honest) => (self.hostile.count() == 0).then(|| "[hostile]".to_owned()),
                Promise::Versus(_) => (!self.is_disturbed()).then(|| "[hostile], [churn] or an [[event]]".to_owned()),
                Promise::VersusHttp => (!self.http).then(|| "baseline.http".to_owned()),
                Promise::PredictedP50 | Promise::PredictedLast => match self.for_prediction() {
                    Some(predicted) => predicted
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

/// Checks that a value is in its range. NaN is in no range.
fn within<T: PartialOrd + Debug>(key: &str, unit: &str, value: T, range: RangeInclusive<T>) -> Result<(), Problem> {
    if range.contains(&value) {
        return Ok(());
    }
    let (min, max) = range.into_inner();
    Err(Problem::new(key, format!("is {value:?}{unit}, but must be from {min:?} to {max:?}")))
}

/// Checks that a repeated section, such as `[[event]]`, occurs a permitted number of times.
fn count_within(section: &str, count: usize, range: RangeInclusive<usize>) -> Result<(), Problem> {
    if range.contains(&count) {
        return Ok(());
    }
    let (min, max) = range.into_inner();
    Err(Problem::new(section, format!("occurs {count} times, but must occur {min} to {max} times")))
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

    fn hostile(kind: HostileKind, count: u32) -> Scenario {
        Scenario { hostile: Hostile([(kind, count)].into()), ..plain() }
    }

    fn network(latency: Duration, neighbours: Option<u32>) -> Scenario {
        Scenario { network: Network { latency, neighbours }, ..plain() }
    }

    #[test]
    fn the_ends_of_a_range_are_accepted_and_values_beyond_are_refused() {
        for engine in BOTH {
            let limits = engine.limits();
            // How many nodes may be added to one client and one seed. In containers there is a bootstrap node as well.
            let spare = limits.nodes - 2 - u32::from(engine == Engine::Containers);
            let rate = |rate| Scenario { seeds: vec![Some(Rate(rate))], ..plain() };
            let slowed = |part| events(1, When::Progress(0.0), Change::Slow(part));
            let late = |at| events(1, When::At(at), Change::Kill);
            let (min, max) = (*limits.rates.start(), *limits.rates.end());
            let seeds = |count| Scenario { seeds: vec![Some(Rate(1e6)); count], ..plain() };
            let moment = Duration::from_nanos(1);
            // Each pair has two scenarios. In the first, a value is at its bound, and the scenario is accepted. In the
            // second, the value is beyond its bound, and the scenario is refused.
            let pairs = [
                (with_clients(clients(1 + spare)), with_clients(clients(2 + spare))),
                (with_clients(clients(1)), with_clients(clients(0))),
                (with_clients(clients(9)), with_clients(clients(u32::MAX))),
                (seeds(1 + spare as usize), seeds(2 + spare as usize)),
                (seeds(1), seeds(0)),
                (hostile(HostileKind::Lie, spare), hostile(HostileKind::Lie, spare + 1)),
                (artifacts(1000, 1), artifacts(1001, 1)),
                (artifacts(1, 1), artifacts(1, 0)),
                (artifacts(2, limits.size / 2), artifacts(2, limits.size / 2 + 1)),
                (artifacts(1, limits.size), artifacts(3, u64::MAX)),
                (rate(min), rate(min * 0.999)),
                (rate(max), rate(max * 1.001)),
                (rate(1e6), rate(f64::NAN)),
                (
                    with_clients(Clients { up: Some(Rate(min)), ..clients(1) }),
                    with_clients(Clients { up: Some(Rate(0.0)), ..clients(1) }),
                ),
                (
                    with_clients(Clients { down: Some(Rate(min)), ..clients(1) }),
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
        let simulator_only = [
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
        for (within, beyond) in simulator_only {
            assert_eq!(within.check(Engine::Simulator), Ok(()), "{within:?}");
            assert!(beyond.check(Engine::Simulator).is_err(), "{beyond:?}");
        }
    }

    #[test]
    fn a_feature_of_the_other_engine_is_refused_with_its_key() {
        use Change::{Corrupt, Heal, Kill, Lie, Partition, Restart, Resume, Start, Stop};
        let soon = When::Progress(0.5);
        let first = |scenario: Scenario, change| {
            let paused = Event { nodes: vec![NodeName::Seed(0)], when: soon, change: Change::Pause };
            Scenario { events: [paused].into_iter().chain(events(1, soon, change).events).collect(), ..scenario }
        };
        let event_of = |node| {
            let event = Event { nodes: vec![node], when: soon, change: Kill };
            Scenario { events: vec![event], ..hostile(HostileKind::Lie, 1) }
        };
        let hold = |text: &str| Scenario { hold: toml::from_str(text).unwrap(), ..hostile(HostileKind::Lie, 1) };
        let mut containers_only: Vec<_> = [Start, Stop, Restart, Partition, Heal, Corrupt, Lie]
            .map(|change| ("event.0.change", events(1, soon, change)))
            .into();
        containers_only.extend([
            ("event.1.change", first(plain(), Resume)),
            ("event.0.done", events(1, When::Done(0), Kill)),
            ("event.0.node", event_of(NodeName::Bootstrap)),
            ("event.0.node", event_of(NodeName::Hostile(0))),
            ("hostile.drip", hostile(HostileKind::Drip, 1)),
            ("hostile.oversize", hostile(HostileKind::Oversize, 1)),
            ("clients.afterwards", with_clients(Clients { afterwards: Afterwards::Provide, ..clients(1) })),
            ("clients.afterwards", with_clients(Clients { afterwards: Afterwards::Leave, ..clients(1) })),
            ("clients.first_peers", with_clients(Clients { first_peers: vec![NodeName::Seed(0)], ..clients(1) })),
            ("hold.throughput", hold("throughput = 0.9")),
            ("hold.versus_http", hold("versus_http = 2.0")),
            ("hold.predicted", hold("predicted = 0.1")),
        ]);
        let every = Churn { every: Multiple(0.1), share: Share(0.1) };
        let simulator_only = [
            ("clients.spread", with_clients(Clients { spread: Share(0.1), ..clients(1) })),
            ("clients.nat", with_clients(Clients { nat: Share(0.1), ..clients(1) })),
            ("clients.order", with_clients(Clients { order: Order::Random, ..clients(1) })),
            ("network.neighbours", network(Duration::ZERO, Some(24))),
            ("churn", Scenario { churn: Some(every), ..plain() }),
            ("hold.versus_honest", hold("versus_honest = 2.0")),
        ];
        let cases = [(Engine::Simulator, containers_only), (Engine::Containers, simulator_only.into())];
        for (engine, scenarios) in cases {
            let other = if engine == Engine::Simulator { Engine::Containers } else { Engine::Simulator };
            for (key, scenario) in scenarios {
                assert_eq!(scenario.check(other), Ok(()), "{key}");
                let problem = scenario.check(engine).expect_err(key);
                assert_eq!(problem.key, key, "{problem}");
                assert!(problem.cause.contains(&format!("is for {other} only")), "{problem}");
            }
        }
    }

    #[test]
    fn a_prediction_changes_only_the_network_of_a_scenario() {
        let network = Network { latency: Duration::from_millis(40), neighbours: None };
        let scenario = Scenario { network, ..hostile(HostileKind::Lie, 2) };
        let predicted = scenario.for_prediction().unwrap();
        // Five nodes: the bootstrap node, a seed, a client and two hostile nodes.
        assert_eq!(predicted.network.neighbours, Some(5));
        assert!(
            predicted.network.latency > Duration::from_millis(53)
                && predicted.network.latency < Duration::from_millis(54)
        );
        assert_eq!(predicted.check(Engine::Simulator), Ok(()));
        assert_eq!(Scenario { network: scenario.network.clone(), ..predicted }, scenario);
        assert_eq!(Scenario { seeds: vec![Some(Rate(1e6)), None], ..plain() }.for_prediction(), None);
    }
}
