//! Parses and formats durations and dates.

use std::time::{Duration, UNIX_EPOCH};

use serde::Deserialize;

use crate::figure::{MISSING, ratio, significant, times};

/// The last second of the year 9999, in seconds since 1970. `humantime` cannot format later times.
const LAST_SECOND: u64 = 253_402_300_799;

/// A duration in a scenario file, such as `10ms` or `1m 30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Time(pub Duration);

impl TryFrom<String> for Time {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let time = humantime::parse_duration(&text).map(Self);
        time.map_err(|_| format!("{text:?} is not a time: expected for instance \"10ms\" or \"1m 30s\""))
    }
}

/// Parses a duration on a command line, such as `90d` or `12h`. It must be longer than zero.
///
/// # Errors
/// A message that says what is wrong with the text.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration.is_zero() => Err("must be longer than zero".to_owned()),
        Ok(duration) => Ok(duration),
        Err(_) => Err(format!("{text:?} is not a time: expected for instance 90d, 12h or 30s")),
    }
}

/// Formats a configured duration without rounding, in the form that [`parse_duration`] reads: `30m`, `1h 30m`.
pub fn duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// Formats a measured time, given in seconds: `12.3 ms`, `13.42 s`, `430.4 s`.
pub fn seconds(time: f64) -> String {
    match time {
        _ if !time.is_finite() => MISSING.to_owned(),
        _ if time == 0.0 => "0 s".to_owned(),
        _ if time.abs() < 1.0 => format!("{} ms", significant(time * 1e3)),
        _ if time.abs() < 99.995 => format!("{time:.2} s"),
        _ => format!("{time:.1} s"),
    }
}

/// Formats a measured time, and its ratio to the time `shortest`, both in seconds: `13.42 s (1.04 ×)`.
pub fn seconds_and_times(time: Option<f64>, shortest: f64) -> String {
    let Some(time) = time else { return MISSING.to_owned() };
    match ratio(time, shortest) {
        Some(ratio) => format!("{} ({})", seconds(time), times(Some(ratio))),
        None => seconds(time),
    }
}

/// Formats a time, given in seconds since 1970, as date and time: `2026-11-22T01:53:07Z`.
pub fn date(since_1970: u64) -> String {
    let since = Duration::from_secs(since_1970.min(LAST_SECOND));
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_parsed_and_printed_with_units() {
        assert_eq!(parse_duration("90d"), Ok(Duration::from_secs(90 * 86400)));
        assert_eq!(parse_duration("12h"), Ok(Duration::from_secs(12 * 3600)));
        assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_secs(5400)));
        for text in ["", "90", "d", "-1d", "0s", "1 fortnight", "99999999999999999999y"] {
            assert!(parse_duration(text).is_err(), "{text:?} parsed");
        }
        assert_eq!(duration(Duration::from_secs(5400)), "1h 30m");
        assert_eq!(Time::try_from("0s".to_owned()), Ok(Time(Duration::ZERO)));
        assert!(Time::try_from("10".to_owned()).unwrap_err().contains("\"10\" is not a time"));
    }

    #[test]
    fn measured_times_are_short() {
        let cases = [(0.0, "0 s"), (0.0123, "12.3 ms"), (13.424, "13.42 s"), (430.44, "430.4 s"), (f64::NAN, MISSING)];
        for (time, text) in cases {
            assert_eq!(seconds(time), text);
        }
        assert_eq!(seconds_and_times(Some(13.42), 12.9), "13.42 s (1.04 ×)");
        assert_eq!(seconds_and_times(None, 1.0), MISSING);
        // If there is no ratio to the shortest time, only the time is printed.
        assert_eq!(seconds_and_times(Some(2.0), 0.0), "2.00 s");
    }

    #[test]
    fn a_date_past_the_year_9999_is_clamped() {
        assert_eq!(date(1_795_312_387), "2026-11-22T01:53:07Z");
        assert_eq!(date(u64::MAX), "9999-12-31T23:59:59Z");
    }
}
