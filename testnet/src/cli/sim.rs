//! `phase-testnet sim`: swarms in virtual time.

mod options;
mod plan;
mod runner;

use std::fs;
use std::path::PathBuf;

use clap::Args;
use phase_report::swarm::{Outcome, RunTable, ScenarioOutcome, plot, to_json};
use phase_scenario::{Engine, ScenarioFile};
use phase_sim::judge;

use super::{Ended, print, verdict};
use options::SwarmOptions;
use plan::replay;
use runner::{Job, run_all};

const EXAMPLES: &str = "\
Examples:
  phase-testnet sim testnet/scenarios/sim/*.toml --out report
          every scenario; report/report.json has all figures, report/flash-crowd.svg the course of that scenario
  phase-testnet sim testnet/scenarios/sim/flash-crowd.toml --only flash-crowd-1000 --seed 2 --check
          one run of a file, with the invariants of every scheduler checked after every event
  phase-testnet sim --nodes 100 --nat 0.5 --fault corrupt=10
          a swarm of 100 clients, half of them behind NAT, and ten members that send garbage

Exit codes:
  0  every client has everything, and what the files promise under [hold] held
  1  a client did not finish, a promise did not hold, or the simulation broke off; what replays the run is printed
  2  the command line or a scenario file is wrong, or a report cannot be written

testnet/README.md describes scenario files and what the figures mean.";

/// Run the shipped scheduler and upload queue on many nodes in virtual time, and compare with the shortest possible time.
///
/// What is simulated is described by scenario files, each of which may be run with several numbers of clients and
/// several RNG seeds, or else by the options under "One swarm". The same scenario and seed give the same figures on
/// every machine.
///
/// A line for each run: T_min, the shortest time in which any scheme could finish; when half of the clients, 99 % and
/// the last had finished, as multiples of T_min; copies of the artifact that seeds sent; chunks that came twice; times
/// that a peer counted as stalled or was banned; events that were simulated; real time.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Sim {
    /// Scenario files.
    #[arg(value_name = "FILE.toml")]
    files: Vec<PathBuf>,
    /// Run only what has this label: the name of a file, with the number of clients if the file has several.
    #[arg(long, value_name = "LABEL", requires = "files")]
    only: Option<String>,
    /// Determines everything random, instead of the RNG seeds of the files; replays a run. Without files the default is 0.
    #[arg(long)]
    seed: Option<u64>,
    /// Write report.json, and a picture of each scenario, NAME.svg, into this folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Check every scheduler's invariants after every event: slow.
    #[arg(long)]
    check: bool,
    /// Print what would be in report.json instead of a table.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    swarm: SwarmOptions,
}

impl Sim {
    pub(crate) fn run(&self) -> Ended {
        let files = self.scenarios()?;
        if let Some(folder) = &self.out {
            fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        }
        let outcomes = self.run_files(&files)?;
        if self.json {
            print(&to_json(&outcomes))?;
        }
        if let Some(folder) = &self.out {
            let write = |name: &str, text: &str| {
                let path = folder.join(name);
                fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
            };
            write("report.json", &(to_json(&outcomes) + "\n"))?;
            for scenario in &outcomes {
                write(&format!("{}.svg", scenario.name), &plot(scenario))?;
            }
        }
        self.tell_failures(&outcomes);
        Ok(verdict(outcomes.iter().all(ScenarioOutcome::held)))
    }

    /// What is to be run.
    fn scenarios(&self) -> Result<Vec<ScenarioFile>, String> {
        if self.files.is_empty() {
            return Ok(vec![plan::of_options(self.swarm.scenario(self.seed.unwrap_or(0))?)]);
        }
        let read = |path: &PathBuf| ScenarioFile::read(path, Engine::Simulator).map_err(|error| error.to_string());
        let files = self.files.iter().map(read).collect::<Result<_, _>>()?;
        plan::select(files, self.only.as_deref(), self.seed)
    }

    /// The outcome of a file, without any run yet.
    fn outcome(&self, file: &ScenarioFile) -> ScenarioOutcome {
        let path = (!self.files.is_empty()).then(|| file.path.to_string_lossy().into_owned());
        let (name, about) = (file.name.clone(), file.about.clone());
        ScenarioOutcome { name, about, file: path, hold: file.hold, outcomes: Vec::new() }
    }

    /// Runs everything, and prints runs as they are over, in order.
    fn run_files(&self, files: &[ScenarioFile]) -> Result<Vec<ScenarioOutcome>, String> {
        let jobs: Vec<_> = files.iter().flat_map(plan::jobs).collect();
        let table = RunTable::new(jobs.iter().map(|job| job.label.as_str()));
        let mut printed = if self.has_table() { print(&table.header()) } else { Ok(()) };
        let mut outcomes: Vec<_> = files.iter().map(|file| self.outcome(file)).collect();
        let cases = |(number, file): (usize, &ScenarioFile)| std::iter::repeat_n(number, file.cases.len());
        let mut due = files.iter().enumerate().flat_map(cases);
        // The jobs of a case follow one another, the case itself first.
        let mut runs = Vec::new();
        run_all(&jobs, self.check, |number, run| {
            runs.push(run);
            if !jobs.get(number + 1).is_none_or(Job::is_whole) {
                return;
            }
            let compared = runs.split_off(1);
            if let (Some(run), Some(number)) = (runs.pop(), due.next()) {
                let scenario = &mut outcomes[number];
                let outcome = Outcome::new(run, compared, |report, outcome| judge(&scenario.hold, report, outcome));
                if let (true, Some(text)) = (printed.is_ok(), self.described(&outcome, &table)) {
                    printed = print(&text);
                }
                scenario.outcomes.push(outcome);
            }
        });
        printed.map(|()| outcomes)
    }

    fn has_table(&self) -> bool {
        !self.json && !self.files.is_empty()
    }

    fn described(&self, outcome: &Outcome, table: &RunTable) -> Option<String> {
        match (&outcome.run.result, self.json, self.files.is_empty()) {
            (_, true, _) => None,
            (Ok(report), false, true) => Some(report.to_string()),
            _ => Some(table.rows(outcome)),
        }
    }

    /// How to run again what failed.
    fn tell_failures(&self, outcomes: &[ScenarioOutcome]) {
        let runs =
            outcomes.iter().flat_map(|scenario| scenario.outcomes.iter().map(move |outcome| (&scenario.file, outcome)));
        let failed: Vec<_> = runs.filter(|(_, outcome)| !outcome.held()).collect();
        if !failed.is_empty() {
            eprintln!("failed: {}; to run again what did:", failed.len());
        }
        for (file, outcome) in failed {
            eprintln!("  {}", replay(file.as_deref(), &outcome.run, self.check));
            // The table has said why.
            if self.json || self.files.is_empty() {
                eprintln!("      {}", outcome.broken.join("; "));
            }
        }
    }
}
