//! Parses and formats numbers of bytes.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::figure::{MISSING, significant};
use crate::unit::{self, Unit};

/// The units in which sizes are printed. The largest is first.
const BINARY: [Unit; 5] =
    [("TiB", 1099511627776.0), ("GiB", 1073741824.0), ("MiB", 1048576.0), ("KiB", 1024.0), ("B", 1.0)];
/// The units in which sizes are parsed. "B" is last, because the parser uses the first unit in this list with which the
/// text ends, and every other unit also ends with "B".
const WRITTEN: [Unit; 6] = [BINARY[0], BINARY[1], BINARY[2], BINARY[3], ("MB", 1e6), BINARY[4]];
/// The largest [`Size`] in bytes. No disk is that large, and an `f64` represents every size up to it exactly.
const MAX_SIZE: f64 = (1u64 << 50) as f64;

/// A number of bytes, at most 2^50. Parsed from `64MiB`, and printed without rounding, as `64 MiB` or `1000 B`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(pub u64);

/// A number of bytes, printed rounded to one decimal: `512 B`, `1.5 KiB`, `2.0 GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

/// Formats a number of bytes with three significant digits: `1.50 KiB`.
pub fn bytes(count: f64) -> String {
    let (name, unit) = unit::suiting(count, &BINARY);
    match name {
        _ if !count.is_finite() => MISSING.to_owned(),
        "B" => format!("{count:.0} B"),
        _ => format!("{} {name}", significant(count / unit)),
    }
}

/// Returns the unit that suits sizes of up to `most` bytes: its name, and its size in bytes.
pub fn byte_unit(most: f64) -> (&'static str, f64) {
    unit::suiting(most, &BINARY)
}

/// Parses a size on a command line. A number without a unit is a number of bytes.
///
/// # Errors
/// A message that says what is wrong with the text.
pub fn parse_size(text: &str) -> Result<Size, String> {
    text.parse().map(Size).or_else(|_| text.parse())
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a size: expected for instance \"64MiB\", \"1.5GiB\" or \"1000B\"");
        let bytes = unit::parse(text, &WRITTEN).filter(|bytes| *bytes <= MAX_SIZE).ok_or_else(wrong)?;
        Ok(Self(bytes.round() as u64))
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |unit: &&Unit| self.0 != 0 && self.0.is_multiple_of(unit.1 as u64);
        let (name, unit) = BINARY.iter().find(whole).unwrap_or(&BINARY[4]);
        write!(f, "{} {name}", self.0 / *unit as u64)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, unit) = unit::suiting(self.0 as f64, &BINARY);
        let digits = if name == "B" { 0 } else { 1 };
        f.pad(&format!("{:.digits$} {name}", self.0 as f64 / unit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_parsed_with_units_and_printed_exactly() {
        let cases = [("64MiB", 64 << 20), ("1.5 GiB", 3 << 29), ("1000B", 1000), ("1MB", 1_000_000), ("0B", 0)];
        for (text, bytes) in cases {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "64", "MiB", "64Mib", "-1MiB", "1e3MiB", "infMiB", "99999999GiB", "1 2MiB", "1..2B"] {
            assert!(text.parse::<Size>().is_err(), "{text:?} parsed");
        }
        assert_eq!((parse_size("65537"), parse_size("3 GiB")), (Ok(Size(65537)), Ok(Size(3 << 30))));
        assert!(parse_size("-1").is_err());
        for (bytes, text) in [(64 << 20, "64 MiB"), (1000, "1000 B"), (0, "0 B"), (3 << 30, "3 GiB")] {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }

    #[test]
    fn printed_sizes_are_short() {
        let cases = [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 30, "1.0 GiB"), (5 << 40, "5.0 TiB")];
        for (count, expected) in cases {
            assert_eq!(Bytes(count).to_string(), expected);
        }
        assert_eq!(format!("{:>8}|{:<8}|", Bytes(1), Bytes(1)), "     1 B|1 B     |");
        for (count, text) in [(0.0, "0 B"), (1023.0, "1023 B"), (1536.0, "1.50 KiB"), (167772160.0, "160 MiB")] {
            assert_eq!(bytes(count), text);
        }
        assert_eq!([f64::NAN, f64::INFINITY].map(bytes), [MISSING; 2]);
    }
}
