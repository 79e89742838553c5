//! Sizes, rates and times: how people write them, and how they are printed.
//!
//! | kind | written by a person | printed exactly | printed for a glance |
//! |---|---|---|---|
//! | bytes | [`Size`], [`parse_size`] | [`Size`] | [`Bytes`], [`bytes`] |
//! | bytes per second | [`Rate`], [`parse_rate`] | [`Rate`] | [`ByteRate`], [`rate`] |
//! | time | [`Time`], [`parse_duration`] | | [`seconds`], [`date`] |
//!
//! The functions that print take a measured `f64`. A value that is missing or not finite is printed as [`MISSING`].

mod figure;
mod rate;
mod size;
mod time;
mod unit;

pub use figure::{MISSING, nominal, percent, ratio, significant, times};
pub use rate::{ByteRate, Rate, parse_rate, rate, rate_unit};
pub use size::{Bytes, Size, byte_unit, bytes, parse_size};
pub use time::{Time, date, parse_duration, seconds, seconds_and_times};
