//! What the lines mean. Drawn by hand: where there are no fonts, the width of text can only be guessed.

use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::curve::{Curve, seconds};
use super::{Area, INK, PROMISE, text};

const ROW: u32 = 24;
/// The width of a letter, on the safe side.
pub(super) const LETTER: u32 = 7;
/// The line before an entry, with the room around it.
const SAMPLE: u32 = 68;
const MARGIN: u32 = 20;

pub(super) struct Legend {
    entries: Vec<Entry>,
    rows: u32,
}

struct Entry {
    at: (i32, i32),
    kind: Kind,
    text: String,
}

#[derive(Clone, Copy)]
enum Kind {
    Run(RGBColor),
    Compared(RGBColor),
    Verified,
    Bound,
    Promise,
}

impl Legend {
    pub(super) fn new(curves: &[Curve], has_promises: bool, width: u32) -> Self {
        let mut labels: Vec<(&str, Kind, Vec<f64>)> = Vec::new();
        for curve in curves {
            let kind = if curve.is_compared { Kind::Compared(curve.colour) } else { Kind::Run(curve.colour) };
            match labels.iter_mut().find(|(label, ..)| *label == curve.label) {
                Some((.., bounds)) => bounds.push(curve.t_min),
                None => labels.push((&curve.label, kind, vec![curve.t_min])),
            }
        }
        let is_same = curves.windows(2).all(|pair| pair[0].t_min == pair[1].t_min);
        let described = |label, bounds: &[f64]| described(label, bounds, !is_same);
        let mut texts: Vec<_> =
            labels.into_iter().map(|(label, kind, bounds)| (kind, described(label, &bounds))).collect();
        texts.push((Kind::Verified, "thin: share of the artifact that clients have verified, on average".to_owned()));
        texts.push((Kind::Bound, "T_min".to_owned()));
        if has_promises {
            texts.push((Kind::Promise, "promised: the curve is to pass to the left".to_owned()));
        }
        let (mut x, mut row) = (MARGIN, 0);
        let mut entries = Vec::new();
        for (kind, text) in texts {
            let needed = SAMPLE + text.chars().count() as u32 * LETTER;
            if x > MARGIN && x + needed > width - MARGIN {
                (x, row) = (MARGIN, row + 1);
            }
            entries.push(Entry { at: (x as i32, (row * ROW + ROW / 2) as i32), kind, text });
            x += needed;
        }
        Self { entries, rows: row + 1 }
    }

    pub(super) fn height(&self) -> u32 {
        self.rows * ROW + MARGIN
    }

    pub(super) fn draw(&self, area: &Area<'_>) -> Result<(), Box<dyn std::error::Error>> {
        for Entry { at: (x, y), kind, text: label } in &self.entries {
            let (from, to) = ((*x, *y), (*x + 32, *y));
            let line = |style: ShapeStyle| PathElement::new([from, to], style);
            match kind {
                Kind::Run(colour) => area.draw(&line(colour.stroke_width(3)))?,
                Kind::Compared(colour) => area.draw(&dashed(from, to, 7, 5, colour.stroke_width(2)))?,
                Kind::Verified => area.draw(&line(INK.stroke_width(1)))?,
                Kind::Bound => area.draw(&dashed(from, to, 2, 4, INK.stroke_width(2)))?,
                Kind::Promise => {
                    let middle = *x + 16;
                    area.draw(&PathElement::new([(middle, *y - 8), (middle, *y + 8)], PROMISE.stroke_width(3)))?;
                }
            }
            let style = text(14).color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
            area.draw(&Text::new(label.clone(), (*x + 40, *y), style))?;
        }
        Ok(())
    }
}

fn dashed(
    from: (i32, i32),
    to: (i32, i32),
    size: i32,
    gap: i32,
    style: ShapeStyle,
) -> DashedPathElement<std::vec::IntoIter<(i32, i32)>, i32> {
    DashedPathElement::new(vec![from, to], size, gap, style)
}

/// A label with the number of its runs, and with the least and the most T_min if that is not the same for all.
fn described(label: &str, bounds: &[f64], with_bound: bool) -> String {
    let (least, most) = bounds.iter().fold((f64::INFINITY, 0.0f64), |(least, most), t| (least.min(*t), most.max(*t)));
    let (least, most) = (seconds(least), seconds(most));
    let bound = if least == most { least } else { format!("{least} to {most}") };
    match (bounds.len(), with_bound) {
        (1, false) => label.to_owned(),
        (1, true) => format!("{label} (T_min {bound})"),
        (runs, false) => format!("{label} ({runs} runs)"),
        (runs, true) => format!("{label} ({runs} runs, T_min {bound})"),
    }
}
