//! Prints results on standard output and remarks on standard error.

use phase_cli::{self as cli, Fault, Printer};
use serde_json::Value;

use crate::options::Global;
use crate::progress;

/// Prints the results and remarks of a command in the form that `--json` and `--quiet` request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
    is_verbose: bool,
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        Self { json: global.json, quiet: global.quiet, is_verbose: global.verbose > 0 }
    }

    /// Whether progress and remarks are shown.
    pub(crate) fn shows_progress(&self) -> bool {
        !self.quiet && !self.json
    }

    /// Whether `-v` is set, so that text output lists every address that was tried.
    pub(crate) fn is_verbose(&self) -> bool {
        self.is_verbose
    }

    /// Prints the result of the command as a JSON document or as text. The text that `text` returns must not end with a
    /// line break.
    pub(crate) fn result(&self, json: impl FnOnce() -> Value, text: impl FnOnce() -> String) -> Result<(), Fault> {
        self.result_to(Printer::default(), json, text)
    }

    /// Prints the result like [`result`](Self::result), with another printer.
    pub(crate) fn result_to(
        &self,
        printer: Printer,
        json: impl FnOnce() -> Value,
        text: impl FnOnce() -> String,
    ) -> Result<(), Fault> {
        printer.print(&if self.json { format!("{:#}\n", json()) } else { format!("{}\n", text()) })
    }

    /// Prints one of several results of a command as soon as it is known, as a JSON document in one line or as text.
    pub(crate) fn line(&self, json: impl FnOnce() -> Value, text: impl FnOnce() -> String) -> Result<(), Fault> {
        cli::print(&if self.json { format!("{}\n", json()) } else { format!("{}\n", text()) })
    }

    /// Prints a remark, which is not part of the result, unless `--quiet` or `--json` is set.
    pub(crate) fn remark(&self, text: &str) {
        if self.shows_progress() {
            progress::line(text);
        }
    }
}
