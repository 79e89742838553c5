//! The commands for networks of containers: `phase-testnet run`, `up`, `down`, `report`, and the hidden command that
//! cleans up after a run.

pub(crate) mod run;

use std::io::stdin;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;
use phase_lab::{Console, Options, reap, take_down, up};
use phase_report::lab::{self as pages, INDEX};
use phase_scenario::{Engine, ScenarioFile};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::{Ended, Failure, HELD, INTERRUPTED, print, verdict};

const EXIT_CODES: &str = "\
Exit codes:
  0    every client that must finish has the right files, and all promises under [hold] held
  1    a client did not finish, a promise did not hold, or a network could not be set up
  2    the command line or a scenario file is wrong, or this machine lacks something: Docker, root, nsenter, tc, nft
  130  stopped by a signal; all containers, networks and files of the run have been removed";

const UP_EXAMPLES: &str = "\
Examples:
  phase-testnet up smoke
  phase-testnet up flash-crowd --dir stores";

const DOWN_EXAMPLES: &str = "\
Examples:
  phase-testnet down";

const REPORT_EXAMPLES: &str = "\
Examples:
  phase-testnet report
  phase-testnet report report";

/// Start the bootstrap node, the seeds and the hostile nodes of a scenario, and leave them running.
///
/// Prints the command that starts a client in this network, and the addresses of the metrics endpoints. The clients and
/// events of the scenario are ignored. `down` removes the network.
#[derive(Args)]
#[command(after_long_help = format!("{UP_EXAMPLES}\n\n{EXIT_CODES}"), after_help = EXIT_CODES)]
pub(crate) struct Up {
    /// Scenario file, or name of a scenario in testnet/scenarios/docker.
    #[arg(value_name = "SCENARIO", default_value = "smoke")]
    scenario: PathBuf,
    /// Folder with the programs for containers, as made by testnet/docker/build-binaries. Default: build them from
    /// source.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Folder for the stores. Default: in RAM.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Up {
    pub(crate) fn run(&self) -> Ended {
        let files = read_scenarios(std::slice::from_ref(&self.scenario))?;
        let console = console()?;
        let options =
            Options { binaries: programs(self.programs.as_deref())?, dir: self.dir.clone(), without_http: true };
        for file in &files {
            let text = up(file, &options, now(), &console).map_err(Failure::of)?;
            print(&text)?;
        }
        Ok(HELD)
    }
}

/// Remove the networks that `up` has made, and everything that remains of runs whose process has ended.
///
/// Removes containers, networks and images that have the testnet's label, and the folders with their stores. Active
/// runs are kept.
#[derive(Args)]
#[command(after_long_help = DOWN_EXAMPLES)]
pub(crate) struct Down {}

impl Down {
    pub(crate) fn run(&self) -> Ended {
        let (removed, busy) = take_down().map_err(Failure::of)?;
        if removed.is_empty() {
            println!("nothing to remove");
        }
        removed.iter().for_each(|id| println!("removed {id}"));
        busy.iter().for_each(|id| println!("{id} belongs to an active run: stop the run with Ctrl-C"));
        Ok(HELD)
    }
}

/// Wait for the end of standard input, then remove all containers, networks and files of a run.
#[derive(Args)]
pub(crate) struct Reap {
    id: String,
    folder: PathBuf,
}

impl Reap {
    pub(crate) fn run(&self) -> Ended {
        reap(&self.id, &self.folder, &mut stdin()).map(|()| HELD).map_err(Failure::of)
    }
}

/// Make all summaries, pictures and index.html again from the report.json files in a folder, and print the figures of
/// all runs.
#[derive(Args)]
#[command(after_long_help = REPORT_EXAMPLES)]
pub(crate) struct Report {
    /// Folder that was written by `run --out`.
    #[arg(value_name = "DIR", default_value = "testnet-report")]
    dir: PathBuf,
}

impl Report {
    pub(crate) fn run(&self) -> Ended {
        let all = pages::read_all(&self.dir).map_err(Failure::of)?;
        if all.is_empty() {
            let text = format!("{} has no folder with a report.json: run a scenario first", self.dir.display());
            return Err(text.into());
        }
        for page in &all {
            pages::write(&self.dir.join(&page.dir), &page.record).map_err(Failure::of)?;
            print(&pages::overview(&page.record))?;
        }
        pages::write_index(&self.dir, &all).map_err(Failure::of)?;
        eprintln!("report: {}", self.dir.join(INDEX).display());
        Ok(verdict(all.iter().all(|page| page.record.held())))
    }
}

/// Returns a console that handles signals. The first signal stops the run, which removes its containers. A second
/// signal ends this process at once, and the reaper process removes the containers.
fn console() -> Result<Console, Failure> {
    let stopped = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let armed = signal_hook::flag::register_conditional_shutdown(signal, INTERRUPTED.into(), stopped.clone());
        let set = armed.and_then(|_| signal_hook::flag::register(signal, stopped.clone()));
        set.map_err(Failure::of)?;
    }
    Ok(Console::new(stopped))
}

/// Reads scenario files by path, or by the name of a scenario in `scenarios/docker`.
fn read_scenarios(names: &[PathBuf]) -> Result<Vec<ScenarioFile>, Failure> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/docker");
    let read = |name: &PathBuf| {
        let by_name = shipped.join(name).with_extension("toml");
        let path = if !name.exists() && by_name.exists() { by_name } else { name.clone() };
        ScenarioFile::read(&path, Engine::Containers).map_err(Failure::of)
    };
    names.iter().map(read).collect()
}

/// Returns the folder with the programs for the containers' image. If no folder is given, builds the programs from this
/// source tree.
fn programs(given: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(folder) = given {
        return Ok(folder.to_owned());
    }
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = sources.join("docker/build-binaries");
    let folder = sources.join("../target/testnet-programs");
    eprintln!("building the programs for containers; the first build takes some minutes");
    // Discard the script's standard output, because it is only progress, and our standard output is for results.
    let built = Command::new(&script).arg(&folder).stdin(Stdio::null()).stdout(Stdio::null()).status();
    match built {
        Ok(status) if status.success() => Ok(folder),
        Ok(status) => Err(format!("{} failed: {status}", script.display()).into()),
        Err(error) => Err(format!("cannot run {}: {error}; name a folder with --programs", script.display()).into()),
    }
}

/// Returns the current time in Unix seconds.
#[expect(clippy::disallowed_methods, reason = "binaries read the clock")]
fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |time| time.as_secs())
}
