//! Runs a stage: starts the nodes, then the clients, follows the clients until they finish, and checks the files that
//! they fetched.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use phase_report::lab::record::{ClientRecord, EventRecord, Outcome};
use phase_scenario::{Event, NodeName, When};

use super::client::Client;
use super::programs::COMMON_GATE;
use super::state::{Stage, Way, now};
use crate::console::{Console, show};
use crate::engine;
use crate::error::{LabError, failed};
use crate::node::{self, Node};
use crate::observe::last_errors;

/// The time between two reads of the nodes' output.
const TICK: Duration = Duration::from_millis(50);
/// The time between two samples of resources, in seconds.
const SAMPLE_INTERVAL: f64 = 0.5;
/// The time within which a node must print that it serves.
const SETUP_TIMEOUT: Duration = Duration::from_secs(120);
/// The timeout of a stage with Phase, as a multiple of T_min.
const TIMEOUT_FACTOR: f64 = 10.0;
/// The least timeout of a stage with Phase, in seconds.
const MIN_TIMEOUT: f64 = 180.0;
/// The number of unfinished clients that are reported by name. All further unfinished clients are only counted.
const MAX_LISTED: usize = 5;

/// The measurements, the events and the broken bounds of a stage.
pub(crate) struct StageResult {
    pub(crate) outcome: Outcome,
    pub(crate) events: Vec<EventRecord>,
    /// One sentence for each broken bound of this stage. These bounds apply to every run: each client that must finish
    /// has the right files, every event takes place, every hostile node receives a chunk request, and every relay
    /// delays packets as configured.
    pub(crate) broken: Vec<String>,
}

impl Stage<'_> {
    /// Starts the containers of all nodes except the clients, and waits until every node without a gate file serves.
    /// Then starts the clients' containers, whose programs wait for their gate file.
    pub(crate) fn set_up(&mut self, console: &Console) -> Result<(), LabError> {
        show(&format!("{}: starting {} containers", self.name, self.nodes.len()));
        // The bootstrap node is started first, because all other nodes need its address.
        for is_bootstrap in [true, false] {
            let is_one = |node: &Node| (node.name == NodeName::Bootstrap) == is_bootstrap;
            let starting = self.nodes.iter().filter(|node| is_one(node) && !is_client(node));
            let names: Vec<_> = starting.map(|node| node.name).collect();
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
        console.check()
    }

    /// Returns the timeout, in seconds, of a stage whose clients fetch with Phase.
    pub(crate) fn timeout(&self) -> f64 {
        (TIMEOUT_FACTOR * self.scenario.t_min()).max(MIN_TIMEOUT)
    }

    /// Starts the clients by creating their gate file, and follows them until all have finished or failed, for at most
    /// `timeout` seconds.
    pub(crate) fn follow(mut self, timeout: f64, console: &Console) -> Result<StageResult, LabError> {
        self.begun = now();
        self.nodes.iter_mut().for_each(|node| node.sample(0.0));
        self.open_gate(COMMON_GATE)?;
        for number in 0..self.clients.len() {
            if !self.starts_later(NodeName::Client(number as u32)) {
                self.clients[number].begin(0.0);
            }
        }
        let mut sampled = 0.0;
        while !self.clients.iter().all(Client::is_over) && self.seconds() < timeout {
            console.check()?;
            self.read_output()?;
            while let Some(event) = self.next_event() {
                self.apply(&event)?;
            }
            if self.seconds() - sampled >= SAMPLE_INTERVAL {
                sampled = self.seconds();
                self.nodes.iter_mut().for_each(|node| node.sample(sampled));
                self.show_progress();
            }
            std::thread::sleep(TICK);
        }
        self.finish()
    }

    fn finish(mut self) -> Result<StageResult, LabError> {
        let end = self.seconds();
        self.nodes.iter_mut().for_each(|node| node.sample(end));
        self.read_output()?;
        let mut broken = std::mem::take(&mut self.missed);
        for event in &self.to_come {
            let nodes: Vec<_> = event.nodes.iter().map(ToString::to_string).collect();
            broken.push(format!("the run ended before this event took place: {}: {}", nodes.join(", "), event.change));
        }
        for node in &self.nodes {
            if self.is_hostile(node.name) && node.deeds == 0 {
                broken.push(format!("no client requested a chunk from {}, so this node tested nothing", node.label));
            }
        }
        let containers: Vec<_> = self.nodes.iter().map(|node| node.container().to_owned()).collect();
        engine::on_containers(&["rm", "--force", "--volumes"], &containers)?;
        for node in &mut self.nodes {
            node.end_relay();
            broken.extend(node.relay_failures.iter().map(|failure| format!("{}: {failure}", node.label)));
        }
        let clients = self.check_clients(&mut broken);
        let nodes = self.nodes.iter().map(Node::record).collect();
        let folder = self.lab.folder.join(&self.name);
        fs::remove_dir_all(&folder).map_err(failed("remove", &folder))?;
        Ok(StageResult { outcome: Outcome { clients, nodes }, events: self.events, broken })
    }

    /// Compares the files of the clients with the release. Adds a sentence to `broken` for each client with wrong
    /// files, and for each client that should have finished and has not.
    fn check_clients(&mut self, broken: &mut Vec<String>) -> Vec<ClientRecord> {
        let mut records = Vec::new();
        for (number, client) in std::mem::take(&mut self.clients).into_iter().enumerate() {
            let node = self.nodes.iter().find(|node| node.name == NodeName::Client(number as u32));
            let node = node.expect("each client has a node");
            let is_done = client.is_done();
            let mut record = client.into_record(&self.names);
            if self.way == Way::Http {
                record.by_source = BTreeMap::from([(
                    "http server".to_owned(),
                    record.progress.last().map_or(0, |last| last.verified),
                )]);
            }
            if is_done {
                record.is_correct = Some(match self.way {
                    Way::Phase => self.release.is_in_store(&node.store()),
                    Way::Http => self.release.is_in_folder(&node.folder),
                });
            }
            records.push(record);
        }
        let wrong = records.iter().filter(|record| record.is_correct == Some(false));
        broken.extend(wrong.map(|record| format!("{} has files with a wrong SHA-256", record.name)));
        let unfinished: Vec<_> =
            records.iter().filter(|record| record.must_finish && record.finished.is_none()).collect();
        for record in unfinished.iter().take(MAX_LISTED) {
            let why = record.error.as_deref().unwrap_or("it timed out");
            broken.push(format!("{} did not finish: {why}", record.name));
        }
        match unfinished.len().saturating_sub(MAX_LISTED) {
            0 => {}
            1 => broken.push("1 more client did not finish".to_owned()),
            more => broken.push(format!("{more} more clients did not finish")),
        }
        records
    }

    /// Waits until these nodes serve.
    fn wait_for(&mut self, names: &[NodeName], console: &Console) -> Result<(), LabError> {
        let start = now().0;
        loop {
            console.check()?;
            self.read_output()?;
            let is_missing = |node: &&Node| names.contains(&node.name) && !self.serves(node);
            let Some(node) = self.nodes.iter().find(is_missing) else { return Ok(()) };
            let what = match node.is_running() {
                false => "ended before it served",
                true if start.elapsed() > SETUP_TIMEOUT => "did not start to serve in time",
                true => {
                    std::thread::sleep(TICK);
                    continue;
                }
            };
            let errors = last_errors(&node.output());
            let detail = if errors.is_empty() { errors } else { format!(": {errors}") };
            return Err(LabError::Setup { node: node.label.clone(), what, detail });
        }
    }

    fn serves(&self, node: &Node) -> bool {
        match (self.way, node.name) {
            (Way::Http, _) => node.listening,
            (Way::Phase, NodeName::Bootstrap) => node.peer_id.is_some(),
            (Way::Phase, _) => node.announced,
        }
    }

    /// Reads the lines that nodes have printed since the last call, and updates nodes and clients from them.
    fn read_output(&mut self) -> Result<(), LabError> {
        let begun = self.begun.1;
        for node in &mut self.nodes {
            let lines = node.lines().map_err(failed("read", &node.output()))?;
            if let Some(peer) = &node.peer_id
                && !lines.is_empty()
            {
                self.names.entry(peer.clone()).or_insert_with(|| node.label.clone());
            }
            if let NodeName::Client(number) = node.name {
                let client = &mut self.clients[number as usize];
                lines.iter().for_each(|line| client.take(line, begun));
                if client.is_under_way() && !node.is_running() {
                    let errors = last_errors(&node.output());
                    client.fail(if errors.is_empty() { "its process ended".to_owned() } else { errors });
                }
            }
        }
        self.replace_finished_clients()
    }

    fn next_event(&mut self) -> Option<Event> {
        let done: Vec<_> = self.clients.iter().map(Client::is_done).collect();
        let (at, progress) = (self.seconds(), self.progress());
        take_due(&mut self.to_come, at, progress, &done)
    }

    /// Returns the fraction of the required bytes that clients have verified, over all clients.
    fn progress(&self) -> f64 {
        let verified: u64 = self.clients.iter().map(Client::verified).sum();
        verified as f64 / (self.scenario.size() * self.clients.len() as u64) as f64
    }

    fn show_progress(&self) {
        let done = self.clients.iter().filter(|client| client.is_done()).count();
        let (percent, count) = (self.progress() * 100.0, self.clients.len());
        show(&format!("{}: {:.0} s, {percent:.0} %, clients done: {done} of {count}", self.name, self.seconds()));
    }
}

