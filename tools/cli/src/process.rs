//! The process around a command: clock, log, signals, standard output.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use phase_core::Failure;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::exit::exit_code;
use crate::fault::Fault;

/// Seconds since 1970 by the system's clock; 0 if it stands before that.
#[expect(clippy::disallowed_methods, reason = "binaries read the clock, here and nowhere else")]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Sends the log to `writer`: warnings, with `verbosity` 1 what happens, with 2 everything of Phase. `RUST_LOG`
/// overrides it.
pub fn init_logging<W>(verbosity: u8, writer: W)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        // A directive covers every target that begins with its text: all of Phase's crates.
        // libp2p's Kademlia warns of having no peers, which is how every network begins.
        EnvFilter::new(match verbosity {
            0 => "warn,libp2p_kad=error",
            1 => "warn,libp2p_kad=error,phase=info",
            _ => "info,phase=debug",
        })
    });
    let ansi = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(ansi).with_target(false).init();
}

/// Says so if the environment asks the TLS library to write down session keys.
pub fn warn_of_key_log() {
    if let Some(path) = std::env::var_os("SSLKEYLOGFILE") {
        tracing::warn!(?path, "SSLKEYLOGFILE is set: the keys of all TLS connections are written there; unset it");
    }
}

/// Writes to standard output. A reader that has closed it wants no more, which is not a failure.
///
/// # Errors
/// Anything else, for instance a full disk.
pub fn print(text: &str) -> Result<(), Fault> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Fault::new(Failure::Other, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// SIGINT and SIGTERM, from when this is made on.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes both signals over from the system.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn new() -> Result<Self, Fault> {
        let take = |kind| signal(kind).map_err(|e| Fault::new(Failure::Other, format!("cannot handle signals: {e}")));
        Ok(Self { interrupt: take(SignalKind::interrupt())?, terminate: take(SignalKind::terminate())? })
    }

    /// Waits for the next of them.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// For the time of a clean shutdown: the next signal ends the process at once.
    pub fn exit_on_next(mut self) {
        tokio::spawn(async move {
            self.next().await;
            std::process::exit(exit_code(Failure::Interrupted).into());
        });
    }
}
