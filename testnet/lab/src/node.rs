//! A node of a run: its container, its output and the resources that it uses.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use phase_report::lab::record::{NodeRecord, Usage};
use phase_scenario::{NodeName, Rate};

use crate::engine::{self, Container};
use crate::error::LabError;
use crate::lab::Lab;
use crate::link::Link;
use crate::observe::{Line, Tail, usage};
use crate::relay::Relay;

/// The path in a container at which the node's own folder is mounted.
pub(crate) const OWN: &str = "/node";
/// The path in a container at which the folder is mounted that all containers can read.
pub(crate) const SHARED: &str = "/shared";
/// The TCP port on which nodes listen for peers.
pub(crate) const PORT: u16 = 4001;
const OUTPUT: &str = "out";

/// A node of a run, which is one program in one container.
pub(crate) struct Node {
    pub(crate) name: NodeName,
    /// The name of the node in output and reports, such as `seed 0`.
    pub(crate) label: String,
    pub(crate) address: Ipv4Addr,
    /// The node's folder on this machine.
    pub(crate) folder: PathBuf,
    /// The limits of upload and download, in bytes of TCP payload per second; `None` means no limit.
    pub(crate) rates: (Option<Rate>, Option<Rate>),
    /// The fraction of its upload limit that the node may use, 0 to 1. An event can change it.
    pub(crate) part: f64,
    pub(crate) peer_id: Option<String>,
    /// Whether the node has printed that it announced the release.
    pub(crate) announced: bool,
    /// Whether the node has printed a listen address.
    pub(crate) listening: bool,
    /// The number of harmful answers that the node has given; 0 unless the node is hostile.
    pub(crate) deeds: u64,
    /// The delay that a relay adds to each packet that the node sends. Zero means that there is no relay.
    pub(crate) latency: Duration,
    /// One error text for each of the node's relays that did not delay packets as configured.
    pub(crate) relay_failures: Vec<String>,
    relay: Option<Relay>,
    container: String,
    pid: Option<u32>,
    tail: Tail,
    meter: Meter,
}

impl Node {
    /// Makes a node with a folder, but without a container. `stage` becomes a part of the container's name, because
    /// nodes of different stages have the same label.
    pub(crate) fn new(lab: &Lab, stage: &str, name: NodeName, label: String, position: usize) -> io::Result<Self> {
        let dashed = label.replace(' ', "-");
        let folder = lab.folder.join(stage).join(&dashed);
        fs::create_dir_all(&folder)?;
        Ok(Self {
            name,
            address: lab.address(position),
            rates: (None, None),
            part: 1.0,
            peer_id: None,
            announced: false,
            listening: false,
            deeds: 0,
            latency: Duration::ZERO,
            relay_failures: Vec::new(),
            relay: None,
            container: format!("phase-testnet-{}-{stage}-{dashed}", lab.engine.id),
            pid: None,
            tail: Tail::new(folder.join(OUTPUT)),
            meter: Meter::default(),
            label,
            folder,
        })
    }

    /// Returns the folder of the node's store on this machine.
    pub(crate) fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    /// Returns the path of the node's output on this machine.
    pub(crate) fn output(&self) -> PathBuf {
        self.folder.join(OUTPUT)
    }

    /// Returns the address at which peers can dial the node; `None` until its peer id is known.
    pub(crate) fn multiaddr(&self) -> Option<String> {
        Some(format!("/ip4/{}/tcp/{PORT}/p2p/{}", self.address, self.peer_id.as_ref()?))
    }

    /// Creates the node's container. The program waits until the gate file `after` exists in the shared folder; with
    /// `None` it starts at once.
    pub(crate) fn create(
        &self,
        lab: &Lab,
        shared: &Path,
        after: Option<&str>,
        program: Vec<String>,
    ) -> Result<(), LabError> {
        let mut command: Vec<String> =
            ["/bin/phase-testnet-node", "gate", "--output", &format!("{OWN}/{OUTPUT}")].map(str::to_owned).into();
        if let Some(after) = after {
            command.extend(["--after".to_owned(), format!("{SHARED}/{after}")]);
        }
        command.push("--".to_owned());
        command.extend(program);
        let mounts = vec![(self.folder.clone(), OWN, false), (shared.to_owned(), SHARED, true)];
        let container = Container { name: &self.container, address: self.address, mounts, command };
        lab.engine.create(&lab.image, &lab.network, &container)
    }

    /// Returns the name of the node's container.
    pub(crate) fn container(&self) -> &str {
        &self.container
    }

    /// Whether the node's process is running.
    pub(crate) fn is_running(&self) -> bool {
        self.pid.is_some_and(|pid| fs::exists(format!("/proc/{pid}/fd")).unwrap_or(false) && !is_zombie(pid))
    }

