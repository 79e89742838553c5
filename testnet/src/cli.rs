//! The commands and their exit codes.

use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;

use phase_lab::show;
use phase_scenario::ScenarioFile;

#[cfg(feature = "real")]
pub(crate) mod dht;
pub(crate) mod docker;
pub(crate) mod sim;
#[cfg(feature = "real")]
pub(crate) mod soak;

/// Exit code: the run succeeded and kept all promises.
const HELD: u8 = 0;
/// Exit code: the run failed or broke a promise.
const BROKEN: u8 = 1;
/// Exit code: the command line or a scenario file is wrong, or the machine lacks a program or a permission.
const UNUSABLE: u8 = 2;
/// Exit code: a signal stopped the command.
const INTERRUPTED: u8 = 130;

/// The result of a command: an exit code, or a failure that is printed.
pub(crate) type Ended = Result<u8, Failure>;

/// A failed command: its exit code and its error message. A failure that is made from a text has the exit code
/// [`UNUSABLE`].
pub(crate) struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    /// Converts an error to a failure with the exit code [`UNUSABLE`]. Appends the message of each source error, unless
    /// the text already contains it.
    fn of(error: impl Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let next = error.to_string();
            if !text.contains(&next) {
                text = format!("{text}: {next}");
            }
            cause = error.source();
        }
        Self::from(text)
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self { code: UNUSABLE, text }
    }
}

/// Returns the exit code of a command. Prints the failure, if there is one.
pub(crate) fn end(ended: Ended) -> ExitCode {
    let code = ended.unwrap_or_else(|Failure { code, text }| {
        show("");
        eprintln!("error: {text}");
        code
    });
    ExitCode::from(code)
}

/// Returns the exit code of a command that has finished its runs. `held` is whether all promises held.
fn verdict(held: bool) -> u8 {
    if held { HELD } else { BROKEN }
}

/// Removes all runs without the given label from scenario files. Returns whether at least one run is left.
fn keep_label(files: &mut Vec<ScenarioFile>, label: &str) -> bool {
    files.iter_mut().for_each(|file| file.cases.retain(|case| case.label == label));
    files.retain(|file| !file.cases.is_empty());
    !files.is_empty()
}

/// Writes a line to standard output. A closed pipe is not an error, because the reader wants no more output.
fn print(text: &str) -> Result<(), String> {
    show("");
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {error}"))
        }
        _ => Ok(()),
    }
}
