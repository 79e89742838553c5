//! The options that describe one swarm without a scenario file.

use std::time::Duration;

use clap::Args;
use phase_scenario::{
    Artifact, Change, Clients, Engine, Event, Hostile, HostileKind, Network, NodeName, Order, Problem, Rate, Scenario,
    Share, Size, When,
};
use phase_units::parse_size;

/// The time after the start at which `--fault lost` kills clients.
const LOST_AFTER: Duration = Duration::from_secs(1);

#[derive(Args)]
#[command(next_help_heading = "One swarm (instead of files)")]
#[group(id = "swarm", multiple = true, conflicts_with = "files")]
pub(super) struct SwarmOptions {
    /// Number of clients, which all start at once.
    #[arg(long, default_value_t = 16, allow_negative_numbers = true)]
    nodes: u32,
    /// Number of seeds.
    #[arg(long, default_value_t = 1, allow_negative_numbers = true)]
    seeds: u32,
    /// Size of the artifact in bytes, or with a unit, for example 64MiB.
    #[arg(long, default_value = "64MiB", value_parser = parse_size, allow_hyphen_values = true)]
    size: Size,
    /// Upload rate of a seed in Mbit/s, or with a unit, for example 1Gbit/s or 12.5MB/s.
    #[arg(long, value_name = "RATE", default_value = "100", value_parser = parse_rate, allow_hyphen_values = true)]
    seed_up: Rate,
    /// Upload rate of a client.
    #[arg(long, value_name = "RATE", default_value = "100", value_parser = parse_rate, allow_hyphen_values = true)]
    up: Rate,
    /// Download rate of a client.
    #[arg(long, value_name = "RATE", default_value = "1000", value_parser = parse_rate, allow_hyphen_values = true)]
    down: Rate,
    /// Largest relative difference of a client's rates from --up and --down, 0 to 0.9. With 0.2, a rate is up to 20 %
    /// higher or lower.
    #[arg(long, value_name = "PART", default_value_t = 0.2, allow_negative_numbers = true)]
    spread: f64,
    /// Longest one-way latency between two nodes in milliseconds, or with a unit, for example 1s.
    #[arg(long, value_name = "TIME", default_value = "10", value_parser = parse_latency, allow_hyphen_values = true)]
    latency: Duration,
    /// Part of the clients that no node can dial, 0 to 1.
    #[arg(long, value_name = "PART", default_value_t = 0.0, allow_negative_numbers = true)]
    nat: f64,
    /// Order in which clients request chunks: rarest, sequential or random.
    #[arg(long, default_value = "rarest")]
    order: Order,
    /// Kind of fault, optionally with the number of nodes. lost: a client is killed after one second. corrupt, stalled,
    /// liar: a hostile node is added. It claims to have all chunks, but sends corrupt chunks, nothing, or refusals. May
    /// be repeated.
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
    Hostile(HostileKind),
}

/// The keys of scenario files and the options that set them, for error messages.
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
    /// Returns the scenario that the options describe.
    ///
    /// # Errors
    /// If a value is out of its range.
    pub(super) fn scenario(&self, seed: u64) -> Result<Scenario, String> {
        let mut hostile = Hostile::default();
        let mut lost = 0;
        for fault in &self.fault {
            match fault.kind {
                Kind::Lost => lost += fault.count,
                Kind::Hostile(kind) => *hostile.0.entry(kind).or_default() += fault.count,
            }
        }
        let kill =
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
            events: (0..lost).map(kill).collect(),
            ..Scenario::default()
        };
        scenario.check(Engine::Simulator).map_err(|Problem { key, cause }| {
            // A key that `OPTIONS` lacks is the key of an event. Only `--fault lost` makes events.
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
        .map_err(|_| format!("{text:?} is not a time: expected for instance 10ms, 1s or 2m"))
}

fn parse_fault(text: &str) -> Result<Fault, String> {
    let (kind, count) = text.split_once('=').unwrap_or((text, "1"));
    let kind = match kind {
        "lost" => Kind::Lost,
        "corrupt" => Kind::Hostile(HostileKind::Corrupt),
        "stalled" => Kind::Hostile(HostileKind::Stall),
        "liar" => Kind::Hostile(HostileKind::Lie),
        _ => return Err("expected lost, corrupt, stalled or liar".to_owned()),
    };
    // 100,000 is far above the simulator's limit on nodes. A larger count is refused, so that sums of counts do not
    // overflow.
    match count.parse() {
        Ok(count) if count <= 100_000 => Ok(Fault { kind, count }),
        _ => Err(format!("{count:?} is not a number up to 100000")),
    }
}
