//! Draws a [`Sheet`] as SVG. The renderer has no fonts, so it estimates the width of a text.

mod canvas;
mod frame;
mod words;

use crate::chart::{Chart, Colour, INK, Item, Key, Legend, PALE, Rows, Sheet, Stroke};
use crate::escape::clipped;
use canvas::{Anchor, Area, Canvas};
use frame::{Frame, ticks};
use words::{LETTER, Place, Placed, placed};

const WIDTH: f64 = 1280.0;
const MARGIN: f64 = 20.0;
const WHITE: Colour = Colour(0xffffff);
/// The height of the first line of a title and the height of each further line, in pixels.
const TITLE: (f64, f64) = (38.0, 19.0);
/// The height of the space above a chart for its caption, in pixels.
const CAPTION: f64 = 26.0;
/// The height of one row of texts of marks above a chart, in pixels.
const WORDS: f64 = 18.0;
/// The height of the space below a chart for the numbers and the name of the horizontal axis, in pixels.
const BELOW: f64 = 56.0;
/// The widths of the spaces to the left and to the right of a chart whose vertical axis has numbers, in pixels.
const BESIDE_VALUES: (f64, f64) = (86.0, 28.0);
/// The widths of the spaces to the left and to the right of a chart whose vertical axis has lanes, in pixels.
const BESIDE_LANES: (f64, f64) = (170.0, 218.0);
/// The maximum number of characters of a lane's name, so that the name fits to the left of the chart.
const MAX_NAME: usize = 22;
/// The height of a row of the legend, in pixels.
const LEGEND_ROW: f64 = 24.0;
/// The width of a legend entry without its text, in pixels.
const KEY: f64 = 68.0;

/// Returns the picture as SVG.
pub(crate) fn draw(sheet: &Sheet) -> String {
    let mut canvas = Canvas::default();
    let mut top = title(&mut canvas, &sheet.title);
    for row in &sheet.rows {
        let mut left = 0.0;
        for (part, chart) in &row.charts {
            let area = Area { left, top, width: WIDTH * part, height: row.height };
            draw_chart(&mut canvas, chart, area);
            left += area.width;
        }
        top += row.height;
    }
    top = legend(&mut canvas, &sheet.legend, top);
    canvas.finish(WIDTH, top + MARGIN)
}

/// Draws the title. Returns the vertical position of its lower end.
fn title(canvas: &mut Canvas, lines: &[(String, Colour)]) -> f64 {
    let mut top = 4.0;
    for (number, (line, colour)) in lines.iter().enumerate() {
        let (size, height) = if number == 0 { (22, TITLE.0) } else { (15, TITLE.1) };
        let letters = (WIDTH - 2.0 * MARGIN) * 14.0 / LETTER / f64::from(size);
        let text = clipped(line, letters as usize);
        canvas.text((MARGIN, top + height / 2.0), size, Anchor::Start, *colour, &text);
        top += height;
    }
    top + 6.0
}

fn draw_chart(canvas: &mut Canvas, chart: &Chart, area: Area) {
    let ((left, right), y) = match &chart.y {
        Rows::Values(axis) => (BESIDE_VALUES, axis.range.clone()),
        Rows::Lanes(lanes) => (BESIDE_LANES, lanes.len().max(2) as f64..0.0),
    };
    let plane = Area { left: area.left + left, width: area.width - left - right, ..area };
    let mut frame = Frame { area: plane, x: chart.x.range.clone(), y };
    let shown: Vec<_> = chart.marks.iter().filter(|mark| frame.x.contains(&mark.at)).cloned().collect();
    let (marks, lanes) = placed(&shown, |at| frame.x(at), area.left + area.width);
    let lanes_top = area.top + if chart.caption.is_empty() { 8.0 } else { CAPTION };
    frame.area.top = lanes_top + lanes as f64 * WORDS + 4.0;
    frame.area.height = area.top + area.height - BELOW - frame.area.top;
    canvas.text((area.left + area.width / 2.0, area.top + 13.0), 17, Anchor::Middle, INK, &chart.caption);
    draw_axes(canvas, chart, &frame);
    // The clipped area is slightly larger than the chart, so that lines along its edge have their full width.
    let (left, top) = (frame.area.left - 2.0, frame.area.top - 2.0);
    let inside = Area { left, top, width: frame.area.width + 4.0, height: frame.area.height + 4.0 };
    canvas.clipped(inside, |canvas| draw_items(canvas, &chart.items, &frame));
    if let Rows::Lanes(lanes) = &chart.y {
        name_lanes(canvas, lanes, &chart.items, &frame);
    }
    draw_marks(canvas, &marks, lanes_top, &frame);
}

