//! Applies the events of a scenario to the nodes of a stage.

use phase_report::lab::record::EventRecord;
use phase_scenario::{Afterwards, Change, Event, HostileKind, NodeName};

use super::state::Stage;
use crate::error::LabError;
use crate::{engine, node};

impl Stage<'_> {
    /// Applies an event to its nodes, and adds the event with its time to the list of events.
    pub(super) fn apply(&mut self, event: &Event) -> Result<(), LabError> {
        for name in &event.nodes {
            let position = self.position(*name);
            let text = format!("{}: {}", self.nodes[position].label, event.change);
            self.events.push(EventRecord { at: self.seconds(), text });
            self.change(position, event)?;
        }
        Ok(())
    }

    fn change(&mut self, position: usize, event: &Event) -> Result<(), LabError> {
        if needs_process(event.change) && self.nodes[position].has_ended() {
            let label = &self.nodes[position].label;
            self.missed.push(format!(
                "{label} had ended by itself before it was {}, so this event tested nothing",
                event.change
            ));
            return Ok(());
        }
        match event.change {
            Change::Start => self.start(position)?,
            Change::Kill => self.end(position, &["kill"])?,
            Change::Stop => self.end(position, &["stop"])?,
            Change::Restart => {
                self.end(position, &["stop"])?;
                self.start(position)?;
            }
            Change::Pause => self.on(position, &["pause"])?,
            Change::Resume => self.on(position, &["unpause"])?,
            Change::Partition => self.partition(&event.nodes)?,
            Change::Heal => self.nodes.iter().filter_map(|node| node.link()).for_each(|link| link.heal()),
            Change::Corrupt => self.release.damage(&self.nodes[position].store())?,
            Change::Lie => {
                let program = self.hostile(HostileKind::Lie);
                self.replace_program(position, program)?;
            }
            Change::Slow(part) => self.nodes[position].limit_up(part)?,
        }
        Ok(())
    }

    /// Starts a node because of an event. If the node still waits for its own gate file, creates that file. Otherwise
    /// starts the node's container again.
    fn start(&mut self, position: usize) -> Result<(), LabError> {
        let (name, at) = (self.nodes[position].name, self.seconds());
        if let Some(gate) = self.gate(name)
            && !self.shared.join(&gate).exists()
        {
            self.open_gate(&gate)?;
        } else {
            node::start(self.lab, &mut [&mut self.nodes[position]])?;
        }
        if let NodeName::Client(number) = name {
            self.clients[number as usize].begin(at);
        }
        Ok(())
    }

    fn end(&mut self, position: usize, verb: &[&str]) -> Result<(), LabError> {
        let at = self.seconds();
        if let NodeName::Client(number) = self.nodes[position].name {
            self.clients[number as usize].interrupt();
        }
        self.nodes[position].end(verb, at)
    }

    fn on(&self, position: usize, verb: &[&str]) -> Result<(), LabError> {
        engine::on_containers(verb, &[self.nodes[position].container().to_owned()])
    }

    /// Drops all packets between these nodes and all other nodes, in both directions.
    fn partition(&self, names: &[NodeName]) -> Result<(), LabError> {
        let (inside, outside): (Vec<_>, Vec<_>) = self.nodes.iter().partition(|node| names.contains(&node.name));
        for (side, other) in [(&inside, &outside), (&outside, &inside)] {
            let addresses: Vec<_> = other.iter().map(|node| node.address).collect();
            for link in side.iter().filter_map(|node| node.link()) {
                link.drop_from(&addresses)?;
            }
        }
        Ok(())
    }

    /// Ends a node's process at once and starts another program in its place, with the same address, store and key.
    fn replace_program(&mut self, position: usize, program: Vec<String>) -> Result<(), LabError> {
        let at = self.seconds();
        let node = &mut self.nodes[position];
        node.end(&["rm", "--force", "--volumes"], at)?;
        node.create(self.lab, &self.shared, None, program)?;
        node::start(self.lab, &mut [node])
    }

    /// Replaces each client that has just finished its fetch by a provider, if the scenario asks for that.
    pub(super) fn replace_finished_clients(&mut self) -> Result<(), LabError> {
        if self.scenario.clients.afterwards != Afterwards::Provide {
            return Ok(());
        }
        for number in 0..self.clients.len() {
            if self.clients[number].becomes_provider() {
                let position = self.position(NodeName::Client(number as u32));
                let text = format!("{}: provides from now on", self.nodes[position].label);
                self.events.push(EventRecord { at: self.seconds(), text });
                let (at, program) = (self.seconds(), self.provider());
                let node = &mut self.nodes[position];
                // The client can be ended, because it has printed its result. `docker stop` sends SIGTERM, as a booting
                // machine does.
                node.end(&["stop"], at)?;
                engine::on_containers(&["rm"], &[node.container().to_owned()])?;
                node.create(self.lab, &self.shared, None, program)?;
                node::start(self.lab, &mut [node])?;
            }
        }
        Ok(())
    }

    fn position(&self, name: NodeName) -> usize {
        self.nodes.iter().position(|node| node.name == name).expect("events name existing nodes")
    }
}

/// Whether a change is only possible while the node's process is running.
fn needs_process(change: Change) -> bool {
    use Change::{Corrupt, Heal, Kill, Lie, Partition, Pause, Restart, Resume, Slow, Start, Stop};
    match change {
        Kill | Stop | Pause | Resume | Partition | Slow(_) => true,
        Start | Restart | Heal | Corrupt | Lie => false,
    }
}
