//! `phase-testnet soak`: real nodes under load for a long time.

use std::time::Duration;

use clap::Args;
use phase_soak::soak::{Config, QuietPoint, SoakEvent, run};

use super::{Ended, Failure, show, verdict};

const EXAMPLES: &str = "\
Examples:
  phase-testnet soak --duration 90s
  phase-testnet soak --duration 2h --seed 1 --json";

/// Run real nodes under load and faults for ten minutes, and check that nothing is lost, hangs or leaks.
///
/// Clients fetch releases from providers on loopback. They are interrupted and resume, stop reading, start and leave.
/// Raw peers do not read, write half a frame, cancel requests or disappear. Connections are cut or stall. Providers are
/// stopped, killed and started again.
///
/// About once a minute all of this stops, and one line shows the resources in use. The numbers of tasks, file
/// descriptors and threads may be only slightly higher than in the first line. From the sixth line on, memory must not
/// grow.
///
/// Exits with 1 if a check failed, or if something hung or leaked. Exits with 2 if the command line is wrong or the
/// network cannot be set up.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Soak {
    /// Duration, for example 90s, 10m or 2h.
    #[arg(long, default_value = "10m", value_parser = parse_time, allow_hyphen_values = true)]
    duration: Duration,
    /// RNG seed, which determines what the nodes do, but not when. Default: random.
    #[arg(long, allow_negative_numbers = true)]
    seed: Option<u64>,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

fn parse_time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| format!("{text:?} is not a time: expected for instance 90s, 10m or 2h"))
}

impl Soak {
    pub(crate) fn run(&self) -> Ended {
        let seed = self.seed.unwrap_or_else(|| fastrand::u64(..));
        eprintln!("RNG seed {seed}");
        if !self.json {
            println!("{}", QuietPoint::HEADER);
        }
        let outcome = run(&Config { seed, duration: self.duration, ..Config::default() }, &mut |news| match news {
            SoakEvent::Progress(progress) => show(progress),
            SoakEvent::Quiet(point) => {
                show("");
                if !self.json {
                    println!("{point}");
                }
            }
        });
        show("");
        let report = outcome.map_err(Failure::of)?;
        match self.json {
            true => println!("{}", serde_json::to_string_pretty(&report).expect("figures always have a JSON form")),
            false => println!("{report}"),
        }
        Ok(verdict(report.is_good()))
    }
}
