//! One distribution from its start to its end: by Phase, or over plain HTTP.

mod changes;
mod clients;
mod programs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fs, io};

use phase_scenario::{Change, Event, NodeName, Scenario};

use super::engine::{self, CommandError};
use super::lab::Lab;
use super::node::{self, Node};
use super::observe::complaints;
use super::record::{EventRecord, Outcome};
use super::release::{Release, ReleaseError};
use super::timeline::{Moment, Timeline};
use super::{Console, Interrupted};
use clients::Client;

/// How often nodes are looked at.
const TICK: Duration = Duration::from_millis(50);
/// How often what they use is noted, in seconds.
const SAMPLE_INTERVAL: f64 = 0.5;
/// How long nodes may take until they serve and have said so.
const SETUP: Duration = Duration::from_secs(120);
/// Phase may take this many times T_min, or so many seconds if that is more.
const PATIENCE: f64 = 10.0;
const LEAST_PATIENCE: f64 = 180.0;

/// How artifacts get to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Phase,
    Http,
}

/// A distribution that did not come about.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// Docker, or another command.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A file.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is published.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// A node does not do what it should before the clients begin.
    #[error("{node} {what}{said}")]
    Setup {
        /// Which.
        node: String,
        /// What it does not do.
        what: &'static str,
        /// Its last words.
        said: String,
    },
    /// Somebody wants it to end.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

pub(super) fn failed(path: &Path) -> impl FnOnce(io::Error) -> StageError {
    let path = path.to_owned();
    move |source| StageError::File { path, source }
}

/// What came of it.
pub(crate) struct Result {
    pub(crate) outcome: Outcome,
    pub(crate) events: Vec<EventRecord>,
    /// What must hold in every run and did not.
    pub(crate) broken: Vec<String>,
}

/// See the module's documentation.
pub(crate) struct Stage<'a> {
    lab: &'a Lab,
    scenario: &'a Scenario,
    release: &'a Release,
    way: Way,
    name: String,
    /// The folder that all containers can read, with the files that open gates.
    shared: PathBuf,
    /// In the order of [`Scenario::nodes`].
    nodes: Vec<Node>,
    clients: Vec<Client>,
    /// Names by peer id.
    names: BTreeMap<String, String>,
    timeline: Timeline,
    events: Vec<EventRecord>,
    /// Events that found nobody to happen to.
    missed: Vec<String>,
    /// When the clients were let go: by this process's clock, and in Unix seconds.
    begun: (Instant, f64),
}

impl<'a> Stage<'a> {
    /// Makes folders, and a store for each node that has one. `name` tells the stages of a run apart.
    pub(crate) fn new(
        lab: &'a Lab,
        scenario: &'a Scenario,
        release: &'a Release,
        way: Way,
        name: String,
    ) -> std::result::Result<Self, StageError> {
        let shared = lab.folder.join(&name).join("shared");
        fs::create_dir_all(&shared).map_err(failed(&shared))?;
        let root = shared.join("root.cbor");
        fs::copy(release.root(), &root).map_err(failed(&root))?;
        let mut stage = Self {
            lab,
            scenario,
            release,
            way,
            name,
            shared,
            nodes: Vec::new(),
            clients: Vec::new(),
            names: BTreeMap::new(),
            timeline: Timeline::new(scenario.events.clone()),
            events: Vec::new(),
            missed: Vec::new(),
            begun: now(),
        };
        for node in scenario.nodes() {
            if way == Way::Phase || matches!(node, NodeName::Seed(0) | NodeName::Client(_)) {
                stage.add(node)?;
            }
        }
        Ok(stage)
    }