fn is_client(node: &Node) -> bool {
    matches!(node.name, NodeName::Client(_))
}

/// Removes the first event that is due from `to_come` and returns it. `seconds` is the time since the start of the run.
/// `progress` is the fraction of the required bytes that clients have verified. `done` says for each client whether it
/// has finished.
fn take_due(to_come: &mut Vec<Event>, seconds: f64, progress: f64, done: &[bool]) -> Option<Event> {
    let is_due = |event: &Event| match event.when {
        When::At(at) => seconds >= at.as_secs_f64(),
        When::Progress(part) => progress >= part,
        When::Done(client) => done.get(client as usize).copied().unwrap_or(false),
    };
    let position = to_come.iter().position(is_due)?;
    Some(to_come.remove(position))
}

#[cfg(test)]
mod tests {
    use phase_scenario::Change;

    use super::*;

    #[test]
    fn each_event_takes_place_once_when_it_is_due() {
        let event = |when| Event { nodes: vec![NodeName::Seed(0)], when, change: Change::Kill };
        let whens = [When::Done(1), When::At(Duration::from_secs(2)), When::Progress(0.5), When::At(Duration::ZERO)];
        let mut to_come: Vec<_> = whens.map(event).into();
        let mut due = |at, progress, done: &[bool]| -> Vec<_> {
            std::iter::from_fn(|| take_due(&mut to_come, at, progress, done)).map(|event| event.when).collect()
        };
        assert_eq!(due(0.0, 0.0, &[false, false]), [whens[3]]);
        assert_eq!(due(1.9, 0.4, &[true, false]), []);
        assert_eq!(due(2.0, 0.5, &[true, false]), [whens[1], whens[2]]);
        assert_eq!(due(9.0, 0.9, &[true]), [], "there is only one client");
        assert_eq!(due(9.0, 0.9, &[true, true]), [whens[0]]);
        assert!(to_come.is_empty());
    }
}
