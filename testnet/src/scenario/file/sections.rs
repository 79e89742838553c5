//! The sections of a scenario file, as they are written. What is left out is as in [`Scenario::default`].

use phase_protocol::scheduler::Order;
use serde::Deserialize;

use super::Problem;
use crate::report::Variant;
use crate::scenario::units::{Multiple, OneOrMany, Rate, Share, Size, Time};
use crate::scenario::{Change, Churn, Hold, Hostile, NodeEvent, NodeRef, Scenario, When};

/// A whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    #[serde(default)]
    pub(super) about: String,
    #[serde(default = "one_seed")]
    pub(super) rng_seeds: Vec<u64>,
    #[serde(default)]
    artifact: Artifact,
    #[serde(default)]
    seeds: Seeds,
    #[serde(default)]
    pub(super) clients: Clients,
    #[serde(default)]
    network: Network,
    #[serde(default)]
    hostile: HostileSection,
    churn: Option<ChurnSection>,
    #[serde(default)]
    event: Vec<Event>,
    #[serde(default)]
    pub(super) hold: Hold,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Artifact {
    size: Option<Size>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Seeds {
    count: Option<u32>,
    up: Option<OneOrMany<Rate>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Clients {
    pub(super) count: OneOrMany<u32>,
    up: Option<Rate>,
    down: Option<Rate>,
    spread: Option<Share>,
    nat: Option<Share>,
    order: Option<OrderName>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Network {
    latency: Option<Time>,
    neighbours: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HostileSection {
    corrupt: u32,
    stalled: u32,
    liars: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChurnSection {
    every: Multiple,
    share: Share,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    node: NodeName,
    at: Option<Time>,
    progress: Option<Share>,
    change: ChangeName,
    to: Option<Share>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ChangeName {
    Lost,
    Stalled,
    Slow,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct NodeName(NodeRef);

#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct OrderName(Order);

fn one_seed() -> Vec<u64> {
    vec![Scenario::default().seed]
}

impl Default for Clients {
    fn default() -> Self {
        let count = OneOrMany(vec![Scenario::default().nodes]);
        Self { count, up: None, down: None, spread: None, nat: None, order: None }
    }
}

impl Document {
    /// The scenario, with any number of clients.
    pub(super) fn into_scenario(self) -> Result<Scenario, Problem> {
        let plain = Scenario::default();
        let (clients, hostile) = (self.clients, self.hostile);
        let hostile = Hostile { corrupt: hostile.corrupt, stalled: hostile.stalled, liars: hostile.liars };
        let events = self.event.into_iter().enumerate().map(|(number, event)| event.into_event(number));
        let events: Vec<_> = events.collect::<Result<_, _>>()?;
        let churn = self.churn.map(|churn| Churn { every: churn.every.0, share: churn.share.0 });
        for (variant, _) in self.hold.comparisons() {
            match variant {
                Variant::Honest if hostile.count() == 0 => {
                    return Err(Problem::new("hold.versus_honest", "needs members in [hostile]"));
                }
                Variant::Undisturbed if events.is_empty() && churn.is_none() => {
                    return Err(Problem::new("hold.versus_undisturbed", "needs [churn] or an [[event]]"));
                }
                _ => {}
            }
        }
        Ok(Scenario {
            seed_up: self.seeds.into_rates(&plain.seed_up)?,
            size: self.artifact.size.map_or(plain.size, |size| size.0),
            up: clients.up.map_or(plain.up, |rate| rate.0),
            down: clients.down.map_or(plain.down, |rate| rate.0),
            spread: clients.spread.map_or(plain.spread, |share| share.0),
            nat: clients.nat.map_or(plain.nat, |share| share.0),
            order: clients.order.map_or(plain.order, |order| order.0),
            latency: self.network.latency.map_or(plain.latency, |time| time.0),
            neighbours: self.network.neighbours.unwrap_or(plain.neighbours),
            hostile,
            churn,
            events,
            ..plain
        })
    }
}

impl Seeds {
    /// What each of them sends.
    fn into_rates(self, default: &[f64]) -> Result<Vec<f64>, Problem> {
        let rates = self.up.map_or(default.to_vec(), |up| up.0.into_iter().map(|rate| rate.0).collect());
        match (self.count, rates.as_slice()) {
            (None, _) => Ok(rates),
            (Some(count), [rate]) => Ok(vec![*rate; count.min(crate::scenario::check::MAX_NODES + 1) as usize]),
            (Some(count), rates) if count as usize == rates.len() => Ok(rates.to_vec()),
            (Some(count), rates) => {
                Err(Problem::new("seeds.count", format!("is {count}, but seeds.up lists {} rates", rates.len())))
            }
        }
    }
}

impl Event {
    fn into_event(self, number: usize) -> Result<NodeEvent, Problem> {
        let key = format!("event.{number}");
        let at = match (self.at, self.progress) {
            (Some(at), None) => When::At(at.0),
            (None, Some(part)) => When::Progress(part.0),
            _ => return Err(Problem::new(&key, "needs either at = \"2s\" or progress = 0.95")),
        };
        let change = match (self.change, self.to) {
            (ChangeName::Lost, None) => Change::Lost,
            (ChangeName::Stalled, None) => Change::Stalled,
            (ChangeName::Slow, Some(part)) => Change::Slow(part.0),
            (ChangeName::Slow, None) => {
                return Err(Problem::new(&key, "a slow node needs the part of its rate that is left: to = 0.01"));
            }
            (_, Some(_)) => return Err(Problem::new(&format!("{key}.to"), "goes with change = \"slow\" alone")),
        };
        Ok(NodeEvent { node: self.node.0, at, change })
    }
}

impl TryFrom<String> for NodeName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self)
    }
}

impl TryFrom<String> for OrderName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| format!("{text:?} is not an order: expected rarest, sequential or random"))
    }
}
