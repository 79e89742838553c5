//! Functions for the whole process: clock, log, signals, standard output.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use phase_core::Failure;
use phase_core::store::StoreWarning;
use rustix::process::{Resource, Rlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::exit::exit_code;
use crate::fault::Fault;

/// Returns the system clock's time in seconds since 1970, or 0 if the clock is set to an earlier time.
#[expect(clippy::disallowed_methods, reason = "binaries read the clock, here and nowhere else")]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Raises the limit of open files of this process to the limit that the administrator permits (the hard limit). Peers,
/// files and connections each need an open file, and the usual limit of 1024 is made for programs that use `select`.
pub fn raise_descriptor_limit() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // An error is ignored, because the programs work within the old limit too.
        let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    }
}

/// Sends the log to `writer`. Verbosity 0 logs warnings, 1 adds Phase's info messages, and 2 adds Phase's debug
/// messages and the info messages of libraries. `RUST_LOG` overrides the verbosity.
pub fn init_logging<W>(verbosity: u8, writer: W)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        // A directive covers every target that begins with its text, so `phase` covers all of Phase's crates. libp2p's
        // Kademlia warns when it knows no peers. These warnings are hidden, because the first node of every network
        // knows none.
        EnvFilter::new(match verbosity {
            0 => "warn,libp2p_kad=error",
            1 => "warn,libp2p_kad=error,phase=info",
            _ => "info,phase=debug",
        })
    });
    let ansi = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(ansi).with_target(false).init();
}

/// Logs a warning if `SSLKEYLOGFILE` makes the TLS library write session keys to a file.
pub fn warn_of_key_log() {
    if let Some(path) = std::env::var_os("SSLKEYLOGFILE") {
        tracing::warn!(?path, "SSLKEYLOGFILE is set: the keys of all TLS connections are written there; unset it");
    }
}

/// Logs a warning for each property of a store's place that makes the store slower or less safe than usual.
pub fn warn_of_store(warnings: &[StoreWarning]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

/// Writes to standard output. A closed pipe is not a failure, because its reader needs no more output.
///
/// # Errors
/// If the write fails for any other reason, for instance a full disk.
pub fn print(text: &str) -> Result<(), Fault> {
    Printer::default().print(text)
}

/// Prints results on standard output, or on standard error if standard output is used for an artifact.
#[derive(Clone, Copy, Debug, Default)]
pub struct Printer {
    to_stderr: bool,
}

impl Printer {
    /// Returns a printer that prints on standard error if `to_stderr` is set.
    pub(crate) fn new(to_stderr: bool) -> Self {
        Self { to_stderr }
    }

    /// Prints a text. A closed pipe is not an error.
    ///
    /// # Errors
    /// If the text cannot be written.
    pub fn print(self, text: &str) -> Result<(), Fault> {
        let written = match self.to_stderr {
            true => io::stderr().write_all(text.as_bytes()),
            false => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
            }
        };
        match written {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                let to = if self.to_stderr { "standard error" } else { "standard output" };
                Err(Fault::new(Failure::Other, format!("cannot write to {to}: {error}")))
            }
            _ => Ok(()),
        }
    }
}

/// Receives SIGINT and SIGTERM. From [`new`](Self::new) on, these signals no longer end the process by themselves.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Installs handlers for both signals.
    ///
    /// # Errors
    /// If the operating system refuses to install a handler.
    pub fn new() -> Result<Self, Fault> {
        let take = |kind| signal(kind).map_err(|e| Fault::new(Failure::Other, format!("cannot handle signals: {e}")));
        Ok(Self { interrupt: take(SignalKind::interrupt())?, terminate: take(SignalKind::terminate())? })
    }

    /// Waits for the next SIGINT or SIGTERM.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Makes the next signal end the process at once. Called before a clean shutdown, which may take long.
    pub fn exit_on_next(mut self) {
        tokio::spawn(async move {
            self.next().await;
            std::process::exit(exit_code(Failure::Interrupted).into());
        });
    }
}
