//! `phase-testnet sim`: simulates swarms in virtual time.

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
use plan::replay_command;
use runner::{Job, run_all};

const COLUMNS: &str = "\
Columns:
  T_min            the shortest time in which any schedule could finish
  p50, p99, last   the times at which half of the clients, 99 % of them and the last one had finished, as multiples of
                   T_min
  seed copies      the number of copies of the artifact that the seeds sent
  dup. %           the percentage of chunks received twice
The line also has the numbers of stalls, bans and simulated events, and the real time of the run.";

const EXAMPLES: &str = "\
Examples:
  phase-testnet sim testnet/scenarios/sim/*.toml --out report
          all scenarios; report/report.json has all figures, report/flash-crowd.svg shows one scenario over time
  phase-testnet sim testnet/scenarios/sim/flash-crowd.toml --only flash-crowd-1000 --seed 2 --check
          one run of a file, with a check of a scheduler's invariants after every event that it handles
  phase-testnet sim --nodes 100 --nat 0.5 --fault corrupt=10
          a swarm of 100 clients, half of them behind NAT, and ten hostile nodes that send corrupt chunks

Exit codes:
  0  every client finished, and all promises under [hold] held
  1  a client did not finish, a promise did not hold, or the simulation broke off; prints the command that replays the run
  2  the command line or a scenario file is wrong, or a report cannot be written

testnet/README.md describes scenario files and the figures.";

/// Simulate swarms in virtual time with the shipped scheduler and upload queue, and compare the times with the shortest
/// possible time.
///
/// The swarms are described by scenario files, or by the options under "One swarm". A file may list several numbers of
/// clients and several RNG seeds. Each combination is one run. The same scenario and RNG seed give the same figures on
/// every machine.
///
/// Prints one line for each run.
#[derive(Args)]
#[command(after_long_help = format!("{COLUMNS}\n\n{EXAMPLES}"))]
pub(crate) struct Sim {
    /// Scenario files.
    #[arg(value_name = "FILE.toml")]
    files: Vec<PathBuf>,
    /// Run only the runs with this label. The label is the name of the scenario file. If the file lists several numbers
    /// of seeds or clients, the number of the run is appended: flash-crowd-1000.
    #[arg(long, value_name = "LABEL", requires = "files")]
    only: Option<String>,
    /// RNG seed, which determines all random choices. The same RNG seed repeats a run. Default: the RNG seeds in the
    /// scenario files, or 0 if there are no files.
    #[arg(long, allow_negative_numbers = true)]
    seed: Option<u64>,
    /// Folder for report.json and for a picture of each scenario, NAME.svg.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Check the invariants of each client's scheduler after every event that the scheduler handles (slow).
    #[arg(long)]
    check: bool,
    /// Print the content of report.json instead of a table.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    swarm: SwarmOptions,
}

impl Sim {
    pub(crate) fn run(&self) -> Ended {
        let files = self.scenarios()?;
        if let Some(folder) = &self.out {
            fs::create_dir_all(folder).map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
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
        self.print_failures(&outcomes);
        Ok(verdict(outcomes.iter().all(ScenarioOutcome::held)))
    }

    /// Returns the scenarios to run. They are read from files, or made from the options.
    fn scenarios(&self) -> Result<Vec<ScenarioFile>, String> {
        if self.files.is_empty() {
            return Ok(vec![plan::from_options(self.swarm.scenario(self.seed.unwrap_or(0))?)]);
        }
        let read = |path: &PathBuf| ScenarioFile::read(path, Engine::Simulator).map_err(|error| error.to_string());
        let files = self.files.iter().map(read).collect::<Result<_, _>>()?;
        plan::select(files, self.only.as_deref(), self.seed)
    }

    /// Returns the outcome of a scenario file before its runs. The outcomes of the runs are added later.
    fn empty_outcome(&self, file: &ScenarioFile) -> ScenarioOutcome {
        let path = (!self.files.is_empty()).then(|| file.path.to_string_lossy().into_owned());
        let (name, about) = (file.name.clone(), file.about.clone());
        ScenarioOutcome { name, about, file: path, hold: file.hold, outcomes: Vec::new() }
    }

    /// Runs all scenario files. Prints the outcome of each run as soon as this run and all runs before it have ended.
    fn run_files(&self, files: &[ScenarioFile]) -> Result<Vec<ScenarioOutcome>, String> {
        let jobs: Vec<_> = files.iter().flat_map(plan::jobs).collect();
        let table = RunTable::new(jobs.iter().map(|job| job.label.as_str()));
        let mut printed = if self.has_table() { print(&table.header()) } else { Ok(()) };
        let mut outcomes: Vec<_> = files.iter().map(|file| self.empty_outcome(file)).collect();
        let cases = |(number, file): (usize, &ScenarioFile)| std::iter::repeat_n(number, file.cases.len());
        let mut due = files.iter().enumerate().flat_map(cases);
        // The jobs of a case are consecutive: the first job runs the whole scenario, and the following jobs run the
        // variants for comparison. So a case is complete if the next job runs a whole scenario, or if no job is left.
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
                if let (true, Some(text)) = (printed.is_ok(), self.text_of(&outcome, &table)) {
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

    /// Returns the text about an outcome for standard output. `None` if `--json` is set.
    fn text_of(&self, outcome: &Outcome, table: &RunTable) -> Option<String> {
        match (&outcome.run.result, self.json, self.files.is_empty()) {
            (_, true, _) => None,
            (Ok(report), false, true) => Some(report.to_string()),
            _ => Some(table.rows(outcome)),
        }
    }

    /// Prints the commands that repeat the failed runs.
    fn print_failures(&self, outcomes: &[ScenarioOutcome]) {
        let runs =
            outcomes.iter().flat_map(|scenario| scenario.outcomes.iter().map(move |outcome| (&scenario.file, outcome)));
        let failed: Vec<_> = runs.filter(|(_, outcome)| !outcome.held()).collect();
        match failed.len() {
            0 => {}
            1 => eprintln!("1 run failed; this command repeats it:"),
            count => eprintln!("{count} runs failed; these commands repeat them:"),
        }
        for (file, outcome) in failed {
            eprintln!("  {}", replay_command(file.as_deref(), &outcome.run, self.check));
            // Print the reasons, unless the table has already shown them.
            if self.json || self.files.is_empty() {
                eprintln!("      {}", outcome.broken.join("; "));
            }
        }
    }
}
