//! The kinds of failure that a caller can tell apart.

use std::error::Error;

/// What kind of thing went wrong, as far as the caller's next step depends on it.
///
/// Every error enum of an operation says its kind with [`Fails::failure`]. The command lines give each kind an exit
/// code, so matches on it are exhaustive: a new kind is a change for each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Anything that has no kind of its own.
    Other,
    /// A wrong option, on the command line or in a configuration.
    Usage,
    /// An input file, key or identifier is missing or malformed.
    Input,
    /// What was asked for exists nowhere that was asked.
    NotFound,
    /// No peer could be reached, or all went away.
    Network,
    /// A signature, hash, version or name did not verify.
    Untrusted,
    /// The store cannot be opened, read or written.
    Store,
    /// Stopped by a signal.
    Interrupted,
}

/// An error that knows its kind, and perhaps a next step. Implemented beside each error.
pub trait Fails: Error + Send + Sync + 'static {
    /// The kind of failure.
    fn failure(&self) -> Failure;

    /// The next step for the person who reads the error, if the error's text does not name it.
    fn hint(&self) -> Option<&'static str> {
        None
    }
}
