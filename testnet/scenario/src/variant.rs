//! Variants of a scenario, which are run for comparison.

use std::fmt;

/// A variant of a scenario: the whole scenario, or the scenario without some or all of its faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    /// The scenario as written in its file.
    Whole,
    /// The scenario without hostile nodes.
    Honest,
    /// The scenario without hostile nodes, churn and events.
    Undisturbed,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Whole => "as written",
            Self::Honest => "without hostile nodes",
            Self::Undisturbed => "undisturbed",
        })
    }
}
