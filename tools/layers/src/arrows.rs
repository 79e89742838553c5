//! A directed graph of named arrows, and its circles.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Arrows between things that have a name: files or packages. Each arrow carries the names that tie its ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arrows(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Arrows {
    /// Adds an arrow from `from` to `to`, or one more name to an arrow that is there.
    pub fn add(&mut self, from: &str, to: &str, name: &str) {
        let arrow = self.0.entry(from.to_owned()).or_default().entry(to.to_owned()).or_default();
        arrow.insert(name.to_owned());
    }

    /// Every arrow as (from, to, names), in the order of the names of its ends.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &BTreeSet<String>)> {
        self.0.iter().flat_map(|(from, ends)| ends.iter().map(move |(to, names)| (from.as_str(), to.as_str(), names)))
    }

    /// The strongly connected parts that have at least one arrow: in each, every member reaches every member.
    pub fn circles(&self) -> Vec<Circle> {
        let reach: BTreeMap<&str, BTreeSet<&str>> =
            self.0.keys().map(|from| (from.as_str(), self.reachable(from))).collect();
        let reaches = |from: &str, to: &str| reach.get(from).is_some_and(|ends| ends.contains(to));
        let mut circles = Vec::new();
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        for &start in reach.keys() {
            if seen.contains(start) || !reaches(start, start) {
                continue;
            }
            let members: BTreeSet<&str> =
                reach[start].iter().copied().filter(|member| reaches(member, start)).collect();
            seen.extend(&members);
            circles.push(self.circle(&members));
        }
        circles
    }

    /// Everything that a walk along arrows from `start` arrives at.
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

    fn circle(&self, members: &BTreeSet<&str>) -> Circle {
        let mut arrows = Self::default();
        let inside = self.iter().filter(|(from, to, _)| members.contains(from) && members.contains(to));
        for (from, to, names) in inside {
            names.iter().for_each(|name| arrows.add(from, to, name));
        }
        Circle { members: members.iter().map(|&member| member.to_owned()).collect(), arrows }
    }
}

/// Things that depend on each other in a circle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circle {
    /// What the circle consists of.
    pub members: BTreeSet<String>,
    /// Every arrow between two members.
    pub arrows: Arrows,
}

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members: Vec<&str> = self.members.iter().map(String::as_str).collect();
        write!(f, "circle of {}: {}", members.len(), members.join(", "))?;
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
        let names = |circle: Circle| circle.members.into_iter().collect::<String>();
        arrows(pairs).circles().into_iter().map(names).collect()
    }

    #[test]
    fn a_chain_and_a_diamond_have_no_circle() {
        assert!(members(&[("a", "b"), ("b", "c")]).is_empty());
        assert!(members(&[("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]).is_empty());
    }

    #[test]
    fn each_circle_is_found_once_without_what_only_leads_to_it() {
        let pairs = [("a", "b"), ("b", "c"), ("c", "b"), ("c", "d"), ("e", "f"), ("f", "g"), ("g", "e")];
        assert_eq!(members(&pairs), ["bc", "efg"]);
    }

    #[test]
    fn an_arrow_to_itself_is_a_circle() {
        assert_eq!(members(&[("a", "a")]), ["a"]);
    }

    #[test]
    fn a_circle_names_what_ties_it() {
        let mut arrows = arrows(&[("a", "b"), ("b", "a"), ("a", "c")]);
        arrows.add("a", "b", "y");
        assert_eq!(arrows.circles()[0].to_string(), "circle of 2: a, b\n  a -> b: x, y\n  b -> a: x");
    }
}
