//! A node of a run: its container, what it prints, what it uses.

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

/// Where a node's own folder is in its container, and what all share.
pub(crate) const OWN: &str = "/node";
pub(crate) const SHARED: &str = "/shared";
/// The port on which nodes serve.
pub(crate) const PORT: u16 = 4001;
const OUTPUT: &str = "out";

/// See the module's documentation.
pub(crate) struct Node {
    pub(crate) name: NodeName,
    /// What people call it.
    pub(crate) label: String,
    pub(crate) address: Ipv4Addr,
    /// Its folder on this machine.
    pub(crate) folder: PathBuf,
    /// What its link carries, up and down, in bytes of payload per second.
    pub(crate) rates: (Option<Rate>, Option<Rate>),
    /// The part of the upward rate that is left.
    pub(crate) part: f64,
    pub(crate) peer_id: Option<String>,
    pub(crate) announced: bool,
    pub(crate) listening: bool,
    /// What it has spoilt, if that is what it does.
    pub(crate) deeds: u64,
    /// How long what it sends is under way.
    pub(crate) latency: Duration,
    /// Why that was not so, each time that it was not.
    pub(crate) relay_troubles: Vec<String>,
    relay: Option<Relay>,
    container: String,
    pid: Option<u32>,
    tail: Tail,
    meter: Meter,
}

impl Node {
    /// A node that has a folder and no container yet. `stage` tells apart nodes of the same name.
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
            relay_troubles: Vec::new(),
            relay: None,
            container: format!("phase-testnet-{}-{stage}-{dashed}", lab.engine.id),
            pid: None,
            tail: Tail::new(folder.join(OUTPUT)),
            meter: Meter::default(),
            label,
            folder,
        })
    }

    /// Its store on this machine.
    pub(crate) fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    /// Where its output is on this machine.
    pub(crate) fn output(&self) -> PathBuf {
        self.folder.join(OUTPUT)
    }

    /// Its address for peers.
    pub(crate) fn multiaddr(&self) -> Option<String> {
        Some(format!("/ip4/{}/tcp/{PORT}/p2p/{}", self.address, self.peer_id.as_ref()?))
    }

    /// Makes its container, which runs this program once a file exists in the shared folder, if one is given.
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

    /// The name of its container.
    pub(crate) fn container(&self) -> &str {
        &self.container
    }

    /// Whether its process is there.
    pub(crate) fn is_running(&self) -> bool {
        self.pid.is_some_and(|pid| fs::exists(format!("/proc/{pid}/fd")).unwrap_or(false) && !is_zombie(pid))
    }

    /// Whether its process is gone though nobody has ended it.
    pub(crate) fn has_ended(&self) -> bool {
        self.pid.is_some() && !self.is_running()
    }

    /// Notes the process of its container, which has just been started, and makes its link what it is to be.
    fn started(&mut self, lab: &Lab, pid: u32) -> Result<(), LabError> {
        self.meter.begin();
        self.pid = Some(pid).filter(|pid| *pid != 0);
        let Some(link) = self.link() else { return Ok(()) };
        if link.is_relayed {
            self.relay = Some(Relay::start(&lab.helper, pid, self.latency)?);
            link.lead_through_relay(&lab.subnet(), lab.gateway(), self.address)?;
        }
        if let Some(down) = self.rates.1 {
            link.limit_down(down.0)?;
        }
        self.limit_up(self.part)
    }

    /// Leaves this part of its upward rate.
    pub(crate) fn limit_up(&mut self, part: f64) -> Result<(), LabError> {
        self.part = part;
        match (self.link(), self.rates.0) {
            (Some(link), Some(rate)) => link.limit_up(rate.0 * part),
            _ => Ok(()),
        }
    }

    /// Its link, if it runs.
    pub(crate) fn link(&self) -> Option<Link> {
        self.pid.map(|pid| Link { pid, is_relayed: self.latency > Duration::ZERO })
    }

    /// Ends its process.
    pub(crate) fn end(&mut self, verb: &[&str], at: f64) -> Result<(), LabError> {
        self.sample(at);
        self.pid = None;
        engine::on_containers(verb, std::slice::from_ref(&self.container))?;
        self.end_relay();
        Ok(())
    }

    /// Once its process has ended.
    pub(crate) fn end_relay(&mut self) {
        let trouble = self.relay.take().and_then(|relay| relay.end().err());
        self.relay_troubles.extend(trouble);
    }

    /// What it has printed since the last time. Notes what concerns the node itself.
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

    /// Notes what it has used until now.
    pub(crate) fn sample(&mut self, at: f64) {
        if let Some(usage) = self.pid.and_then(|pid| usage(pid, at)) {
            self.meter.add(usage);
        }
    }

    /// What it used.
    pub(crate) fn record(&self) -> NodeRecord {
        NodeRecord { name: self.label.clone(), samples: self.meter.samples.clone() }
    }
}

fn is_zombie(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z') || rest.starts_with('X'))
}

/// Starts containers, and notes their processes.
pub(crate) fn start(lab: &Lab, nodes: &mut [&mut Node]) -> Result<(), LabError> {
    let names: Vec<_> = nodes.iter().map(|node| node.container.clone()).collect();
    engine::on_containers(&["start"], &names)?;
    for (node, pid) in nodes.iter_mut().zip(engine::pids(&names)?) {
        node.started(lab, pid)?;
    }
    Ok(())
}

/// Counts what a node uses over several processes.
#[derive(Debug, Default)]
struct Meter {
    /// What earlier processes used.
    before: Usage,
    samples: Vec<Usage>,
}

impl Meter {
    /// A new process begins to count at nothing.
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
    fn counters_go_on_when_a_node_is_started_again() {
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