    fn add(&mut self, name: NodeName) -> std::result::Result<(), StageError> {
        let label = match (self.way, name) {
            (Way::Http, NodeName::Seed(_)) => "http server".to_owned(),
            _ => name.to_string(),
        };
        let folder = self.lab.folder.clone();
        let mut node =
            Node::new(self.lab, &self.name, name, label.clone(), self.nodes.len()).map_err(failed(&folder))?;
        node.rates = self.scenario.rates(name);
        node.latency = self.scenario.network.latency;
        match name {
            NodeName::Seed(_) if self.way == Way::Http => {
                let files = node.folder.join("files");
                fs::create_dir_all(&files).map_err(failed(&files))?;
                for artifact in &self.release.artifacts {
                    let (from, to) = (self.release.files(), files.join(&artifact.record.filename));
                    fs::copy(from.join(&artifact.record.filename), &to).map_err(failed(&to))?;
                }
            }
            NodeName::Seed(_) | NodeName::Hostile(_) => self.release.copy_store(&node.store())?,
            NodeName::Client(number) => self.clients.push(Client::new(label, self.scenario.must_finish(number))),
            NodeName::Bootstrap => {}
        }
        self.nodes.push(node);
        Ok(())
    }

    /// Starts everything but the clients, and waits until the release is to be had. Clients wait at a gate.
    pub(crate) fn set_up(&mut self, console: &Console) -> std::result::Result<(), StageError> {
        console.show(&format!("{}: starting {} containers", self.name, self.nodes.len()));
        // Who joins needs the address of somebody who is there.
        for is_bootstrap in [true, false] {
            let is_one = |node: &Node| (node.name == NodeName::Bootstrap) == is_bootstrap;
            let members = self.nodes.iter().filter(|node| is_one(node) && !is_client(node));
            let names: Vec<_> = members.map(|node| node.name).collect();
            self.create(&names)?;
            let mut present: Vec<_> = self.nodes.iter_mut().filter(|node| names.contains(&node.name)).collect();
            node::start(self.lab, &mut present)?;
            let absent: Vec<_> = names.iter().filter(|name| self.starts_later(**name)).copied().collect();
            self.wait_for(&names.into_iter().filter(|name| !absent.contains(name)).collect::<Vec<_>>(), console)?;
        }
        let clients: Vec<_> = self.nodes.iter().filter(|node| is_client(node)).map(|node| node.name).collect();
        self.create(&clients)?;
        let mut waiting: Vec<_> = self.nodes.iter_mut().filter(|node| is_client(node)).collect();
        node::start(self.lab, &mut waiting)?;
        Ok(console.check()?)
    }

    /// How long Phase may take, in seconds.
    pub(crate) fn patience(&self) -> f64 {
        (PATIENCE * self.scenario.t_min()).max(LEAST_PATIENCE)
    }

    /// Lets the clients go, and follows everything until the last has finished, or for `patience` seconds.
    pub(crate) fn follow(mut self, patience: f64, console: &Console) -> std::result::Result<Result, StageError> {
        self.begun = now();
        self.nodes.iter_mut().for_each(|node| node.sample(0.0));
        self.open_gate(programs::EVERYBODY)?;
        for number in 0..self.clients.len() {
            if !self.starts_later(NodeName::Client(number as u32)) {
                self.clients[number].begin(0.0);
            }
        }
        let mut sampled = 0.0;
        while !self.clients.iter().all(Client::is_over) && self.seconds() < patience {
            console.check()?;
            self.look()?;
            while let Some(event) = self.next_event() {
                self.apply(&event)?;
            }
            if self.seconds() - sampled >= SAMPLE_INTERVAL {
                sampled = self.seconds();
                self.nodes.iter_mut().for_each(|node| node.sample(sampled));
                self.tell(console);
            }
            std::thread::sleep(TICK);
        }
        self.finish()
    }

    fn finish(mut self) -> std::result::Result<Result, StageError> {
        let end = self.seconds();
        self.nodes.iter_mut().for_each(|node| node.sample(end));
        self.look()?;
        let mut broken = std::mem::take(&mut self.missed);
        for event in self.timeline.rest() {
            let nodes: Vec<_> = event.nodes.iter().map(ToString::to_string).collect();
            broken.push(format!(
                "{} was not {} before all was over: it proves nothing",
                nodes.join(", "),
                event.change
            ));
        }
        for node in &self.nodes {
            if self.does_harm(node.name) && node.deeds == 0 {
                broken.push(format!("{} was asked for nothing: it proves nothing", node.label));
            }
        }
        let containers: Vec<_> = self.nodes.iter().map(|node| node.container().to_owned()).collect();
        engine::on_containers(&["rm", "--force", "--volumes"], &containers)?;
        for node in &mut self.nodes {
            node.end_relay();
            broken.extend(node.relay_troubles.iter().map(|trouble| format!("{}: {trouble}", node.label)));
        }
        let clients = self.judge_clients(&mut broken);
        let nodes = self.nodes.iter().map(Node::record).collect();
        let folder = self.lab.folder.join(&self.name);
        fs::remove_dir_all(&folder).map_err(failed(&folder))?;
        Ok(Result { outcome: Outcome { clients, nodes }, events: self.events, broken })
    }

