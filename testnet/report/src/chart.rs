//! The content of a picture: charts and a legend. The module `svg` draws the picture.

use std::fmt;
use std::ops::Range;

use crate::points::Point;

/// A colour in the form 0xRRGGBB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Colour(pub(crate) u32);

/// The colour of texts and axes.
pub(crate) const INK: Colour = Colour(0x222222);
/// The colour of grid lines.
pub(crate) const PALE: Colour = Colour(0xdddddd);
/// The colour of promises, broken promises and hostile nodes.
pub(crate) const PROMISE: Colour = Colour(0xb00020);
/// Colours that colour-blind people can distinguish (Okabe and Ito 2008).
pub(crate) const COLOURS: [Colour; 7] = [
    Colour(0x0072b2),
    Colour(0xd55e00),
    Colour(0x009e73),
    Colour(0xcc79a7),
    Colour(0xe69f00),
    Colour(0x56b4e9),
    Colour(0x666666),
];

/// A whole picture: a title, rows of charts and a legend.
pub(crate) struct Sheet {
    /// The lines of the title with their colours. The first line is the largest.
    pub(crate) title: Vec<(String, Colour)>,
    pub(crate) rows: Vec<Row>,
    pub(crate) legend: Legend,
}

/// The entries of a legend. Each entry has a symbol and its meaning.
pub(crate) type Legend = Vec<(Key, String)>;

/// A row of a picture, with one or more charts side by side.
pub(crate) struct Row {
    /// The height in pixels.
    pub(crate) height: f64,
    /// The charts from left to right. The number is the part of the picture's width that the chart takes, 0 to 1.
    pub(crate) charts: Vec<(f64, Chart)>,
}

/// A chart with its axes, items and marks.
pub(crate) struct Chart {
    pub(crate) caption: String,
    pub(crate) x: Axis,
    pub(crate) y: Rows,
    /// The items, in drawing order.
    pub(crate) items: Vec<Item>,
    pub(crate) marks: Vec<Mark>,
}

/// An axis. The name of the axis includes the unit.
pub(crate) struct Axis {
    pub(crate) name: String,
    pub(crate) range: Range<f64>,
}

/// The vertical axis of a chart.
pub(crate) enum Rows {
    /// The vertical axis has numbers, from bottom to top.
    Values(Axis),
    /// The vertical axis has lanes, which are rows of horizontal bars, from top to bottom. Each lane has a name, drawn
    /// to its left, and a note, drawn to the right of its bars.
    Lanes(Vec<(String, String)>),
}

/// A shape or a text that is drawn in a chart.
pub(crate) enum Item {
    Line(Vec<Point>, Stroke),
    Circle(Point, Colour),
    /// A horizontal bar in the lane with this number.
    Span(usize, Range<f64>, Colour),
    /// A vertical line through all lanes.
    Limit(f64),
    /// A text in the middle of the chart.
    Words(String),
}

/// A mark: a vertical line through a chart, with a text above it.
#[derive(Clone)]
pub(crate) struct Mark {
    pub(crate) at: f64,
    pub(crate) words: String,
    pub(crate) stroke: Stroke,
    /// The value on the vertical axis at which the line ends with a tick. The line begins at the top of the chart.
    /// `None` if the line crosses the whole chart.
    pub(crate) down_to: Option<f64>,
}

/// The colour, width and dashes of a line in a chart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stroke {
    pub(crate) colour: Colour,
    pub(crate) width: u32,
    /// The lengths of dashes and gaps, as in SVG's `stroke-dasharray`. Empty for a solid line.
    pub(crate) dashes: &'static str,
}

/// The symbol of an entry in a legend.
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

/// Returns the range of an axis from zero to slightly above `end`. The range ends at 1 if `end` is tiny, negative, huge
/// or not a number.
pub(crate) fn from_zero(end: f64) -> Range<f64> {
    // A value below this range is a rounding error. A value above it might overflow when the margin is added.
    if (1e-9..1e300).contains(&end) { 0.0..end * 1.04 } else { 0.0..1.0 }
}
