//! Shared code of the benches: input files, clock, CPU time, memory and statistics.
//!
//! Absolute figures differ between machines and from hour to hour. Therefore every comparison lets its contenders take
//! turns within one run, and prints the ratio of their figures.

pub mod input;
pub mod measure;
pub mod release;
pub mod stats;

/// The error type of the benches. A bench prints the text of the error and ends.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The return type of functions in the benches.
pub type Result<T> = std::result::Result<T, Error>;

/// Returns the text of an error, followed by the texts of all its causes.
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