    /// Waits until these nodes serve.
    fn wait_for(&mut self, names: &[NodeName], console: &Console) -> std::result::Result<(), StageError> {
        let start = now().0;
        loop {
            console.check()?;
            self.look()?;
            let waited = |node: &&Node| names.contains(&node.name) && !self.serves(node);
            let Some(node) = self.nodes.iter().find(waited) else { return Ok(()) };
            let what = match node.is_running() {
                false => "has ended",
                true if start.elapsed() > SETUP => "does not serve",
                true => {
                    std::thread::sleep(TICK);
                    continue;
                }
            };
            let said = complaints(&node.output());
            let said = if said.is_empty() { said } else { format!(": {said}") };
            return Err(StageError::Setup { node: node.label.clone(), what, said });
        }
    }

    fn serves(&self, node: &Node) -> bool {
        match (self.way, node.name) {
            (Way::Http, _) => node.listening,
            (Way::Phase, NodeName::Bootstrap) => node.peer_id.is_some(),
            (Way::Phase, _) => node.announced,
        }
    }

    /// Reads what nodes have printed.
    fn look(&mut self) -> std::result::Result<(), StageError> {
        let begun = self.begun.1;
        for node in &mut self.nodes {
            let lines = node.lines().map_err(failed(&node.output()))?;
            if let Some(peer) = &node.peer_id
                && !lines.is_empty()
            {
                self.names.entry(peer.clone()).or_insert_with(|| node.label.clone());
            }
            if let NodeName::Client(number) = node.name {
                let client = &mut self.clients[number as usize];
                lines.iter().for_each(|line| client.take(line, begun));
                if client.is_under_way() && !node.is_running() {
                    let said = complaints(&node.output());
                    client.fail(if said.is_empty() { "it has ended".to_owned() } else { said });
                }
            }
        }
        self.after_finish()
    }

    /// The next event that is due.
    fn next_event(&mut self) -> Option<Event> {
        let done: Vec<_> = self.clients.iter().map(Client::is_done).collect();
        let (at, progress) = (self.seconds(), self.progress());
        self.timeline.next(Moment { at, progress, done: &done })
    }

    /// What clients have, as a part of all that they need together.
    fn progress(&self) -> f64 {
        let verified: u64 = self.clients.iter().map(Client::verified).sum();
        verified as f64 / (self.scenario.size() * self.clients.len() as u64) as f64
    }

    fn tell(&self, console: &Console) {
        let done = self.clients.iter().filter(|client| client.is_done()).count();
        let (percent, count) = (self.progress() * 100.0, self.clients.len());
        console.show(&format!(
            "{}: {:.0} s, {percent:.0} %, {done} of {count} clients done",
            self.name,
            self.seconds()
        ));
    }

    /// Since the clients were let go.
    fn seconds(&self) -> f64 {
        self.begun.0.elapsed().as_secs_f64()
    }

    /// Whether a node is hostile, from the start or later.
    fn does_harm(&self, node: NodeName) -> bool {
        let lies = |event: &Event| event.change == Change::Lie && event.nodes.contains(&node);
        self.way == Way::Phase && (matches!(node, NodeName::Hostile(_)) || self.scenario.events.iter().any(lies))
    }

    /// Whether a node is not there at first.
    fn starts_later(&self, node: NodeName) -> bool {
        self.way == Way::Phase && self.scenario.starts_later(node)
    }
}

fn is_client(node: &Node) -> bool {
    matches!(node.name, NodeName::Client(_))
}

#[expect(clippy::disallowed_methods, reason = "what runs here runs in real time")]
fn now() -> (Instant, f64) {
    (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64()))
}
