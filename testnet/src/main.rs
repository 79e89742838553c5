//! `phase-testnet`: networks of Phase nodes on one machine, simulated and real.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use phase_testnet::{Checks, Fault, Scenario, run};

#[derive(Parser)]
#[command(name = "phase-testnet", about = "Networks of Phase nodes on one machine", version)]
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
    /// Start DHTs of many real nodes in this process, look things up in them, take a fifth of each away and look again.
    ///
    /// One line for each size: the time until all have joined; peers in a routing table; messages of a whole lookup, which goes
    /// on until the 20 closest nodes have answered, with log2 of the size beside it; the time until the answer; the share of
    /// lookups that found what was announced, at first, right after a fifth has gone, and after everything was announced
    /// again; memory. A node takes 3 to 7 MiB. On two cores 200 nodes need less than a minute, 500 four, 1,000 half an hour.
    ///
    /// Exits with 1 if a network does not come to be or a lookup fails, at first or at last.
    #[cfg(feature = "dht")]
    Dht(Dht),
    /// Put real nodes under load and in trouble for ten minutes: nothing may be lost, hang or pile up.
    ///
    /// Clients fetch releases from providers on loopback, are interrupted and resume, stop reading, come and go; raw peers do not
    /// read, write half a frame, cancel, vanish; connections are cut and stand still; providers are stopped, killed and started
    /// again. About once a minute everybody pauses: one line, with what is in use. Tasks, file descriptors and threads must be
    /// as many as at the first such line; memory must not grow, which needs six of them.
    ///
    /// Exits with 1 if anything was wrong, leaked or hung, 2 if the command line is wrong or the network cannot be set up.
    #[cfg(feature = "soak")]
    Soak(Soak),
}

#[cfg(feature = "soak")]
#[derive(Args)]
struct Soak {
    /// How long, for instance 90s, 10m or 2h.
    #[arg(long, default_value = "10m", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Determines what everybody chooses to do, but not when it is done; default: another one each time.
    #[arg(long)]
    seed: Option<u64>,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

#[cfg(feature = "dht")]
#[derive(Args)]
struct Dht {
    /// Sizes of the networks, which run one after another.
    #[arg(long, value_delimiter = ',', default_value = "25,50,100,200,500,1000", value_parser = clap::value_parser!(u32).range(2..))]
    nodes: Vec<u32>,
    /// Lookups before the loss, after it, and after everything was announced again.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    lookups: u32,
    /// Names that are announced, each by a node chosen at random.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    names: u32,
    /// Determines peer ids, who meets whom first, and who asks for what; default: another one each time.
    #[arg(long)]
    seed: Option<u64>,
    /// Print the figures as JSON, an object on each line.
    #[arg(long)]
    json: bool,
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
    match Cli::parse().command {
        Command::Sim(sim) => simulate(&sim),
        #[cfg(feature = "dht")]
        Command::Dht(dht) => dht.run(),
        #[cfg(feature = "soak")]
        Command::Soak(soak) => soak.run(),
    }
}

fn simulate(sim: &Sim) -> ExitCode {
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

#[cfg(feature = "dht")]
impl Dht {
    fn run(&self) -> ExitCode {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        match runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(self.measure())) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        }
    }

    /// Prints the figures of each size; returns whether everything was found.
    async fn measure(&self) -> Result<bool, String> {
        use phase_testnet::dht::{Figures, Measurement, NetworkConfig, measure, resident_bytes};
        let seed = self.seed.unwrap_or_else(|| fastrand::u64(..));
        eprintln!("seed {seed}");
        if !self.json {
            println!("{}", Figures::HEADER);
        }
        let resident_before = resident_bytes();
        let mut is_found = true;
        for nodes in &self.nodes {
            let network = NetworkConfig { seed, ..NetworkConfig::new(*nodes as usize) };
            let (names, lookups) = (self.names as usize, self.lookups as usize);
            let measurement = Measurement { network, names, lookups, resident_before };
            let figures = measure(measurement, &show).await;
            show("");
            let figures = figures.map_err(|error| format!("{nodes} nodes: {error}"))?;
            is_found &= figures.found == 1.0 && figures.found_after_republish == 1.0;
            match self.json {
                true => println!("{}", serde_json::to_string(&figures).expect("figures have a JSON form")),
                false => println!("{figures}"),
            }
        }
        Ok(is_found)
    }
}

#[cfg(feature = "soak")]
impl Soak {
    fn run(&self) -> ExitCode {
        use phase_testnet::soak::{Config, News, QuietPoint, run};
        let seed = self.seed.unwrap_or_else(|| fastrand::u64(..));
        eprintln!("seed {seed}");
        if !self.json {
            println!("{}", QuietPoint::HEADER);
        }
        let outcome = run(&Config { seed, duration: self.duration, ..Config::default() }, &mut |news| match news {
            News::Progress(progress) => show(progress),
            News::Quiet(point) => {
                show("");
                if !self.json {
                    println!("{point}");
                }
            }
        });
        show("");
        let report = match outcome {
            Ok(report) => report,
            Err(error) => {
                eprintln!("error: {}", describe(&error));
                return ExitCode::from(2);
            }
        };
        match self.json {
            true => println!("{}", serde_json::to_string_pretty(&report).expect("figures have a JSON form")),
            false => println!("{report}"),
        }
        if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// An error and its causes.
#[cfg(feature = "soak")]
fn describe(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Shows what is going on to whoever looks on, in one line.
#[cfg(any(feature = "dht", feature = "soak"))]
fn show(progress: &str) {
    use std::io::IsTerminal as _;
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{progress}");
    }
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
