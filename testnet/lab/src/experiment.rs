//! Makes all runs of a scenario file in containers and collects their results.

use std::fs;
use std::path::{Path, PathBuf};

use phase_report::lab::record::{Host, Prediction, Record, Run, Setup, VERSION};
use phase_scenario::{Case, Change, Clients, Rate, Scenario, ScenarioFile, Variant};
use phase_sim as sim;

use crate::console::{Console, show};
use crate::engine::{Engine, command};
use crate::error::{LabError, failed};
use crate::lab::Lab;
use crate::promises;
use crate::release::Release;
use crate::stage::{Stage, StageResult, Way};

/// The timeout of the HTTP baseline, as a multiple of the time that Phase took.
const HTTP_TIMEOUT_FACTOR: f64 = 4.0;
/// The least timeout of the HTTP baseline, in seconds.
const MIN_HTTP_TIMEOUT: f64 = 60.0;

/// The options of a run that come from the command line instead of the scenario file.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The folder that contains the programs for the image, as `testnet/docker/build-binaries` writes them.
    pub binaries: PathBuf,
    /// The folder in which a run keeps the nodes' stores. Default: `/dev/shm` (in RAM) if it exists, otherwise the
    /// folder for temporary files.
    pub dir: Option<PathBuf>,
    /// Whether to skip the HTTP baseline that the scenario asks for.
    pub without_http: bool,
}

/// Makes every run of a scenario file, and removes everything that the runs created. `now` is in Unix seconds.
///
/// # Errors
/// [`LabError`] if a run cannot be set up or followed, or a signal stops it. An error does not prevent the removal.
pub fn run(file: &ScenarioFile, options: &Options, now: u64, console: &Console) -> Result<Record, LabError> {
    check_prerequisites(file)?;
    let mut runs = Vec::new();
    let lab = Lab::open(&options.binaries, options.dir.as_deref(), false)?;
    let done = file.cases.iter().try_for_each(|Case { label, scenario }| {
        let experiment = Experiment { lab: &lab, label, scenario, options, now, console };
        experiment.run().map(|run| runs.push(run))
    });
    let binaries = lab.binaries.clone();
    show(&format!("{}: removing the containers, network and image", file.name));
    let closed = lab.close();
    show("");
    done?;
    closed?;
    Ok(Record {
        version: VERSION,
        scenario: file.name.clone(),
        about: file.about.clone(),
        definition: file.text.clone(),
        taken_at: now,
        host: host(binaries)?,
        runs,
    })
}

/// Starts the nodes of the first run of a scenario file, except its clients, and leaves them running. Returns
/// instructions for using the nodes.
///
/// # Errors
/// The same errors as [`run`].
pub fn up(file: &ScenarioFile, options: &Options, now: u64, console: &Console) -> Result<String, LabError> {
    check_prerequisites(file)?;
    let scenario = &file.cases.first().expect("a file has at least one case").scenario;
    // The run has no clients and no events, because the user starts clients by hand.
    let clients = Clients { count: 0, ..scenario.clients.clone() };
    let scenario = Scenario { clients, events: Vec::new(), ..scenario.clone() };
    let lab = Lab::open(&options.binaries, options.dir.as_deref(), true)?;
    match bring_up(&lab, &scenario, now, console) {
        Ok(text) => Ok(text),
        Err(error) => {
            // An error of this removal is ignored, because the next `phase-testnet down` tries the removal again and
            // reports its error.
            let _ = lab.close();
            Err(error)
        }
    }
}

fn bring_up(lab: &Lab, scenario: &Scenario, now: u64, console: &Console) -> Result<String, LabError> {
    let release = Release::publish(&lab.folder.join("release"), &scenario.artifacts, scenario.rng_seed, now)?;
    let mut stage = Stage::new(lab, scenario, &release, Way::Phase, "up".to_owned())?;
    stage.set_up(console)?;
    show("");
    Ok(stage.how_to_use())
}

/// Checks in advance that this machine has what the scenarios need, so that a run does not fail half-way.
fn check_prerequisites(file: &ScenarioFile) -> Result<(), LabError> {
    Engine::version()?;
    let all = || file.cases.iter().map(|case| &case.scenario);
    let is_limited = |scenario: &Scenario| scenario.nodes().any(|node| scenario.rates(node) != (None, None));
    let is_cut = |scenario: &Scenario| scenario.events.iter().any(|event| event.change == Change::Partition);
    let limited = all().any(is_limited);
    let cut = all().any(is_cut);
    if (limited || cut) && !rustix::process::geteuid().is_root() {
        let why = "limits or cuts the network links of containers, which only root may do: run it as root";
        return Err(LabError::Needs(format!("{} {why}", file.path.display())));
    }
    if limited {
        command("nsenter", &["--version"])?;
        command("tc", &["-Version"])?;
    }
    if cut {
        command("nft", &["--version"])?;
    }
    Ok(())
}

/// Makes one run of a scenario file, with all of its stages.
struct Experiment<'a> {
    lab: &'a Lab,
    label: &'a str,
    scenario: &'a Scenario,
    options: &'a Options,
    now: u64,
    console: &'a Console,
}

