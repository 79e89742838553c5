//! Which scenarios can be simulated.

use std::fmt::{self, Debug};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Change, NodeRef, Scenario, When};

/// The most nodes in all: beyond this a run takes more than minutes and some gigabytes.
pub(super) const MAX_NODES: u32 = 20_000;
/// The largest artifact, in bytes.
const MAX_SIZE: u64 = 16 << 30;
/// The least and the most that a node sends or receives, in bytes per second. At the most, a chunk takes 0.1 µs.
const RATES: RangeInclusive<f64> = 1.0..=1e12;
/// The longest way from node to node: beyond this every answer comes too late.
const MAX_LATENCY: Duration = Duration::from_secs(10);
/// The most neighbours: each costs every client memory for what it has.
const MAX_NEIGHBOURS: u32 = 1000;
/// How often clients are replaced, in parts of T_min.
const CHURN_EVERY: RangeInclusive<f64> = 0.001..=1000.0;
/// The most events of a scenario.
const MAX_EVENTS: usize = 10_000;
/// Nothing happens later than this: a run is given up after four hours.
const MAX_EVENT_TIME: Duration = Duration::from_secs(4 * 3600);
/// The least part of its rate that a slow node keeps. A node that sends nothing is stalled.
const SLOWEST: f64 = 1e-6;

/// What of a scenario is out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// [`Scenario::nodes`].
    Nodes,
    /// Seeds, clients and those who do harm together.
    AllNodes,
    /// [`Scenario::seed_up`].
    SeedUp,
    /// [`Scenario::size`].
    Size,
    /// [`Scenario::up`].
    Up,
    /// [`Scenario::down`].
    Down,
    /// [`Scenario::spread`].
    Spread,
    /// [`Scenario::latency`].
    Latency,
    /// [`Scenario::neighbours`].
    Neighbours,
    /// [`Scenario::nat`].
    Nat,
    /// [`Churn::every`](super::Churn::every).
    ChurnEvery,
    /// [`Churn::share`](super::Churn::share).
    ChurnShare,
    /// [`Scenario::events`], all of them.
    Events,
    /// One of [`Scenario::events`].
    Event(usize),
}

/// A scenario that cannot be simulated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct ScenarioError {
    /// What is out of its range.
    pub field: Field,
    /// Its value, and the range.
    pub problem: String,
}

impl Scenario {
    /// # Errors
    /// If a value is out of its range: which one, what it is, and the range.
    pub fn check(&self) -> Result<(), ScenarioError> {
        let seeds = self.seed_up.len();
        within(Field::Nodes, "", self.nodes, 1..=MAX_NODES)?;
        if seeds == 0 {
            return Err(ScenarioError { field: Field::SeedUp, problem: "is empty: there must be a seed".to_owned() });
        }
        let all = u64::from(self.nodes) + u64::from(self.hostile.count()) + seeds as u64;
        within(Field::AllNodes, "", all, 2..=u64::from(MAX_NODES))?;
        within(Field::Size, " bytes", self.size, 1..=MAX_SIZE)?;
        for rate in &self.seed_up {
            within(Field::SeedUp, " bytes per second", *rate, RATES)?;
        }
        within(Field::Up, " bytes per second", self.up, RATES)?;
        within(Field::Down, " bytes per second", self.down, RATES)?;
        within(Field::Spread, "", self.spread, 0.0..=0.9)?;
        within(Field::Latency, "", self.latency, Duration::ZERO..=MAX_LATENCY)?;
        within(Field::Neighbours, "", self.neighbours, 1..=MAX_NEIGHBOURS)?;
        within(Field::Nat, "", self.nat, 0.0..=1.0)?;
        if let Some(churn) = self.churn {
            within(Field::ChurnEvery, " of T_min", churn.every, CHURN_EVERY)?;
            within(Field::ChurnShare, " of the clients", churn.share, 0.0001..=1.0)?;
        }
        self.check_events()
    }

    fn check_events(&self) -> Result<(), ScenarioError> {
        within(Field::Events, " of them", self.events.len(), 0..=MAX_EVENTS)?;
        for (number, event) in self.events.iter().enumerate() {
            let field = Field::Event(number);
            let (node, nodes) = match event.node {
                NodeRef::Client(node) => (node, self.nodes),
                NodeRef::Seed(node) => (node, self.seed_up.len() as u32),
            };
            if node >= nodes {
                let role = if matches!(event.node, NodeRef::Seed(_)) { "seeds" } else { "clients" };
                let problem = format!("happens to {}, but {role} are counted from 0 to {}", event.node, nodes - 1);
                return Err(ScenarioError { field, problem });
            }
            match event.at {
                When::At(at) => within(field, "", at, Duration::ZERO..=MAX_EVENT_TIME)?,
                When::Progress(part) => within(field, " of the progress", part, 0.0..=1.0)?,
            }
            if let Change::Slow(part) = event.change {
                within(field, " of the rate", part, SLOWEST..=1.0)?;
            }
        }
        Ok(())
    }
}

/// What is no number is in no range.
fn within<T: PartialOrd + Debug>(
    field: Field,
    unit: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<(), ScenarioError> {
    if range.contains(&value) {
        return Ok(());
    }
    let (least, most) = range.into_inner();
    Err(ScenarioError { field, problem: format!("is {value:?}{unit}, but must be from {least:?} to {most:?}") })
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Nodes => "the number of clients",
            Self::AllNodes => "the number of seeds, clients and hostile members",
            Self::SeedUp => "what a seed sends",
            Self::Size => "the size",
            Self::Up => "what a client sends",
            Self::Down => "what a client receives",
            Self::Spread => "the spread",
            Self::Latency => "the latency",
            Self::Neighbours => "the number of neighbours",
            Self::Nat => "the share behind NAT",
            Self::ChurnEvery => "the time between replacements",
            Self::ChurnShare => "the share that is replaced",
            Self::Events => "the number of events",
            Self::Event(number) => return write!(f, "event {number}"),
        };
        f.write_str(name)
    }
}
