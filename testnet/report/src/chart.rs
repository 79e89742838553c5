//! What a picture shows: charts, and what their lines mean. How it is drawn is not decided here.

use std::fmt;
use std::ops::Range;

use crate::points::Point;

/// A colour as 0xRRGGBB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Colour(pub(crate) u32);

/// The colour of words and axes.
pub(crate) const INK: Colour = Colour(0x222222);
/// The colour of a grid.
pub(crate) const PALE: Colour = Colour(0xdddddd);
/// The colour of what was promised, and of a promise that did not hold.
pub(crate) const PROMISE: Colour = Colour(0xb00020);
/// Colours that colour-blind people can tell apart (Okabe and Ito 2008).
pub(crate) const COLOURS: [Colour; 7] = [
    Colour(0x0072b2),
    Colour(0xd55e00),
    Colour(0x009e73),
    Colour(0xcc79a7),
    Colour(0xe69f00),
    Colour(0x56b4e9),
    Colour(0x666666),
];

/// A whole picture.
pub(crate) struct Sheet {
    /// The first line is the largest.
    pub(crate) title: Vec<(String, Colour)>,
    pub(crate) rows: Vec<Row>,
    pub(crate) legend: Legend,
}

/// What stands before each of the legend's texts.
pub(crate) type Legend = Vec<(Key, String)>;

/// Charts side by side.
pub(crate) struct Row {
    /// In pixels.
    pub(crate) height: f64,
    /// Each with its part of the width.
    pub(crate) charts: Vec<(f64, Chart)>,
}

/// A chart.
pub(crate) struct Chart {
    pub(crate) caption: String,
    pub(crate) x: Axis,
    pub(crate) y: Rows,
    /// Drawn in this order.
    pub(crate) items: Vec<Item>,
    pub(crate) marks: Vec<Mark>,
}

/// An axis with its name, which says the unit too.
pub(crate) struct Axis {
    pub(crate) name: String,
    pub(crate) range: Range<f64>,
}

/// The upright axis.
pub(crate) enum Rows {
    /// Numbers, from below.
    Values(Axis),
    /// Lanes, from above, each with its name to the left and a note to the right of its spans.
    Lanes(Vec<(String, String)>),
}

/// What is in a chart.
pub(crate) enum Item {
    Line(Vec<Point>, Stroke),
    Circle(Point, Colour),
    /// A part of a lane.
    Span(usize, Range<f64>, Colour),
    /// An upright line through all lanes.
    Limit(f64),
    /// Words in the middle of the chart.
    Words(String),
}

/// An upright line through a chart, with words above it.
#[derive(Clone)]
pub(crate) struct Mark {
    pub(crate) at: f64,
    pub(crate) words: String,
    pub(crate) stroke: Stroke,
    /// Where the line ends in a tick; `None`: it goes through the whole chart.
    pub(crate) down_to: Option<f64>,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stroke {
    pub(crate) colour: Colour,
    pub(crate) width: u32,
    /// The lengths of dashes and gaps, as in SVG; empty: neither.
    pub(crate) dashes: &'static str,
}

/// What stands before an entry of the legend.
#[derive(Clone, Copy)]
pub(crate) enum Key {
    Line(Stroke),
    Tick(Colour),
    Circle(Colour),
    Box(Colour),
}

impl Stroke {
    pub(crate) const fn solid(colour: Colour, width: u32) -> Self {
        Self { colour, width, dashes: "" }
    }

    pub(crate) const fn dashed(colour: Colour, width: u32) -> Self {
        Self { colour, width, dashes: "8 5" }
    }

    pub(crate) const fn dotted(colour: Colour) -> Self {
        Self { colour, width: 2, dashes: "2 4" }
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:06x}", self.0)
    }
}

/// From zero to a little above `end`, which stays in sight; to 1 if there is nothing to show.
pub(crate) fn from_zero(end: f64) -> Range<f64> {
    // A value below this is a rounding error, and a value above it overflows when it is made a little more.
    if (1e-9..1e300).contains(&end) { 0.0..end * 1.04 } else { 0.0..1.0 }
}
