//! Results on standard output, remarks on standard error.

use phase_cli::{self as cli, Fault};
use serde_json::Value;

use crate::options::Global;
use crate::progress;

/// How a command speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        Self { json: global.json, quiet: global.quiet }
    }

    /// Whether progress is to be shown.
    pub(crate) fn shows_progress(&self) -> bool {
        !self.quiet && !self.json
    }

    /// Prints the result of the command, for machines or for people. Text lacks its last line end.
    pub(crate) fn result(&self, json: impl FnOnce() -> Value, text: impl FnOnce() -> String) -> Result<(), Fault> {
        cli::print(&if self.json { format!("{:#}\n", json()) } else { format!("{}\n", text()) })
    }

    /// Prints one of several results as it comes: a line with a whole JSON document, or lines for people.
    pub(crate) fn line(&self, json: impl FnOnce() -> Value, text: impl FnOnce() -> String) -> Result<(), Fault> {
        cli::print(&if self.json { format!("{}\n", json()) } else { format!("{}\n", text()) })
    }

    /// Says something that is not the result.
    pub(crate) fn remark(&self, text: &str) {
        if self.shows_progress() {
            progress::line(text);
        }
    }
}
