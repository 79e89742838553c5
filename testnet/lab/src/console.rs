//! Prints progress to the terminal, and checks whether the run was asked to stop.

use std::io::{IsTerminal as _, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::LabError;

/// Checks whether the run was asked to stop, with Ctrl-C or another signal.
#[derive(Clone, Debug, Default)]
pub struct Console {
    is_stopped: Arc<AtomicBool>,
}

impl Console {
    /// Makes a console. The run stops soon after another thread sets `is_stopped` to true.
    pub fn new(is_stopped: Arc<AtomicBool>) -> Self {
        Self { is_stopped }
    }

    /// Returns [`LabError::Interrupted`] if the run was asked to stop.
    pub(super) fn check(&self) -> Result<(), LabError> {
        if self.is_stopped.load(Ordering::Relaxed) { Err(LabError::Interrupted) } else { Ok(()) }
    }
}

/// Prints a progress line in place of the previous progress line. Does nothing if standard error is not a terminal.
pub fn show(line: &str) {
    if stderr().is_terminal() {
        eprint!("\r\x1b[K{line}");
    }
}
