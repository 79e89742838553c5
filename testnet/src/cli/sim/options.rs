//! One swarm, described by options.

use std::time::Duration;

use clap::Args;
use phase_protocol::scheduler::Order;
use phase_testnet::{Change, Hostile, NodeEvent, NodeRef, Rate, Scenario, Size, When};

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
    #[arg(long, default_value_t)]
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
    Corrupt,
    Stalled,
    Liar,
}

impl SwarmOptions {
    /// # Errors
    /// If a value is out of its range.
    pub(super) fn scenario(&self, seed: u64) -> Result<Scenario, String> {
        let count = |kind| self.fault.iter().filter(|fault| fault.kind == kind).map(|fault| fault.count).sum();
        let lost: u32 = count(Kind::Lost);
        let lose = |client| NodeEvent { node: NodeRef::Client(client), at: When::At(LOST_AFTER), change: Change::Lost };
        let scenario = Scenario {
            seed,
            nodes: self.nodes,
            seed_up: vec![self.seed_up.0; self.seeds as usize],
            size: self.size.0,
            up: self.up.0,
            down: self.down.0,
            spread: self.spread,
            latency: self.latency,
            nat: self.nat,
            hostile: Hostile { corrupt: count(Kind::Corrupt), stalled: count(Kind::Stalled), liars: count(Kind::Liar) },
            events: (0..lost).map(lose).collect(),
            order: self.order,
            ..Scenario::default()
        };
        scenario.check().map_err(|error| error.to_string())?;
        Ok(scenario)
    }
}

fn parse_size(text: &str) -> Result<Size, String> {
    text.parse().map(Size).or_else(|_| text.parse())
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
        "corrupt" => Kind::Corrupt,
        "stalled" => Kind::Stalled,
        "liar" => Kind::Liar,
        _ => return Err("expected lost, corrupt, stalled or liar".to_owned()),
    };
    // Far more than can be simulated, and few enough to add up.
    match count.parse() {
        Ok(count) if count <= 100_000 => Ok(Fault { kind, count }),
        _ => Err(format!("{count:?} is not a number up to 100000")),
    }
}
