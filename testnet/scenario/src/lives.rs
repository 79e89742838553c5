//! Whether the events of a scenario can happen one after the other. A container engine would find out in the middle of a run.

use std::collections::BTreeMap;
use std::fmt;

use crate::engine::Problem;
use crate::scenario::{Change, NodeName, Scenario};

/// The state of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Away,
    Running,
    Frozen,
}

impl Scenario {
    /// Follows every node through all events. At least one client must be there from the start, and one must be there to finish.
    pub(crate) fn check_lives(&self) -> Result<(), Problem> {
        let mut lives: BTreeMap<NodeName, Life> = BTreeMap::new();
        let mut late = 0;
        for (number, event) in self.events.iter().enumerate() {
            for node in &event.nodes {
                let life = *lives.entry(*node).or_insert_with(|| {
                    let is_late = event.change == Change::Start;
                    late += u32::from(is_late && matches!(node, NodeName::Client(_)));
                    if is_late { Life::Away } else { Life::Running }
                });
                let next = life.after(event.change).ok_or_else(|| {
                    let cause = format!(
                        "{node} is {life} by then: what happens to a node is listed in the order in which it happens"
                    );
                    Problem::new(&format!("event.{number}"), cause)
                })?;
                lives.insert(*node, next);
            }
        }
        let gone = lives.iter().filter(|(node, life)| matches!(node, NodeName::Client(_)) && **life != Life::Running);
        if late == self.clients.count {
            Err(Problem::new("event", "starts every client: one must be there from the start"))
        } else if gone.count() == self.clients.count as usize {
            Err(Problem::new("event", "takes every client away for good: one must be there to finish"))
        } else {
            Ok(())
        }
    }
}

impl Life {
    /// `None`: that cannot happen to a node in this state.
    fn after(self, change: Change) -> Option<Self> {
        use Change::{Corrupt, Heal, Kill, Lie, Partition, Pause, Restart, Resume, Slow, Start, Stop};
        match (change, self) {
            (Start, Self::Away) | (Resume, Self::Frozen) => Some(Self::Running),
            (Lie | Restart, Self::Running | Self::Frozen) => Some(Self::Running),
            (Kill | Stop, Self::Running | Self::Frozen) => Some(Self::Away),
            (Pause, Self::Running) => Some(Self::Frozen),
            (Partition | Heal | Corrupt | Slow(_), life) => Some(life),
            _ => None,
        }
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Away => "not there",
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
    fn clients_may_come_and_go_as_long_as_one_stays() {
        use Change::{Kill, Pause, Resume, Start, Stop};
        let changes = |list: &[Change]| changes(NodeName::Client(0), list);
        let is_possible = |scenario: Scenario| scenario.check_lives().is_ok();
        let of_two = |list: &[Change]| Scenario { clients: Clients::new(2), ..changes(list) };
        assert!(is_possible(changes(&[Kill, Start])));
        assert!(is_possible(changes(&[Pause, Resume])));
        for gone in [&[Kill] as &[_], &[Pause], &[Kill, Start, Stop], &[Start]] {
            assert!(!is_possible(changes(gone)), "{gone:?}");
            assert!(is_possible(of_two(gone)), "{gone:?}");
        }
    }

    #[test]
    fn events_of_a_node_can_happen_in_their_order() {
        use Change::{Corrupt, Heal, Kill, Lie, Partition, Pause, Restart, Resume, Start, Stop};
        let is_possible = |list: &[Change]| changes(NodeName::Seed(0), list).check_lives().is_ok();
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
        assert!(Scenario { events: vec![twice], ..Scenario::default() }.check_lives().is_err());
    }
}
