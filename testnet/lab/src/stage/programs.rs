//! Builds the command line of the program in each container.

use std::fs;

use phase_scenario::{Afterwards, HostileKind, NodeName};

use super::state::{Stage, Way};
use crate::engine::LABEL;
use crate::error::{LabError, failed};
use crate::node::{OWN, PORT, SHARED};

/// The name of the gate file that all clients that start together wait for.
pub(super) const COMMON_GATE: &str = "go";
/// The time for which a client serves after its fetch. It is longer than every run, so that the client serves until the
/// run ends.
const LINGER: &str = "24h";

impl Stage<'_> {
    /// Creates the containers of these nodes.
    pub(super) fn create(&self, names: &[NodeName]) -> Result<(), LabError> {
        for node in self.nodes.iter().filter(|node| names.contains(&node.name)) {
            let gate = self.gate(node.name);
            node.create(self.lab, &self.shared, gate.as_deref(), self.program(node.name))?;
        }
        Ok(())
    }

    /// Creates a gate file, which starts the programs that wait for it.
    pub(super) fn open_gate(&self, gate: &str) -> Result<(), LabError> {
        let path = self.shared.join(gate);
        fs::write(&path, "").map_err(failed("create", &path))
    }

    /// Returns the name of the gate file that a node's program waits for; `None` if the program starts at once.
    pub(super) fn gate(&self, node: NodeName) -> Option<String> {
        match node {
            _ if self.starts_later(node) => Some(format!("{COMMON_GATE}-{}", node.to_string().replace(' ', "-"))),
            NodeName::Client(_) => Some(COMMON_GATE.to_owned()),
            _ => None,
        }
    }

    fn program(&self, node: NodeName) -> Vec<String> {
        match (self.way, node) {
            (Way::Http, NodeName::Client(_)) => self.http_client(),
            (Way::Http, _) => words(&["/bin/phase-testnet-node", "http-serve", "--root", &format!("{OWN}/files")]),
            (Way::Phase, NodeName::Client(_)) => self.client(),
            (Way::Phase, NodeName::Hostile(number)) => {
                self.hostile(self.scenario.hostile.iter().nth(number as usize).expect("the number of a hostile node"))
            }
            (Way::Phase, _) => self.provider(),
        }
    }

    fn client(&self) -> Vec<String> {
        let mut command = words(&["/bin/phase-client", "fetch"]);
        command.push(self.release.name.to_string());
        command.extend(words(&["--root", &format!("{SHARED}/root.cbor"), "--store", &format!("{OWN}/store")]));
        command.extend(words(&["--listen", &listen(), "--events"]));
        if self.scenario.clients.afterwards != Afterwards::Leave {
            command.extend(words(&["--linger", LINGER]));
        }
        command.extend(self.bootstrap_options(&self.scenario.clients.first_peers));
        command
    }

    pub(super) fn provider(&self) -> Vec<String> {
        let mut command = words(&["/bin/phase-provider", "serve", "--json", "--listen", &listen()]);
        command.extend(words(&["--store", &format!("{OWN}/store"), "--http", "0.0.0.0:9464"]));
        command.extend(self.bootstrap_options(&[NodeName::Bootstrap]));
        command
    }

    pub(super) fn hostile(&self, harm: HostileKind) -> Vec<String> {
        let mut command = words(&["/bin/phase-hostile", "--harm", &harm.to_string(), "--listen", &listen()]);
        command.extend(words(&["--store", &format!("{OWN}/store")]));
        command.extend(self.bootstrap_options(&[NodeName::Bootstrap]));
        command
    }

    fn http_client(&self) -> Vec<String> {
        let mut command = words(&["/bin/phase-testnet-node", "http-fetch", "--output", OWN]);
        let server = self.nodes[0].address;
        let names = self.release.artifacts.iter().map(|artifact| &artifact.record.filename);
        command.extend(names.map(|name| format!("http://{server}/{name}")));
        command
    }

    /// Returns a text for the user, with the nodes' addresses and a command that starts a client.
    pub(crate) fn how_to_use(&self) -> String {
        let mut lines = Vec::new();
        for node in &self.nodes {
            let address = node.multiaddr().unwrap_or_default();
            lines.push(format!("{:<12}{address}", node.label));
            if !matches!(node.name, NodeName::Hostile(_)) {
                lines.push(format!("{:<12}http://{}:9464/metrics", "", node.address));
            }
        }
        let (lab, shared) = (self.lab, self.shared.display());
        let peers = self.bootstrap_options(&[NodeName::Bootstrap]).join(" ");
        lines.push(format!(
            "\nstart a client with:\n  docker run --rm --network {} --label {LABEL}={} --volume {shared}:{SHARED}:ro \
             {} /bin/phase-client fetch {} --root {SHARED}/root.cbor --ephemeral {peers}\nremove everything with: \
             phase-testnet down",
            lab.network, lab.engine.id, lab.image, self.release.name
        ));
        lines.join("\n")
    }

    /// Returns the command line options that name these nodes as bootstrap peers. Leaves out nodes whose peer id is not
    /// known yet, such as the bootstrap node before it has started.
    fn bootstrap_options(&self, names: &[NodeName]) -> Vec<String> {
        let known = self.nodes.iter().filter(|node| names.contains(&node.name));
        known.filter_map(|node| node.multiaddr()).flat_map(|address| ["--bootstrap".to_owned(), address]).collect()
    }
}

fn listen() -> String {
    format!("/ip4/0.0.0.0/tcp/{PORT}")
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
