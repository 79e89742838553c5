//! The commands, and how each of them ends.

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

/// Everything held.
const HELD: u8 = 0;
/// Something did not hold.
const BROKEN: u8 = 1;
/// The command line, a scenario file, or what is needed on this machine.
const UNUSABLE: u8 = 2;
/// Stopped by a signal.
const INTERRUPTED: u8 = 130;

/// How a command ended: with an exit code, or with a failure that is printed.
pub(crate) type Ended = Result<u8, Failure>;

/// Why a command did not come to its end. A text alone is [`UNUSABLE`].
pub(crate) struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    /// [`UNUSABLE`], with the error's causes, as far as it does not name them itself.
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

/// Ends a command: with its exit code, or with a line about what went wrong.
pub(crate) fn end(ended: Ended) -> ExitCode {
    let code = ended.unwrap_or_else(|Failure { code, text }| {
        show("");
        eprintln!("error: {text}");
        code
    });
    ExitCode::from(code)
}

/// The exit code of what held or did not.
fn verdict(held: bool) -> u8 {
    if held { HELD } else { BROKEN }
}

/// Keeps the runs of scenario files that have a label. Returns whether there is any.
fn keep_label(files: &mut Vec<ScenarioFile>, label: &str) -> bool {
    files.iter_mut().for_each(|file| file.cases.retain(|case| case.label == label));
    files.retain(|file| !file.cases.is_empty());
    !files.is_empty()
}

/// Writes a line to standard output. A reader that has closed it wants no more, which is not a failure.
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
