//! Parts of a scenario that are run for comparison.

use std::fmt;

/// What of a scenario is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    /// All of it.
    Whole,
    /// Without hostile nodes.
    Honest,
    /// Without hostile nodes, churn and events.
    Undisturbed,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Whole => "as it is",
            Self::Honest => "without hostile members",
            Self::Undisturbed => "undisturbed",
        })
    }
}
