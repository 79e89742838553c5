//! The nodes of a distribution, and how far it is.

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

/// How artifacts get to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Phase,
    Http,
}

/// A distribution.
pub(crate) struct Stage<'a> {
    pub(super) lab: &'a Lab,
    pub(super) scenario: &'a Scenario,
    pub(super) release: &'a Release,
    pub(super) way: Way,
    pub(super) name: String,
    /// The folder that all containers can read, with the files that open gates.
    pub(super) shared: PathBuf,
    /// In the order of [`Scenario::nodes`].
    pub(super) nodes: Vec<Node>,
    pub(super) clients: Vec<Client>,
    /// Names by peer id.
    pub(super) names: BTreeMap<String, String>,
    /// Events that are still to come, in the order of the scenario.
    pub(super) to_come: Vec<Event>,
    pub(super) events: Vec<EventRecord>,
    /// Events that found nobody to happen to.
    pub(super) missed: Vec<String>,
    /// When the clients were let go: by this process's clock, and in Unix seconds.
    pub(super) begun: (Instant, f64),
}

impl<'a> Stage<'a> {
    /// Makes folders, and a store for each node that has one. `name` tells the stages of a run apart.
    pub(crate) fn new(
        lab: &'a Lab,
        scenario: &'a Scenario,
        release: &'a Release,
        way: Way,
        name: String,
    ) -> Result<Self, LabError> {
        let shared = lab.folder.join(&name).join("shared");
        fs::create_dir_all(&shared).map_err(failed("use", &shared))?;
        let root = shared.join("root.cbor");
        fs::copy(release.root(), &root).map_err(failed("use", &root))?;
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
        let mut node =
            Node::new(self.lab, &self.name, name, label.clone(), self.nodes.len()).map_err(failed("use", &folder))?;
        node.rates = self.scenario.rates(name);
        node.latency = self.scenario.network.latency;
        match name {
            NodeName::Seed(_) if self.way == Way::Http => {
                let files = node.folder.join("files");
                fs::create_dir_all(&files).map_err(failed("use", &files))?;
                for artifact in &self.release.artifacts {
                    let (from, to) = (self.release.files(), files.join(&artifact.record.filename));
                    fs::copy(from.join(&artifact.record.filename), &to).map_err(failed("use", &to))?;
                }
            }
            NodeName::Seed(_) | NodeName::Hostile(_) => self.release.copy_store(&node.store())?,
            NodeName::Client(number) => self.clients.push(Client::new(label, self.scenario.must_finish(number))),
            NodeName::Bootstrap => {}
        }
        self.nodes.push(node);
        Ok(())
    }

    /// Since the clients were let go.
    pub(super) fn seconds(&self) -> f64 {
        self.begun.0.elapsed().as_secs_f64()
    }

    /// Whether a node is hostile, from the start or later.
    pub(super) fn does_harm(&self, node: NodeName) -> bool {
        let lies = |event: &Event| event.change == Change::Lie && event.nodes.contains(&node);
        self.way == Way::Phase && (matches!(node, NodeName::Hostile(_)) || self.scenario.events.iter().any(lies))
    }

    /// Whether a node is not there at first.
    pub(super) fn starts_later(&self, node: NodeName) -> bool {
        self.way == Way::Phase && self.scenario.starts_later(node)
    }
}

#[expect(clippy::disallowed_methods, reason = "what runs here runs in real time")]
pub(super) fn now() -> (Instant, f64) {
    (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64()))
}
