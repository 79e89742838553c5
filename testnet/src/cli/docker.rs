//! Networks of containers: `phase-testnet run`, `up`, `down`, `report`, and the process that cleans up after a run.

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
  0    every client has the right bytes, and what the files promise under [hold] held
  1    a client did not finish, or a promise did not hold
  2    the command line or a scenario file is wrong, or this machine lacks something: Docker, root, nsenter, tc, nft
  130  stopped by a signal; everything has been removed";

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

/// Remove what `up` has made, and whatever is left of runs whose process is gone.
///
/// Containers, networks, images and folders: those with the testnet's label, and nothing else. Runs that go on stay.
#[derive(Args)]
pub(crate) struct Down {}

impl Down {
    pub(crate) fn run(&self) -> Ended {
        let (removed, busy) = take_down().map_err(Failure::of)?;
        if removed.is_empty() {
            println!("there is nothing to remove");
        }
        removed.iter().for_each(|id| println!("removed {id}"));
        busy.iter().for_each(|id| println!("{id} belongs to a run that goes on: stop that with Ctrl-C"));
        Ok(HELD)
    }
}

/// Wait for the end of standard input, then remove everything of a run.
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

/// Make summaries, pictures and index.html again from every report.json in a folder, and print the table.
#[derive(Args)]
pub(crate) struct Report {
    /// The folder, as `run --out` wrote it.
    #[arg(value_name = "DIR", default_value = "testnet-report")]
    dir: PathBuf,
}

impl Report {
    pub(crate) fn run(&self) -> Ended {
        let all = pages::read_all(&self.dir).map_err(Failure::of)?;
        if all.is_empty() {
            let text = format!("{} has no folder with a report.json: run scenarios first", self.dir.display());
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

/// A console that a first signal ends in good order. A second ends this process at once; what it leaves is removed by another.
fn console() -> Result<Console, Failure> {
    let stopped = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let armed = signal_hook::flag::register_conditional_shutdown(signal, INTERRUPTED.into(), stopped.clone());
        let set = armed.and_then(|_| signal_hook::flag::register(signal, stopped.clone()));
        set.map_err(Failure::of)?;
    }
    Ok(Console::new(stopped))
}

/// Reads scenario files: by path, or by the name of one that ships.
fn read_scenarios(names: &[PathBuf]) -> Result<Vec<ScenarioFile>, Failure> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/docker");
    let read = |name: &PathBuf| {
        let by_name = shipped.join(name).with_extension("toml");
        let path = if !name.exists() && by_name.exists() { by_name } else { name.clone() };
        ScenarioFile::read(&path, Engine::Containers).map_err(Failure::of)
    };
    names.iter().map(read).collect()
}

/// The folder with the programs for the image: the one that is given, or one that is built from this program's sources.
fn programs(given: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(folder) = given {
        return Ok(folder.to_owned());
    }
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = sources.join("docker/build-binaries");
    let folder = sources.join("../target/testnet-programs");
    eprintln!("building the programs that containers run; the first time it takes some minutes");
    // What it prints is about progress: results alone go to standard output.
    let built = Command::new(&script).arg(&folder).stdin(Stdio::null()).stdout(Stdio::null()).status();
    match built {
        Ok(status) if status.success() => Ok(folder),
        Ok(status) => Err(format!("{} failed: {status}", script.display()).into()),
        Err(error) => Err(format!("cannot run {}: {error}; give a folder with --programs", script.display()).into()),
    }
}

/// Unix seconds.
#[expect(clippy::disallowed_methods, reason = "binaries read the clock")]
fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |time| time.as_secs())
}
