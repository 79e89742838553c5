//! Failures: their kinds, which callers handle differently, and what an operation tried before it failed.

use std::error::Error;
use std::fmt;

/// The kind of an error. A caller chooses its next step by it.
///
/// Each error type returns its kind from [`Fails::failure`]. The command-line programs map each kind to an exit code.
/// Their match is exhaustive, so that the compiler requires an exit code for each new kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// An error that fits no other kind.
    Other,
    /// A wrong option on the command line or in a configuration file.
    Usage,
    /// An input file, key or identifier is missing or malformed.
    Input,
    /// The requested item was not found: no source that was asked has it.
    NotFound,
    /// No peer could be reached, or all connections were lost.
    Network,
    /// The verification of a signature, hash, version or name failed.
    Untrusted,
    /// The store cannot be opened, read or written, or files in it are damaged or missing.
    Store,
    /// The program was stopped by a signal.
    Interrupted,
}

/// An error that has a kind and, in some cases, a hint about the next step.
pub trait Fails: Error + Send + Sync + 'static {
    /// Returns the kind of failure.
    fn failure(&self) -> Failure;

    /// Returns a hint, which is the next step for the user. Returns `None` if the error message already names the next
    /// step, or if there is none.
    fn hint(&self) -> Option<&'static str> {
        None
    }

    /// Returns the targets that the operation tried, for instance peers, each at most once. The error message does not
    /// contain them. The list is empty if the operation tries no targets.
    fn attempts(&self) -> Vec<Attempt> {
        Vec::new()
    }
}

/// One target that a failed operation tried, and why it gave no result. It is displayed on one line, for logs and JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What was tried: a peer id, an address if the peer id is unknown, or another source such as a URL or the DHT.
    pub target: String,
    /// Why the target gave no result. A peer can have one cause for each address that was tried.
    pub causes: Vec<Cause>,
}

/// A cause: why a target gave no result. It concerns one address or the whole target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The address that was tried, or `None` if the cause concerns the whole target.
    pub address: Option<String>,
    /// The cause in a few words, for instance `connection refused`.
    pub text: String,
}

impl Attempt {
    /// Makes the attempt at `target` that gave no result because of `causes`.
    pub fn new(target: impl ToString, causes: Vec<Cause>) -> Self {
        Self { target: target.to_string(), causes }
    }

    /// Merges the attempts at the same target into one. The targets stay in the order in which they appear for the
    /// first time. Only the first cause is kept for each address of a target. A repeated cause is dropped.
    pub fn merged(attempts: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut merged: Vec<Self> = Vec::new();
        for Self { target, causes } in attempts {
            let position = merged.iter().position(|known| known.target == target).unwrap_or_else(|| {
                merged.push(Self { target, causes: Vec::new() });
                merged.len() - 1
            });
            let known = &mut merged[position].causes;
            for cause in causes {
                let is_known =
                    |other: &Cause| *other == cause || other.address.is_some() && other.address == cause.address;
                if !known.iter().any(is_known) {
                    known.push(cause);
                }
            }
        }
        merged
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.causes.is_empty() {
            return f.write_str(&self.target);
        }
        for (n, cause) in self.causes.iter().enumerate() {
            let separator = if n == 0 { "" } else { "; " };
            match &cause.address {
                // The address already contains the target: it ends with the peer id, or is the target itself.
                Some(address) if address.ends_with(&self.target) => write!(f, "{separator}{cause}")?,
                _ => write!(f, "{separator}{}: {cause}", self.target)?,
            }
        }
        Ok(())
    }
}

impl Cause {
    /// Makes a cause that concerns the whole target.
    pub fn new(text: impl ToString) -> Self {
        Self { address: None, text: text.to_string() }
    }

    /// Makes a cause that concerns one address.
    pub fn at(address: impl ToString, text: impl ToString) -> Self {
        Self { address: Some(address.to_string()), text: text.to_string() }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Some(address) => write!(f, "{address}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_at_the_same_target_are_merged_and_each_address_has_one_cause() {
        let attempts = [
            Attempt::new("peer", vec![Cause::at("/a/p2p/peer", "refused")]),
            Attempt::new("/b", vec![Cause::new("no answer")]),
            Attempt::new("peer", vec![Cause::at("/a/p2p/peer", "timed out"), Cause::at("/c/p2p/peer", "timed out")]),
            Attempt::new("/b", vec![Cause::new("no answer")]),
        ];
        let merged = Attempt::merged(attempts);
        let causes = vec![Cause::at("/a/p2p/peer", "refused"), Cause::at("/c/p2p/peer", "timed out")];
        assert_eq!(merged, [Attempt::new("peer", causes), Attempt::new("/b", vec![Cause::new("no answer")])]);
    }

    #[test]
    fn the_one_line_form_has_every_address_once_and_all_causes() {
        for (attempt, expected) in [
            (Attempt::new("peer", vec![]), "peer"),
            (Attempt::new("peer", vec![Cause::new("silent"), Cause::new("slow")]), "peer: silent; peer: slow"),
            (
                Attempt::new("peer", vec![Cause::at("/a/p2p/peer", "refused"), Cause::at("/b", "timed out")]),
                "/a/p2p/peer: refused; peer: /b: timed out",
            ),
        ] {
            assert_eq!(attempt.to_string(), expected);
        }
    }
}
