//! `phase-testnet soak`.

use std::time::Duration;

use clap::Args;
use phase_soak::soak::{Config, News, QuietPoint, run};

use super::{Ended, Failure, show, verdict};

/// Put real nodes under load and in trouble for ten minutes: nothing may be lost, hang or pile up.
///
/// Clients fetch releases from providers on loopback, are interrupted and resume, stop reading, come and go; raw peers do not
/// read, write half a frame, cancel, vanish; connections are cut and stand still; providers are stopped, killed and started
/// again. About once a minute everybody pauses: one line, with what is in use. Tasks, file descriptors and threads must be
/// as many as at the first such line; memory must not grow, which needs six of them.
///
/// Exits with 1 if anything was wrong, leaked or hung, 2 if the command line is wrong or the network cannot be set up.
#[derive(Args)]
pub(crate) struct Soak {
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

impl Soak {
    pub(crate) fn run(&self) -> Ended {
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
        let report = outcome.map_err(Failure::of)?;
        match self.json {
            true => println!("{}", serde_json::to_string_pretty(&report).expect("figures have a JSON form")),
            false => println!("{report}"),
        }
        Ok(verdict(report.is_good()))
    }
}
