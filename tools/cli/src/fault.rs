//! How a command ends that did not do its work: one line that names the thing and the cause, a hint, an exit code.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use phase_core::envelope::EnvelopeError;
use phase_core::keys::{KeyError, KeyFileError};
use phase_core::store::StoreError;
use phase_core::trust::TrustError;
use phase_core::{CidError, DhtKeyError, Failure, IndexError, NameError, RecordError};
use phase_node::bootstrap::BootstrapError;
use phase_node::{ConnectError, NodeError, QueryError, RecordsError};
use serde_json::json;

use crate::text::printable;

/// Errors that say which kind of failure they are.
pub trait Fails: Error + Send + Sync + 'static {
    /// The kind of failure, for exit codes.
    fn failure(&self) -> Failure;

    /// What the user may try next, where the text does not say it.
    fn hint(&self) -> Option<&'static str> {
        None
    }
}

/// Why a command failed.
#[derive(Debug)]
pub struct Fault {
    failure: Failure,
    error: Box<dyn Error + Send + Sync>,
    hint: Option<String>,
}

impl Fault {
    /// A failure with a text of its own.
    pub fn new(failure: Failure, message: impl Into<String>) -> Self {
        Self { failure, error: message.into().into(), hint: None }
    }

    /// Adds what to try next, in place of what the error itself suggests.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The kind of failure.
    pub fn failure(&self) -> Failure {
        self.failure
    }

    /// Prints it to standard error and returns the exit code.
    pub fn report(&self, json: bool) -> ExitCode {
        let code = self.failure.exit_code();
        if json {
            let document = json!({ "error": self.chain(), "hint": self.hint, "exit_code": code });
            eprintln!("{document}");
        } else {
            eprintln!("error: {}", printable(&self.chain()));
            if let Some(hint) = &self.hint {
                eprintln!("hint: {}", printable(hint));
            }
        }
        ExitCode::from(code)
    }

    /// The error and its causes, joined. A cause that the text before it ends with is not repeated.
    pub fn chain(&self) -> String {
        let mut text = self.error.to_string();
        let mut cause = self.error.source();
        while let Some(error) = cause {
            let next = error.to_string();
            if !text.contains(&next) {
                text = format!("{text}: {next}");
            }
            cause = error.source();
        }
        text
    }
}

impl<E: Fails> From<E> for Fault {
    fn from(error: E) -> Self {
        let hint = error.hint().map(str::to_owned);
        Self { failure: error.failure(), error: Box::new(error), hint }
    }
}

/// A file of the user that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct FileError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    /// For `map_err`: what was attempted, as a verb, and on which file.
    pub fn of(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { action, path, source }
    }
}

impl Fails for FileError {
    fn failure(&self) -> Failure {
        Failure::Input
    }
}

impl Fails for CidError {
    fn failure(&self) -> Failure {
        match self {
            Self::Mismatch(_) => Failure::Untrusted,
            _ => Failure::Input,
        }
    }
}

impl Fails for NameError {
    fn failure(&self) -> Failure {
        Failure::Input
    }
}

impl Fails for IndexError {
    fn failure(&self) -> Failure {
        Failure::Untrusted
    }
}

impl Fails for BootstrapError {
    fn failure(&self) -> Failure {
        match self {
            Self::Address { .. } | Self::NoTransport(_) | Self::Https(_) | Self::Url { .. } => Failure::Usage,
            Self::Fetch { .. } | Self::Status { .. } => Failure::Network,
            Self::Remember { .. } => Failure::Store,
            _ => Failure::Input,
        }
    }
}

impl Fails for NodeError {
    fn failure(&self) -> Failure {
        Failure::Network
    }
}

impl Fails for ConnectError {
    fn failure(&self) -> Failure {
        Failure::Network
    }
}

impl Fails for QueryError {
    fn failure(&self) -> Failure {
        match self {
            Self::Timeout { .. } | Self::NotStored { .. } | Self::Stopped => Failure::Network,
            Self::Full(_) => Failure::Other,
            Self::Off => Failure::Usage,
        }
    }
}

impl Fails for RecordsError {
    fn failure(&self) -> Failure {
        match self {
            Self::Record(error) => error.failure(),
            Self::Query(error) => error.failure(),
            Self::NotFound { .. } => Failure::NotFound,
            Self::NoneValid { .. } => Failure::Untrusted,
            Self::NoAddress => Failure::Usage,
            Self::NoKey(_) => Failure::Input,
        }
    }
}

impl Fails for RecordError {
    fn failure(&self) -> Failure {
        self.failure()
    }
}

impl Fails for DhtKeyError {
    fn failure(&self) -> Failure {
        Failure::Input
    }
}

impl Fails for EnvelopeError {
    fn failure(&self) -> Failure {
        self.failure()
    }
}

impl Fails for TrustError {
    fn failure(&self) -> Failure {
        self.failure()
    }
}

impl Fails for KeyFileError {
    fn failure(&self) -> Failure {
        self.failure()
    }
}

impl Fails for KeyError {
    fn failure(&self) -> Failure {
        match self {
            Self::Random(_) => Failure::Other,
            _ => Failure::Input,
        }
    }
}

impl Fails for StoreError {
    fn failure(&self) -> Failure {
        self.failure()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer: inner")]
    struct Inlined(#[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Plain(#[source] io::Error);

    impl Fails for Inlined {
        fn failure(&self) -> Failure {
            Failure::Store
        }
    }

    impl Fails for Plain {
        fn failure(&self) -> Failure {
            Failure::Store
        }
    }

    #[test]
    fn every_cause_is_said_once() {
        assert_eq!(Fault::from(Plain(io::Error::other("inner"))).chain(), "outer: inner");
        assert_eq!(Fault::from(Inlined(io::Error::other("inner"))).chain(), "outer: inner");
    }

    #[test]
    fn the_kind_is_the_error_s() {
        assert_eq!(Fault::from(Plain(io::Error::other("inner"))).failure(), Failure::Store);
        assert_eq!(Fault::from(NameError::Form("x".to_owned())).failure(), Failure::Input);
    }
}
