//! `phase-testnet`: simulates swarms.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use phase_testnet::{Checks, Fault, Scenario, run};

#[derive(Parser)]
#[command(name = "phase-testnet", about = "Simulates swarms of Phase nodes", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the shipped scheduler and upload queue on many nodes in virtual time, and compare with the shortest possible time.
    ///
    /// Exits with 1 if a client does not finish, 2 if the command line is wrong.
    Sim(Sim),
}

#[derive(Args)]
struct Sim {
    /// Clients, which all start at once.
    #[arg(long, default_value_t = 16)]
    nodes: u32,
    /// Nodes that have everything.
    #[arg(long, default_value_t = 1)]
    seeds: u32,
    /// The size of the artifact: bytes, or with KiB, MiB, GiB.
    #[arg(long, default_value = "64MiB", value_parser = parse_size)]
    size: u64,
    /// Determines everything random; replays a run.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// What a seed sends, in Mbit/s.
    #[arg(long, default_value_t = 100.0)]
    seed_up: f64,
    /// What a client sends, in Mbit/s.
    #[arg(long, default_value_t = 100.0)]
    up: f64,
    /// What a client receives, in Mbit/s.
    #[arg(long, default_value_t = 1000.0)]
    down: f64,
    /// The longest time from node to node, in milliseconds.
    #[arg(long, default_value_t = 10)]
    latency: u64,
    /// Something that goes wrong; may be given several times.
    #[arg(long, value_enum)]
    fault: Vec<FaultKind>,
    /// Check every scheduler's invariants after every event: slow.
    #[arg(long)]
    check: bool,
    /// Print the figures as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum FaultKind {
    /// A client goes away after a second.
    Lost,
    /// One more node sends garbage.
    Corrupt,
    /// One more node sends nothing.
    Stalled,
}

fn main() -> ExitCode {
    let Command::Sim(sim) = Cli::parse().command;
    let checks = if sim.check { Checks::Every } else { Checks::Off };
    let report = match run(&sim.scenario(), checks) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    if sim.json {
        println!("{}", serde_json::to_string_pretty(&report).expect("figures have a JSON form"));
    } else {
        println!("{report}");
    }
    if report.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Sim {
    fn scenario(&self) -> Scenario {
        let rate = |mbit: f64| mbit * 1e6 / 8.0;
        let mut lost = 0;
        let faults = self.fault.iter().map(|kind| match kind {
            FaultKind::Lost => {
                lost += 1;
                Fault::Lost { node: lost - 1, at: Duration::from_secs(1) }
            }
            FaultKind::Corrupt => Fault::Corrupt,
            FaultKind::Stalled => Fault::Stalled,
        });
        Scenario {
            seed: self.seed,
            nodes: self.nodes,
            seeds: self.seeds,
            size: self.size,
            seed_up: rate(self.seed_up),
            up: rate(self.up),
            down: rate(self.down),
            latency: Duration::from_millis(self.latency),
            faults: faults.collect(),
            ..Scenario::default()
        }
    }
}

fn parse_size(text: &str) -> Result<u64, String> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1u64 << 30)];
    let unit = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (number, factor) = unit.unwrap_or((text, 1));
    let bytes = number.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    bytes.ok_or_else(|| format!("{text:?} is not a size: expected bytes, or for instance 64MiB"))
}
