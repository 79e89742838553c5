//! Measured numbers without a unit of their own.

/// Stands for a value that is missing or not finite.
pub const MISSING: &str = "—";

/// Three significant digits: `0.12`, `1.23`, `12.3`, `123`.
pub fn significant(value: f64) -> String {
    match value.abs() {
        size if !size.is_finite() => MISSING.to_owned(),
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A printed figure without zeros at its end, for a value that was set, not measured: `20 ms` instead of `20.0 ms`.
pub fn nominal(figure: String) -> String {
    match figure.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => figure,
    }
}

/// The quotient of two values: `1.04 ×`.
pub fn times(value: Option<f64>) -> String {
    value.filter(|value| value.is_finite()).map_or(MISSING.to_owned(), |value| format!("{} ×", significant(value)))
}

/// A part divided by its whole. `None` if the whole is not above zero.
pub fn ratio(part: f64, whole: f64) -> Option<f64> {
    Some(part / whole).filter(|ratio| whole > 0.0 && ratio.is_finite())
}

/// A part of a whole, 0 to 1, as percent: `1.23 %`.
pub fn percent(part: f64) -> String {
    if part.is_finite() { format!("{:.2} %", part * 100.0) } else { MISSING.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_a_missing_one_is_a_dash() {
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
