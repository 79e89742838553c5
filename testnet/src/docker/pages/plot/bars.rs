//! A bar for each client; for a group of clients where they are many.

use std::ops::Range;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::frame::RIGHT;
use crate::docker::pages::units::clipped;
use crate::docker::record::ClientRecord;
use crate::draw::{Area, Drawn, INK, PALE, text};

/// The most bars: more need a taller picture than a screen.
const MAX_BARS: usize = 40;
const BAR: u32 = 20;
/// Room for the name before a bar.
const NAME: u32 = 170;
const MAX_LETTERS: usize = 22;
/// Room for the words after a bar.
const NOTE: u32 = 190;
const AXIS: u32 = 58;

/// A bar: parts one after another, each in its colour.
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) parts: Vec<(f64, RGBColor)>,
    /// What stands behind it.
    pub(super) note: String,
}

/// Neighbours that share a bar, with its name.
pub(super) fn groups(clients: &[ClientRecord]) -> Vec<(String, &[ClientRecord])> {
    let together = clients.len().div_ceil(MAX_BARS).max(1);
    let named = clients.chunks(together).map(|group| {
        let name = match group {
            [one] => one.name.clone(),
            [first, .., last] => {
                let number = last.name.strip_prefix("client ").unwrap_or(&last.name);
                format!("{} to {number}", first.name)
            }
            [] => String::new(),
        };
        (name, group)
    });
    named.collect()
}

/// What the group names mean, if there are groups.
pub(super) fn grouped(clients: &[ClientRecord]) -> &'static str {
    if clients.len() > MAX_BARS { ", on average over neighbours" } else { "" }
}

/// The height of the chart in pixels.
pub(super) fn height(bars: usize) -> u32 {
    bars.max(2) as u32 * BAR + AXIS + 20
}

/// Draws bars from above to below, with a line at `whole`.
pub(super) fn draw(area: &Area<'_>, bars: &[Bar], x: Range<f64>, x_name: &str, whole: Option<f64>) -> Drawn {
    let rows = bars.len().max(2) as f64;
    let (names, rest) = area.split_horizontally(NAME);
    let mut chart = ChartBuilder::on(&rest)
        .margin_top(8)
        .margin_bottom(8)
        .margin_right(RIGHT + NOTE)
        .x_label_area_size(AXIS - 12)
        // Rows count from above.
        .build_cartesian_2d(x.clone(), rows..0.0)?;
    let digits = (1.0 - (x.end - x.start).log10().floor()).clamp(0.0, 9.0) as usize;
    chart
        .configure_mesh()
        .disable_y_axis()
        .disable_y_mesh()
        .y_labels(0)
        .x_labels(9)
        .x_desc(x_name)
        .x_label_formatter(&|value| format!("{value:.digits$}"))
        .axis_style(INK)
        .bold_line_style(PALE)
        .light_line_style(TRANSPARENT)
        .label_style(text(15).color(&INK))
        .axis_desc_style(text(15).color(&INK))
        .draw()?;
    for (row, bar) in bars.iter().enumerate() {
        let mut from = 0.0f64;
        for (length, colour) in bar.parts.iter().filter(|(length, _)| length.is_finite() && *length > 0.0) {
            let to = (from + length).min(x.end);
            let corners = [(from, row as f64 + 0.12), (to, row as f64 + 0.88)];
            chart.draw_series([Rectangle::new(corners, colour.filled())])?;
            from = to;
        }
        let (_, base) = names.get_base_pixel();
        let (end, middle) = chart.backend_coord(&(from, row as f64 + 0.5));
        let y = middle - base;
        let style = |anchor| text(14).color(&INK).pos(Pos::new(anchor, VPos::Center));
        names.draw(&Text::new(clipped(&bar.name, MAX_LETTERS), (NAME as i32 - 8, y), style(HPos::Right)))?;
        area.draw(&Text::new(bar.note.clone(), (end + 8, y), style(HPos::Left)))?;
    }
    if let Some(whole) = whole.filter(|whole| x.contains(whole)) {
        let points = [(whole, 0.0), (whole, rows)];
        chart.draw_series(DashedLineSeries::new(points, 7, 5, INK.stroke_width(1)))?;
    }
    Ok(())
}

/// Words in the middle of a chart without bars.
pub(super) fn say(area: &Area<'_>, words: &str) -> Drawn {
    let (width, height) = area.dim_in_pixel();
    let style = text(17).color(&INK).pos(Pos::new(HPos::Center, VPos::Center));
    area.draw(&Text::new(words.to_owned(), (width as i32 / 2, (height - AXIS) as i32 / 2), style))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::pages::example;

    #[test]
    fn many_clients_share_bars_and_none_is_left_out() {
        for (clients, bars, last) in
            [(1, 1, "client 0"), (40, 40, "client 39"), (41, 21, "client 40"), (200, 40, "client 195 to 199")]
        {
            let record = example::of_clients(clients, None);
            let groups = groups(&record.runs[0].phase.clients);
            assert_eq!((groups.len(), groups.last().unwrap().0.as_str()), (bars, last), "{clients} clients");
            assert_eq!(groups.iter().map(|(_, group)| group.len()).sum::<usize>(), clients as usize);
        }
    }
}
