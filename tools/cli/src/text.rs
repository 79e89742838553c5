//! Figures, durations and foreign text as people read them.

use std::fmt::{self, Write as _};
use std::time::Duration;

/// A number of bytes: `512 B`, `1.5 KiB`, `2.0 GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("TiB", 1u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        let text = match units.into_iter().find(|(_, size)| self.0 >= *size) {
            Some((unit, size)) => format!("{:.1} {unit}", self.0 as f64 / size as f64),
            None => format!("{} B", self.0),
        };
        f.pad(&text)
    }
}

/// Bytes per second, always in MiB so that rates can be compared at a glance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate(pub f64);

impl Rate {
    /// The mean rate of so many bytes in that time; 0 if there was no time.
    pub fn of(bytes: u64, time: Duration) -> Self {
        let seconds = time.as_secs_f64();
        Self(if seconds > 0.0 { bytes as f64 / seconds } else { 0.0 })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:.1} MiB/s", self.0 / f64::from(1 << 20)))
    }
}

/// A duration such as `90d` or `12h`, for clap.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration.is_zero() => Err("must be longer than nothing".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}; expected for instance 90d, 12h or 30s")),
    }
}

/// A rate such as `50Mbit` or `5MB`, for clap: a whole number of thousands, millions or milliards of bits or bytes per
/// second. Returns bytes per second, at least 1.
///
/// # Errors
/// What is wrong with the text.
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
    let number: u64 = number.parse().map_err(|_| format!("{number:?} is not a whole number, or too large"))?;
    match number.checked_mul(bytes) {
        Some(0) => Err("must be more than nothing".to_owned()),
        Some(rate) => Ok(rate),
        None => Err("is too large".to_owned()),
    }
}

/// Text from elsewhere, safe for a terminal: control characters, and those that reorder or hide text, are escaped.
pub fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_invisible(c) {
            write!(safe, "{}", c.escape_unicode()).expect("writing to a string cannot fail");
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Unicode's directional and zero-width formatting characters.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let cases = [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 30, "1.0 GiB"), (5 << 40, "5.0 TiB")];
        for (bytes, expected) in cases {
            assert_eq!(Bytes(bytes).to_string(), expected);
        }
        assert_eq!(Rate::of(3 << 20, Duration::from_secs(2)).to_string(), "1.5 MiB/s");
        assert_eq!(Rate::of(3, Duration::ZERO).to_string(), "0.0 MiB/s");
        assert_eq!(format!("{:>8}|{:<8}|", Bytes(1), Bytes(1)), "     1 B|1 B     |");
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("90d"), Ok(Duration::from_secs(90 * 86400)));
        assert_eq!(parse_duration("12h"), Ok(Duration::from_secs(12 * 3600)));
        assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_secs(5400)));
        for text in ["", "90", "d", "-1d", "0s", "1 fortnight", "99999999999999999999y"] {
            assert!(parse_duration(text).is_err(), "{text:?} parsed");
        }
    }

    #[test]
    fn rates_have_units_that_tell_bits_from_bytes() {
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
    fn terminals_are_safe_from_foreign_text() {
        assert_eq!(printable("vmlinuz-6.1 ü"), "vmlinuz-6.1 ü");
        assert_eq!(printable("a\x1b[31mb\r\n\u{9b}"), "a\\u{1b}[31mb\\u{d}\\u{a}\\u{9b}");
        assert_eq!(printable("a\u{202e}b\u{200b}"), "a\\u{202e}b\\u{200b}");
    }
}
