//! Parses a number with a unit, and chooses the unit in which a number is printed.

/// The name of a unit, and its size in the base unit, for instance in bytes.
pub(crate) type Unit = (&'static str, f64);

/// Parses a number followed by one of `units`, with or without a space between, and returns its value in the base unit.
/// Returns `None` if the number has a sign or an exponent, or if there is no unit.
pub(crate) fn parse(text: &str, units: &[Unit]) -> Option<f64> {
    let (number, factor) = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))?;
    let number = number.trim_end();
    // Rust's parser also accepts "inf" and "1e3", which are refused here.
    let is_plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    number.parse::<f64>().ok().filter(|_| is_plain).map(|number| number * factor)
}

/// Returns the largest unit that is at most `value`, or the smallest unit if `value` is below all of them. `units` must
/// be sorted from the largest to the smallest.
pub(crate) fn suiting(value: f64, units: &[Unit]) -> Unit {
    let last = units.last().copied().unwrap_or(("", 1.0));
    units.iter().copied().find(|(_, factor)| value >= *factor).unwrap_or(last)
}
