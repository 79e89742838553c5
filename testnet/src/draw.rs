//! What all pictures have in common: letters, colours, and what says which line is which.

mod legend;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

pub(crate) use legend::{Kind, Legend};

/// A part of a picture.
pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// Axes with numbers.
pub(crate) type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
/// What drawing gives.
pub(crate) type Drawn<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// The colour of words and axes.
pub(crate) const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
/// The colour of what stands behind.
pub(crate) const PALE: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);
/// The colour of what was promised, and of what did not hold.
pub(crate) const PROMISE: RGBColor = RGBColor(0xb0, 0x00, 0x20);
/// Colours that people who do not see all colours can tell apart (Okabe and Ito 2008).
pub(crate) const COLOURS: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x66, 0x66, 0x66),
];
/// The width of a letter of 14 pixels, on the safe side: where there are no fonts, it can only be guessed.
pub(crate) const LETTER: u32 = 7;

/// Letters so many pixels high.
pub(crate) fn text(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().into()
}
