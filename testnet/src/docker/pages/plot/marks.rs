//! Upright lines through a chart, with words above it: each word in a lane where nothing is in its way.

use std::ops::Range;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::frame::{LEFT, MARGIN, RIGHT};
use crate::docker::pages::units::{clipped, seconds};
use crate::docker::record::Run;
use crate::draw::{Area, Chart, Drawn, INK, Kind, LETTER, text};

/// The colour of events.
const EVENT: RGBColor = RGBColor(0x7a, 0x3e, 0x9d);
/// The most lanes: words that find no room are only in the summary.
const MAX_LANES: usize = 6;
const LANE: u32 = 18;
/// The most letters of an event: more do not fit beside others.
const MAX_LETTERS: usize = 60;

/// The shortest possible time and what happened to nodes.
pub(super) struct Marks(Vec<Mark>);

struct Mark {
    at: f64,
    text: String,
    is_bound: bool,
}

/// Marks with a place for the words of each that fit.
pub(super) struct Lanes<'a> {
    placed: Vec<(&'a Mark, Option<Place>)>,
    used: u32,
}

/// Where words are: the lane, counted from above, and from where to where, in pixels.
#[derive(Clone)]
struct Place {
    lane: usize,
    words: Range<i32>,
}

impl Marks {
    /// Those of a run.
    pub(super) fn of(run: &Run) -> Self {
        let bound = Mark { at: run.t_min, text: format!("T_min {}", seconds(run.t_min)), is_bound: true };
        let events = run.events.iter().map(|event| Mark {
            at: event.at,
            text: clipped(&event.text, MAX_LETTERS),
            is_bound: false,
        });
        let mut marks: Vec<_> = std::iter::once(bound).chain(events).filter(|mark| mark.at.is_finite()).collect();
        marks.sort_by(|a, b| a.at.total_cmp(&b.at));
        Self(marks)
    }

    /// No marks.
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    /// What the lines mean.
    pub(super) fn legend(&self) -> Vec<(Kind, String)> {
        let mut texts = Vec::new();
        if self.0.iter().any(|mark| mark.is_bound) {
            texts.push((Kind::Dotted(INK), "T_min: no scheme can be quicker".to_owned()));
        }
        if self.0.iter().any(|mark| !mark.is_bound) {
            texts.push((Kind::Line(EVENT, 1), "something happened to a node".to_owned()));
        }
        texts
    }

    /// Places for the words of the marks that are in the chart, which is so many pixels wide with its axis.
    pub(super) fn lanes(&self, width: u32, x: &Range<f64>) -> Lanes<'_> {
        let (from, to) = ((MARGIN + LEFT) as i32, width as i32 - RIGHT as i32);
        let mut lanes: Vec<i32> = Vec::new();
        let shown = self.0.iter().filter(|mark| x.contains(&mark.at));
        let placed = shown.map(|mark| {
            let line = from + ((mark.at - x.start) / (x.end - x.start) * f64::from(to - from)) as i32;
            let length = (mark.text.chars().count() as u32 * LETTER) as i32;
            let words = if line + 6 + length <= to + RIGHT as i32 {
                line + 5..line + 5 + length
            } else {
                line - 5 - length..line - 5
            };
            let lane = match lanes.iter().position(|end| *end < words.start) {
                None if lanes.len() < MAX_LANES => {
                    lanes.push(0);
                    Some(lanes.len() - 1)
                }
                lane => lane,
            };
            let place = lane.map(|lane| {
                lanes[lane] = words.end.max(line) + 8;
                Place { lane, words }
            });
            (mark, place)
        });
        let placed = placed.collect();
        Lanes { placed, used: lanes.len() as u32 }
    }
}

impl Lanes<'_> {
    /// In pixels.
    pub(super) fn height(&self) -> u32 {
        self.used * LANE + 4
    }

    /// Draws lines through the chart, and words above it.
    pub(super) fn draw(&self, above: &Area<'_>, chart: &mut Chart<'_>) -> Drawn {
        let y = chart.y_range();
        for (mark, place) in &self.placed {
            let points = [(mark.at, y.start), (mark.at, y.end)];
            match mark.is_bound {
                true => drop(chart.draw_series(DashedLineSeries::new(points, 2, 4, INK.stroke_width(2)))?),
                false => drop(chart.draw_series(LineSeries::new(points, EVENT.stroke_width(1)))?),
            }
            if let Some(Place { lane, .. }) = place {
                let line = chart.backend_coord(&(mark.at, y.start)).0 - above.get_base_pixel().0;
                let top = (*lane as u32 * LANE) as i32 + 3;
                let style = if mark.is_bound { INK.stroke_width(1) } else { EVENT.stroke_width(1) };
                above.draw(&PathElement::new([(line, top), (line, self.height() as i32)], style))?;
            }
        }
        // Words come last, on white: lines of other marks may pass behind them.
        for (mark, place) in &self.placed {
            let Some(Place { lane, words, .. }) = place else { continue };
            let top = (*lane as u32 * LANE) as i32;
            let (left, right) = (words.start.max(0), words.end);
            above.draw(&Rectangle::new([(left, top + 2), (right, top + LANE as i32)], WHITE.filled()))?;
            let colour = if mark.is_bound { INK } else { EVENT };
            let style = text(14).color(&colour).pos(Pos::new(HPos::Left, VPos::Center));
            above.draw(&Text::new(mark.text.clone(), (left, top + LANE as i32 / 2 + 1), style))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(times: &[f64]) -> Marks {
        Marks(times.iter().map(|at| Mark { at: *at, text: "seed 1: killed".to_owned(), is_bound: false }).collect())
    }

    #[test]
    fn no_words_lie_on_others() {
        let marks = marks(&[0.0, 0.1, 1.0, 1.2, 5.0, 5.0, 9.8, 9.9, 10.0]);
        let lanes = marks.lanes(800, &(0.0..10.5));
        let places: Vec<_> = lanes.placed.iter().filter_map(|(_, place)| place.clone()).collect();
        assert_eq!(places.len(), 9);
        for (number, one) in places.iter().enumerate() {
            assert!(one.words.start > 0 && one.words.end <= 800, "{:?}", one.words);
            for other in &places[number + 1..] {
                let apart = one.words.end <= other.words.start || other.words.end <= one.words.start;
                assert!(one.lane != other.lane || apart, "{:?} and {:?}", one.words, other.words);
            }
        }
    }

    #[test]
    fn there_are_never_more_than_a_few_lanes() {
        let marks = marks(&[5.0; 40]);
        let lanes = marks.lanes(800, &(0.0..10.0));
        assert_eq!(lanes.placed.len(), 40);
        assert_eq!(lanes.placed.iter().filter(|(_, place)| place.is_some()).count(), MAX_LANES);
        assert_eq!(lanes.used as usize, MAX_LANES);
    }
}
