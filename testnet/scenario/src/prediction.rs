//! What the simulator is asked about a network of containers.

use std::time::Duration;

use crate::hold::Hold;
use crate::scenario::{Clients, Network, NodeName, Scenario};

/// The time from one container to another on the same machine.
const BRIDGE: Duration = Duration::from_micros(200);

impl Scenario {
    /// The same scenario with what is true of all containers: all nodes find each other, and every pair of nodes has the same
    /// latency. In the simulator a pair has between half of the latency and all of it: the mean is the same. `None` if a seed
    /// has no limit: then the machine is the limit.
    pub fn as_in_containers(&self) -> Option<Self> {
        let network = Network {
            latency: (self.network.latency + BRIDGE) * 4 / 3,
            neighbours: u32::try_from(self.nodes().count()).ok(),
        };
        let clients = Clients { first_peers: vec![NodeName::Bootstrap], ..self.clients.clone() };
        let scenario = Self { network, clients, hold: Hold::default(), ..self.clone() };
        self.seeds.iter().all(Option::is_some).then_some(scenario)
    }
}
