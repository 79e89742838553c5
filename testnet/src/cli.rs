//! The commands.

#[cfg(feature = "dht")]
pub(crate) mod dht;
pub(crate) mod sim;
#[cfg(feature = "soak")]
pub(crate) mod soak;

/// Shows what is going on to whoever looks on, in one line.
fn show(progress: &str) {
    use std::io::IsTerminal as _;
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{progress}");
    }
}
