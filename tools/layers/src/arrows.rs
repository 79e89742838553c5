//! A directed graph of dependencies, and the cycles in the graph.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A directed graph of dependencies between files or between packages, each identified by its name. The names on an
/// arrow are the items that a file uses from another file, or the sections of `Cargo.toml` that make a package depend
/// on another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arrows(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Arrows {
    /// Adds an arrow from `from` to `to`, or adds one more name to an existing arrow.
    pub fn add(&mut self, from: &str, to: &str, name: &str) {
        let arrow = self.0.entry(from.to_owned()).or_default().entry(to.to_owned()).or_default();
        arrow.insert(name.to_owned());
    }

    /// Returns every arrow as (from, to, names), sorted by `from`, then by `to`.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &BTreeSet<String>)> {
        self.0.iter().flat_map(|(from, ends)| ends.iter().map(move |(to, names)| (from.as_str(), to.as_str(), names)))
    }

    /// Returns the strongly connected components that have at least one arrow. In such a component, every member can be
    /// reached from every other member.
    pub fn cycles(&self) -> Vec<Cycle> {
        let reach: BTreeMap<&str, BTreeSet<&str>> =
            self.0.keys().map(|from| (from.as_str(), self.reachable(from))).collect();
        let reaches = |from: &str, to: &str| reach.get(from).is_some_and(|ends| ends.contains(to));
        let mut cycles = Vec::new();
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        for &start in reach.keys() {
            if seen.contains(start) || !reaches(start, start) {
                continue;
            }
            let members: BTreeSet<&str> =
                reach[start].iter().copied().filter(|member| reaches(member, start)).collect();
            seen.extend(&members);
            cycles.push(self.cycle(&members));
        }
        cycles
    }

    /// Returns every file or package that can be reached from `start` along one or more arrows.
    fn reachable(&self, start: &str) -> BTreeSet<&str> {
        let mut reached = BTreeSet::new();
        let mut ahead = vec![start];
        while let Some(from) = ahead.pop() {
            for to in self.0.get(from).into_iter().flat_map(BTreeMap::keys) {
                if reached.insert(to.as_str()) {
                    ahead.push(to);
                }
            }
        }
        reached
    }

    fn cycle(&self, members: &BTreeSet<&str>) -> Cycle {
        let mut arrows = Self::default();
        let inside = self.iter().filter(|(from, to, _)| members.contains(from) && members.contains(to));
        for (from, to, names) in inside {
            names.iter().for_each(|name| arrows.add(from, to, name));
        }
        Cycle { members: members.iter().map(|&member| member.to_owned()).collect(), arrows }
    }
}

/// Files or packages that depend on each other in a cycle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cycle {
    /// The files or packages in the cycle.
    pub members: BTreeSet<String>,
    /// Every arrow between two members.
    pub arrows: Arrows,
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members: Vec<&str> = self.members.iter().map(String::as_str).collect();
        write!(f, "cycle of {}: {}", members.len(), members.join(", "))?;
        for (from, to, names) in self.arrows.iter() {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            write!(f, "\n  {from} -> {to}: {}", names.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrows(pairs: &[(&str, &str)]) -> Arrows {
        let mut arrows = Arrows::default();
        pairs.iter().for_each(|(from, to)| arrows.add(from, to, "x"));
        arrows
    }

    fn members(pairs: &[(&str, &str)]) -> Vec<String> {
        let names = |cycle: Cycle| cycle.members.into_iter().collect::<String>();
        arrows(pairs).cycles().into_iter().map(names).collect()
    }

    #[test]
    fn a_chain_and_a_diamond_have_no_cycle() {
        assert!(members(&[("a", "b"), ("b", "c")]).is_empty());
        assert!(members(&[("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]).is_empty());
    }

    #[test]
    fn each_cycle_is_found_once_without_nodes_that_only_lead_to_it() {
        let pairs = [("a", "b"), ("b", "c"), ("c", "b"), ("c", "d"), ("e", "f"), ("f", "g"), ("g", "e")];
        assert_eq!(members(&pairs), ["bc", "efg"]);
    }

    #[test]
    fn an_arrow_to_itself_is_a_cycle() {
        assert_eq!(members(&[("a", "a")]), ["a"]);
    }

    #[test]
    fn a_printed_cycle_lists_its_members_and_the_names_of_its_arrows() {
        let mut arrows = arrows(&[("a", "b"), ("b", "a"), ("a", "c")]);
        arrows.add("a", "b", "y");
        assert_eq!(arrows.cycles()[0].to_string(), "cycle of 2: a, b\n  a -> b: x, y\n  b -> a: x");
    }
}
