//! The kinds of failure that callers handle differently, and the peers that a failed operation tried.

use std::error::Error;
use std::fmt;

/// The kind of an error, by which a caller chooses its next step.
///
/// Each error type returns its kind from [`Fails::failure`]. The command-line programs map each kind to an exit code
/// with an exhaustive match, so a new kind requires a change in each program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// An error that fits no other kind.
    Other,
    /// A wrong option on the command line or in a configuration file.
    Usage,
    /// An input file, key or identifier is missing or malformed.
    Input,
    /// The requested item was not found in any place that was searched.
    NotFound,
    /// No peer could be reached, or all connections were lost.
    Network,
    /// The verification of a signature, hash, version or name failed.
    Untrusted,
    /// The store cannot be opened, read or written.
    Store,
    /// The program was stopped by a signal.
    Interrupted,
}

/// An error that has a kind and, in some cases, a hint about the next step. Each module implements the trait next to
/// its error type.
pub trait Fails: Error + Send + Sync + 'static {
    /// Returns the kind of failure.
    fn failure(&self) -> Failure;

    /// Returns the next step for the user, or `None` if there is none or the error's own text names it.
    fn hint(&self) -> Option<&'static str> {
        None
    }

    /// Returns the peers and other targets that the operation tried, each at most once. The error's own text does not
    /// contain them. The list is empty if the operation tries no peers.
    fn attempts(&self) -> Vec<Attempt> {
        Vec::new()
    }
}

/// A peer, or another source, that a failed operation tried. Displayed on one line with all causes, for logs and JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The peer id; or an address without a peer id; or another source, such as a search in the DHT.
    pub target: String,
    /// Why the target did not help, at each address that was tried.
    pub causes: Vec<Cause>,
}

/// Why a peer did not help, at one of its addresses or in general.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The address that was tried. `None` if the cause is not about one address.
    pub address: Option<String>,
    /// A few words, for instance "connection refused".
    pub text: String,
}

impl Attempt {
    /// Returns an attempt at `target`, with its causes.
    pub fn new(target: impl ToString, causes: Vec<Cause>) -> Self {
        Self { target: target.to_string(), causes }
    }

    /// Merges the attempts that have the same target, in the order of the first of them. Of the causes that a target
    /// has for the same address, keeps the first.
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
                // The address ends with /p2p/ and the peer id, or is itself the target.
                Some(address) if address.ends_with(&self.target) => write!(f, "{separator}{cause}")?,
                _ => write!(f, "{separator}{}: {cause}", self.target)?,
            }
        }
        Ok(())
    }
}

impl Cause {
    /// Returns a cause that is not about one address.
    pub fn new(text: impl ToString) -> Self {
        Self { address: None, text: text.to_string() }
    }

    /// Returns a cause at an address.
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
