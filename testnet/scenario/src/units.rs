//! The types of values in scenario files, such as parts of a whole and lists.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::{self, Deserializer, IntoDeserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

pub(crate) use phase_units::Time;
pub use phase_units::{Rate, Size};

/// A part of a whole, as a number from 0 to 1. For instance, 0.25 is a quarter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64")]
pub struct Share(pub f64);

/// The ratio of two figures, which is finite and greater than 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64")]
pub struct Multiple(pub f64);

/// One value or a list of values.
#[derive(Clone, Debug)]
pub(crate) struct OneOrMany<T>(pub(crate) Vec<T>);

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

/// Deserialises a [`Time`] as a [`Duration`].
pub(crate) fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    Time::deserialize(deserializer).map(|time| time.0)
}

/// Parses the serde name of an enum variant, such as `rarest`.
pub(crate) fn word<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, String> {
    T::deserialize(text.into_deserializer()).map_err(|error: de::value::Error| error.to_string())
}

/// Implemented by hand, because the error of a derived implementation does not say what is wrong with the value.
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
    fn shares_and_multiples_out_of_range_are_refused() {
        assert!([0.0, 0.5, 1.0].into_iter().all(|part| Share::try_from(part).is_ok()));
        assert!([-0.1, 1.1, f64::NAN].into_iter().all(|part| Share::try_from(part).is_err()));
        assert!([0.01, 40.0].into_iter().all(|times| Multiple::try_from(times).is_ok()));
        assert!([0.0, -1.0, f64::NAN, f64::INFINITY].into_iter().all(|times| Multiple::try_from(times).is_err()));
    }
}
