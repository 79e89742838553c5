//! Sizes, rates, times and shares as people write them in scenario files.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserializer, IntoDeserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

const SIZES: [(&str, f64); 5] = [("KiB", 1024.0), ("MiB", 1048576.0), ("GiB", 1073741824.0), ("MB", 1e6), ("B", 1.0)];
/// In bytes per second.
const RATES: [(&str, f64); 6] =
    [("kbit/s", 1e3 / 8.0), ("Mbit/s", 1e6 / 8.0), ("Gbit/s", 1e9 / 8.0), ("kB/s", 1e3), ("MB/s", 1e6), ("GB/s", 1e9)];
/// The most bytes of a size: far beyond what is simulated, and exact in floating point.
const MAX_SIZE: f64 = (1u64 << 50) as f64;
/// The most bytes per second of a rate: far beyond what is simulated.
const MAX_RATE: f64 = 1e15;

/// A number of bytes: `64MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(pub u64);

/// Bytes per second, written as `100Mbit/s` or `12.5MB/s`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Rate(pub f64);

/// A time: `10ms`, `1m 30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Time(pub(crate) Duration);

/// A part of something, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64")]
pub(crate) struct Share(pub(crate) f64);

/// A value, or a list of them.
#[derive(Clone, Debug)]
pub(crate) struct OneOrMany<T>(pub(crate) Vec<T>);

/// How many times something is as large as something else: a number above 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64")]
pub(crate) struct Multiple(pub(crate) f64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a size: expected for instance \"64MiB\", \"1.5GiB\" or \"1000B\"");
        let bytes = with_unit(text, &SIZES).filter(|bytes| *bytes <= MAX_SIZE).ok_or_else(wrong)?;
        Ok(Self(bytes.round() as u64))
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is not a rate: expected for instance \"100Mbit/s\", \"1Gbit/s\" or \"12.5MB/s\"");
        with_unit(text, &RATES).filter(|rate| *rate <= MAX_RATE).map(Self).ok_or_else(wrong)
    }
}

/// A number that is not negative with one of some units, which may be apart from it.
fn with_unit(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let (number, factor) = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))?;
    let number = number.trim_end();
    // Without signs and exponents, and without what else Rust takes for numbers, as "inf".
    let is_plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    number.parse::<f64>().ok().filter(|_| is_plain).map(|number| number * factor)
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
        match units.iter().find(|(_, shift)| self.0 != 0 && self.0.trailing_zeros() >= *shift) {
            Some((unit, shift)) => write!(f, "{} {unit}", self.0 >> shift),
            None => write!(f, "{} B", self.0),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.0 * 8.0;
        let (factor, unit) = [(1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s"), (1.0, "bit/s")]
            .into_iter()
            .find(|(factor, _)| bits >= *factor)
            .unwrap_or((1.0, "bit/s"));
        write!(f, "{} {unit}", bits / factor)
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl TryFrom<String> for Rate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl TryFrom<String> for Time {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let time = humantime::parse_duration(&text).map(Self);
        time.map_err(|error| format!("{text:?} is not a time ({error}): expected for instance \"10ms\" or \"1m 30s\""))
    }
}

impl TryFrom<f64> for Share {
    type Error = String;

    fn try_from(part: f64) -> Result<Self, String> {
        let is_share = (0.0..=1.0).contains(&part);
        is_share.then_some(Self(part)).ok_or_else(|| format!("{part} is not a share: expected a number from 0 to 1"))
    }
}

impl TryFrom<f64> for Multiple {
    type Error = String;

    fn try_from(times: f64) -> Result<Self, String> {
        let is_multiple = times.is_finite() && times > 0.0;
        is_multiple
            .then_some(Self(times))
            .ok_or_else(|| format!("{times} is not a multiple: expected a number above 0"))
    }
}

/// By hand: what serde makes for an untagged enum loses what is wrong with the value.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Values<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Values<T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value or a list of values")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
                Ok(vec![T::deserialize(text.into_deserializer())?])
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Vec<T>, E> {
                Ok(vec![T::deserialize(number.into_deserializer())?])
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(values)
            }
        }

        deserializer.deserialize_any(Values(PhantomData)).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        let cases = [("64MiB", 64 << 20), ("1.5 GiB", 3 << 29), ("1000B", 1000), ("1MB", 1_000_000), ("0B", 0)];
        for (text, bytes) in cases {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "64", "MiB", "64Mib", "-1MiB", "1e3MiB", "infMiB", "99999999GiB", "1 2MiB", "1..2B"] {
            assert!(text.parse::<Size>().is_err(), "{text:?} parsed");
        }
        assert_eq!(Size(64 << 20).to_string(), "64 MiB");
        assert_eq!(Size(1000).to_string(), "1000 B");
    }

    #[test]
    fn rates_have_units() {
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
    fn shares_and_multiples_have_a_range() {
        assert!([0.0, 0.5, 1.0].into_iter().all(|part| Share::try_from(part).is_ok()));
        assert!([-0.1, 1.1, f64::NAN].into_iter().all(|part| Share::try_from(part).is_err()));
        assert!([0.01, 40.0].into_iter().all(|times| Multiple::try_from(times).is_ok()));
        assert!([0.0, -1.0, f64::NAN, f64::INFINITY].into_iter().all(|times| Multiple::try_from(times).is_err()));
    }
}
