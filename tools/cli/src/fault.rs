//! How a command ends that did not do its work: one line that names the thing and the cause, a hint, an exit code.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use phase_core::{Fails, Failure};
use serde_json::json;

use crate::exit::exit_code;
use crate::text::printable;

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
        let code = exit_code(self.failure);
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
        let (failure, hint) = (error.failure(), error.hint().map(str::to_owned));
        Self { failure, error: Box::new(error), hint }
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

#[cfg(test)]
mod tests {
    use phase_core::NameError;

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
