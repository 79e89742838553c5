//! Figures as people read them. What is missing, or no number, is a dash.

/// Stands for what is missing.
pub(super) const MISSING: &str = "—";

/// Three digits that count: `0.12`, `1.23`, `12.3`, `123`.
pub(super) fn significant(value: f64) -> String {
    match value.abs() {
        size if !size.is_finite() => MISSING.to_owned(),
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A time.
pub(super) fn seconds(time: f64) -> String {
    match time {
        _ if !time.is_finite() => MISSING.to_owned(),
        _ if time == 0.0 => "0 s".to_owned(),
        _ if time.abs() < 1.0 => format!("{} ms", significant(time * 1e3)),
        _ if time.abs() < 99.995 => format!("{time:.2} s"),
        _ => format!("{time:.1} s"),
    }
}

/// A time that may be missing, with how many times the shortest possible it is: `13.42 s (1.04 ×)`.
pub(super) fn seconds_and_times(time: Option<f64>, t_min: f64) -> String {
    let Some(time) = time else { return MISSING.to_owned() };
    match ratio(time, t_min) {
        Some(ratio) => format!("{} ({})", seconds(time), times(Some(ratio))),
        None => seconds(time),
    }
}

/// The same without zeros at the end, for what was set rather than measured: `20 ms` instead of `20.0 ms`.
pub(super) fn nominal(figure: String) -> String {
    match figure.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => figure,
    }
}

/// How many times something is something else.
pub(super) fn times(value: Option<f64>) -> String {
    value.filter(|value| value.is_finite()).map_or(MISSING.to_owned(), |value| format!("{} ×", significant(value)))
}

/// A part of a whole that is there.
pub(super) fn ratio(part: f64, whole: f64) -> Option<f64> {
    Some(part / whole).filter(|ratio| whole > 0.0 && ratio.is_finite())
}

/// A part as percent.
pub(super) fn percent(part: f64) -> String {
    if part.is_finite() { format!("{:.2} %", part * 100.0) } else { MISSING.to_owned() }
}

/// Bytes.
pub(super) fn bytes(count: f64) -> String {
    let (unit, name) = byte_unit(count);
    match name {
        "B" if count.is_finite() => format!("{count:.0} B"),
        _ if !count.is_finite() => MISSING.to_owned(),
        _ => format!("{} {name}", significant(count / unit)),
    }
}

/// Bytes per second, as bits.
pub(super) fn rate(rate: f64) -> String {
    let (unit, name) = rate_unit(rate);
    if rate.is_finite() { format!("{} {name}", significant(rate / unit)) } else { MISSING.to_owned() }
}

/// The unit that suits so many bytes, and its name.
pub(super) fn byte_unit(most: f64) -> (f64, &'static str) {
    let units = [(1073741824.0, "GiB"), (1048576.0, "MiB"), (1024.0, "KiB")];
    units.into_iter().find(|(unit, _)| most >= *unit).unwrap_or((1.0, "B"))
}

/// The unit that suits so many bytes per second, in bytes per second, and its name.
pub(super) fn rate_unit(most: f64) -> (f64, &'static str) {
    let units = [(1e9 / 8.0, "Gbit/s"), (1e6 / 8.0, "Mbit/s"), (1e3 / 8.0, "kbit/s")];
    units.into_iter().find(|(unit, _)| most >= *unit).unwrap_or((1.0 / 8.0, "bit/s"))
}

/// The first letters of a text, on one line and without control characters, which pictures must not have.
pub(super) fn clipped(text: &str, letters: usize) -> String {
    let plain = |letter: char| match letter {
        _ if letter.is_control() => ' ',
        '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
        _ => letter,
    };
    let mut short: String = text.chars().take(letters).map(plain).collect();
    if text.chars().nth(letters).is_some() {
        short.pop();
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_units() {
        assert_eq!(["13.42 s (1.04 ×)"].as_slice(), [seconds_and_times(Some(13.42), 12.9)]);
        for (time, text) in
            [(0.0, "0 s"), (0.0123, "12.3 ms"), (13.424, "13.42 s"), (430.44, "430.4 s"), (f64::NAN, MISSING)]
        {
            assert_eq!(seconds(time), text);
        }
        for (count, text) in [(0.0, "0 B"), (1023.0, "1023 B"), (1536.0, "1.50 KiB"), (167772160.0, "160 MiB")] {
            assert_eq!(bytes(count), text);
        }
        for (speed, text) in [(12.5e6, "100 Mbit/s"), (412.5e6, "3.30 Gbit/s"), (0.0, "0.00 bit/s")] {
            assert_eq!(rate(speed), text);
        }
        assert_eq!(percent(0.0123), "1.23 %");
        for (figure, text) in [("20.0 ms", "20 ms"), ("12.5 s", "12.5 s"), ("0.00 B", "0 B"), ("100 s", "100 s")] {
            assert_eq!(nominal(figure.to_owned()), text);
        }
    }

    #[test]
    fn what_is_no_number_is_a_dash() {
        for text in [
            seconds(f64::INFINITY),
            seconds_and_times(None, 1.0),
            times(Some(f64::NAN)),
            times(ratio(1.0, 0.0)),
            bytes(f64::NAN),
            bytes(f64::INFINITY),
            rate(f64::INFINITY),
            percent(f64::NAN),
        ] {
            assert_eq!(text, MISSING);
        }
        // The time is known even if there is nothing to hold it against.
        assert_eq!(seconds_and_times(Some(2.0), 0.0), "2.00 s");
    }

    #[test]
    fn texts_are_clipped_and_of_one_line() {
        assert_eq!(clipped("a\nb\u{1b}c", 9), "a b c");
        assert_eq!(clipped("abcdef", 4), "abc…");
        assert_eq!(clipped("äöü", 3), "äöü");
    }
}
