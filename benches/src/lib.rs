//! What the benches share: input, clock, statistics.
//!
//! Absolute figures differ between machines and hours. So every bench runs what it compares in turn within one run,
//! and prints the ratio.

pub mod input;
pub mod measure;
pub mod release;
pub mod stats;

/// Why a bench failed. Nothing is decided by the kind, so it is only text.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// What a bench's functions return.
pub type Result<T> = std::result::Result<T, Error>;

/// An error and all its causes, outermost first.
pub fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
