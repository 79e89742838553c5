//! The course of a distribution: nodes are started, clients are let go, followed to the end, and judged by what they have.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use phase_report::lab::record::{ClientRecord, EventRecord, Outcome};
use phase_scenario::{Event, NodeName, When};

use super::client::Client;
use super::programs::EVERYBODY;
use super::state::{Stage, Way, now};
use crate::console::{Console, show};
use crate::engine;
use crate::error::{LabError, failed};
use crate::node::{self, Node};
use crate::observe::complaints;

/// How often nodes are looked at.
const TICK: Duration = Duration::from_millis(50);
/// How often what they use is noted, in seconds.
const SAMPLE_INTERVAL: f64 = 0.5;
/// How long nodes may take until they serve and have said so.
const SETUP: Duration = Duration::from_secs(120);
/// Phase may take this many times T_min, or so many seconds if that is more.
const PATIENCE: f64 = 10.0;
const LEAST_PATIENCE: f64 = 180.0;
/// How many of those who failed are told one by one.
const TOLD: usize = 5;

/// What came of it.
pub(crate) struct Staged {
    pub(crate) outcome: Outcome,
    pub(crate) events: Vec<EventRecord>,
    /// What must hold in every run and did not.
    pub(crate) broken: Vec<String>,
}

impl Stage<'_> {
    /// Starts everything but the clients, and waits until the release is to be had. Clients wait at a gate.
    pub(crate) fn set_up(&mut self, console: &Console) -> Result<(), LabError> {
        show(&format!("{}: starting {} containers", self.name, self.nodes.len()));
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
        console.check()
    }

    /// How long Phase may take, in seconds.
    pub(crate) fn patience(&self) -> f64 {
        (PATIENCE * self.scenario.t_min()).max(LEAST_PATIENCE)
    }

    /// Lets the clients go, and follows everything until the last has finished, or for `patience` seconds.
    pub(crate) fn follow(mut self, patience: f64, console: &Console) -> Result<Staged, LabError> {
        self.begun = now();
        self.nodes.iter_mut().for_each(|node| node.sample(0.0));
        self.open_gate(EVERYBODY)?;
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
                self.tell();
            }
            std::thread::sleep(TICK);
        }
        self.finish()
    }

    fn finish(mut self) -> Result<Staged, LabError> {
        let end = self.seconds();
        self.nodes.iter_mut().for_each(|node| node.sample(end));
        self.look()?;
        let mut broken = std::mem::take(&mut self.missed);
        for event in &self.to_come {
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
        fs::remove_dir_all(&folder).map_err(failed("use", &folder))?;
        Ok(Staged { outcome: Outcome { clients, nodes }, events: self.events, broken })
    }

    /// Compares what clients have with what was published, and says which of those that must finish did not, or have
    /// something else.
    fn judge_clients(&mut self, broken: &mut Vec<String>) -> Vec<ClientRecord> {
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
                    Way::Phase => self.release.is_in(&node.store()),
                    Way::Http => self.release.is_among(&node.folder),
                });
            }
            records.push(record);
        }
        let wrong = records.iter().filter(|record| record.is_correct == Some(false));
        broken.extend(wrong.map(|record| format!("{} has another SHA-256 than what was published", record.name)));
        let unfinished: Vec<_> =
            records.iter().filter(|record| record.must_finish && record.finished.is_none()).collect();
        for record in unfinished.iter().take(TOLD) {
            let why = record.error.as_deref().unwrap_or("it was given up");
            broken.push(format!("{} did not finish: {why}", record.name));
        }
        if unfinished.len() > TOLD {
            broken.push(format!("{} more clients did not finish", unfinished.len() - TOLD));
        }
        records
    }

    /// Waits until these nodes serve.
    fn wait_for(&mut self, names: &[NodeName], console: &Console) -> Result<(), LabError> {
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
            return Err(LabError::Setup { node: node.label.clone(), what, said });
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
    fn look(&mut self) -> Result<(), LabError> {
        let begun = self.begun.1;
        for node in &mut self.nodes {
            let lines = node.lines().map_err(failed("use", &node.output()))?;
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

    fn next_event(&mut self) -> Option<Event> {
        let done: Vec<_> = self.clients.iter().map(Client::is_done).collect();
        let (at, progress) = (self.seconds(), self.progress());
        take_due(&mut self.to_come, at, progress, &done)
    }

    /// What clients have, as a part of all that they need together.
    fn progress(&self) -> f64 {
        let verified: u64 = self.clients.iter().map(Client::verified).sum();
        verified as f64 / (self.scenario.size() * self.clients.len() as u64) as f64
    }

    fn tell(&self) {
        let done = self.clients.iter().filter(|client| client.is_done()).count();
        let (percent, count) = (self.progress() * 100.0, self.clients.len());
        show(&format!("{}: {:.0} s, {percent:.0} %, {done} of {count} clients done", self.name, self.seconds()));
    }
}

fn is_client(node: &Node) -> bool {
    matches!(node.name, NodeName::Client(_))
}

/// Takes the next event that is due, in the order in which they are listed: so many seconds after the start, when clients have
/// this part of all that they need together, and each has everything or not.
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
        assert_eq!(due(9.0, 0.9, &[true]), [], "there is no second client");
        assert_eq!(due(9.0, 0.9, &[true, true]), [whens[0]]);
        assert!(to_come.is_empty());
    }
}
