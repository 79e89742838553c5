//! Finds positions for the texts of marks above a chart, so that texts do not overlap.

use crate::chart::Mark;

/// An upper estimate of the width of a letter in a text that is 14 pixels high. It is an estimate, because the renderer
/// has no font to measure.
pub(super) const LETTER: f64 = 7.6;
/// The maximum number of rows of texts. A text that does not fit into these rows is omitted, because the summary lists
/// all events.
const MAX_LANES: usize = 6;

/// The position of a mark's text.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The row of the text, counted from 0 at the top.
    pub(super) lane: usize,
    pub(super) left: f64,
    pub(super) right: f64,
}

/// A mark with the horizontal position of its line, and the position of its text. `words` is `None` if the text is
/// omitted because it does not fit.
pub(super) struct Placed<'a> {
    pub(super) mark: &'a Mark,
    pub(super) line: f64,
    pub(super) words: Option<Place>,
}

/// Finds positions for the texts of marks. Returns the marks from left to right, and the number of rows that are used.
/// `edge` is the right edge: no text may end to the right of it.
pub(super) fn placed(marks: &[Mark], pixel: impl Fn(f64) -> f64, edge: f64) -> (Vec<Placed<'_>>, usize) {
    let mut sorted: Vec<_> = marks.iter().map(|mark| (mark, pixel(mark.at))).collect();
    sorted.sort_by(|a, b| a.1.total_cmp(&b.1));
    // For each row, the horizontal position at which the next text may begin.
    let mut lanes: Vec<f64> = Vec::new();
    let placed = sorted.into_iter().map(|(mark, line)| {
        let length = mark.words.chars().count() as f64 * LETTER;
        let left = if line + 6.0 + length <= edge { line + 5.0 } else { line - 5.0 - length };
        let lane = match lanes.iter().position(|end| *end < left) {
            None if lanes.len() < MAX_LANES => {
                lanes.push(f64::NEG_INFINITY);
                Some(lanes.len() - 1)
            }
            lane => lane,
        };
        let words = lane.map(|lane| {
            lanes[lane] = (left + length).max(line) + 8.0;
            Place { lane, left, right: left + length }
        });
        Placed { mark, line, words }
    });
    (placed.collect(), lanes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::{INK, Stroke};

    fn marks(times: &[f64]) -> Vec<Mark> {
        let mark = |at: &f64| Mark {
            at: *at,
            words: "seed 1: killed".to_owned(),
            stroke: Stroke::solid(INK, 1),
            down_to: None,
        };
        times.iter().map(mark).collect()
    }

    #[test]
    fn texts_do_not_overlap() {
        let marks = marks(&[0.0, 0.1, 1.0, 1.2, 5.0, 5.0, 9.8, 9.9, 10.0]);
        let (placed, _) = placed(&marks, |at| 100.0 + at * 60.0, 760.0);
        let places: Vec<_> = placed.iter().filter_map(|placed| placed.words.clone()).collect();
        assert_eq!(places.len(), 9);
        for (number, one) in places.iter().enumerate() {
            assert!(one.left > 0.0 && one.right <= 760.0, "{one:?}");
            for other in &places[number + 1..] {
                let apart = one.right <= other.left || other.right <= one.left;
                assert!(one.lane != other.lane || apart, "{one:?} and {other:?}");
            }
        }
    }

    #[test]
    fn texts_that_do_not_fit_are_left_out() {
        let marks = marks(&[5.0; 40]);
        let (placed, lanes) = placed(&marks, |at| at * 80.0, 800.0);
        assert_eq!((placed.len(), lanes), (40, MAX_LANES));
        assert_eq!(placed.iter().filter(|placed| placed.words.is_some()).count(), MAX_LANES);
    }
}
