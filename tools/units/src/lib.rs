//! Sizes, rates and times: parsing them from a file or a command line, and printing them.
//!
//! | kind | parsed by | printed exactly | printed rounded |
//! |---|---|---|---|
//! | bytes | [`Size`], [`parse_size`] | [`Size`] | [`Bytes`], [`bytes`] |
//! | bytes per second | [`Rate`], [`parse_rate`] | [`Rate`] | [`ByteRate`], [`rate`] |
//! | time | [`Time`], [`parse_duration`] | [`duration`] | [`seconds`], [`date`] |
//!
//! The functions that round take a measured `f64`. A value that is missing or not finite is printed as [`MISSING`].
//! [`counted`] prints a count with its noun.

mod figure;
mod rate;
mod size;
mod time;
mod unit;

pub use figure::{MISSING, counted, nominal, percent, ratio, significant, times};
pub use rate::{ByteRate, Rate, parse_rate, rate, rate_unit};
pub use size::{Bytes, Size, byte_unit, bytes, parse_size};
pub use time::{Time, date, duration, parse_duration, seconds, seconds_and_times};
