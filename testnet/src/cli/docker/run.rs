//! `phase-testnet run`: runs scenarios in containers, and writes a report.

use std::path::PathBuf;

use clap::Args;
use phase_lab::{Console, LabError, Options, run};
use phase_report::lab::record::Record;
use phase_report::lab::{self as pages, INDEX};
use phase_scenario::ScenarioFile;

use super::{EXIT_CODES, console, now, programs, read_scenarios};
use crate::cli::{BROKEN, Ended, Failure, HELD, INTERRUPTED, keep_label, print};

const EXAMPLES: &str = "\
Examples:
  phase-testnet run smoke
          three seeds and a client; smoke is testnet/scenarios/docker/smoke.toml
  phase-testnet run testnet/scenarios/docker/*.toml --out report
          all scenarios of the repository; report/index.html shows the results
  phase-testnet run flash-crowd --no-http
          without the comparison with plain HTTP, which takes the longest";

/// Run scenarios in containers with limited network links, and write a report.
///
/// The report compares the times with the shortest possible time, with plain HTTP and with the simulator.
///
/// All containers, networks and images of a run have a label. They are removed at the end, after Ctrl-C, and after this
/// process is killed.
///
/// Docker is required. Limited network links also require root, nsenter and tc. Partitions require nft.
#[derive(Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"), after_help = EXIT_CODES)]
pub(crate) struct Run {
    /// Scenario files, or names of scenarios in testnet/scenarios/docker.
    #[arg(required = true, value_name = "SCENARIO")]
    scenarios: Vec<PathBuf>,
    /// Run only the run with this label. The label is the name of the scenario. If the file lists several numbers of
    /// seeds or clients, the number of the run is appended: throughput-4.
    #[arg(long, value_name = "LABEL")]
    only: Option<String>,
    /// Folder for the report: index.html, and a folder for each scenario.
    #[arg(long, value_name = "DIR", default_value = "testnet-report")]
    out: PathBuf,
    /// Do not compare with plain HTTP.
    #[arg(long)]
    no_http: bool,
    /// Folder with the programs for containers, as made by testnet/docker/build-binaries. Default: build them from
    /// source.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Folder for the stores during the run. Default: in RAM.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print the records as JSON, one on each line, and nothing else on standard output.
    #[arg(long)]
    json: bool,
}

impl Run {
    pub(crate) fn run(&self) -> Ended {
        let mut files = read_scenarios(&self.scenarios)?;
        let mut labels: Vec<_> = files.iter().flat_map(|file| &file.cases).map(|case| case.label.clone()).collect();
        labels.dedup();
        if let Some(only) = &self.only
            && !keep_label(&mut files, only)
        {
            return Err(format!("no run has the label {only:?}; the labels are {}", labels.join(", ")).into());
        }
        let console = console()?;
        let binaries = programs(self.programs.as_deref())?;
        let options = Options { binaries, dir: self.dir.clone(), without_http: self.no_http };
        let mut code = HELD;
        for file in &files {
            match self.run_one(file, &options, &console)? {
                Some(true) => {}
                Some(false) => code = BROKEN,
                None => return Ok(INTERRUPTED),
            }
        }
        let read = pages::read_all(&self.out).map_err(Failure::of)?;
        pages::write_index(&self.out, &read).map_err(Failure::of)?;
        eprintln!("report: {}", self.out.join(INDEX).display());
        Ok(code)
    }

    /// Runs one scenario. Returns whether all promises held, or `None` if a signal stopped the run.
    fn run_one(&self, file: &ScenarioFile, options: &Options, console: &Console) -> Result<Option<bool>, Failure> {
        let record = match run(file, options, now(), console) {
            Ok(record) => record,
            Err(LabError::Interrupted) => {
                eprintln!("interrupted; all containers, networks and files of the run have been removed");
                return Ok(None);
            }
            Err(error @ LabError::Stage(_)) => {
                let Failure { text, .. } = Failure::of(error);
                return Err(Failure { code: BROKEN, text: format!("{}: {text}", file.name) });
            }
            Err(error) => return Err(Failure::of(error)),
        };
        pages::write(&self.out.join(&file.name), &record).map_err(Failure::of)?;
        self.print(&record)?;
        Ok(Some(record.held()))
    }

    fn print(&self, record: &Record) -> Result<(), Failure> {
        let text = match self.json {
            true => serde_json::to_string(record).map_err(Failure::of)?,
            false => pages::overview(record),
        };
        Ok(print(&text)?)
    }
}
