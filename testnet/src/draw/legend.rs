//! What the lines mean. Drawn by hand: where there are no fonts, the width of text can only be guessed.

use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Area, Drawn, INK, LETTER, text};

const ROW: u32 = 24;
/// The line before an entry, with the room around it.
const SAMPLE: u32 = 68;
const MARGIN: u32 = 20;

/// Entries in rows.
pub(crate) struct Legend {
    entries: Vec<Entry>,
    rows: u32,
}

struct Entry {
    at: (i32, i32),
    kind: Kind,
    text: String,
}

/// What stands before the words.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// A line so many pixels wide.
    Line(RGBColor, u32),
    /// The same with dashes.
    Dashed(RGBColor, u32),
    /// A line of points.
    Dotted(RGBColor),
    /// An upright mark.
    Mark(RGBColor),
    /// A circle.
    Circle(RGBColor),
    /// A box.
    Box(RGBColor),
}

impl Legend {
    /// As many entries in a row as the width has room for.
    pub(crate) fn new(texts: Vec<(Kind, String)>, width: u32) -> Self {
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

    /// The height in pixels.
    pub(crate) fn height(&self) -> u32 {
        self.rows * ROW + MARGIN
    }

    /// Draws it from the upper left corner of the area on.
    pub(crate) fn draw(&self, area: &Area<'_>) -> Drawn {
        for Entry { at: (x, y), kind, text: label } in &self.entries {
            let (from, to, middle) = ((*x, *y), (*x + 32, *y), *x + 16);
            match kind {
                Kind::Line(colour, width) => {
                    area.draw(&PathElement::new([from, to], colour.stroke_width(*width)))?;
                }
                Kind::Dashed(colour, width) => area.draw(&dashed(from, to, 7, 5, colour.stroke_width(*width)))?,
                Kind::Dotted(colour) => area.draw(&dashed(from, to, 2, 4, colour.stroke_width(2)))?,
                Kind::Mark(colour) => {
                    area.draw(&PathElement::new([(middle, *y - 8), (middle, *y + 8)], colour.stroke_width(3)))?;
                }
                Kind::Circle(colour) => area.draw(&Circle::new((middle, *y), 5, colour.stroke_width(2)))?,
                Kind::Box(colour) => area.draw(&Rectangle::new([(*x, *y - 7), (*x + 32, *y + 7)], colour.filled()))?,
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
