//! `phase-testnet up`: a network that stays.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use phase_lab::{Options, up};

use super::{EXIT_CODES, Failure, HELD, UNUSABLE, console, end, now, programs, read_scenarios};

/// Start the bootstrap node, seeds and hostile nodes of a scenario, and leave them running.
///
/// How a client is started there is printed, and where Prometheus finds figures. `down` removes it all. Clients and events
/// of the scenario are left out.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Up {
    /// A scenario file, or the name of one that ships.
    #[arg(value_name = "SCENARIO", default_value = "smoke")]
    scenario: PathBuf,
    /// The programs that containers run, as testnet/docker/build-binaries leaves them. Default: built from the sources.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Where stores are kept. Default: in memory.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Up {
    pub(crate) fn run(&self) -> ExitCode {
        end(self.start())
    }

    fn start(&self) -> Result<u8, Failure> {
        let files = read_scenarios(std::slice::from_ref(&self.scenario))?;
        let console = console()?;
        let options =
            Options { binaries: programs(self.programs.as_deref())?, dir: self.dir.clone(), without_http: true };
        for file in &files {
            let text = up(file, &options, now(), &console).map_err(Failure::of)?;
            crate::cli::print(&text).map_err(|text| Failure { code: UNUSABLE, text })?;
        }
        Ok(HELD)
    }
}
