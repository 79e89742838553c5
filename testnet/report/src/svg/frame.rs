//! Converts values to pixels, and chooses the numbers at the axes.

use std::ops::Range;

use super::canvas::{Area, Pixel};

/// The area of a chart inside its axes: its position in pixels, and the values at its edges.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) area: Area,
    /// The values at the left and the right edge.
    pub(super) x: Range<f64>,
    /// The values at the lower and the upper edge.
    pub(super) y: Range<f64>,
}

impl Frame {
    /// Converts a value on the x axis to a horizontal position in pixels.
    pub(super) fn x(&self, value: f64) -> f64 {
        self.area.left + (value - self.x.start) / (self.x.end - self.x.start) * self.area.width
    }

    /// Converts a value on the y axis to a vertical position in pixels.
    pub(super) fn y(&self, value: f64) -> f64 {
        self.bottom() - (value - self.y.start) / (self.y.end - self.y.start) * self.area.height
    }

    /// Converts a point to its position in pixels. Returns `None` if a coordinate is not finite.
    pub(super) fn pixel(&self, (x, y): (f64, f64)) -> Option<Pixel> {
        (x.is_finite() && y.is_finite()).then(|| (self.x(x), self.y(y)))
    }

    pub(super) fn right(&self) -> f64 {
        self.area.left + self.area.width
    }

    pub(super) fn bottom(&self) -> f64 {
        self.area.top + self.area.height
    }
}

/// Returns the ticks of an axis: round values, with their texts. There are at most `most + 1` ticks. The texts have
/// enough decimal places to be distinct.
pub(super) fn ticks(range: &Range<f64>, most: u32) -> Vec<(f64, String)> {
    let least = (range.end - range.start) / f64::from(most);
    let power = 10f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|step| step * power).into_iter().find(|step| *step >= least).unwrap_or(least);
    let digits = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
    let first = (range.start / step).ceil();
    let values = (0..=most).map(|number| (first + f64::from(number)) * step);
    values.filter(|value| *value <= range.end).map(|value| (value, format!("{value:.digits$}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_distinct() {
        let numbers = |range, most| ticks(&range, most).into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(" ");
        assert_eq!(numbers(0.0..104.0, 6), "0 20 40 60 80 100");
        assert_eq!(numbers(0.0..13.5, 9), "0 2 4 6 8 10 12");
        assert_eq!(numbers(1.07..1.19, 6), "1.08 1.10 1.12 1.14 1.16 1.18");
        assert_eq!(numbers(0.0..0.05, 5), "0.00 0.01 0.02 0.03 0.04 0.05");
        assert!(ticks(&(0.0..f64::INFINITY), 9).len() < 11 && ticks(&(1.0..1.0), 9).len() < 11);
    }
}
