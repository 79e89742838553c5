//! One swarm, described by options.

use std::time::Duration;

use clap::Args;
use phase_scenario::{
    Artifact, Change, Clients, Engine, Event, Harm, Hostile, Network, NodeName, Order, Problem, Rate, Scenario, Share,
    Size, When,
};
use phase_units::parse_size;

/// When clients that get lost do.
const LOST_AFTER: Duration = Duration::from_secs(1);

#[derive(Args)]
#[command(next_help_heading = "One swarm (instead of files)")]
#[group(id = "swarm", multiple = true, conflicts_with = "files")]
pub(super) struct SwarmOptions {
    /// Clients, which all start at once.
    #[arg(long, default_value_t = 16)]
    nodes: u32,
    /// Nodes that have everything.
    #[arg(long, default_value_t = 1)]
    seeds: u32,
    /// The size of the artifact: bytes, or for instance 64MiB.
    #[arg(long, default_value = "64MiB", value_parser = parse_size)]
    size: Size,
    /// What a seed sends: Mbit/s, or for instance 1Gbit/s or 12.5MB/s.
    #[arg(long, value_name = "RATE", default_value = "100", value_parser = parse_rate)]
    seed_up: Rate,
    /// What a client sends.
    #[arg(long, value_name = "RATE", default_value = "100", value_parser = parse_rate)]
    up: Rate,
    /// What a client receives.
    #[arg(long, value_name = "RATE", default_value = "1000", value_parser = parse_rate)]
    down: Rate,
    /// By which part the rates of clients differ, 0 to 0.9.
    #[arg(long, value_name = "PART", default_value_t = 0.2)]
    spread: f64,
    /// The longest time from node to node: milliseconds, or for instance 1s.
    #[arg(long, value_name = "TIME", default_value = "10", value_parser = parse_latency)]
    latency: Duration,
    /// The part of the clients that nobody can dial, 0 to 1.
    #[arg(long, value_name = "PART", default_value_t = 0.0)]
    nat: f64,
    /// In which order clients ask for chunks: rarest, sequential or random.
    #[arg(long, default_value = "rarest")]
    order: Order,
    /// What goes wrong, and how often: lost (a client goes away after a second), corrupt, stalled or liar (one more
    /// member that says it has everything, and sends garbage, nothing, or refusals). May be given several times.
    #[arg(long, value_name = "KIND[=N]", value_parser = parse_fault)]
    fault: Vec<Fault>,
}

#[derive(Clone, Copy)]
struct Fault {
    kind: Kind,
    count: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Lost,
    Does(Harm),
}

/// The options that keys of a scenario file stand for.
const OPTIONS: [(&str, &str); 10] = [
    ("clients.count", "--nodes"),
    ("seeds.count", "--seeds"),
    ("artifact.0.size", "--size"),
    ("seeds.up", "--seed-up"),
    ("clients.up", "--up"),
    ("clients.down", "--down"),
    ("clients.spread", "--spread"),
    ("network.latency", "--latency"),
    ("clients.nat", "--nat"),
    ("hostile", "--fault"),
];

impl SwarmOptions {
    /// # Errors
    /// If a value is out of its range.
    pub(super) fn scenario(&self, seed: u64) -> Result<Scenario, String> {
        let mut hostile = Hostile::default();
        let mut lost = 0;
        for fault in &self.fault {
            match fault.kind {
                Kind::Lost => lost += fault.count,
                Kind::Does(harm) => *hostile.0.entry(harm).or_default() += fault.count,
            }
        }
        let lose =
            |client| Event { nodes: vec![NodeName::Client(client)], when: When::At(LOST_AFTER), change: Change::Kill };
        let scenario = Scenario {
            rng_seed: seed,
            artifacts: vec![Artifact { size: self.size, kind: phase_scenario::Kind::Noise }],
            seeds: vec![Some(self.seed_up); self.seeds as usize],
            clients: Clients {
                count: self.nodes,
                up: Some(self.up),
                down: Some(self.down),
                spread: Share(self.spread),
                nat: Share(self.nat),
                order: self.order,
                ..Clients::default()
            },
            network: Network { latency: self.latency, neighbours: None },
            hostile,
            events: (0..lost).map(lose).collect(),
            ..Scenario::default()
        };
        scenario.check(Engine::Simulator).map_err(|Problem { key, cause }| {
            // What is left is about clients that get lost.
            let option = OPTIONS.iter().find(|(known, _)| *known == key).map_or("--fault", |(_, option)| option);
            format!("{option}: {cause}")
        })?;
        Ok(scenario)
    }
}

fn parse_rate(text: &str) -> Result<Rate, String> {
    text.parse::<f64>().map(|mbit| Rate(mbit * 1e6 / 8.0)).or_else(|_| text.parse())
}

fn parse_latency(text: &str) -> Result<Duration, String> {
    text.parse()
        .map(Duration::from_millis)
        .or_else(|_| humantime::parse_duration(text))
        .map_err(|error| error.to_string())
}

fn parse_fault(text: &str) -> Result<Fault, String> {
    let (kind, count) = text.split_once('=').unwrap_or((text, "1"));
    let kind = match kind {
        "lost" => Kind::Lost,
        "corrupt" => Kind::Does(Harm::Corrupt),
        "stalled" => Kind::Does(Harm::Stall),
        "liar" => Kind::Does(Harm::Lie),
        _ => return Err("expected lost, corrupt, stalled or liar".to_owned()),
    };
    // Far more than can be simulated, and few enough to add up.
    match count.parse() {
        Ok(count) if count <= 100_000 => Ok(Fault { kind, count }),
        _ => Err(format!("{count:?} is not a number up to 100000")),
    }
}
