//! Checks that the events of a scenario can happen in the listed order. Without this check, the lab would notice an
//! impossible event, such as the second kill of a node, only in the middle of a run.

use std::collections::BTreeMap;
use std::fmt;

use crate::engine::Problem;
use crate::scenario::{Change, NodeName, Scenario};

/// The state of a node between two events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NodeState {
    Stopped,
    Running,
    Frozen,
}

impl Scenario {
    /// Checks the events by applying them, in order, to the states of the nodes.
    ///
    /// # Errors
    /// If an event cannot happen to a node, for instance because it kills a node that is not running; if no client runs
    /// from the start; or if no client is running after the last event.
    pub(crate) fn check_node_states(&self) -> Result<(), Problem> {
        let mut states: BTreeMap<NodeName, NodeState> = BTreeMap::new();
        let mut late_clients = 0;
        for (number, event) in self.events.iter().enumerate() {
            for node in &event.nodes {
                let state = *states.entry(*node).or_insert_with(|| {
                    let is_late = event.change == Change::Start;
                    late_clients += u32::from(is_late && matches!(node, NodeName::Client(_)));
                    if is_late { NodeState::Stopped } else { NodeState::Running }
                });
                let next = state.after(event.change).ok_or_else(|| {
                    let cause = format!(
                        "cannot happen: {node} is {state} at that time; list the events of a node in the order of time"
                    );
                    Problem::new(&format!("event.{number}"), cause)
                })?;
                states.insert(*node, next);
            }
        }
        let is_gone = |(node, state): &(&NodeName, &NodeState)| {
            matches!(node, NodeName::Client(_)) && **state != NodeState::Running
        };
        if late_clients == self.clients.count {
            Err(Problem::new("event", "starts every client: at least one client must run from the start"))
        } else if states.iter().filter(is_gone).count() == self.clients.count as usize {
            Err(Problem::new("event", "stops or freezes every client for good: at least one client must finish"))
        } else {
            Ok(())
        }
    }
}

impl NodeState {
    /// Returns the state after a change, or `None` if the change cannot happen to a node in this state.
    fn after(self, change: Change) -> Option<Self> {
        use Change::{Corrupt, Heal, Kill, Lie, Partition, Pause, Restart, Resume, Slow, Start, Stop};
        match (change, self) {
            (Start, Self::Stopped) | (Resume, Self::Frozen) => Some(Self::Running),
            (Lie | Restart, Self::Running | Self::Frozen) => Some(Self::Running),
            (Kill | Stop, Self::Running | Self::Frozen) => Some(Self::Stopped),
            (Pause, Self::Running) => Some(Self::Frozen),
            (Partition | Heal | Corrupt | Slow(_), state) => Some(state),
            _ => None,
        }
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "not running",
            Self::Running => "running",
            Self::Frozen => "frozen",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Clients, Event, When};

    fn changes(node: NodeName, changes: &[Change]) -> Scenario {
        let event = |change: &Change| Event { nodes: vec![node], when: When::Progress(0.5), change: *change };
        Scenario { events: changes.iter().map(event).collect(), ..Scenario::default() }
    }

    #[test]
    fn clients_may_start_and_stop_if_one_is_running_at_the_end() {
        use Change::{Kill, Pause, Resume, Start, Stop};
        let changes = |list: &[Change]| changes(NodeName::Client(0), list);
        let is_possible = |scenario: Scenario| scenario.check_node_states().is_ok();
        let with_two_clients = |list: &[Change]| Scenario { clients: Clients::new(2), ..changes(list) };
        assert!(is_possible(changes(&[Kill, Start])));
        assert!(is_possible(changes(&[Pause, Resume])));
        for gone in [&[Kill] as &[_], &[Pause], &[Kill, Start, Stop], &[Start]] {
            assert!(!is_possible(changes(gone)), "{gone:?}");
            assert!(is_possible(with_two_clients(gone)), "{gone:?}");
        }
    }

    #[test]
    fn events_that_cannot_happen_in_their_order_are_refused() {
        use Change::{Corrupt, Heal, Kill, Lie, Partition, Pause, Restart, Resume, Start, Stop};
        let is_possible = |list: &[Change]| changes(NodeName::Seed(0), list).check_node_states().is_ok();
        let possible: [&[Change]; 8] = [
            &[Start, Kill, Start, Stop, Start],
            &[Pause, Resume, Pause, Kill],
            &[Restart, Restart, Lie],
            &[Pause, Restart, Pause],
            &[Partition, Partition, Heal, Heal],
            &[Kill, Corrupt, Start, Pause],
            &[Lie, Stop],
            &[Kill, Partition, Start],
        ];
        let impossible: [&[Change]; 7] = [
            &[Kill, Kill],
            &[Stop, Restart],
            &[Restart, Start],
            &[Start, Start],
            &[Resume],
            &[Pause, Pause],
            &[Stop, Lie],
        ];
        assert_eq!(possible.map(is_possible), [true; 8]);
        assert_eq!(impossible.map(is_possible), [false; 7]);
        let twice = Event { nodes: vec![NodeName::Seed(0); 2], when: When::Progress(0.5), change: Kill };
        assert!(Scenario { events: vec![twice], ..Scenario::default() }.check_node_states().is_err());
    }
}
