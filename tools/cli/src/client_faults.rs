//! How a client's errors end a command.

use phase_core::Failure;

use crate::fault::Fails;

use phase_client::{ExportError, FetchError, ResolveError, StartError};

impl Fails for StartError {
    fn failure(&self) -> Failure {
        self.failure()
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { .. } => Some("is that node running, and may this machine reach its port?"),
            _ => None,
        }
    }
}

impl Fails for ResolveError {
    fn failure(&self) -> Failure {
        self.failure()
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotFound { .. } => Some("check the name; a provider needs some seconds to announce a new release"),
            Self::NoneValid { .. } => Some("is this the root that the publisher signs with?"),
            _ => None,
        }
    }
}

impl Fails for FetchError {
    fn failure(&self) -> Failure {
        self.failure()
    }

    fn hint(&self) -> Option<&'static str> {
        match self.failure() {
            Failure::Network => Some("what was verified is kept: run the same command again to resume"),
            _ => None,
        }
    }
}

impl Fails for ExportError {
    fn failure(&self) -> Failure {
        self.failure()
    }
}
