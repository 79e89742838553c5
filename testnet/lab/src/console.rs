//! Who looks on, and may want it to end.

use std::io::{IsTerminal as _, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::LabError;

/// Knows whether somebody pressed Ctrl-C.
#[derive(Clone, Debug, Default)]
pub struct Console {
    is_stopped: Arc<AtomicBool>,
}

impl Console {
    /// One that ends when this becomes true.
    pub fn new(is_stopped: Arc<AtomicBool>) -> Self {
        Self { is_stopped }
    }

    /// [`LabError::Interrupted`] if it shall end.
    pub(super) fn check(&self) -> Result<(), LabError> {
        if self.is_stopped.load(Ordering::Relaxed) { Err(LabError::Interrupted) } else { Ok(()) }
    }
}

/// Shows a line in place of the last one, to people alone: nothing is written if standard error is no terminal.
pub fn show(line: &str) {
    if stderr().is_terminal() {
        eprint!("\r\x1b[K{line}");
    }
}
