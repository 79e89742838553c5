//! What the lines mean.

use super::curve::{Curve, seconds};
use crate::draw::{INK, Kind, PROMISE};

/// An entry for each label, and for what else is drawn.
pub(super) fn entries(curves: &[Curve], has_promises: bool) -> Vec<(Kind, String)> {
    let mut labels: Vec<(&str, Kind, Vec<f64>)> = Vec::new();
    for curve in curves {
        let kind = if curve.is_compared { Kind::Dashed(curve.colour, 2) } else { Kind::Line(curve.colour, 3) };
        match labels.iter_mut().find(|(label, ..)| *label == curve.label) {
            Some((.., bounds)) => bounds.push(curve.t_min),
            None => labels.push((&curve.label, kind, vec![curve.t_min])),
        }
    }
    let is_same = curves.windows(2).all(|pair| pair[0].t_min == pair[1].t_min);
    let described = |label, bounds: &[f64]| described(label, bounds, !is_same);
    let mut texts: Vec<_> = labels.into_iter().map(|(label, kind, bounds)| (kind, described(label, &bounds))).collect();
    texts.push((Kind::Line(INK, 1), "thin: share of the artifact that clients have verified, on average".to_owned()));
    texts.push((Kind::Dotted(INK), "T_min".to_owned()));
    if has_promises {
        texts.push((Kind::Mark(PROMISE), "promised: the curve is to pass to the left".to_owned()));
    }
    texts
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
