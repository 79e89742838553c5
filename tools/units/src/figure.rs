//! Formats measured numbers without a unit, and counts with a noun.

use std::fmt::Display;

/// The text that is printed instead of a value that is missing or not finite.
pub const MISSING: &str = "—";

/// Returns a count with its noun: `1 peer`, `2 peers`.
pub fn counted<N: Display + PartialEq + From<u8>>(count: N, singular: &str, plural: &str) -> String {
    let noun = if count == N::from(1) { singular } else { plural };
    format!("{count} {noun}")
}

/// Formats a value with three significant digits, at most two of them after the decimal point: `0.12`, `1.23`, `12.3`,
/// `123`.
pub fn significant(value: f64) -> String {
    match value.abs() {
        size if !size.is_finite() => MISSING.to_owned(),
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Removes trailing zeros after the decimal point of a formatted figure, so that a configured value does not look
/// measured: `20.0 ms` becomes `20 ms`.
pub fn nominal(figure: String) -> String {
    match figure.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => figure,
    }
}

/// Formats a ratio: `1.04 ×`.
pub fn times(value: Option<f64>) -> String {
    value.filter(|value| value.is_finite()).map_or(MISSING.to_owned(), |value| format!("{} ×", significant(value)))
}

/// Divides `part` by `whole`. Returns `None` if `whole` is not positive or the quotient is not finite.
pub fn ratio(part: f64, whole: f64) -> Option<f64> {
    Some(part / whole).filter(|ratio| whole > 0.0 && ratio.is_finite())
}

/// Formats a fraction between 0 and 1 as percent: `1.23 %`.
pub fn percent(part: f64) -> String {
    if part.is_finite() { format!("{:.2} %", part * 100.0) } else { MISSING.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_of_one_has_the_singular_and_every_other_count_the_plural() {
        let peers = [0_usize, 1, 2].map(|count| counted(count, "peer", "peers"));
        assert_eq!(peers, ["0 peers", "1 peer", "2 peers"]);
    }

    #[test]
    fn figures_are_short_and_a_missing_figure_is_a_dash() {
        assert_eq!(percent(0.0123), "1.23 %");
        assert_eq!(times(Some(1.5)), "1.50 ×");
        for (figure, text) in [("20.0 ms", "20 ms"), ("12.5 s", "12.5 s"), ("0.00 B", "0 B"), ("100 s", "100 s")] {
            assert_eq!(nominal(figure.to_owned()), text);
        }
        for text in [times(Some(f64::NAN)), times(ratio(1.0, 0.0)), percent(f64::NAN), significant(f64::INFINITY)] {
            assert_eq!(text, MISSING);
        }
    }
}
