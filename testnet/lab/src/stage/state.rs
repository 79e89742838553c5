//! The state of a stage: its nodes, clients and events.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use phase_report::lab::record::EventRecord;
use phase_scenario::{Change, Event, NodeName, Scenario};

use super::client::Client;
use crate::error::{LabError, failed};
use crate::lab::Lab;
use crate::node::Node;
use crate::release::Release;

/// The way in which artifacts reach clients: with Phase, or over plain HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Phase,
    Http,
}

/// A stage: one fetch of a release by all clients of a scenario.
pub(crate) struct Stage<'a> {
    pub(super) lab: &'a Lab,
    pub(super) scenario: &'a Scenario,
    pub(super) release: &'a Release,
    pub(super) way: Way,
    pub(super) name: String,
    /// The folder that all containers can read. It contains the trust root, and the gate files that have been created.
    pub(super) shared: PathBuf,
    /// The nodes, in the order of [`Scenario::nodes`].
    pub(super) nodes: Vec<Node>,
    pub(super) clients: Vec<Client>,
    /// The label of each node, by the node's peer id.
    pub(super) names: BTreeMap<String, String>,
    /// Events that have not taken place yet, in the order of the scenario.
    pub(super) to_come: Vec<Event>,
    pub(super) events: Vec<EventRecord>,
    /// One sentence for each event that had no effect, because its node had already ended by itself.
    pub(super) missed: Vec<String>,
    /// The time at which the clients' gate file was created, as an [`Instant`] and in Unix seconds.
    pub(super) begun: (Instant, f64),
}

impl<'a> Stage<'a> {
    /// Creates the folders of the nodes, and a store for each node that has the release from the start. `name`
    /// distinguishes the stages of a run.
    pub(crate) fn new(
        lab: &'a Lab,
        scenario: &'a Scenario,
        release: &'a Release,
        way: Way,
        name: String,
    ) -> Result<Self, LabError> {
        let shared = lab.folder.join(&name).join("shared");
        fs::create_dir_all(&shared).map_err(failed("create", &shared))?;
        let root = shared.join("root.cbor");
        fs::copy(release.root(), &root).map_err(failed("write", &root))?;
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
            to_come: scenario.events.clone(),
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

    fn add(&mut self, name: NodeName) -> Result<(), LabError> {
        let label = match (self.way, name) {
            (Way::Http, NodeName::Seed(_)) => "http server".to_owned(),
            _ => name.to_string(),
        };
        let folder = self.lab.folder.clone();
        let mut node = Node::new(self.lab, &self.name, name, label.clone(), self.nodes.len())
            .map_err(failed("create a folder in", &folder))?;
        node.rates = self.scenario.rates(name);
        node.latency = self.scenario.network.latency;
        match name {
            NodeName::Seed(_) if self.way == Way::Http => {
                let files = node.folder.join("files");
                fs::create_dir_all(&files).map_err(failed("create", &files))?;
                for artifact in &self.release.artifacts {
                    let (from, to) = (self.release.files(), files.join(&artifact.record.filename));
                    fs::copy(from.join(&artifact.record.filename), &to).map_err(failed("write", &to))?;
                }
            }
            NodeName::Seed(_) | NodeName::Hostile(_) => self.release.copy_store(&node.store())?,
            NodeName::Client(number) => self.clients.push(Client::new(label, self.scenario.must_finish(number))),
            NodeName::Bootstrap => {}
        }
        self.nodes.push(node);
        Ok(())
    }

    /// Returns the time in seconds since the clients' gate file was created.
    pub(super) fn seconds(&self) -> f64 {
        self.begun.0.elapsed().as_secs_f64()
    }

    /// Whether a node is hostile from the start or becomes hostile in an event.
    pub(super) fn is_hostile(&self, node: NodeName) -> bool {
        let lies = |event: &Event| event.change == Change::Lie && event.nodes.contains(&node);
        self.way == Way::Phase && (matches!(node, NodeName::Hostile(_)) || self.scenario.events.iter().any(lies))
    }

    /// Whether the node is started by an event instead of at the start of the run.
    pub(super) fn starts_later(&self, node: NodeName) -> bool {
        self.way == Way::Phase && self.scenario.starts_later(node)
    }
}

#[expect(clippy::disallowed_methods, reason = "containers run in real time")]
pub(super) fn now() -> (Instant, f64) {
    (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64()))
}