    /// Whether the node's process exited by itself. False if the lab ended it.
    pub(crate) fn has_ended(&self) -> bool {
        self.pid.is_some() && !self.is_running()
    }

    /// Stores the process id of the container, which has just been started, and limits its network link.
    fn started(&mut self, lab: &Lab, pid: u32) -> Result<(), LabError> {
        self.meter.begin();
        self.pid = Some(pid).filter(|pid| *pid != 0);
        let Some(link) = self.link() else { return Ok(()) };
        if link.is_relayed {
            self.relay = Some(Relay::start(&lab.helper, pid, self.latency)?);
            link.route_through_relay(&lab.subnet(), lab.gateway(), self.address)?;
        }
        if let Some(down) = self.rates.1 {
            link.limit_down(down.0)?;
        }
        self.limit_up(self.part)
    }

    /// Limits the node's upload to the fraction `part` of its upload limit.
    pub(crate) fn limit_up(&mut self, part: f64) -> Result<(), LabError> {
        self.part = part;
        match (self.link(), self.rates.0) {
            (Some(link), Some(rate)) => link.limit_up(rate.0 * part),
            _ => Ok(()),
        }
    }

    /// Returns the node's network link; `None` if the node has no process.
    pub(crate) fn link(&self) -> Option<Link> {
        self.pid.map(|pid| Link { pid, is_relayed: self.latency > Duration::ZERO })
    }

    /// Ends the node's process with this `docker` subcommand. `at` is in seconds since the start of the run.
    pub(crate) fn end(&mut self, verb: &[&str], at: f64) -> Result<(), LabError> {
        self.sample(at);
        self.pid = None;
        engine::on_containers(verb, std::slice::from_ref(&self.container))?;
        self.end_relay();
        Ok(())
    }

    /// Waits until the node's relay exits. Must be called after the node's process has ended, because the relay exits
    /// after that process.
    pub(crate) fn end_relay(&mut self) {
        let failure = self.relay.take().and_then(|relay| relay.end().err());
        self.relay_failures.extend(failure);
    }

    /// Returns the lines that the node has printed since the last call, and updates the node's fields from them.
    pub(crate) fn lines(&mut self) -> io::Result<Vec<Line>> {
        let lines = self.tail.lines()?;
        for line in &lines {
            if line.peer_id.is_some() {
                self.peer_id = line.peer_id.clone();
            }
            self.announced |= line.announced.is_some();
            self.listening |= line.listening.is_some();
            self.deeds = line.deeds.unwrap_or(self.deeds);
        }
        Ok(lines)
    }

    /// Adds a sample of the resources that the node has used so far. `at` is in seconds since the start of the run.
    pub(crate) fn sample(&mut self, at: f64) {
        if let Some(usage) = self.pid.and_then(|pid| usage(pid, at)) {
            self.meter.add(usage);
        }
    }

    /// Returns all samples of the resources that the node used.
    pub(crate) fn record(&self) -> NodeRecord {
        NodeRecord { name: self.label.clone(), samples: self.meter.samples.clone() }
    }
}

fn is_zombie(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z') || rest.starts_with('X'))
}

/// Starts the containers of these nodes and stores their process ids.
pub(crate) fn start(lab: &Lab, nodes: &mut [&mut Node]) -> Result<(), LabError> {
    let names: Vec<_> = nodes.iter().map(|node| node.container.clone()).collect();
    engine::on_containers(&["start"], &names)?;
    for (node, pid) in nodes.iter_mut().zip(engine::pids(&names)?) {
        node.started(lab, pid)?;
    }
    Ok(())
}

/// The resources that a node has used, summed over all its processes, because a node may be restarted.
#[derive(Debug, Default)]
struct Meter {
    /// The resources that all earlier processes of the node used.
    before: Usage,
    samples: Vec<Usage>,
}

impl Meter {
    /// Starts the sum for a new process of the node, because the counters of each process start at zero.
    fn begin(&mut self) {
        self.before = self.samples.last().copied().unwrap_or_default();
    }

    fn add(&mut self, now: Usage) {
        let before = self.before;
        self.samples.push(Usage {
            cpu: before.cpu + now.cpu,
            sent: before.sent + now.sent,
            received: before.received + now.received,
            ..now
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_counters_continue_after_a_restart() {
        let usage = |at: f64, sent: u64| Usage { at, cpu: at, memory: 5, sent, received: 1 };
        let mut meter = Meter::default();
        meter.begin();
        meter.add(usage(1.0, 100));
        meter.begin();
        meter.add(usage(2.0, 30));
        let sent: Vec<_> = meter.samples.iter().map(|usage| usage.sent).collect();
        assert_eq!((sent, meter.samples[1].cpu, meter.samples[1].memory), (vec![100, 130], 3.0, 5));
    }
}