fn draw_axes(canvas: &mut Canvas, chart: &Chart, frame: &Frame) {
    let (left, right, top, bottom) = (frame.area.left, frame.right(), frame.area.top, frame.bottom());
    let grid = Stroke::solid(PALE, 1);
    for (value, number) in ticks(&frame.x, (frame.area.width / 60.0) as u32) {
        let x = frame.x(value);
        canvas.line([(x, top), (x, bottom)], grid);
        canvas.text((x, bottom + 14.0), 15, Anchor::Middle, INK, &number);
    }
    canvas.text((left + frame.area.width / 2.0, bottom + 37.0), 15, Anchor::Middle, INK, &chart.x.name);
    if let Rows::Values(axis) = &chart.y {
        for (value, number) in ticks(&frame.y, 6) {
            let y = frame.y(value);
            canvas.line([(left, y), (right, y)], grid);
            canvas.text((left - 8.0, y), 15, Anchor::End, INK, &number);
        }
        let middle = (left - 66.0, top + frame.area.height / 2.0);
        canvas.turned(middle, |canvas| canvas.text(middle, 15, Anchor::Middle, INK, &axis.name));
    }
    canvas.line([(left, top), (left, bottom), (right, bottom)], Stroke::solid(INK, 1));
}

fn draw_items(canvas: &mut Canvas, items: &[Item], frame: &Frame) {
    for item in items {
        match item {
            Item::Line(points, stroke) => {
                canvas.line(points.iter().filter_map(|point| frame.pixel(*point)), *stroke);
            }
            Item::Circle(point, colour) => {
                if let Some(pixel) = frame.pixel(*point) {
                    canvas.circle(pixel, Stroke::solid(*colour, 2));
                }
            }
            Item::Span(lane, range, colour) => {
                let (left, top) = (frame.x(range.start), frame.y(*lane as f64 + 0.12));
                let height = frame.y(*lane as f64 + 0.88) - top;
                canvas.rect(Area { left, top, width: frame.x(range.end) - left, height }, *colour);
            }
            Item::Limit(at) => {
                let ends = [(*at, frame.y.start), (*at, frame.y.end)];
                canvas.line(ends.into_iter().filter_map(|point| frame.pixel(point)), Stroke::dashed(INK, 1));
            }
            Item::Words(text) => {
                let middle = (frame.area.left + frame.area.width / 2.0, frame.area.top + frame.area.height / 2.0);
                canvas.text(middle, 17, Anchor::Middle, INK, text);
            }
        }
    }
}

/// Draws the name of each lane to the left of the chart, and the note of each lane to the right of the lane's last bar.
fn name_lanes(canvas: &mut Canvas, lanes: &[(String, String)], items: &[Item], frame: &Frame) {
    for (number, (name, note)) in lanes.iter().enumerate() {
        let ends = items.iter().filter_map(|item| match item {
            Item::Span(lane, range, _) if *lane == number => Some(range.end),
            _ => None,
        });
        let end = ends.fold(0.0, f64::max).min(frame.x.end);
        let y = frame.y(number as f64 + 0.5);
        canvas.text((frame.area.left - 8.0, y), 14, Anchor::End, INK, &clipped(name, MAX_NAME));
        canvas.text((frame.x(end) + 8.0, y), 14, Anchor::Start, INK, note);
    }
}

