//! Parses and formats rates, in bytes per second.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use crate::figure::{MISSING, significant};
use crate::unit::{self, Unit};

/// The units in which rates are printed, in bits per second. The largest is first.
const BITS: [Unit; 4] = [("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3), ("bit/s", 1.0)];
/// The units of the rates in scenario files, in bytes per second.
const WRITTEN: [Unit; 6] =
    [("kbit/s", 1e3 / 8.0), ("Mbit/s", 1e6 / 8.0), ("Gbit/s", 1e9 / 8.0), ("kB/s", 1e3), ("MB/s", 1e6), ("GB/s", 1e9)];
/// The largest [`Rate`] in bytes per second. No network link is that fast.
const MAX_RATE: f64 = 1e15;

/// Bytes per second, at most 10^15. Parsed from `100Mbit/s` or `12.5MB/s`, and printed without rounding, as
/// `100 Mbit/s`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Rate(pub f64);

/// Bytes per second, always printed in MiB/s so that the rates in a table are easy to compare.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ByteRate(pub f64);

/// Formats bytes per second as bits per second, with three significant digits: `3.30 Gbit/s`.
pub fn rate(rate: f64) -> String {
    let (name, unit) = rate_unit(rate);
    if rate.is_finite() { format!("{} {name}", significant(rate / unit)) } else { MISSING.to_owned() }
}

/// Returns the unit that suits rates of up to `most` bytes per second: its name, and its size in bytes per second.
pub fn rate_unit(most: f64) -> (&'static str, f64) {
    let (name, bits) = unit::suiting(most * 8.0, &BITS);
    (name, bits / 8.0)
}

/// Parses a rate on a command line, such as `50Mbit` or `5MB`: a whole number of thousands (k), millions (M) or 10^9
/// (G) of bits or bytes per second. Returns bytes per second, at least 1.
///
/// # Errors
/// A message that says what is wrong with the text.
pub fn parse_rate(text: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let bytes = match unit {
        "kbit" => 1_000 / 8,
        "Mbit" => 1_000_000 / 8,
        "Gbit" => 1_000_000_000 / 8,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err("expected a whole number of kbit, Mbit, Gbit, kB, MB or GB, for instance 50Mbit".to_owned()),
    };
    if number.is_empty() {
        return Err("the number is missing, for instance 5MB".to_owned());
    }
    let number: u64 = number.parse().map_err(|_| format!("{number:?} is not a whole number, or too large"))?;
    match number.checked_mul(bytes) {
        Some(0) => Err("must be more than zero".to_owned()),
        Some(rate) => Ok(rate),
        None => Err("is too large for a rate".to_owned()),
    }
}

impl ByteRate {
    /// Returns the mean rate of a transfer of `bytes` in `time`, or 0 if `time` is zero.
    pub fn of(bytes: u64, time: Duration) -> Self {
        let seconds = time.as_secs_f64();
        Self(if seconds > 0.0 { bytes as f64 / seconds } else { 0.0 })
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is not a rate: expected for instance \"100Mbit/s\", \"1Gbit/s\" or \"12.5MB/s\"");
        unit::parse(text, &WRITTEN).filter(|rate| *rate <= MAX_RATE).map(Self).ok_or_else(wrong)
    }
}

impl TryFrom<String> for Rate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.0 * 8.0;
        let (name, unit) = unit::suiting(bits, &BITS);
        write!(f, "{} {name}", bits / unit)
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:.1} MiB/s", self.0 / f64::from(1 << 20)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_parsed_with_units_and_printed_exactly() {
        let cases = [("100Mbit/s", 12.5e6), ("1 Gbit/s", 125e6), ("12.5MB/s", 12.5e6), ("8kbit/s", 1e3)];
        for (text, rate) in cases {
            assert_eq!(text.parse(), Ok(Rate(rate)), "{text}");
        }
        for text in ["", "100", "100Mbps", "Mbit/s", "-1Mbit/s", "NaNMbit/s", "1e99GB/s"] {
            assert!(text.parse::<Rate>().is_err(), "{text:?} parsed");
        }
        assert_eq!(Rate(12.5e6).to_string(), "100 Mbit/s");
        assert_eq!(Rate(0.0).to_string(), "0 bit/s");
    }

    #[test]
    fn rates_on_a_command_line_distinguish_bits_from_bytes() {
        let rates = [("8kbit", 1_000), ("50Mbit", 6_250_000), ("10Gbit", 1_250_000_000)];
        for (text, rate) in rates.into_iter().chain([("7kB", 7_000), ("5MB", 5_000_000), ("1GB", 1_000_000_000)]) {
            assert_eq!(parse_rate(text), Ok(rate), "{text}");
        }
        let refused = ["", "50", "Mbit", "0Mbit", "-1MB", "1.5MB", "5Mb", "5mbit", "5 MB", "5MiB", "5MB/s"];
        for text in refused.into_iter().chain(["99999999999999999999kB", "18446744073709551615GB"]) {
            assert!(parse_rate(text).is_err(), "{text:?} parsed");
        }
    }

    #[test]
    fn measured_rates_are_short() {
        for (speed, text) in [(12.5e6, "100 Mbit/s"), (412.5e6, "3.30 Gbit/s"), (0.0, "0.00 bit/s")] {
            assert_eq!(rate(speed), text);
        }
        assert_eq!(rate(f64::INFINITY), MISSING);
        assert_eq!(ByteRate::of(3 << 20, Duration::from_secs(2)).to_string(), "1.5 MiB/s");
        assert_eq!(ByteRate::of(3, Duration::ZERO).to_string(), "0.0 MiB/s");
    }
}
