//! Who looks on, and may want it to end.

use std::io::{IsTerminal as _, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shows how far things are, in one line, and knows whether somebody pressed Ctrl-C.
#[derive(Clone, Debug, Default)]
pub struct Console {
    is_stopped: Arc<AtomicBool>,
}

/// A signal said that it shall end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

impl Console {
    /// One that ends when this becomes true.
    pub fn new(is_stopped: Arc<AtomicBool>) -> Self {
        Self { is_stopped }
    }

    /// An error if it shall end.
    pub(super) fn check(&self) -> Result<(), Interrupted> {
        if self.is_stopped.load(Ordering::Relaxed) { Err(Interrupted) } else { Ok(()) }
    }

    /// Shows a line in place of the last one, to people alone.
    pub(super) fn show(&self, line: &str) {
        if stderr().is_terminal() {
            eprint!("\r\x1b[K{line}");
        }
    }
}
