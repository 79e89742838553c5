//! Networks of containers: `phase-testnet run`, `up`, `down`, `report`.

pub(crate) mod down;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod up;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use phase_lab::Console;
use phase_scenario::{Engine, ScenarioFile};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Everything held.
const HELD: u8 = 0;
/// Something did not hold.
const BROKEN: u8 = 1;
/// The command line, a scenario file, or what is needed on this machine.
const UNUSABLE: u8 = 2;
/// Stopped by a signal.
const INTERRUPTED: u8 = 130;

const EXIT_CODES: &str = "\
Exit codes:
  0    every client has the right bytes, and what the files promise under [hold] held
  1    a client did not finish, or a promise did not hold
  2    the command line or a scenario file is wrong, or this machine lacks something: Docker, root, nsenter, tc, nft
  130  stopped by a signal; everything has been removed";

/// Why a command did nothing.
struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    fn of(error: impl Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let next = error.to_string();
            if !text.contains(&next) {
                text = format!("{text}: {next}");
            }
            cause = error.source();
        }
        Self { code: UNUSABLE, text }
    }
}

/// Ends a command: with its exit code, or with a line about what went wrong.
fn end(result: Result<u8, Failure>) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        Err(Failure { code, text }) => {
            super::show("");
            eprintln!("error: {text}");
            ExitCode::from(code)
        }
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
        Ok(status) => Err(Failure { code: UNUSABLE, text: format!("{} failed: {status}", script.display()) }),
        Err(error) => {
            let text = format!("cannot run {}: {error}; give a folder with --programs", script.display());
            Err(Failure { code: UNUSABLE, text })
        }
    }
}

/// Unix seconds.
#[expect(clippy::disallowed_methods, reason = "binaries read the clock")]
fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |time| time.as_secs())
}
