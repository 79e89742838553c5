//! A number with a unit, and the unit that suits a number.

/// A name, and how many of the base unit it stands for.
pub(crate) type Unit = (&'static str, f64);

/// The value of a number followed by one of `units`, with or without a space between. `None` if the number has a sign or
/// an exponent, or if there is no unit.
pub(crate) fn parse(text: &str, units: &[Unit]) -> Option<f64> {
    let (number, factor) = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))?;
    let number = number.trim_end();
    // Rust would take "inf" and "1e3" for numbers.
    let is_plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    number.parse::<f64>().ok().filter(|_| is_plain).map(|number| number * factor)
}

/// The largest of `units` that is not above the value; the last one if all are. `units` are sorted, the largest first.
pub(crate) fn suiting(value: f64, units: &[Unit]) -> Unit {
    let last = units.last().copied().unwrap_or(("", 1.0));
    units.iter().copied().find(|(_, factor)| value >= *factor).unwrap_or(last)
}
