//! `phase-testnet soak`: real nodes under load for a long time.

use std::time::Duration;

use clap::Args;
use phase_soak::soak::{Config, QuietPoint, SoakEvent, run};

use super::{Ended, Failure, show, verdict};

/// Run real nodes under load and faults for ten minutes, and check that nothing is lost, hangs or leaks.
///
/// Clients fetch releases from providers on loopback; they are interrupted and resume, stop reading, start and leave.
/// Raw peers do not read, write half a frame, cancel requests or disappear. Connections are cut or stall. Providers are
/// stopped, killed and started again. About once a minute all nodes pause, and one line shows the resources in use. The
/// numbers of tasks, file descriptors and threads must be the same as in the first line. Memory must not grow; this is
/// checked from the sixth line on.
///
/// Exits with 1 if a check failed, something leaked or hung; with 2 if the command line is wrong or the network cannot
/// be set up.
#[derive(Args)]
pub(crate) struct Soak {
    /// Duration, for example 90s, 10m or 2h.
    #[arg(long, default_value = "10m", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// RNG seed, which determines the actions of all nodes but not their timing. Default: random.
    #[arg(long)]
    seed: Option<u64>,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
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
