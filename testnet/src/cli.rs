//! The commands.

use std::io::{self, Write as _};

#[cfg(feature = "real")]
pub(crate) mod dht;
pub(crate) mod docker;
pub(crate) mod sim;
#[cfg(feature = "real")]
pub(crate) mod soak;

/// Shows what is going on to whoever looks on, in one line.
fn show(progress: &str) {
    use std::io::IsTerminal as _;
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{progress}");
    }
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