/// Draws the lines of all marks, and then the texts of all marks on a white background, so that no line crosses a text.
fn draw_marks(canvas: &mut Canvas, marks: &[Placed<'_>], top: f64, frame: &Frame) {
    for Placed { mark, line: x, words } in marks {
        let from = words.as_ref().map_or(frame.area.top, |place| top + place.lane as f64 * WORDS + 3.0);
        let to = mark.down_to.map_or(frame.bottom(), |value| frame.y(value));
        canvas.line([(*x, from), (*x, to)], mark.stroke);
        if mark.down_to.is_some() {
            canvas.line([(*x, to - 7.0), (*x, to + 7.0)], Stroke::solid(mark.stroke.colour, 3));
        }
    }
    for Placed { mark, words, .. } in marks {
        let Some(Place { lane, left, right }) = words else { continue };
        let top = top + *lane as f64 * WORDS;
        canvas.rect(Area { left: *left, top: top + 1.0, width: right - left, height: WORDS - 2.0 }, WHITE);
        canvas.text((*left, top + WORDS / 2.0), 14, Anchor::Start, mark.stroke.colour, &mark.words);
    }
}

/// Draws the legend in rows that fit the width of the picture. Returns the vertical position of the legend's lower end.
fn legend(canvas: &mut Canvas, legend: &Legend, top: f64) -> f64 {
    let (mut x, mut y) = (MARGIN, top + LEGEND_ROW / 2.0);
    for (key, text) in legend {
        let width = KEY + text.chars().count() as f64 * LETTER;
        if x > MARGIN && x + width > WIDTH - MARGIN {
            (x, y) = (MARGIN, y + LEGEND_ROW);
        }
        match key {
            Key::Line(stroke) => canvas.line([(x, y), (x + 32.0, y)], *stroke),
            Key::Tick(colour) => canvas.line([(x + 16.0, y - 8.0), (x + 16.0, y + 8.0)], Stroke::solid(*colour, 3)),
            Key::Circle(colour) => canvas.circle((x + 16.0, y), Stroke::solid(*colour, 2)),
            Key::Box(colour) => canvas.rect(Area { left: x, top: y - 7.0, width: 32.0, height: 14.0 }, *colour),
        }
        canvas.text((x + 40.0, y), 14, Anchor::Start, INK, text);
        x += width;
    }
    y + LEGEND_ROW / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::{Axis, Mark, Row};

    #[test]
    fn all_items_are_drawn_and_marks_outside_the_chart_are_not() {
        let axis = |name: &str| Axis { name: name.to_owned(), range: 0.0..10.0 };
        let points = vec![(0.0, 1.0), (f64::NAN, 1.0), (5.0, f64::INFINITY), (5.0, 2.0), (1e300, -1e300)];
        let marks = vec![
            Mark { at: 3.0, words: "<killed>".to_owned(), stroke: Stroke::dotted(INK), down_to: Some(5.0) },
            Mark { at: 11.0, words: "beyond".to_owned(), stroke: Stroke::dotted(INK), down_to: None },
        ];
        let items = vec![Item::Line(points, Stroke::dashed(INK, 2)), Item::Circle((1.0, 1.0), INK)];
        let values = Chart { caption: "c".to_owned(), x: axis("x"), y: Rows::Values(axis("y")), items, marks };
        let items = vec![Item::Span(0, 0.0..4.0, PALE), Item::Limit(8.0), Item::Words("nothing".to_owned())];
        let lanes = Rows::Lanes(vec![("client 0".to_owned(), "4 s".to_owned())]);
        let lanes = Chart { caption: String::new(), x: axis("x"), y: lanes, items, marks: Vec::new() };
        let svg = draw(&Sheet {
            title: vec![("title".to_owned(), INK), ("more".to_owned(), INK)],
            rows: vec![Row { height: 300.0, charts: vec![(0.6, values), (0.4, lanes)] }],
            legend: vec![(Key::Box(PALE), "all of it".to_owned()); 20],
        });
        for part in ["&lt;killed&gt;", ">title<", ">client 0<", ">4 s<", ">nothing<", "stroke-dasharray=\"8 5\""] {
            assert!(svg.contains(part), "{part:?} is not in {svg}");
        }
        assert!(!svg.contains("beyond") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    }
}
