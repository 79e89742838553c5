//! Adapts a scenario, so that the simulator can predict its run in containers.

use std::time::Duration;

use crate::hold::Hold;
use crate::scenario::{Clients, Network, NodeName, Scenario};

/// The one-way latency between two containers on the same machine.
const BRIDGE: Duration = Duration::from_micros(200);

impl Scenario {
    /// Returns the scenario with which the simulator predicts a run in containers. Returns `None` if a seed has no rate
    /// limit, because then the result depends on the speed of the machine.
    ///
    /// Every node is a neighbour of every client, because in containers all nodes find each other. All pairs of
    /// containers have the same latency. The simulator draws the latency of each pair at random, from half of the given
    /// value to the given value. So the given value is 4/3 of the latency of the containers: then the mean latency is
    /// the same.
    pub fn for_prediction(&self) -> Option<Self> {
        let network = Network {
            latency: (self.network.latency + BRIDGE) * 4 / 3,
            neighbours: u32::try_from(self.nodes().count()).ok(),
        };
        let clients = Clients { first_peers: vec![NodeName::Bootstrap], ..self.clients.clone() };
        let scenario = Self { network, clients, hold: Hold::default(), ..self.clone() };
        self.seeds.iter().all(Option::is_some).then_some(scenario)
    }
}
