//! Writes SVG elements. Positions are in pixels from the upper left corner.

use std::fmt::{self, Write as _};

use crate::chart::{Colour, Stroke};
use crate::escape::html;

/// The largest coordinate that is written. It is beyond every picture. Coordinates are limited, because SVG readers
/// store them in single precision.
const FAR: f64 = 1e5;

/// A point of the picture, in pixels.
pub(super) type Pixel = (f64, f64);

/// A rectangle of the picture, in pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// The alignment of a text: its start, its middle or its end is drawn at the given position.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// The SVG elements that were drawn so far.
#[derive(Default)]
pub(super) struct Canvas(String);

/// A number of pixels, written with one decimal place.
struct Px(f64);

impl fmt::Display for Px {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = if self.0.is_nan() { 0.0 } else { self.0.clamp(-FAR, FAR) };
        // Adding zero turns -0 into 0, so that `-0` is never written.
        write!(f, "{}", (value * 10.0).round() / 10.0 + 0.0)
    }
}

impl Canvas {
    pub(super) fn rect(&mut self, Area { left, top, width, height }: Area, fill: Colour) {
        let (x, y, width, height) = (Px(left), Px(top), Px(width), Px(height));
        self.add(format_args!(r#"<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{fill}"/>"#));
    }

    pub(super) fn circle(&mut self, (x, y): Pixel, stroke: Stroke) {
        let (x, y) = (Px(x), Px(y));
        self.add(format_args!(r#"<circle cx="{x}" cy="{y}" r="5" {}/>"#, stroked(stroke)));
    }

    /// Draws a line through all points. Draws nothing if there are fewer than two points.
    pub(super) fn line(&mut self, points: impl IntoIterator<Item = Pixel>, stroke: Stroke) {
        let points: Vec<_> = points.into_iter().map(|(x, y)| format!("{},{}", Px(x), Px(y))).collect();
        if points.len() > 1 {
            self.add(format_args!(r#"<polyline points="{}" {}/>"#, points.join(" "), stroked(stroke)));
        }
    }

    /// Draws a text that is `size` pixels high and vertically centred at its position.
    pub(super) fn text(&mut self, (x, y): Pixel, size: u32, anchor: Anchor, fill: Colour, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let (x, y, text) = (Px(x), Px(y + f64::from(size) * 0.35), html(text));
        self.add(format_args!(
            r#"<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="{fill}">{text}</text>"#
        ));
    }

    /// Calls `draw`, and rotates its elements by 90 degrees anticlockwise around a point.
    pub(super) fn turned(&mut self, (x, y): Pixel, draw: impl FnOnce(&mut Self)) {
        self.add(format_args!(r#"<g transform="rotate(-90 {} {})">"#, Px(x), Px(y)));
        draw(self);
        self.add(format_args!("</g>"));
    }

    /// Calls `draw`, and hides the parts of its elements that are outside the area.
    pub(super) fn clipped(&mut self, Area { left, top, width, height }: Area, draw: impl FnOnce(&mut Self)) {
        let area = [left, top, width, height].map(Px);
        let [x, y, width, height] = &area;
        self.add(format_args!(
            r#"<svg x="{x}" y="{y}" width="{width}" height="{height}" viewBox="{x} {y} {width} {height}">"#
        ));
        draw(self);
        self.add(format_args!("</svg>"));
    }

    /// Returns the whole picture as SVG.
    pub(super) fn finish(self, width: f64, height: f64) -> String {
        let (width, height) = (Px(width), Px(height));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" fill=\"none\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{}</svg>\n",
            self.0
        )
    }

    fn add(&mut self, element: fmt::Arguments<'_>) {
        writeln!(self.0, "{element}").expect("writing to a string cannot fail");
    }
}

fn stroked(Stroke { colour, width, dashes }: Stroke) -> String {
    let dashes = if dashes.is_empty() { String::new() } else { format!(r#" stroke-dasharray="{dashes}""#) };
    format!(r#"stroke="{colour}" stroke-width="{width}"{dashes}"#)
}