impl Experiment<'_> {
    fn run(&self) -> Result<Run, LabError> {
        let folder = self.lab.folder.join("release");
        show(&format!("{}: publishing", self.label));
        let release = Release::publish(&folder, &self.scenario.artifacts, self.scenario.rng_seed, self.now)?;
        let mut phase = self.stage(&release, self.scenario, Way::Phase, "phase", None)?;
        let undisturbed_scenario = self.scenario.variant(Variant::Undisturbed);
        let mut undisturbed = None;
        if self.scenario.is_disturbed() {
            let result = self.stage(&release, &undisturbed_scenario, Way::Phase, "undisturbed", None)?;
            phase.broken.extend(result.broken.into_iter().map(|sentence| format!("undisturbed: {sentence}")));
            undisturbed = Some(result.outcome);
        }
        let mut http = None;
        if self.scenario.http && !self.options.without_http {
            let one_server = Scenario { seeds: undisturbed_scenario.seeds[..1].to_vec(), ..undisturbed_scenario };
            // With many clients at one HTTP server, the HTTP baseline could take an hour. A timeout ends it, because a
            // few times the time of Phase is enough to show the difference.
            let last = phase.outcome.percentile(1.0);
            let timeout = last.map(|last| (HTTP_TIMEOUT_FACTOR * last).max(MIN_HTTP_TIMEOUT));
            http = Some(self.stage(&release, &one_server, Way::Http, "http", timeout)?.outcome);
        }
        fs::remove_dir_all(&folder).map_err(failed("remove", &folder))?;
        show(&format!("{}: simulating the same scenario", self.label));
        let simulated = predict(self.scenario);
        let artifacts = release.artifacts.iter().map(|artifact| artifact.record.clone()).collect();
        let mut run = Run {
            label: self.label.to_owned(),
            setup: self.setup(artifacts),
            t_min: self.scenario.t_min(),
            events: phase.events,
            phase: phase.outcome,
            undisturbed,
            http,
            simulated,
            broken: phase.broken,
        };
        run.broken.extend(promises::broken(&self.scenario.hold, &run));
        Ok(run)
    }

    fn stage(
        &self,
        release: &Release,
        scenario: &Scenario,
        way: Way,
        name: &str,
        timeout: Option<f64>,
    ) -> Result<StageResult, LabError> {
        let follow = || {
            let name = format!("{}-{name}", self.label);
            let mut stage = Stage::new(self.lab, scenario, release, way, name)?;
            stage.set_up(self.console)?;
            let timeout = timeout.unwrap_or_else(|| stage.timeout());
            stage.follow(timeout, self.console)
        };
        follow().map_err(LabError::of_stage)
    }

    fn setup(&self, artifacts: Vec<phase_report::lab::record::ArtifactRecord>) -> Setup {
        let scenario = self.scenario;
        let limit = |rate: Option<Rate>| rate.map(|rate| rate.0);
        Setup {
            artifacts,
            seed_up: scenario.seeds.iter().copied().map(limit).collect(),
            clients: scenario.clients.count,
            client_up: limit(scenario.clients.up),
            client_down: limit(scenario.clients.down),
            latency: scenario.network.latency.as_secs_f64(),
            hostile: scenario.hostile.iter().map(|harm| harm.to_string()).collect(),
        }
    }
}

/// Returns the times that the simulator predicts for a scenario. `None` if the simulator cannot run it, or a simulated
/// client does not finish.
fn predict(scenario: &Scenario) -> Option<Prediction> {
    let report = sim::run(&scenario.for_prediction()?, false, &mut |_| {}).ok()?;
    Some(Prediction { p50: report.p50?, p99: report.p99?, last: report.last? })
}

fn host(binaries: String) -> Result<Host, LabError> {
    let read = |path: &str| fs::read_to_string(Path::new(path)).unwrap_or_default();
    let memory = read("/proc/meminfo");
    let kib =
        memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok());
    Ok(Host {
        cores: std::thread::available_parallelism().map_or(0, |cores| cores.get() as u32),
        memory: kib.unwrap_or(0) * 1024,
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        docker: Engine::version()?,
        binaries,
    })
}

#[cfg(test)]
mod tests {
    use phase_scenario::{Artifact, Event, Kind, NodeName, Size, When};

    use super::*;

    fn limited() -> Scenario {
        Scenario {
            artifacts: vec![Artifact { size: Size(2 << 20), kind: Kind::Noise }; 2],
            seeds: vec![Some(Rate(1e6)), Some(Rate(2e6))],
            clients: Clients { count: 3, up: Some(Rate(3e6)), down: Some(Rate(4e6)), ..Clients::default() },
            ..Scenario::default()
        }
    }

    #[test]
    fn a_prediction_has_ordered_percentiles_and_is_reproducible() {
        let prediction = predict(&limited()).unwrap();
        let Prediction { p50, p99, last } = prediction;
        assert!(limited().t_min() <= p50 && p50 <= p99 && p99 <= last, "{prediction:?}");
        assert_eq!(predict(&limited()), Some(prediction));
    }

    #[test]
    fn unsupported_scenarios_have_no_prediction() {
        let restart = Event { nodes: vec![NodeName::Seed(0)], when: When::Progress(0.5), change: Change::Restart };
        assert_eq!(predict(&Scenario { events: vec![restart], ..limited() }), None);
        assert_eq!(predict(&Scenario { seeds: vec![Some(Rate(1e6)), None], ..limited() }), None);
    }
}
